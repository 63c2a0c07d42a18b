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

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sound is a case and a run of it that counts.
func sound() (course, result) {
	c := course{Name: "x", Series: 1000, Endpoints: 2, Interval: 5 * time.Second, Window: 50 * time.Second}
	return c, result{
		Sender:  "stock",
		Steady:  phase{Seconds: 50, Scraped: 10_000, Behind: 1500},
		Scraped: 20_000, Missing: []int64{0, 0},
	}
}

func withOutage() (course, result) {
	c, r := sound()
	c.Outage = time.Minute
	r.Outage, r.Killed, r.Again = &phase{Refused: 9}, &phase{Refused: 9}, &phase{}
	return c, r
}

func TestSoundRunsCount(t *testing.T) {
	require.Empty(t, problems(sound()))
	require.Empty(t, problems(withOutage()))
}

func TestRunsThatShowSomethingElseDoNotCount(t *testing.T) {
	for name, spoil := range map[string]func(*result){
		"too few scrapes":      func(r *result) { r.Steady.Scraped = 9400 },
		"too many scrapes":     func(r *result) { r.Steady.Scraped = 10_600 },
		"broken scrapes":       func(r *result) { r.Steady.Failed = 1 },
		"refused requests":     func(r *result) { r.Steady.Refused = 1 },
		"senseless requests":   func(r *result) { r.Steady.Unwanted = 1 },
		"too late":             func(r *result) { r.Steady.Behind = 3001 },
		"a sample is missing":  func(r *result) { r.Missing[1] = 1 },
		"a sample comes twice": func(r *result) { r.Missing[0] = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			c, r := sound()
			spoil(&r)
			require.Len(t, problems(c, r), 1)
		})
	}
}

// What others lose in an outage is a figure; what ours loses is a defect. After
// a kill all may send again what was under way.
func TestLossInAnOutage(t *testing.T) {
	c, r := withOutage()
	r.Missing = []int64{100, -3}
	require.Empty(t, problems(c, r))
	r.Sender = ours
	require.Len(t, problems(c, r), 1)
	r.Missing = []int64{0, -3}
	require.Empty(t, problems(c, r))
	r.Killed.Refused = 0
	require.Len(t, problems(c, r), 1)
}

func TestCaughtUp(t *testing.T) {
	type look struct {
		at     time.Duration
		behind int64
		done   bool
	}
	for name, looks := range map[string][]look{
		"all of it came": {{0, 5000, false}, {time.Second, 2000, false}, {2 * time.Second, 100, true}},
		"the rest never comes": {
			{0, 5000, false},
			{10 * time.Second, 3000, false},
			{30 * time.Second, 2990, false}, // As in any state that is steady.
			{30*time.Second + 1, 2990, true},
		},
		"it never ends": {{0, 1e9, false}, {catchUpLimit - 1, 1e8, false}, {catchUpLimit + 1, 1e7, true}},
	} {
		t.Run(name, func(t *testing.T) {
			done := caughtUp(100)
			for _, l := range looks {
				require.Equal(t, l.done, done(l.at, l.behind), "%v", l)
			}
		})
	}
}
