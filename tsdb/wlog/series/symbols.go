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
	"hash/maphash"
	"strings"
	"sync"

	"go.uber.org/atomic"
)

// symbol is the number of a string that occurs in labels: a name or a value.
// 0 is the empty string.
type symbol = uint32

// symbols keeps each string once and gives it a number, so that a label set is a
// handful of numbers. In most agents a few thousand strings make up a million
// label sets.
//
// Numbers are given out again when nothing in the table has them any more and
// no series that has them is reachable, see sweep. Code that turns strings into
// numbers therefore holds inUse for reading until a series with the numbers can
// be found in the table.
type symbols struct {
	// First, so that 32-bit platforms can use it as an atomic. It rises whenever
	// numbers have been freed, before they can be given out again: what was
	// remembered by number before means nothing.
	freed atomic.Uint64

	inUse sync.RWMutex // Taken before mtx, and before the locks of the table.

	seed maphash.Seed

	mtx   sync.RWMutex // Guards what follows, down to names.
	slots []symbol     // Open addressing, at most half full; 0 is a free slot.
	count int          // Numbers in use.
	next  symbol       // The lowest that was never in use.
	free  []symbol
	// names are those there are, by their numbers as bytes.
	names     map[string]*Names
	nameLists uint32 // How many there ever were.

	// strs are the strings by number. Reading takes no lock.
	strs atomic.Pointer[[]*stringPage]

	sweep sweep
}

const stringPageSize = 512

type stringPage [stringPageSize]atomic.Pointer[string]

// minSlots is the size of the hash table to begin with.
const minSlots = 256

func newSymbols() *symbols {
	y := &symbols{seed: maphash.MakeSeed(), slots: make([]symbol, minSlots), next: 1, names: map[string]*Names{}}
	y.strs.Store(&[]*stringPage{})
	return y
}

// str returns the string of a number. The caller holds inUse, or a series
// with the number.
func (y *symbols) str(n symbol) string {
	if n == 0 {
		return ""
	}
	return *(*y.strs.Load())[n/stringPageSize][n%stringPageSize].Load()
}

// hash is the hash that intern and lookup want.
func (y *symbols) hash(str string) uint64 { return maphash.String(y.seed, str) }

// lookup returns the number of a string, and false if it has none. The caller
// holds inUse.
func (y *symbols) lookup(hash uint64, str string) (symbol, bool) {
	if str == "" {
		return 0, true
	}
	y.mtx.RLock()
	defer y.mtx.RUnlock()
	n := y.slots[y.probe(hash, str)]
	return n, n != 0
}

// intern returns the number of a string, which is copied if it has none yet. The
// caller holds inUse.
func (y *symbols) intern(hash uint64, str string) symbol {
	if n, ok := y.lookup(hash, str); ok {
		return n
	}
	y.mtx.Lock()
	defer y.mtx.Unlock()
	at := y.probe(hash, str)
	if n := y.slots[at]; n != 0 {
		return n // Another goroutine was faster.
	}
	n := y.number()
	own := strings.Clone(str)
	(*y.strs.Load())[n/stringPageSize][n%stringPageSize].Store(&own)
	y.slots[at] = n
	y.count++
	if 2*y.count > len(y.slots) {
		y.grow()
	}
	return n
}

// number returns one that is not in use, with a place for its string. The caller
// holds mtx for writing.
func (y *symbols) number() symbol {
	if last := len(y.free) - 1; last >= 0 {
		n := y.free[last]
		y.free = y.free[:last]
		return n
	}
	n := y.next
	y.next++
	if pages := *y.strs.Load(); int(n/stringPageSize) >= len(pages) {
		// Readers may have the list there is, so that it must not change; what
		// a longer one shares with it does not.
		pages = append(pages, &stringPage{})
		y.strs.Store(&pages)
	}
	return n
}

// probe returns the slot that has a string, or the free one where it belongs. The
// caller holds mtx.
func (y *symbols) probe(hash uint64, str string) int {
	mask := len(y.slots) - 1
	for at := int(hash) & mask; ; at = (at + 1) & mask {
		if n := y.slots[at]; n == 0 || y.str(n) == str {
			return at
		}
	}
}

// grow doubles the hash table. The caller holds mtx for writing.
func (y *symbols) grow() {
	old := y.slots
	y.slots = make([]symbol, 2*len(old))
	for _, n := range old {
		if n != 0 {
			str := y.str(n)
			y.slots[y.probe(y.hash(str), str)] = n
		}
	}
}

// remove takes a string out of the hash table. The caller holds mtx for writing.
func (y *symbols) remove(str string) {
	mask := len(y.slots) - 1
	hole := y.probe(y.hash(str), str)
	y.slots[hole] = 0
	y.count--
	// Those behind it were perhaps put there because it was in their way.
	for at := (hole + 1) & mask; y.slots[at] != 0; at = (at + 1) & mask {
		n := y.slots[at]
		str := y.str(n)
		y.slots[at] = 0
		y.slots[y.probe(y.hash(str), str)] = n
	}
}

// Names are the names of a label set. Series of one table with equal names share
// one. It never changes.
type Names struct {
	id      uint32 // Part of the hash of a label set.
	strs    []string
	numbers []symbol // Of strs.
	y       *symbols // What values are numbers of; nil for a detached series.
	own     []string // The values of a detached series, by place.

	seen atomic.Uint32 // The last sweep that found it in use.
}

// All returns the names in the order of the labels. The slice must
// not be modified.
func (x *Names) All() []string { return x.strs }

// namesOf returns the ones with the given numbers, of which key is made. The
// caller holds inUse.
func (y *symbols) namesOf(numbers []symbol, key []byte) *Names {
	y.mtx.RLock()
	x := y.names[string(key)]
	y.mtx.RUnlock()
	if x != nil {
		return x
	}
	y.mtx.Lock()
	defer y.mtx.Unlock()
	if x = y.names[string(key)]; x != nil {
		return x
	}
	y.nameLists++
	x = &Names{id: y.nameLists, y: y, numbers: append([]symbol(nil), numbers...), strs: make([]string, len(numbers))}
	for i, n := range numbers {
		x.strs[i] = y.str(n)
	}
	y.names[string(key)] = x
	return x
}
