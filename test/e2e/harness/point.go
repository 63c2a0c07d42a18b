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

package harness

import (
	"fmt"
	"maps"
	"math"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// SeriesID is the number of a label set within one scenario.
type SeriesID uint32

// Kind says what a point carries.
type Kind uint8

// A float and a histogram of one series and time exclude each other, so they
// are one kind; an exemplar is in addition to them.
const (
	SampleKind Kind = iota
	ExemplarKind
)

// Point identifies one sample or exemplar: label set, time in milliseconds,
// and kind.
type Point struct {
	Series SeriesID
	Kind   Kind
	T      int64
}

// Value is what a point carries: the bits of a float, or a hash for the rest.
// Equal values of one kind are equal numbers.
type Value uint64

// Stale says whether the value is a stale marker.
func (v Value) Stale() bool { return v == staleValue }

// Float returns the float sample that the value came from.
func (v Value) Float() float64 { return math.Float64frombits(uint64(v)) }

// Set maps points to their values.
type Set map[Point]Value

// Add puts all of other into the set.
func (s Set) Add(other Set) {
	maps.Copy(s, other)
}

// Without returns the points of the set that are not in other.
func (s Set) Without(other Set) Set {
	rest := Set{}
	for p, v := range s {
		if _, ok := other[p]; !ok {
			rest[p] = v
		}
	}
	return rest
}

// Shared counts the points that are in both sets and describes one of them.
func (s Set) Shared(other Set, symbols *Symbols) (n int, example string) {
	for p := range s {
		if _, ok := other[p]; ok {
			n++
			example = symbols.Describe(p)
		}
	}
	return n, example
}

// Count returns how many points of a kind there are.
func (s Set) Count(kind Kind) (n int) {
	for p := range s {
		if p.Kind == kind {
			n++
		}
	}
	return n
}

// staleValue is recorded for every kind of stale marker: receivers turn the float
// that a scraper writes into a histogram where the series is one.
const staleValue Value = 1

// FloatValue returns the value of a float sample.
func FloatValue(f float64) Value {
	if value.IsStaleNaN(f) {
		return staleValue
	}
	return Value(math.Float64bits(f))
}

// HistogramValue returns the value of a native histogram. The counter reset
// hint and the layout of spans are the receiver's own, so they do not count.
func HistogramValue(h *histogram.FloatHistogram) Value {
	if value.IsStaleNaN(h.Sum) {
		return staleValue
	}
	same := h.Copy()
	same.CounterResetHint = histogram.UnknownCounterReset
	same.Compact(0)
	return Value(xxhash.Sum64String(fmt.Sprintf("%d %g %s", same.Schema, same.ZeroThreshold, same)))
}

// ExemplarValue returns the value of an exemplar.
func ExemplarValue(e exemplar.Exemplar) Value {
	return Value(xxhash.Sum64String(fmt.Sprintf("%s %g", e.Labels, e.Value)))
}

// Symbols numbers label sets. It is safe for concurrent use.
type Symbols struct {
	mtx  sync.RWMutex
	ids  map[string]SeriesID
	sets []labels.Labels
}

// NewSymbols returns an empty table.
func NewSymbols() *Symbols {
	return &Symbols{ids: map[string]SeriesID{}}
}

// ID returns the number of a label set, which is copied if it is new.
func (s *Symbols) ID(lset labels.Labels) SeriesID {
	var buf [512]byte
	key := lset.Bytes(buf[:0])
	s.mtx.RLock()
	id, ok := s.ids[string(key)]
	s.mtx.RUnlock()
	if ok {
		return id
	}

	s.mtx.Lock()
	defer s.mtx.Unlock()
	if id, ok := s.ids[string(key)]; ok {
		return id
	}
	id = SeriesID(len(s.sets))
	s.ids[string(key)] = id
	s.sets = append(s.sets, lset.Copy())
	return id
}

// Labels returns the label set of a number.
func (s *Symbols) Labels(id SeriesID) labels.Labels {
	s.mtx.RLock()
	defer s.mtx.RUnlock()
	return s.sets[id]
}

// Describe renders a point for people.
func (s *Symbols) Describe(p Point) string {
	what := "sample"
	if p.Kind == ExemplarKind {
		what = "exemplar"
	}
	return fmt.Sprintf("%s %s@%d", what, s.Labels(p.Series), p.T)
}
