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

package series

import (
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// BulkLoader adds series to a table that has no appenders yet, as a start does with
// a million of them. What takes the time then is waiting for memory and for other
// cores: where a series belongs in the index is another place each time. So a
// BulkLoader collects series and enters them many at a time, stripe by stripe, which
// lets the processor look for many places at once.
//
// One goroutine owns a BulkLoader; several may fill a table, under the conditions of
// [Table.Insert]. What was added is in the table after Flush, with which a
// BulkLoader has to end: sweeps wait for it.
type BulkLoader struct {
	t       *Table
	enc     *setEncoder
	segment int
	at      time.Time
	holds   bool // symbols.inUse, for reading.

	// What does not resolve by ref yet, of one page, with the stripe of each.
	run     []*Series
	stripes []uint8
	pending [stripes][]*Series // Can be resolved, and not found yet.
}

const (
	runLength = 256 // How many refs are made to resolve at a time.
	atOnce    = 64  // How many series of a stripe are entered at a time.
)

// BulkLoader returns one for the table. What it adds counts as mentioned in segment,
// and as made at the given time.
func (t *Table) BulkLoader(segment int, at time.Time) *BulkLoader {
	return &BulkLoader{t: t, enc: t.symbols.setEncoder(), segment: segment, at: at}
}

// Add is [Table.Insert]. Bit i of same says that label i is the one that was
// there when Add was last called with more than i labels, which spares comparing
// their strings; 0 is always right. Nothing of lset is kept.
func (b *BulkLoader) Add(ref chunks.HeadSeriesRef, lset []labels.Label, same uint64) {
	if n := len(b.run); n == runLength || n > 0 && b.run[0].ref>>pageBits != ref>>pageBits {
		b.resolveRun()
	}
	if !b.holds {
		b.t.symbols.inUse.RLock()
		b.holds = true
	}
	of := b.enc.set(lset, same)
	hash := of.hash()
	b.run = append(b.run, newSeries(ref, chainHash(hash), b.enc.keep(of), 0, b.at, recordThere))
	b.stripes = append(b.stripes, uint8(hash%stripes))
}

// Flush takes everything that was added into the table.
func (b *BulkLoader) Flush() {
	b.resolveRun()
	b.enterAll()
	if b.holds {
		b.holds = false
		b.t.symbols.inUse.RUnlock()
	}
}

// resolveRun lets the refs of the run resolve to its series.
func (b *BulkLoader) resolveRun() {
	for from := 0; from < len(b.run); {
		n := from + b.t.refs.putRun(b.run[from:])
		for i, s := range b.run[from:n] {
			stripe := int(b.stripes[from+i])
			if b.pending[stripe] = append(b.pending[stripe], s); len(b.pending[stripe]) == atOnce {
				b.enter(stripe)
			}
		}
		if n < len(b.run) {
			b.again(b.run[n])
		}
		from = n + 1
	}
	clear(b.run)
	b.run, b.stripes = b.run[:0], b.stripes[:0]
}

// again adds a series whose ref was met before, which is rare and may mean several
// things. Those before it have to be in the table then.
func (b *BulkLoader) again(s *Series) {
	b.enterAll()
	w := b.t.writer(s.Labels()) // Its own encoder: what ours met last stays.
	defer b.t.writers.Put(w)
	w.insert(s.ref, b.segment, math.MinInt64)
}

// enterAll makes all series that resolve ones that can be found.
func (b *BulkLoader) enterAll() {
	for i := range b.pending {
		b.enter(i)
	}
}

// enter makes the series of a stripe that resolve ones that can be found. Where there
// is one with the labels already, it becomes an alias.
func (b *BulkLoader) enter(stripe int) {
	t, st, pending := b.t, &b.t.index[stripe], b.pending[stripe]
	if len(pending) == 0 {
		return
	}
	st.mtx.Lock()
	defer st.mtx.Unlock()
	aliases := 0
	for _, s := range pending {
		if st.find(s.chainHash(), s.set) == nil {
			st.link(s)
			continue
		}
		s.state.Store(stateAlias)
		s.retireAt(b.segment)
		aliases++
	}
	t.active.Add(int64(len(pending) - aliases))
	t.retired.Add(int64(aliases))
	clear(pending)
	b.pending[stripe] = pending[:0]
}
