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
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

const (
	// evictedGeneration is how many series are remembered that are not in the table,
	// before those are forgotten that were not met since about as many others, and
	// evictedBytes how large they may be together.
	evictedGeneration = 8192
	evictedBytes      = 8 << 20
)

// goneSeries remembers what rules make of series that are in no table. An
// endpoint that catches up meets each of them again and again, and nothing can be
// stored by their ref. How many are remembered is bounded as it is where they come
// from, see evictedSeries: those that were not met since about as many others are
// forgotten (I6).
type goneSeries struct {
	mtx        sync.Mutex // Held for moments only.
	young, old map[*series.Series]decided
	bytes      int // Of the young ones.
}

// recall puts what is remembered of series in its place, and returns those of
// which nothing is.
func (g *goneSeries) recall(which []int, at func(int) *series.Series, out []judgement) (unknown []int) {
	if len(which) == 0 {
		return nil
	}
	g.mtx.Lock()
	defer g.mtx.Unlock()
	unknown = which[:0]
	for _, i := range which {
		s := at(i)
		d, ok := g.young[s]
		if !ok {
			if d, ok = g.old[s]; ok {
				g.add(s, d)
			}
		}
		if !ok {
			unknown = append(unknown, i)
			continue
		}
		out[i] = d.judgement
	}
	return unknown
}

// remember adds outcomes.
func (g *goneSeries) remember(all map[*series.Series]decided) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	for s, d := range all {
		g.add(s, d)
	}
}

// age forgets what was not met since it was called last.
func (g *goneSeries) age() {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	g.young, g.old, g.bytes = nil, g.young, 0
}

// add makes a series one of the young ones. Callers hold mtx.
func (g *goneSeries) add(s *series.Series, d decided) {
	if g.young == nil || len(g.young) >= evictedGeneration || g.bytes >= evictedBytes {
		g.young, g.old, g.bytes = make(map[*series.Series]decided), g.young, 0
	}
	if _, known := g.young[s]; !known { // Two senders may have met it at once.
		g.bytes += d.bytes
	}
	g.young[s] = d
}
