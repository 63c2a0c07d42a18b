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
	"runtime"

	"github.com/cespare/xxhash/v2"

	"github.com/prometheus/prometheus/model/labels"
)

// This file is about how others read the labels of a series: as strings, or as
// numbers to compare. How both are safe from numbers that are given to other strings
// is in the package's documentation.

// Encoded returns the label set in numbers, the fastest form to compare: names and,
// for each of them, the number of its value. Number 0 is the empty string, and equal
// numbers are equal strings while the [Numbering] is the same. names is nil for a
// detached series. The slice must not be modified.
func (s *Series) Encoded() (names *Names, values []uint32) {
	if s.names.y == nil {
		return nil, nil
	}
	return s.names, s.values
}

// Numbering identifies what numbers mean. A number that was taken from a
// series together with its Numbering, and remembered, means the same string as
// an equal one of a series that has an equal Numbering now.
type Numbering struct {
	y     *symbols
	freed uint64
}

// Numbering returns the present one of series with these names.
func (x *Names) Numbering() Numbering { return Numbering{x.y, x.y.freed.Load()} }

// Value returns the value of the label in a place, which may be kept.
func (s *Series) Value(place int) string {
	y := s.names.y
	if y == nil {
		return s.names.own[place]
	}
	str := y.str(s.values[place])
	runtime.KeepAlive(s) // Its numbers are its own until here.
	return str
}

// Range calls f for each label in their order. The strings may be kept.
func (s *Series) Range(f func(l labels.Label)) {
	for i, name := range s.names.strs {
		f(labels.Label{Name: name, Value: s.Value(i)})
	}
}

// stablePartition computes the partition, which goes by labels.StableHash.
func (s *Series) stablePartition() uint64 {
	const separator = 0xff
	b := make([]byte, 0, 1024)
	for i, name := range s.names.strs {
		b = append(b, name...)
		b = append(b, separator)
		b = append(b, s.Value(i)...)
		b = append(b, separator)
	}
	return xxhash.Sum64(b) % Partitions
}

// Labels makes labels of their own for the caller, which costs allocations.
func (s *Series) Labels() labels.Labels {
	b := labels.NewScratchBuilder(len(s.names.strs))
	s.Range(func(l labels.Label) { b.Add(l.Name, l.Value) })
	return b.Labels()
}

// Has reports whether the series' labels are lset.
func (s *Series) Has(lset labels.Labels) bool {
	place, same := 0, true
	lset.Range(func(l labels.Label) {
		same = same && place < len(s.names.strs) && s.names.strs[place] == l.Name && s.Value(place) == l.Value
		place++
	})
	return same && place == len(s.names.strs)
}

// SameLabels reports whether two series have equal labels, whatever table they
// are from.
func SameLabels(a, b *Series) bool {
	if a == b || (a.names == b.names && a.names.y != nil && a.equal(b.set)) {
		return true
	}
	if len(a.names.strs) != len(b.names.strs) {
		return false
	}
	for i, name := range a.names.strs {
		if name != b.names.strs[i] || a.Value(i) != b.Value(i) {
			return false
		}
	}
	return true
}
