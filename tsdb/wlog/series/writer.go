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

// Writer adds series to a table. It remembers what it met, so that one goroutine
// does well to use the same one for many series; a [Filler] is for very many. One
// goroutine owns it.
type Writer struct {
	t     *Table
	spell *speller
	list  []labels.Label
}

// Writer returns one for the table.
func (t *Table) Writer() *Writer {
	if w, ok := t.writers.Get().(*Writer); ok {
		return w
	}
	return &Writer{t: t, spell: t.symbols.speller()}
}

// getOrCreate is [Table.GetOrCreate] for the labels in w.list.
func (w *Writer) getOrCreate(newRef func() chunks.HeadSeriesRef) (s *Series, created bool) {
	t := w.t
	t.symbols.inUse.RLock()
	defer t.symbols.inUse.RUnlock()
	of := w.spell.set(w.list, 0)
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
	s = newSeries(newRef(), h, w.spell.keep(of), 1, t.now(), recordMissing)
	t.enter(s, st)
	return s, true
}

// Insert adds what a series record of the log says, and returns the series that
// samples of ref belong to: if the label set has a ref already, that is the
// series with the first ref, and ref becomes an alias, mentioned in segment.
// displaced reports that ref meant another label set until now; only engines
// that hand out refs again after a restart cause that, and what they wrote
// under the old meaning can no longer be told apart. Nothing of lset is kept.
//
// Several goroutines may insert at the same time, each with its Writer, as long
// as each ref stands for one label set. Which of two refs for one label set
// becomes the first then depends on them.
func (w *Writer) Insert(ref chunks.HeadSeriesRef, lset []labels.Label, segment int) (s *Series, displaced bool) {
	w.t.symbols.inUse.RLock()
	defer w.t.symbols.inUse.RUnlock()
	return w.insert(ref, lset, segment)
}

// insert is Insert for a caller who holds inUse.
func (w *Writer) insert(ref chunks.HeadSeriesRef, lset []labels.Label, segment int) (s *Series, displaced bool) {
	t := w.t
	of := w.spell.set(lset, 0)
	hash := of.hash()
	if old := t.refs.get(ref); old != nil {
		displaced = !old.set.equal(of)
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
		s = newSeries(ref, h, w.spell.keep(of), 0, t.now(), recordThere)
		t.enter(s, st)
		return s, displaced
	}
	if t.refs.get(ref) != nil {
		return canonical, displaced // Another goroutine was faster.
	}
	alias := newSeries(ref, h, canonical.set, stateAlias, t.now(), recordThere)
	alias.retireAt(segment)
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
