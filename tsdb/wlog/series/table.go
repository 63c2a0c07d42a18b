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
	"iter"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Options of a table.
type Options struct {
	// Now is the wall clock, time.Now if nil.
	Now func() time.Time
}

// Table is the table of series, see the package's documentation.
type Table struct {
	// First, so that 32-bit platforms can use them as atomics.
	active  atomic.Int64
	retired atomic.Int64 // Aliases included.
	epoch   atomic.Uint64

	refs     refMap
	index    index
	symbols  *symbols
	writers  sync.Pool // Of *writer.
	metadata metadataPool
	now      func() time.Time

	onRemoveMtx sync.Mutex
	onRemove    []func([]chunks.HeadSeriesRef)
}

// New returns an empty table.
func New(opts Options) *Table {
	t := &Table{now: opts.Now, symbols: newSymbols()}
	if t.now == nil {
		t.now = time.Now
	}
	return t
}

// Reserve makes room for n series, so that inserting them need not make it bit by
// bit.
func (t *Table) Reserve(n int) {
	// Twice as many as needed: that a label set is new is found out by looking at
	// what is in its bucket, which takes longest when many come at a time.
	each := 1 << bits.Len(uint(2*n/stripes))
	for i := range t.index {
		st := &t.index[i]
		st.mtx.Lock()
		if each > max(len(st.buckets), firstBuckets) {
			st.resize(each)
		}
		st.mtx.Unlock()
	}
}

// Len returns how many series are active, and how many are retired or aliases.
func (t *Table) Len() (active, retired int) {
	return int(t.active.Load()), int(t.retired.Load())
}

// Resolve returns the series a ref of the log belongs to, retired ones and
// aliases too, and nil if there is none. It takes no lock.
func (t *Table) Resolve(ref chunks.HeadSeriesRef) *Series { return t.refs.get(ref) }

// Epoch returns a number that changes before refs leave the table.
func (t *Table) Epoch() uint64 { return t.epoch.Load() }

// Keep keeps the series of a ref from being retired for as long as a commit would, and
// reports whether there is one.
func (t *Table) Keep(ref chunks.HeadSeriesRef) bool {
	s := t.Resolve(ref)
	if s == nil || !t.Pin(s) {
		return false
	}
	s.Committed(t.now())
	s.Unpin()
	return true
}

// Find returns the series with the given labels, active or retired, and nil if
// there is none.
func (t *Table) Find(lset labels.Labels) *Series {
	t.symbols.inUse.RLock()
	defer t.symbols.inUse.RUnlock()
	of, ok := t.symbols.find(lset)
	if !ok {
		return nil
	}
	return t.find(of, of.hash())
}

// First returns the series that can be found with the labels of s, which may be
// s itself, an alias of it, or one that has left the table.
func (t *Table) First(s *Series) *Series {
	if names, _ := s.Encoded(); names == nil || names.y != t.symbols {
		return t.Find(s.Labels())
	}
	first := t.find(s.set, s.hash())
	runtime.KeepAlive(s) // Its numbers are its own until here.
	return first
}

// find returns the series with the given numbers, which are in use, and their
// hash.
func (t *Table) find(of set, hash uint64) *Series {
	st := t.index.stripe(hash)
	st.mtx.RLock()
	defer st.mtx.RUnlock()
	return st.find(chainHash(hash), of)
}

// Pin keeps s from being retired until Unpin, and makes a retired series active
// again. It fails for aliases and for what was dropped: those need GetOrCreate.
//
// A series that comes back counts as not logged, so that its record goes with
// its next sample: what is kept of the earlier one may be forgotten with the
// segments from before it was retired.
func (t *Table) Pin(s *Series) bool {
	for {
		state := s.state.Load()
		switch {
		case state >= 0:
			if s.state.CompareAndSwap(state, state+1) {
				return true
			}
		case state == stateRetired:
			// Before the change, so that no goroutine that sees the series active
			// takes the old record for its record.
			s.setRecord(recordMissing)
			if s.state.CompareAndSwap(stateRetired, 1) {
				t.retired.Dec()
				t.active.Inc()
				return true
			}
		default:
			return false
		}
	}
}

// GetOrCreate returns the series with the given labels, pinned. If there is
// none, it makes one with a ref from newRef, which it calls only then. lset has
// no empty values and no duplicate names; nothing of it is kept.
func (t *Table) GetOrCreate(lset labels.Labels, newRef func() chunks.HeadSeriesRef) (s *Series, created bool) {
	w := t.writer(lset)
	defer t.writers.Put(w)
	return w.getOrCreate(newRef)
}

// Insert adds what a series record of the log says, and returns the series that
// samples of ref belong to: if the label set has a ref already, that is the
// series with the first ref, and ref becomes an alias, mentioned in segment.
// displaced reports that ref meant another label set until now; only engines
// that hand out refs again after a restart cause that, and what they wrote
// under the old meaning can no longer be told apart. Nothing of lset is kept.
//
// Several goroutines may insert at the same time, as long as each ref means
// one label set. Which of two refs for one label set becomes the first then
// depends on them.
func (t *Table) Insert(ref chunks.HeadSeriesRef, lset labels.Labels, segment int) (s *Series, displaced bool) {
	return t.insert(ref, lset, segment, math.MinInt64)
}

// insert is Insert of a series with a last timestamp.
func (t *Table) insert(ref chunks.HeadSeriesRef, lset labels.Labels, segment int, last int64) (s *Series, displaced bool) {
	w := t.writer(lset)
	defer t.writers.Put(w)
	t.symbols.inUse.RLock()
	defer t.symbols.inUse.RUnlock()
	return w.insert(ref, segment, last)
}

// discard removes s whatever its state is.
func (t *Table) discard(s *Series) {
	if s.state.Swap(stateDead) >= 0 {
		t.active.Dec()
	} else {
		t.retired.Dec()
	}
	t.forget(s)
}

// forget removes a dead series from where it can be found.
func (t *Table) forget(s *Series) {
	t.refs.remove(s)
	st := t.index.stripe(s.hash())
	st.mtx.Lock()
	st.unlink(s)
	st.mtx.Unlock()
	t.releaseMetadata(s)
	t.leaseNumbers(s)
}

// Retire retires the series that are not pinned and to which nothing was
// committed since idle, to the second, and returns them. segment returns the
// active segment; it is called after the last series was retired, when
// no commit to any of them can be under way.
func (t *Table) Retire(idle time.Time, segment func() int) []*Series {
	var gone []*Series
	limit := seconds(idle)
	t.refs.each(func(s *Series) bool {
		if s.state.Load() != 0 || !s.idleSince(limit) || !s.state.CompareAndSwap(0, stateRetired) {
			return true
		}
		t.active.Dec()
		t.retired.Inc()
		// A commit may have come and gone between the two conditions.
		if !s.idleSince(limit) && t.Pin(s) {
			s.Unpin()
			return true
		}
		gone = append(gone, s)
		return true
	})
	if len(gone) > 0 {
		at := segment()
		for _, s := range gone {
			s.retireAt(at)
		}
	}
	return gone
}

// Drop removes retired series and aliases that no segment from floor on can
// mention, tells the listeners, and returns the refs.
func (t *Table) Drop(floor int) []chunks.HeadSeriesRef {
	return t.drop(func(s *Series, state int32) bool { return state < 0 && s.RetiredAt() < floor })
}

// drop removes the series that are dead by the given judgement and not by now
// in another state than judged. It tells the listeners, and returns the refs.
func (t *Table) drop(dead func(s *Series, state int32) bool) []chunks.HeadSeriesRef {
	var (
		gone []*Series
		refs []chunks.HeadSeriesRef
	)
	t.refs.each(func(s *Series) bool {
		state := s.state.Load()
		if state == stateDead || !dead(s, state) {
			return true
		}
		if len(gone) == 0 {
			t.epoch.Inc()
		}
		if !s.state.CompareAndSwap(state, stateDead) {
			return true
		}
		if state >= 0 {
			t.active.Dec()
		} else {
			t.retired.Dec()
		}
		gone = append(gone, s)
		refs = append(refs, s.ref)
		return true
	})
	if len(gone) == 0 {
		return nil
	}
	for _, s := range gone {
		t.forget(s)
	}
	t.announce(refs)
	t.tidy()
	return refs
}

// announce tells the listeners that refs do not mean what they did.
func (t *Table) announce(refs []chunks.HeadSeriesRef) {
	t.onRemoveMtx.Lock()
	listeners := slices.Clone(t.onRemove)
	t.onRemoveMtx.Unlock()
	for _, f := range listeners {
		f(refs)
	}
}

// OnRemove adds a function that is called with the refs of dropped series after
// they stopped to resolve, by the goroutine that drops them and without a lock
// held. The slice must not be modified.
func (t *Table) OnRemove(f func(refs []chunks.HeadSeriesRef)) {
	t.onRemoveMtx.Lock()
	defer t.onRemoveMtx.Unlock()
	t.onRemove = append(t.onRemove, f)
}

// All walks the series there are, retired ones and aliases too, in the order of
// their refs. It sees every series that is there all the while.
func (t *Table) All() iter.Seq[*Series] {
	return func(yield func(*Series) bool) {
		t.refs.each(func(s *Series) bool { return s.state.Load() == stateDead || yield(s) })
	}
}

// leaseNumbers keeps the numbers of s, which has left the table, in use for as long as s is
// reachable.
func (t *Table) leaseNumbers(s *Series) {
	runtime.AddCleanup(s, t.symbols.close, t.symbols.lease(s.set))
}

// tidy frees strings that nothing has, if it is worth the while. It belongs to
// the goroutine that drops series.
func (t *Table) tidy() {
	if t.symbols.due(t.active.Load() + t.retired.Load()) {
		t.sweep()
	}
}

func (t *Table) sweep() {
	t.symbols.sweepBy(func(mark func(set)) {
		t.refs.each(func(s *Series) bool {
			mark(s.set)
			return true
		})
	})
}
