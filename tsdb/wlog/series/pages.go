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
	// farRef bounds the directory, so that a single absurd ref in a log cannot
	// make it as absurd. Pages of refs from it on are found through regions.
	farRef = chunks.HeadSeriesRef(1) << 30
	// A region has the pages of a million refs in a row.
	regionBits = 10
	regionSize = 1 << regionBits
)

// refMap maps refs to series. Refs are handed out in sequence, so it is an
// array in pages, to which readers need no lock.
type refMap struct {
	dir atomic.Pointer[directory]
	far atomic.Pointer[[]*region] // By ascending number. Replaced, never changed in place.

	mtx sync.Mutex // Serialises writers of dir and far.
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

// region is a part of the directory beyond farRef. Refs are handed out in sequence
// and never again, so there are few: as many as a million refs each that series in
// the table are apart.
type region struct {
	number uint64 // Of its first page, divided by regionSize.
	pages  [regionSize]atomic.Pointer[page]
	used   int // Pages there are. Guarded by refMap.mtx.
}

type page struct {
	slots [pageSize]atomic.Pointer[Series]
	used  int // Guarded by the page's lock.
}

func (m *refMap) get(ref chunks.HeadSeriesRef) *Series {
	p := m.page(uint64(ref) >> pageBits)
	if p == nil {
		return nil
	}
	return p.slots[ref%pageSize].Load()
}

// put makes s what its ref resolves to.
func (m *refMap) put(s *Series) {
	p, lock := m.locked(uint64(s.ref) >> pageBits)
	defer lock.Unlock()
	if p.slots[s.ref%pageSize].Swap(s) == nil {
		p.used++
	}
}

// putRun makes series what their refs resolve to, in their order, until one whose
// ref means something already. It returns how many those before it are. The refs
// are of one page.
func (m *refMap) putRun(all []*Series) (n int) {
	p, lock := m.locked(uint64(all[0].ref) >> pageBits)
	defer lock.Unlock()
	for n < len(all) && p.slots[all[n].ref%pageSize].CompareAndSwap(nil, all[n]) {
		n++
	}
	p.used += n
	return n
}

// locked returns the page with the given number, which it makes if need be, and
// its lock, which the caller releases.
func (m *refMap) locked(number uint64) (*page, *pageLock) {
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
func (m *refMap) page(number uint64) *page {
	if number >= uint64(farRef>>pageBits) {
		if r := m.region(number >> regionBits); r != nil {
			return r.pages[number%regionSize].Load()
		}
		return nil
	}
	dir := m.dir.Load()
	if dir == nil || number >= uint64(len(*dir)) {
		return nil
	}
	return (*dir)[number].Load()
}

// region returns the region with the given number, nil if there is none.
func (m *refMap) region(number uint64) *region {
	all := m.far.Load()
	if all == nil {
		return nil
	}
	// The last one is where new series are.
	if last := (*all)[len(*all)-1]; last.number == number {
		return last
	}
	if i, found := slices.BinarySearchFunc(*all, number, (*region).compare); found {
		return (*all)[i]
	}
	return nil
}

func (r *region) compare(number uint64) int { return cmp.Compare(r.number, number) }

// regionFor returns the region with the given number, which it makes if need be.
// The caller holds mtx.
func (m *refMap) regionFor(number uint64) *region {
	if r := m.region(number); r != nil {
		return r
	}
	var all []*region
	if was := m.far.Load(); was != nil {
		all = slices.Clone(*was)
	}
	r := &region{number: number}
	at, _ := slices.BinarySearchFunc(all, number, (*region).compare)
	all = slices.Insert(all, at, r)
	m.far.Store(&all)
	return r
}

// drop forgets a region without pages. The caller holds mtx.
func (m *refMap) drop(r *region) {
	all := slices.DeleteFunc(slices.Clone(*m.far.Load()), func(other *region) bool { return other == r })
	if len(all) == 0 {
		m.far.Store(nil)
		return
	}
	m.far.Store(&all)
}

// pageFor returns the page with the given number, which it makes if need be. The
// caller holds mtx.
func (m *refMap) pageFor(number uint64) *page {
	if number >= uint64(farRef>>pageBits) {
		r := m.regionFor(number >> regionBits)
		at := &r.pages[number%regionSize]
		if at.Load() == nil {
			at.Store(&page{})
			r.used++
		}
		return at.Load()
	}
	dir := m.dir.Load()
	if dir == nil || number >= uint64(len(*dir)) {
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

// dropPage forgets a page without series. The caller holds mtx and its lock.
func (m *refMap) dropPage(number uint64) {
	if number < uint64(farRef>>pageBits) {
		(*m.dir.Load())[number].Store(nil)
		return
	}
	r := m.region(number >> regionBits)
	r.pages[number%regionSize].Store(nil)
	r.used--
	if r.used == 0 {
		m.drop(r)
	}
}

// remove takes s away, unless its ref belongs to another series by now.
func (m *refMap) remove(s *Series) {
	m.mtx.Lock()
	defer m.mtx.Unlock()

	number := uint64(s.ref) >> pageBits
	m.pages[number%pageLocks].Lock()
	defer m.pages[number%pageLocks].Unlock()
	p := m.page(number)
	if p == nil {
		return
	}
	if p.slots[s.ref%pageSize].CompareAndSwap(s, nil) {
		p.used--
	}
	// Without this a table whose refs rise with churn would grow for ever. A
	// put cannot be under way in the page, for it needs the lock.
	if p.used == 0 {
		m.dropPage(number)
	}
}

// each calls f for the series there are, in the order of their refs, until f
// returns false. It sees every series that is there all the while.
func (m *refMap) each(f func(*Series) bool) {
	walk := func(p *page) bool {
		if p == nil {
			return true
		}
		for j := range p.slots {
			if s := p.slots[j].Load(); s != nil && !f(s) {
				return false
			}
		}
		return true
	}
	if dir := m.dir.Load(); dir != nil {
		for i := range *dir {
			if !walk((*dir)[i].Load()) {
				return
			}
		}
	}
	if far := m.far.Load(); far != nil {
		for _, r := range *far {
			for i := range r.pages {
				if !walk(r.pages[i].Load()) {
					return
				}
			}
		}
	}
}
