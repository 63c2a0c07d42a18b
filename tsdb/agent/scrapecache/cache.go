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

package scrapecache

import (
	"errors"
	"hash/crc32"
	"hash/maphash"
	"math"
	"slices"

	"github.com/prometheus/prometheus/storage"
)

// Refs is a storage that knows series by their refs. It is safe for concurrent use.
type Refs interface {
	// Epoch returns a number that changes before refs are forgotten.
	Epoch() uint64
	// Knows reports whether samples can be appended to a ref without labels, and keeps
	// it so for minutes. No ref means two series, ever.
	Knows(ref storage.SeriesRef) bool
}

// ErrUnknownRef is in the error of an append without labels to a ref that the storage does
// not know.
var ErrUnknownRef = errors.New("no series has this ref, and there are no labels")

// entry is a series that was exposed, or a text that relabeling drops.
type entry struct {
	hash  uint64
	ref   storage.SeriesRef // dropped for such a text, 0 for one that the storage does not know.
	check uint32
	seen  uint32 // Iteration in which it was exposed last.
	next  uint32 // Which entry came after it.
	size  uint16 // How long its text is in the text format, 0 for another format, or if it is too long.
	flags uint8  // See the constants.
}

// What else there is to say of an entry: whether the end of its series is to be marked, in
// the iteration in which it was seen last and in the one before that; and whether the
// storage is known not to know its ref.
const (
	trackedThen   = 1
	trackedBefore = 2
	forgotten     = 4
)

// dropped is a ref that no series has.
const dropped storage.SeriesRef = math.MaxUint64

// none is no entry.
const none = -1

var (
	seed       = maphash.MakeSeed()
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Cache is what is known of one target. A nil Cache has nothing, and keeps nothing.
type Cache struct {
	refs    Refs
	entries []entry  // In the order in which they came, but for removals.
	index   []uint32 // Of entries by hash, with linear probing: the entry's place and one, 0 for none.

	iter   uint32    // This scrape, from 2 on: 0 is never, and 1 before the first.
	text   bool      // What was parsed last is in the text format.
	begun  bool      // This scrape knows its epoch. Reports on it are appended when it is over.
	epochs [2]uint64 // Of the storage when the last scrape began, and this one.

	hash   uint64 // Of the text that was asked for last.
	check  uint32
	at     int    // Its entry, or none.
	asked  bool   // It is known already of the text that is going to be asked for.
	steady bool   // It was exposed in the last scrape too.
	prev   int    // The entry that was found before, or none.
	first  uint32 // Which entry came first.
}

// New returns an empty cache of a target whose series a storage knows by their refs.
func New(refs Refs) *Cache {
	return &Cache{refs: refs, iter: 2, at: none, prev: none}
}

// Len returns how many entries there are.
func (c *Cache) Len() int {
	if c == nil {
		return 0
	}
	return len(c.entries)
}

// Dropped reports whether a text is one that relabeling drops. If it is not, Get is to
// be called for it next.
func (c *Cache) Dropped(text []byte) bool {
	if !c.asked {
		c.find(text)
	}
	if c.asked = c.at == none || c.entries[c.at].ref != dropped; c.asked {
		return false
	}
	c.see(text)
	return true
}

// see notes that the entry is exposed in this scrape.
func (c *Cache) see(text []byte) {
	e := &c.entries[c.at]
	if e.seen != c.iter {
		before := e.flags & trackedThen << 1
		if e.seen+1 != c.iter {
			before = 0
		}
		e.flags = e.flags&forgotten | before
		e.seen = c.iter
	}
	if c.text && len(text) <= math.MaxUint16 {
		e.size = uint16(len(text))
	}
}

// Get finds the series that is exposed as text. The methods without a text are about
// it, or about what was added last. ref may be one that the storage does not know any
// more, see NeedsLabels. again tells that it was found in this scrape before.
func (c *Cache) Get(text []byte) (ref storage.SeriesRef, ok, again bool) {
	if !c.asked {
		c.find(text)
	}
	if c.asked = false; c.at == none || c.entries[c.at].ref == dropped {
		return 0, false, false
	}
	e := &c.entries[c.at]
	again = e.seen == c.iter
	c.steady = e.seen+1 >= c.iter
	c.see(text)
	return e.ref, true, again
}

// NeedsLabels reports whether the series can be appended to with its labels only.
func (c *Cache) NeedsLabels() bool {
	if c == nil || c.at == none {
		return false
	}
	e := &c.entries[c.at]
	if e.flags&forgotten == 0 && (c.steady && c.settled() || c.refs.Knows(e.ref)) {
		return false
	}
	e.flags |= forgotten // Until it is appended to.
	return true
}

// SetRef notes which ref the series has been appended to.
func (c *Cache) SetRef(ref storage.SeriesRef) {
	if c == nil || c.at == none {
		return
	}
	e := &c.entries[c.at]
	e.ref = ref
	e.flags &^= forgotten
}

// Track makes the end of the series be marked, if it is not exposed in the next scrape.
func (c *Cache) Track() { c.entries[c.at].flags |= trackedThen }

// Add adds a series that was not found.
func (c *Cache) Add(text []byte, ref storage.SeriesRef) {
	c.find(text)
	if c.at == none {
		c.insert()
	}
	c.see(text)
	c.SetRef(ref)
}

// AddDropped adds a text that relabeling drops.
func (c *Cache) AddDropped(text []byte) { c.Add(text, dropped) }

// Stale calls f for the series that were tracked in the last scrape and are not in this
// one, until it returns false.
func (c *Cache) Stale(f func(ref storage.SeriesRef) bool) {
	var gone map[storage.SeriesRef]struct{}
	for i := range c.entries {
		e := &c.entries[i]
		ended := e.seen == c.iter && e.flags&^forgotten == trackedBefore || e.seen == c.iter-1 && e.flags&trackedThen != 0
		if ended {
			if gone == nil {
				gone = map[storage.SeriesRef]struct{}{}
			}
			gone[e.ref] = struct{}{}
		}
	}
	if gone == nil {
		return
	}
	for i := range c.entries { // The same series may have been exposed as another text.
		if e := &c.entries[i]; e.seen == c.iter && e.flags&trackedThen != 0 {
			delete(gone, e.ref)
		}
	}
	for ref := range gone {
		if c.settled() || c.refs.Knows(ref) {
			if !f(ref) {
				return
			}
		}
	}
}

// Flush removes what was not exposed in this scrape.
func (c *Cache) Flush() {
	if c == nil {
		return
	}
	before := len(c.entries)
	c.entries = slices.DeleteFunc(c.entries, func(e entry) bool { return e.seen != c.iter })
	if spare := cap(c.entries) - len(c.entries); spare > len(c.entries)/8 {
		c.entries = slices.Clone(c.entries)
	}
	if len(c.entries) == before {
		return
	}
	c.first = 0
	for i := range c.entries {
		c.entries[i].next = uint32(i + 1) // The next scrape corrects that.
	}
	c.reindex()
}

// Done ends a scrape.
func (c *Cache) Done() {
	if c == nil {
		return
	}
	c.iter++
	c.begun, c.asked, c.text, c.at, c.prev = false, false, false, none, none
}

// begin begins a scrape. What the storage forgets from here on is seen by the next one.
func (c *Cache) begin() {
	if !c.begun {
		c.begun, c.epochs = true, [2]uint64{c.epochs[1], c.refs.Epoch()}
	}
}

// settled reports whether the storage has forgotten nothing since the last scrape began.
func (c *Cache) settled() bool { return c.begun && c.epochs[0] == c.epochs[1] }

// find makes at the entry of a text.
func (c *Cache) find(text []byte) {
	c.hash, c.check = maphash.Bytes(seed, text), crc32.Checksum(text, castagnoli)
	guess := c.guess()
	if *guess < uint32(len(c.entries)) && c.is(int(*guess)) {
		c.at = int(*guess)
	} else if c.at = c.lookUp(); c.at != none {
		*guess = uint32(c.at)
	}
	if c.at != none {
		c.prev = c.at
	}
}

// guess is which entry came next in the last scrape.
func (c *Cache) guess() *uint32 {
	if c.prev == none {
		return &c.first
	}
	return &c.entries[c.prev].next
}

// is reports whether an entry is that of the text that was asked for.
func (c *Cache) is(i int) bool { return c.entries[i].hash == c.hash && c.entries[i].check == c.check }

func (c *Cache) lookUp() int {
	for slot := c.hash; len(c.index) > 0; slot++ {
		place := c.index[slot&uint64(len(c.index)-1)]
		if place == 0 {
			break
		}
		if c.is(int(place - 1)) {
			return int(place - 1)
		}
	}
	return none
}

// insert adds an entry for the text that was asked for.
func (c *Cache) insert() {
	c.at = len(c.entries)
	*c.guess() = uint32(c.at)
	c.prev = c.at
	c.entries = append(c.entries, entry{hash: c.hash, check: c.check, next: uint32(c.at + 1)})
	if len(c.entries)*4 > len(c.index)*3 {
		c.reindex()
		return
	}
	c.put(c.at)
}

// reindex makes the index anew, with between three eighths and three quarters of it used.
func (c *Cache) reindex() {
	size := 8
	for size*3 < len(c.entries)*4 {
		size *= 2
	}
	if size == len(c.index) {
		clear(c.index)
	} else {
		c.index = make([]uint32, size)
	}
	for i := range c.entries {
		c.put(i)
	}
}

func (c *Cache) put(i int) {
	mask := uint64(len(c.index) - 1)
	slot := c.entries[i].hash & mask
	for c.index[slot] != 0 {
		slot = (slot + 1) & mask
	}
	c.index[slot] = uint32(i + 1)
}
