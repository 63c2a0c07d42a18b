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

import "sync"

const (
	stripeBits = 8
	stripes    = 1 << stripeBits
	// firstBuckets is the size of a stripe's table when its first series comes.
	firstBuckets = 16
)

// index finds series by their labels. It is a hash table with chains through
// the series themselves, in stripes with a lock each: a series costs a bucket
// and its own next field, against two to three words in a map.
type index [stripes]stripe

type stripe struct {
	mtx     sync.RWMutex
	buckets []*Series // Power of two, or nil.
	filter  []uint8   // For each bucket, see filterBit.
	count   int

	_ [64]byte // Keeps the locks of neighbours on cache lines of their own.
}

func (x *index) stripe(hash uint64) *stripe { return &x[hash%stripes] }

// chainHash is the part of a label set's hash that the buckets go by, and that
// the series keep.
func chainHash(hash uint64) uint32 { return uint32(hash>>stripeBits) & (1<<hashBits - 1) }

func (s *Series) chainHash() uint32 { return uint32(s.key.Load()) & (1<<hashBits - 1) }

// filterBit is the bit that a series with the hash sets for its bucket: where it
// is not set, there is no such series. That nearly every label set is new while
// a log is read is so told from a byte, of which many are in the cache, rather
// than from a bucket and the series in it. Bits of series that have left stay
// until the stripe grows.
func filterBit(hash uint32) uint8 { return 1 << (hash >> (hashBits - 3)) }

// find returns the series with the labels that can still be appended to. The
// caller holds the lock, at least for reading.
func (st *stripe) find(hash uint32, of set) *Series {
	if len(st.buckets) == 0 {
		return nil
	}
	at := int(hash) & (len(st.buckets) - 1)
	if st.filter[at]&filterBit(hash) == 0 {
		return nil
	}
	for s := st.buckets[at]; s != nil; s = s.next {
		if s.chainHash() == hash && s.state.Load() != stateDead && s.equal(of) {
			return s
		}
	}
	return nil
}

// link adds s. The caller holds the lock for writing.
func (st *stripe) link(s *Series) {
	if st.count >= len(st.buckets) {
		st.grow()
	}
	st.place(s)
	st.count++
}

func (st *stripe) place(s *Series) {
	hash := s.chainHash()
	at := int(hash) & (len(st.buckets) - 1)
	s.next, st.buckets[at] = st.buckets[at], s
	st.filter[at] |= filterBit(hash)
}

func (st *stripe) grow() { st.resize(max(firstBuckets, 2*len(st.buckets))) }

// resize gives the stripe n buckets, a power of two. The caller holds the lock
// for writing.
func (st *stripe) resize(n int) {
	old := st.buckets
	st.buckets, st.filter = make([]*Series, n), make([]uint8, n)
	for _, s := range old {
		for s != nil {
			rest := s.next
			st.place(s)
			s = rest
		}
	}
}

// unlink removes s, by identity. The caller holds the lock for writing.
func (st *stripe) unlink(s *Series) {
	if len(st.buckets) == 0 {
		return
	}
	for at := &st.buckets[int(s.chainHash())&(len(st.buckets)-1)]; *at != nil; at = &(*at).next {
		if *at == s {
			*at, s.next = s.next, nil
			st.count--
			return
		}
	}
}
