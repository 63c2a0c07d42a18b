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
	"slices"
)

// Counts compares the target's log with that of one receiver. All counts are of
// samples.
type Counts struct {
	// Scraped is what the sender must have: the samples of every scrape that it
	// answered for by what it did next, see [Due].
	Scraped   int `json:"scraped"`
	Delivered int `json:"delivered"`
	Lost      int `json:"lost"`
	// LostBefore is the part of Lost that was scraped before the sender's data
	// were damaged.
	LostBefore int `json:"lostBeforeDamage,omitempty"`
	// LostWhileFull is the part of Lost that was scraped while the sender's disk was full.
	LostWhileFull int `json:"lostWhileFull,omitempty"`

	Duplicated int `json:"duplicated"` // Arrivals of what the receiver held already.
	OutOfOrder int `json:"outOfOrder"` // Arrivals after a newer one of their series.
	Wrong      int `json:"wrong"`      // Two times for one sample, or a number that was never served.
	// Doubtful counts the samples of scrapes that the sender may or may not have
	// had when it was stopped.
	Doubtful int `json:"doubtful"`
	// Example is a lost or wrong sample, in words.
	Example string `json:"example,omitempty"`

	// passed is the part of Lost of which the receiver holds newer samples. A
	// strict receiver cannot take it any more.
	passed int
}

// Due splits a target's log into the scrapes that the sender must deliver and
// those that are in doubt. A scrape is due once the same run of the sender has
// asked for the next one, because scrapes of a target follow each other: it was
// read to its end and handed on. Where the next one came over a new connection
// although this sender keeps connections, the one before may have been broken
// off, so it is in doubt as well.
func Due(scrapes []Scrape) (due, doubtful []int64) {
	keeps := false
	for i := 1; i < len(scrapes); i++ {
		keeps = keeps || scrapes[i].Connection == scrapes[i-1].Connection
	}
	for i, s := range scrapes {
		sure := i+1 < len(scrapes) && scrapes[i+1].Run == s.Run && s.Whole &&
			(!keeps || scrapes[i+1].Connection == s.Connection)
		if sure {
			due = append(due, s.Number)
		} else {
			doubtful = append(doubtful, s.Number)
		}
	}
	return due, doubtful
}

// point is a sample of the target's counter.
type point struct {
	series int
	number int64
}

// holdings is what a receiver holds and what it saw, by its log.
type holdings struct {
	at         map[point]int64 // Timestamp under which a sample is held.
	duplicated int
	outOfOrder int
	wrong      int
	example    string
}

func read(requests []Request, served int64) *holdings {
	h := &holdings{at: map[point]int64{}}
	for _, request := range requests {
		for _, a := range request.Arrivals {
			h.add(a, served, request.Status/100 == 2)
		}
	}
	return h
}

// add notes an arrival; taken says that its request was not refused.
func (h *holdings) add(a Arrival, served int64, taken bool) {
	p := point{a.Series, a.Number}
	at, known := h.at[p]
	switch {
	case a.Fate == Poisoned:
	case a.Number < 1 || a.Number > served || a.Fate == Conflict || (known && at != a.T):
		h.wrong++
		h.example = fmt.Sprintf("scrape %d of series %d at time %d is wrong", a.Number, a.Series, a.T)
	case a.Fate == Again:
		h.duplicated++
	case a.Fate == Overtaken:
		h.outOfOrder++
	}
	// What comes late is kept by a receiver that does not refuse it.
	if a.Fate == Stored || (a.Fate == Overtaken && taken) {
		h.at[p] = a.T
	}
}

// Window says what [Judge] looks at.
type Window struct {
	Series int // How many the target has.
	// UpTo is the last scrape that counts, 0 for the last one there is.
	UpTo int64
	// Poisoned are the series that no receiver takes. They do not count.
	Poisoned []int
	// Damaged is the last scrape before the sender's data were damaged, 0 if
	// they were not.
	Damaged int64
	// FullFrom and FullTo are the first and the last scrape while the sender's disk was
	// full, 0 if it was not.
	FullFrom, FullTo int64
}

// Judge compares the two logs.
func Judge(scrapes []Scrape, requests []Request, w Window) Counts {
	due, doubtful := Due(scrapes)
	if w.UpTo > 0 {
		due, doubtful = until(due, w.UpTo), until(doubtful, w.UpTo)
	}
	h := read(requests, int64(len(scrapes)))
	newest := make([]int64, w.Series) // Number of the newest scrape held.
	for p := range h.at {
		if p.series < w.Series {
			newest[p.series] = max(newest[p.series], p.number)
		}
	}
	counted := w.Series - len(w.Poisoned)
	t := Counts{
		Scraped: len(due) * counted, Doubtful: len(doubtful) * counted,
		Duplicated: h.duplicated, OutOfOrder: h.outOfOrder, Wrong: h.wrong, Example: h.example,
	}
	first, last := int64(0), int64(0)
	for _, number := range due {
		for i := range w.Series {
			if slices.Contains(w.Poisoned, i) {
				continue
			}
			if _, ok := h.at[point{i, number}]; ok {
				t.Delivered++
				continue
			}
			t.Lost++
			switch {
			case number <= w.Damaged:
				t.LostBefore++
			case number >= w.FullFrom && number <= w.FullTo:
				t.LostWhileFull++
			}
			if newest[i] > number {
				t.passed++
			}
			if first == 0 {
				first = number
			}
			last = number
		}
	}
	if t.Lost > 0 {
		t.Example = fmt.Sprintf("%d samples of scrapes %d to %d are lost", t.Lost, first, last)
	}
	return t
}

// until returns the numbers up to the last one; they are in order.
func until(numbers []int64, last int64) []int64 {
	i, _ := slices.BinarySearch(numbers, last+1)
	return numbers[:i]
}
