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
	"slices"
	"time"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// partitions is the number of virtual partitions of every endpoint. It is part
// of the savepoint format.
const partitions = 64

// kind is what an item carries.
type kind uint8

const (
	kindFloat kind = iota
	kindHistogram
	kindFloatHistogram
	kindExemplar
	kinds
)

// class folds the kinds into what the metrics distinguish.
type class uint8

const (
	classSamples class = iota
	classHistograms
	classExemplars
	classes
)

var (
	classOf    = [kinds]class{classSamples, classHistograms, classHistograms, classExemplars}
	classNames = [classes]string{"samples", "histograms", "exemplars"}
)

// tally counts items by class.
type tally [classes]int

func (t *tally) add(k kind) { t[classOf[k]]++ }

func (t *tally) plus(o tally) {
	for c := range t {
		t[c] += o[c]
	}
}

func (t *tally) total() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

// item is one sample, histogram or exemplar of the log. Timestamps are in ms.
type item struct {
	series *series.Series
	st, t  int64
	v      float64
	extra  uint32 // Index in batch.extras for everything but floats.
	kind   kind
	part   uint8 // The partition of the series.
}

// itemOf returns an item of a series. Whoever appends or decodes has the series
// at hand, and spares all others a look at it.
func itemOf(s *series.Series, k kind, st, t int64, v float64) item {
	return item{series: s, st: st, t: t, v: v, kind: k, part: uint8(s.Partition())}
}

// extra holds what does not fit an item. Exactly one field is set.
type extra struct {
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
	labels labels.Labels
}

// batch is a decoded stretch of the log. It is immutable once built and shared by
// endpoints.
type batch struct {
	start, end cursor.Point
	items      []item                 // In the order of the log if ordered, else by partition.
	first      [partitions + 1]uint32 // Where each partition begins in what is by partition.
	extras     []extra
	tally      tally          // Items by class.
	highest    [classes]int64 // Highest timestamp in ms by class, 0 if none is above.
	unknown    tally          // Items dropped because nothing defines their ref.
	records    recordTally
	gap        bool          // A part of the log between start and end is damaged.
	waited     time.Duration // How long the oldest commit was in memory before, see patience.

	// ordered batches are those of endpoints that keep up. byPart is made of
	// them when somebody asks for a partition, which few of those do.
	ordered bool
	byPart  atomic.Pointer[[]item]
	// number counts shared batches from 1, so that it identifies this one, and
	// before is how many items those before it had.
	number, before uint64
}

// recordTally counts records by type; types this version does not know and
// records that cannot be decoded have places of their own.
type recordTally struct {
	types       [maxRecordType + 1]uint32
	unknown     uint32
	undecodable uint32
}

// maxRecordType is the highest type that the pinned release writes.
const maxRecordType = record.FloatHistogramSamplesV2

func (rt *recordTally) add(t record.Type) {
	if t > maxRecordType {
		rt.unknown++
		return
	}
	rt.types[t]++
}

// content returns the items of b by class.
func (b *batch) content() tally { return b.tally }

// plain reports whether b holds nothing but floats.
func (b *batch) plain() bool { return b.tally[classSamples] == len(b.items) }

// survey notes what the batch holds, by one walk over its items.
func (b *batch) survey() {
	b.tally, b.highest = tally{}, [classes]int64{}
	for i := range b.items {
		it := &b.items[i]
		c := classOf[it.kind]
		b.tally[c]++
		b.highest[c] = max(b.highest[c], it.t)
	}
}

// part returns the items of partition p, in the order of the log.
func (b *batch) part(p int) []item {
	all := b.items
	if b.ordered {
		all = b.grouped()
	}
	return all[b.first[p]:b.first[p+1]]
}

// grouped returns the items by partition. All callers get the same.
func (b *batch) grouped() []item {
	if have := b.byPart.Load(); have != nil {
		return *have
	}
	made := byPartition(b.items, b.first)
	b.byPart.CompareAndSwap(nil, &made)
	return *b.byPart.Load()
}

// byPartition returns a copy of items, which are in the order of the log,
// grouped by partition and in the same order within each. It begins each where
// first says.
func byPartition(items []item, first [partitions + 1]uint32) []item {
	out := make([]item, len(items))
	for i := range items {
		next := &first[items[i].part]
		out[*next] = items[i]
		*next++
	}
	return out
}

// batchBuilder collects items in the order of the log. One goroutine owns it.
type batchBuilder struct {
	start   cursor.Point
	end     cursor.Point
	items   []item
	ordered bool // Batches keep the order of the log.
	extras  []extra
	unknown tally
	records recordTally
	gap     bool
	waited  time.Duration
}

func (bb *batchBuilder) reset(start cursor.Point) {
	clear(bb.items) // Series and histograms must not be kept alive by the buffer.
	*bb = batchBuilder{start: start, end: start, items: bb.items[:0], ordered: bb.ordered}
}

func (bb *batchBuilder) add(it item) {
	bb.items = append(bb.items, it)
}

func (bb *batchBuilder) addExtra(it item, x extra) {
	it.extra = uint32(len(bb.extras))
	bb.extras = append(bb.extras, x)
	bb.add(it)
}

// build makes a batch of what was collected and resets the builder to its end.
func (bb *batchBuilder) build() *batch {
	b := &batch{
		start: bb.start, end: bb.end, extras: bb.extras, unknown: bb.unknown, records: bb.records,
		gap: bb.gap, waited: bb.waited, ordered: bb.ordered,
	}
	for i := range bb.items {
		it := &bb.items[i]
		b.first[it.part+1]++
		c := classOf[it.kind]
		b.tally[c]++
		b.highest[c] = max(b.highest[c], it.t)
	}
	for p := range partitions {
		b.first[p+1] += b.first[p]
	}
	switch n := len(bb.items); {
	case n == 0:
	case !bb.ordered:
		b.items = byPartition(bb.items, b.first)
	case cap(bb.items)-n <= n/8:
		b.items, bb.items = bb.items, nil // Nothing is copied.
	default:
		b.items = slices.Clone(bb.items)
	}
	bb.reset(b.end)
	return b
}

// flat is one item of a request with the batch that holds its extra.
type flat struct {
	*item
	batch *batch
}
