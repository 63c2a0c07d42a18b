// Copyright The Prometheus Authors
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

package delivery

import (
	"math/bits"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// grouping brings items of a request that belong into one time series next to
// each other: exemplars behind the sample or histogram they come after, which a
// receiver of remote write 2.0 demands, and samples of one series, which saves
// the labels of all but the first. Items of a series keep their order.
//
// One goroutine owns it; its buffers are used again.
type grouping struct {
	slots []slot
	alike map[uint64][]*series.Series // By hash of labels, see canonical; nil if not needed.
	round uint32
	next  []int32 // Next item of the same time series, by index; 0 ends it.
	later []bool  // The item is not the first of its time series.
	out   []queue.ItemView
}

// slot is a place of an open-addressed table of the series in a request. It is
// in use if its round is the present one.
type slot struct {
	series *series.Series
	round  uint32
	class  queue.Class
	last   int32 // Last item of the open time series.
}

// arrange reorders items in place. Unless samples is set, only exemplars move.
func (g *grouping) arrange(items []queue.ItemView, samples bool) []queue.ItemView {
	if !samples && !anyExemplar(items) {
		return items
	}
	g.reset(len(items))
	g.meet(items, samples)
	moved := false
	for i := range items {
		of, k := items[i].Series, items[i].Kind()
		if g.alike != nil {
			of = g.canonical(of)
		}
		sl := g.find(of)
		first := sl.round != g.round
		if k == queue.Exemplar && first {
			continue // Nothing of its series comes before it.
		}
		c := k.Class()
		if k != queue.Exemplar && (first || !samples || sl.class != c) {
			*sl = slot{series: of, round: g.round, class: c, last: int32(i)}
			continue
		}
		g.next[sl.last], g.later[i] = int32(i), true
		moved = moved || int(sl.last)+1 != i
		sl.last = int32(i)
	}
	if !moved {
		return items
	}
	g.out = g.out[:0]
	for i := range items {
		if g.later[i] {
			continue
		}
		g.out = append(g.out, items[i])
		for n := g.next[i]; n != 0; n = g.next[n] {
			g.out = append(g.out, items[n])
		}
	}
	return append(items[:0], g.out...)
}

// forget lets go of the items and of series that no table has, which may be
// large. Others are the table's.
func (g *grouping) forget() {
	clear(g.out)
	g.out = g.out[:0]
	if g.alike != nil {
		g.alike = nil
		clear(g.slots)
	}
}

// meet prepares for series that share their labels with others: a label set can
// have had several refs, and what the table has forgotten is found anew. Their
// samples are those of one series, whose order counts (I4).
func (g *grouping) meet(items []queue.ItemView, samples bool) {
	g.alike = nil
	for i := range items {
		if s := items[i].Series; samples && (s.Alias() || s.Detached()) {
			g.alike = map[uint64][]*series.Series{}
			return
		}
	}
}

// canonical returns the first series of the request with the labels of s.
func (g *grouping) canonical(s *series.Series) *series.Series {
	hash := s.Labels().Hash()
	for _, k := range g.alike[hash] {
		if series.SameLabels(k, s) {
			return k
		}
	}
	g.alike[hash] = append(g.alike[hash], s)
	return s
}

func anyExemplar(items []queue.ItemView) bool {
	for i := range items {
		if items[i].Kind() == queue.Exemplar {
			return true
		}
	}
	return false
}

// reset makes room for n items and empties the table.
func (g *grouping) reset(n int) {
	g.round++
	if len(g.slots) < 2*n || g.round == 0 {
		g.slots = make([]slot, 1<<bits.Len(uint(2*n)))
		g.round = 1
	}
	g.next = append(g.next[:0], make([]int32, n)...)
	g.later = append(g.later[:0], make([]bool, n)...)
}

// find returns the slot of s, or the free one where it goes.
func (g *grouping) find(s *series.Series) *slot {
	mask := uint64(len(g.slots) - 1)
	for i := uint64(s.Ref()) * 0x9e3779b97f4a7c15 >> 20; ; i++ {
		sl := &g.slots[i&mask]
		if sl.round != g.round || sl.series == s {
			return sl
		}
	}
}

// joins reports whether items[i] goes into the time series of the item before
// it. Unless samples is set, only exemplars do.
func joins(items []queue.ItemView, i int, samples bool) bool {
	if i == 0 || items[i-1].Series != items[i].Series {
		return false
	}
	return items[i].Kind() == queue.Exemplar || (samples && timeSeriesClass(items, i-1) == items[i].Kind().Class())
}

// timeSeriesClass is what the time series of items[i] carries besides exemplars.
func timeSeriesClass(items []queue.ItemView, i int) queue.Class {
	for ; i > 0 && items[i].Kind() == queue.Exemplar && items[i-1].Series == items[i].Series; i-- {
	}
	return items[i].Kind().Class()
}

// cutBefore returns where to cut a first part off that has no more than most
// items, more only if a sample has so many exemplars.
func cutBefore(items []queue.ItemView, most int) int {
	for i := min(most, len(items)); i > 0; i-- {
		if i == len(items) || !joins(items, i, false) {
			return i
		}
	}
	for i := most + 1; i < len(items); i++ {
		if !joins(items, i, false) {
			return i
		}
	}
	return len(items)
}

// middle returns where to cut items in two, 0 if they cannot be: exemplars are
// not cut off from their sample.
func middle(items []queue.ItemView) int {
	half := len(items) / 2
	for i := half; i < len(items); i++ {
		if i > 0 && !joins(items, i, false) {
			return i
		}
	}
	for i := half - 1; i > 0; i-- {
		if !joins(items, i, false) {
			return i
		}
	}
	return 0
}
