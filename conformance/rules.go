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

package conformance

import (
	"fmt"
	"math"
	"slices"

	"github.com/ackwal/ackwal/conformance/wire"
)

// Rules are what a receiver demands of samples.
type Rules string

const (
	// Strict is what Prometheus does without an out-of-order window: a sample
	// older than the newest of its series is refused with 400, and so is
	// another value at the same time. Of a v2 request the rest is stored then,
	// of others nothing.
	Strict Rules = "strict"
	// Lenient stores everything once, in whatever order.
	Lenient Rules = "lenient"
)

// Fate is what became of one sample that arrived.
type Fate uint8

// The fates of a sample.
const (
	Stored    Fate = iota // New, and kept.
	Again                 // Held already with the same value; nothing changes.
	Overtaken             // Older than another of its series and not held; Strict refuses it.
	Conflict              // Held already with another value, which stays.
	Undone                // New, and not kept because of others in its request.
	Poisoned              // Of the series that the receiver never takes.
)

// String returns the form used in the receiver's log.
func (f Fate) String() string {
	return [...]string{"stored", "again", "overtaken", "conflict", "undone", "poisoned"}[f]
}

type sample struct {
	series string // The label set as text.
	t      int64
	v      float64
	poison bool // Never taken.
}

func same(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// held is what a receiver has of one series.
type held struct {
	newest int64
	values map[int64]float64
}

// store keeps what was accepted. It is not safe for concurrent use.
type store struct {
	rules  Rules
	series map[string]*held
}

func newStore(rules Rules) *store { return &store{rules: rules, series: map[string]*held{}} }

// write takes the samples of one request. It returns the fate of each, in
// their order, how many are stored (those that were held before count, as they
// do in Prometheus), and an error if the request is to be answered with 400.
func (s *store) write(protocol wire.Protocol, samples []sample) (fates []Fate, stored int, err error) {
	fates = make([]Fate, len(samples))
	undo := []func(){}
	for i, x := range samples {
		if x.poison {
			fates[i] = Poisoned
			if err == nil {
				err = fmt.Errorf("%s is not taken here", x.series)
			}
			continue
		}
		h := s.series[x.series]
		if h == nil {
			h = &held{newest: math.MinInt64, values: map[int64]float64{}}
			s.series[x.series] = h
		}
		var refused bool
		fates[i], refused = s.judge(h, x)
		if refused {
			if err == nil {
				err = fmt.Errorf("%s@%d is %s, the newest of its series is at %d", x.series, x.t, fates[i], h.newest)
			}
			continue
		}
		stored++
		if _, ok := h.values[x.t]; ok {
			continue
		}
		newest := h.newest
		h.values[x.t], h.newest = x.v, max(newest, x.t)
		undo = append(undo, func() {
			delete(h.values, x.t)
			h.newest = newest
			fates[i] = Undone
		})
	}
	if err != nil && protocol != wire.V2 {
		for _, u := range slices.Backward(undo) {
			u()
		}
		stored = 0
	}
	return fates, stored, err
}

// judge says what would become of a sample and whether it is refused.
func (s *store) judge(h *held, x sample) (Fate, bool) {
	old, ok := h.values[x.t]
	switch {
	case ok && !same(old, x.v):
		return Conflict, s.rules == Strict
	case ok:
		// Prometheus tells a repetition from a late sample only at the newest.
		return Again, s.rules == Strict && x.t < h.newest
	case x.t < h.newest:
		return Overtaken, s.rules == Strict
	}
	return Stored, false
}
