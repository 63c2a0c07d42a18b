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

package exposition

import (
	"math"
	"strconv"
)

// kind says how the value of a series moves.
type kind uint8

const (
	// fixed values stay, as those of info metrics do.
	fixed kind = iota
	// whole values are counters of events.
	whole
	// seconds are counters with fractions.
	seconds
	// level values are gauges that wander around what they were.
	level
	// lead is the first bucket of a histogram. It keeps the number of
	// observations, of which it shows a share, as the lines after it do.
	lead
	// share is a later bucket of a histogram, or its count.
	share
	// sum is the sum of the observations.
	sum
)

// movement is a kind with its size: the value of fixed ones, the increase per
// second of counters, the start of levels, the share of buckets, the mean of
// what a sum adds up.
type movement struct {
	kind kind
	size float64
}

const (
	// idle is the share of counters and gauges that never move: interfaces
	// without errors, routes without requests, collectors that found nothing.
	idle = 0.4
	// observations is how many of them a histogram has in a second.
	observations = 12
	// oldest is the age in seconds that a counter may have at first.
	oldest = 48 * 3600
)

// begin returns the movement that a series really has and its first value:
// rates of equal things differ by orders of magnitude, and some do not move.
func (m movement) begin(r *random) (movement, float64) {
	switch m.kind {
	case fixed:
		return m, m.size
	case share, sum:
		return m, 0
	case lead:
		return m, m.advance(0, oldest*r.unit(), r)
	}
	if r.unit() < idle {
		return movement{kind: fixed}, 0
	}
	if m.kind == level {
		return m, m.round(m.size * (0.5 + r.unit()))
	}
	m.size *= math.Pow(10, 2*r.unit()-1)
	return m, m.advance(0, oldest*r.unit(), r)
}

// advance returns the value dt seconds after it was v. That of a lead is the
// number of observations; other lines of histograms keep nothing.
func (m movement) advance(v, dt float64, r *random) float64 {
	switch m.kind {
	case whole:
		return v + math.Round(2*r.unit()*m.size*dt)
	case lead:
		return v + math.Round(2*r.unit()*observations*dt)
	case seconds:
		return math.Round((v+2*r.unit()*m.size*dt)*100) / 100
	case level:
		return max(0, m.round(v+m.size*(r.unit()-0.5)/20))
	default:
		return v
	}
}

// round gives small levels two digits after the point and large ones none.
func (m movement) round(v float64) float64 {
	if m.size < 100 {
		return math.Round(v*100) / 100
	}
	return math.Round(v)
}

// shown returns what a line of a histogram says of n observations.
func (m movement) shown(n float64) float64 {
	if m.kind == sum {
		return math.Round(n*m.size*1e6) / 1e6
	}
	return math.Floor(n * m.size)
}

// appendValue formats a value as the client library for Go does.
func appendValue(b []byte, v float64) []byte {
	if v >= 0 && v < 1e6 && v == math.Trunc(v) {
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// random is a generator of the xorshift family, which costs next to nothing.
type random uint64

func (r *random) next() uint64 {
	x := uint64(*r)
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*r = random(x)
	return x
}

// unit returns a number from 0 up to 1.
func (r *random) unit() float64 { return float64(r.next()>>11) / (1 << 53) }

// seeded returns a generator for the numbers that name something.
func seeded(numbers ...int) random {
	h := uint64(0x9e3779b97f4a7c15)
	for _, n := range numbers {
		h ^= uint64(n) + 0x9e3779b97f4a7c15 + h<<6 + h>>2
		h *= 0xff51afd7ed558ccd
		h ^= h >> 33
	}
	return random(h | 1)
}

// digits returns n characters of an alphabet.
func (r *random) digits(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.next()%uint64(len(alphabet))]
	}
	return string(b)
}
