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
	"math/bits"
	"slices"

	"go.uber.org/atomic"
)

// sweep finds the numbers of strings that nothing needs any more. Counting the
// uses of each would cost more than all else there is to do for a new series.
//
// A series that left the table may still be held by a reader, for as long as it
// likes. Hence a lease for each, which keeps its numbers in use until the
// garbage collector has found the series unreachable.
//
// Marking runs beside everything else, and freeing goes by small steps. What is made
// meanwhile marks itself.
type sweep struct {
	leases []*lease      // Guarded by symbols.mtx.
	closed atomic.Uint32 // Leases whose series are unreachable.

	// Guarded by inUse; the goroutine that sweeps may read them at any time.
	round   uint32
	marking bool
	marks   []atomic.Uint32 // A bit for each number; those beyond it are in use.
}

// lease holds what a series was made of after it has left the table.
type lease struct {
	set
	closed atomic.Bool
}

// sweepShare is the share of series, one in so many, that have to be gone for
// good before a sweep is worth a walk over all the others, and sweepLeast their
// least number.
const (
	sweepShare = 16
	sweepLeast = 1024
)

// markBits is how many numbers an element of sweep.marks is for.
const markBits = 32

// lease returns one for a set whose series has left the table.
func (y *symbols) lease(of set) *lease {
	g := &lease{set: of}
	y.mtx.Lock()
	defer y.mtx.Unlock()
	y.sweep.leases = append(y.sweep.leases, g)
	return g
}

// close is called once the series of a lease is unreachable.
func (y *symbols) close(g *lease) {
	g.closed.Store(true)
	y.sweep.closed.Inc()
}

// due reports whether a sweep is worth the while with so many series.
func (y *symbols) due(all int64) bool {
	return int64(y.sweep.closed.Load()) >= max(sweepLeast, all/sweepShare)
}

// sweepBy sweeps. inTable marks what is in the table.
func (y *symbols) sweepBy(inTable func(mark func(set))) {
	y.begin()
	inTable(y.mark)
	for _, g := range y.open() {
		y.mark(g.set)
	}
	y.finish()
}

// begin has all goroutines mark what they make from here on. What they made before
// is in the table when begin returns.
func (y *symbols) begin() {
	y.inUse.Lock()
	defer y.inUse.Unlock()
	y.sweep.closed.Store(0)
	y.sweep.round++
	y.sweep.marks = make([]atomic.Uint32, y.next/markBits+1)
	y.sweep.marking = true
}

// open returns the leases that are not closed, and forgets the others.
func (y *symbols) open() []*lease {
	y.mtx.Lock()
	defer y.mtx.Unlock()
	y.sweep.leases = slices.DeleteFunc(y.sweep.leases, func(g *lease) bool { return g.closed.Load() })
	return slices.Clone(y.sweep.leases)
}

// mark notes that what a set is made of is in use. Several goroutines may mark.
func (y *symbols) mark(of set) {
	if of.names.seen.Load() != y.sweep.round {
		of.names.seen.Store(y.sweep.round)
		for _, n := range of.names.numbers {
			y.sweep.mark(n)
		}
	}
	for _, n := range of.values {
		y.sweep.mark(n)
	}
}

func (w *sweep) mark(n symbol) {
	if int(n/markBits) >= len(w.marks) {
		return
	}
	at, bit := &w.marks[n/markBits], uint32(1)<<(n%markBits)
	for {
		was := at.Load()
		if was&bit != 0 || at.CompareAndSwap(was, was|bit) {
			return
		}
	}
}

// sweepStep is how many elements of sweep.marks are looked at while appenders wait:
// with strings that are all unused, a millisecond or so.
const sweepStep = 32

// finish frees what is not marked. It lets appenders work in between: until it is
// done, what they make marks itself, and they do not find any more what it has
// freed.
func (y *symbols) finish() {
	y.freeNames()
	for from := 0; from < len(y.sweep.marks); from += sweepStep {
		y.freeStrings(from, min(from+sweepStep, len(y.sweep.marks)))
	}
	y.inUse.Lock()
	defer y.inUse.Unlock()
	y.sweep.marks, y.sweep.marking = nil, false
}

func (y *symbols) freeNames() {
	y.inUse.Lock()
	defer y.inUse.Unlock()
	y.mtx.Lock()
	defer y.mtx.Unlock()
	for key, x := range y.names {
		if x.seen.Load() != y.sweep.round {
			delete(y.names, key)
		}
	}
	y.freed.Inc()
}

// freeStrings frees those of a range of marks' elements.
func (y *symbols) freeStrings(from, to int) {
	y.inUse.Lock()
	defer y.inUse.Unlock()
	y.mtx.Lock()
	defer y.mtx.Unlock()
	pages := *y.strs.Load()
	for i := from; i < to; i++ {
		for unused := ^y.sweep.marks[i].Load(); unused != 0; unused &= unused - 1 {
			n := symbol(i*markBits + bits.TrailingZeros32(unused))
			if n >= y.next {
				break
			}
			at := &pages[n/stringPageSize][n%stringPageSize]
			if str := at.Load(); str != nil {
				y.remove(*str)
				at.Store(nil)
				y.free = append(y.free, n)
			}
		}
	}
	y.freed.Inc()
}
