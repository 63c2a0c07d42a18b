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
	"cmp"
	"slices"
	"sync"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	pageBits = 10
	pageSize = 1 << pageBits
	// farRef bounds the directory: refs from it on live in a map, so that a
	// single absurd ref in a log cannot make the directory as absurd.
	farRef = chunks.HeadSeriesRef(1) << 30
)

// refMap maps refs to series. Refs are handed out in sequence, so it is an
// array in pages, to which readers need no lock.
type refMap struct {
	dir atomic.Pointer[directory]
	far sync.Map // Of chunks.HeadSeriesRef to *Series.

	mtx sync.Mutex // Serialises writers of dir.
	// pages serialise writers of the pages whose number modulo pageLocks is
	// theirs; taken after mtx.
	pages [pageLocks]pageLock
}

// pageLocks is how many locks there are, so that goroutines which put series of
// different pages do not wait for each other.
const pageLocks = 16

type pageLock struct {
	sync.Mutex
	_ [56]byte // Keeps neighbours on cache lines of their own.
}

type directory []atomic.Pointer[page]

type page struct {
	slots [pageSize]atomic.Pointer[Series]
	used  int // Guarded by the page's lock.
}

func (m *refMap) get(ref chunks.HeadSeriesRef) *Series {
	if ref >= farRef {
		if s, ok := m.far.Load(ref); ok {
			return s.(*Series)
		}
		return nil
	}
	p := m.page(int(ref >> pageBits))
	if p == nil {
		return nil
	}
	return p.slots[ref%pageSize].Load()
}

// put makes s what its ref resolves to.
func (m *refMap) put(s *Series) {
	if s.ref >= farRef {
		m.far.Store(s.ref, s)
		return
	}
	p, lock := m.locked(int(s.ref >> pageBits))
	defer lock.Unlock()
	if p.slots[s.ref%pageSize].Swap(s) == nil {
		p.used++
	}
}

// claim makes series what their refs resolve to, in their order, until one whose
// ref means something already. It returns how many those before it are. The refs
// are of one page, or far.
func (m *refMap) claim(all []*Series) (n int) {
	if all[0].ref >= farRef {
		for n < len(all) {
			if _, taken := m.far.LoadOrStore(all[n].ref, all[n]); taken {
				break
			}
			n++
		}
		return n
	}
	p, lock := m.locked(int(all[0].ref >> pageBits))
	defer lock.Unlock()
	for n < len(all) && p.slots[all[n].ref%pageSize].CompareAndSwap(nil, all[n]) {
		n++
	}
	p.used += n
	return n
}

// locked returns the page with the given number, which it makes if need be, and
// its lock, which the caller releases.
func (m *refMap) locked(number int) (*page, *pageLock) {
	lock := &m.pages[number%pageLocks]
	lock.Lock()
	if p := m.page(number); p != nil {
		return p, lock
	}
	// The order of the locks is the other one.
	lock.Unlock()
	m.mtx.Lock()
	defer m.mtx.Unlock()
	lock.Lock()
	return m.pageFor(number), lock
}

// page returns the page with the given number, nil if there is none.
func (m *refMap) page(number int) *page {
	dir := m.dir.Load()
	if dir == nil || number >= len(*dir) {
		return nil
	}
	return (*dir)[number].Load()
}

// pageFor returns the page with the given number, which it makes if need be. The
// caller holds mtx.
func (m *refMap) pageFor(number int) *page {
	dir := m.dir.Load()
	if dir == nil || number >= len(*dir) {
		grown := make(directory, max(16, number+1+number/4))
		if dir != nil {
			for i := range *dir {
				grown[i].Store((*dir)[i].Load())
			}
		}
		dir = &grown
		m.dir.Store(dir)
	}
	p := (*dir)[number].Load()
	if p == nil {
		p = &page{}
		(*dir)[number].Store(p)
	}
	return p
}

// remove takes s away, unless its ref belongs to another series by now.
func (m *refMap) remove(s *Series) {
	if s.ref >= farRef {
		m.far.CompareAndDelete(s.ref, s)
		return
	}
	m.mtx.Lock()
	defer m.mtx.Unlock()

	number := int(s.ref >> pageBits)
	m.pages[number%pageLocks].Lock()
	defer m.pages[number%pageLocks].Unlock()
	p := m.pageFor(number)
	if p.slots[s.ref%pageSize].CompareAndSwap(s, nil) {
		p.used--
	}
	// Without this a table whose refs rise with churn would grow for ever. A
	// put cannot be under way in the page, for it needs the lock.
	if p.used == 0 {
		(*m.dir.Load())[number].Store(nil)
	}
}

// each calls f for the series there are, in the order of their refs, until f
// returns false. It sees every series that is there all the while.
func (m *refMap) each(f func(*Series) bool) {
	if dir := m.dir.Load(); dir != nil {
		for i := range *dir {
			p := (*dir)[i].Load()
			if p == nil {
				continue
			}
			for j := range p.slots {
				if s := p.slots[j].Load(); s != nil && !f(s) {
					return
				}
			}
		}
	}
	var far []*Series
	m.far.Range(func(_, s any) bool {
		far = append(far, s.(*Series))
		return true
	})
	slices.SortFunc(far, func(a, b *Series) int { return cmp.Compare(a.ref, b.ref) })
	for _, s := range far {
		if !f(s) {
			return
		}
	}
}
