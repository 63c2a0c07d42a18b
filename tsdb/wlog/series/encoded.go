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

// This file is about how others read the labels of a series. What they hold of
// it meanwhile is the series itself: once nobody does, and it has left the table,
// its numbers may stand for other texts.

// Encoded returns the label set in numbers, the fastest form to read: names and,
// for each of them, the number of its value, which [Names.Value] turns into text.
// Equal numbers are equal texts and, of [Names.SameTable] series, the other way round.
// Number 0 is the empty text. names is nil for a detached series.
//
// The slice must not be modified, and is of use only while the caller has the
// series.
func (s *Series) Encoded() (names *Names, values []uint32) {
	if s.names.y == nil {
		return nil, nil
	}
	return s.names, s.values
}

// Range calls f for each label in their order. The texts may be kept.
func (s *Series) Range(f func(l labels.Label)) {
	for i, name := range s.names.texts {
		f(labels.Label{Name: name, Value: s.value(i)})
	}
	runtime.KeepAlive(s)
}

func (s *Series) value(place int) string {
	if y := s.names.y; y != nil {
		return y.text(s.values[place])
	}
	return s.names.own[place]
}

// stablePartition computes the partition, which goes by labels.StableHash.
func (s *Series) stablePartition() uint64 {
	const separator = 0xff
	b := make([]byte, 0, 1024)
	for i, name := range s.names.texts {
		b = append(b, name...)
		b = append(b, separator)
		b = append(b, s.value(i)...)
		b = append(b, separator)
	}
	runtime.KeepAlive(s)
	return xxhash.Sum64(b) % Partitions
}

// Labels makes labels of their own for the caller, which costs allocations.
func (s *Series) Labels() labels.Labels {
	b := labels.NewScratchBuilder(len(s.names.texts))
	s.Range(func(l labels.Label) { b.Add(l.Name, l.Value) })
	return b.Labels()
}

// Has reports whether the series' labels are lset.
func (s *Series) Has(lset labels.Labels) bool {
	place, same := 0, true
	lset.Range(func(l labels.Label) {
		same = same && place < len(s.names.texts) && s.names.texts[place] == l.Name && s.value(place) == l.Value
		place++
	})
	runtime.KeepAlive(s)
	return same && place == len(s.names.texts)
}

// SameLabels reports whether two series have equal labels, whatever table they
// are from.
func SameLabels(a, b *Series) bool {
	if a == b || (a.names == b.names && a.names.y != nil && a.equal(b.set)) {
		return true
	}
	if len(a.names.texts) != len(b.names.texts) {
		return false
	}
	defer runtime.KeepAlive(b)
	defer runtime.KeepAlive(a)
	for i, name := range a.names.texts {
		if name != b.names.texts[i] || a.value(i) != b.value(i) {
			return false
		}
	}
	return true
}
