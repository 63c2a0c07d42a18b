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

package encoder

import "hash/maphash"

// symbols is the string table of a V2 request: each string once, in the order
// of first use, with the empty string as number 0.
//
// Looking up strings is most of the work for V2, and a Go map needs two passes
// for a string it does not hold yet. Hence a hash table of its own: open
// addressing, at most half full, never deleting single entries.
type symbols struct {
	wire   wire     // The strings as fields of the request.
	strs   []string // By reference.
	slots  []slot   // A power of two of them.
	seed   maphash.Seed
	recent []recent
}

// slot refers to a string; reference 0 means that the slot is free, since the
// empty string is not kept in the table.
type slot struct {
	hash, ref uint32
}

// recent is what a place in a list of labels held in the series before. The
// names of one job's series are the same place by place, and most values too,
// and comparing two strings is several times cheaper than a look-up.
type recent struct {
	str string
	ref uint32
}

// requestSymbols is the field of a V2 request that holds the strings.
const requestSymbols = 4<<3 | delimited

// minSlots is enough for a request with few series.
const minSlots = 256

func (s *symbols) reset() {
	if s.slots == nil {
		s.slots, s.seed = make([]slot, minSlots), maphash.MakeSeed()
	}
	clear(s.slots)
	clear(s.strs) // Lets go of the labels.
	clear(s.recent)
	s.strs = append(s.strs[:0], "")
	s.wire.buf = s.wire.buf[:0]
	s.wire.element(requestSymbols, "")
}

// ref returns the reference of a string, which is added if it is new.
func (s *symbols) ref(str string) uint32 {
	if str == "" {
		return 0
	}
	hash := uint32(maphash.String(s.seed, str))
	place := s.probe(hash, str)
	if found := s.slots[place].ref; found != 0 {
		return found
	}
	ref := uint32(len(s.strs))
	s.slots[place] = slot{hash: hash, ref: ref}
	s.strs = append(s.strs, str)
	s.wire.element(requestSymbols, str)
	if 2*len(s.strs) > len(s.slots) {
		s.grow()
	}
	return ref
}

// probe returns the slot that holds the string, or the free one where it
// belongs.
func (s *symbols) probe(hash uint32, str string) int {
	mask := len(s.slots) - 1
	place := int(hash) & mask
	for {
		at := s.slots[place]
		if at.ref == 0 || (at.hash == hash && s.strs[at.ref] == str) {
			return place
		}
		place = (place + 1) & mask
	}
}

func (s *symbols) grow() {
	old := s.slots
	s.slots = make([]slot, 2*len(old))
	for _, at := range old {
		if at.ref != 0 {
			s.slots[s.probe(at.hash, s.strs[at.ref])] = at
		}
	}
}

// at returns the reference of a string that is at the given place. What is
// seldom done is elsewhere, so that the rest can be inlined.
func (s *symbols) at(place int, str string) uint32 {
	// A place never used holds the empty string and its reference, 0.
	if place < len(s.recent) && s.recent[place].str == str {
		return s.recent[place].ref
	}
	return s.put(place, str)
}

// put makes a string what a place held last.
func (s *symbols) put(place int, str string) uint32 {
	if place >= len(s.recent) {
		s.recent = append(s.recent, make([]recent, place+1-len(s.recent))...)
	}
	ref := s.ref(str)
	s.recent[place] = recent{str: str, ref: ref}
	return ref
}
