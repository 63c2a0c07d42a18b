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
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// writer adds series to a table. It remembers what it met. One goroutine owns it.
type writer struct {
	t    *Table
	enc  *setEncoder
	list []labels.Label
}

// writer returns one that has a label set in its list. Put it back when the
// series is added.
func (t *Table) writer(lset labels.Labels) *writer {
	w, ok := t.writers.Get().(*writer)
	if !ok {
		w = &writer{t: t, enc: t.symbols.setEncoder()}
	}
	w.list = listed(w.list[:0], lset)
	return w
}

// getOrCreate is [Table.GetOrCreate] for the labels in w.list.
func (w *writer) getOrCreate(newRef func() chunks.HeadSeriesRef) (s *Series, created bool) {
	t := w.t
	t.symbols.inUse.RLock()
	defer t.symbols.inUse.RUnlock()
	of := w.enc.set(w.list, 0)
	hash := of.hash()
	if s = t.find(of, hash); s != nil && t.Pin(s) {
		return s, false
	}
	st, h := t.index.stripe(hash), chainHash(hash)
	st.mtx.Lock()
	defer st.mtx.Unlock()
	for s = st.find(h, of); s != nil; s = st.find(h, of) {
		if t.Pin(s) {
			return s, false
		}
		// It was dropped in between, and find does not return it again.
	}
	s = newSeries(newRef(), h, w.enc.keep(of), 1, t.now(), recordMissing)
	t.enter(s, st)
	return s, true
}

// insert is [Table.Insert] for the labels in w.list. The caller holds inUse.
func (w *writer) insert(ref chunks.HeadSeriesRef, segment int, last int64) (s *Series, displaced bool) {
	t := w.t
	of := w.enc.set(w.list, 0)
	hash := of.hash()
	if old := t.refs.get(ref); old != nil {
		displaced = !old.equal(of)
		if !displaced && !old.Alias() {
			return old, false
		}
		if canonical := t.find(of, hash); !displaced && canonical != nil {
			old.Mentioned(segment)
			return canonical, false
		}
		t.discard(old)
	}

	st, h := t.index.stripe(hash), chainHash(hash)
	st.mtx.Lock()
	defer st.mtx.Unlock()
	canonical := st.find(h, of)
	if canonical == nil {
		s = newSeries(ref, h, w.enc.keep(of), 0, t.now(), recordThere)
		s.lastTs.Store(last)
		t.enter(s, st)
		return s, displaced
	}
	if t.refs.get(ref) != nil {
		return canonical, displaced // Another goroutine was faster.
	}
	alias := newSeries(ref, h, canonical.set, stateAlias, t.now(), recordThere)
	alias.retireAt(segment)
	alias.lastTs.Store(last)
	t.refs.put(alias)
	t.retired.Inc()
	return canonical, displaced
}

// enter makes a new series one that can be found. The caller holds the lock of
// its stripe for writing.
func (t *Table) enter(s *Series, st *stripe) {
	t.refs.put(s)
	st.link(s)
	t.active.Inc()
}
