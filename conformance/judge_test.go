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
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/conformance/wire"
)

// TestDue: nothing is held against a sender that it may never have had.
func TestDue(t *testing.T) {
	scrape := func(n int64, run int, connection int64, whole bool) Scrape {
		return Scrape{Number: n, Run: run, Connection: connection, Whole: whole}
	}
	for name, tc := range map[string]struct {
		scrapes       []Scrape
		due, doubtful []int64
	}{
		"none":             {nil, nil, nil},
		"the last":         {[]Scrape{scrape(1, 1, 1, true), scrape(2, 1, 1, true)}, []int64{1}, []int64{2}},
		"before a restart": {[]Scrape{scrape(1, 1, 1, true), scrape(2, 1, 1, true), scrape(3, 2, 2, true), scrape(4, 2, 2, true)}, []int64{1, 3}, []int64{2, 4}},
		"not whole":        {[]Scrape{scrape(1, 1, 1, false), scrape(2, 1, 1, true)}, nil, []int64{1, 2}},
		"broken off":       {[]Scrape{scrape(1, 1, 1, true), scrape(2, 1, 1, true), scrape(3, 1, 2, true), scrape(4, 1, 2, true)}, []int64{1, 3}, []int64{2, 4}},
		"never keeps one":  {[]Scrape{scrape(1, 1, 1, true), scrape(2, 1, 2, true), scrape(3, 1, 3, true)}, []int64{1, 2}, []int64{3}},
	} {
		t.Run(name, func(t *testing.T) {
			due, doubtful := Due(tc.scrapes)
			require.Equal(t, tc.due, due)
			require.Equal(t, tc.doubtful, doubtful)
		})
	}
}

// TestJudge counts each kind of fault by the logs alone.
func TestJudge(t *testing.T) {
	scrapes := []Scrape{}
	for n := int64(1); n <= 5; n++ {
		scrapes = append(scrapes, Scrape{Number: n, Run: 1, Connection: 1, Whole: true})
	}
	arrival := func(number int64, fate Fate) Arrival { return Arrival{Number: number, T: 100 * number, Fate: fate} }
	taken := func(a ...Arrival) Request { return Request{Status: 204, Arrivals: a} }
	refused := func(a ...Arrival) Request { return Request{Status: 400, Arrivals: a} }
	for name, tc := range map[string]struct {
		requests []Request
		window   Window
		want     Counts
	}{
		"nothing came":     {nil, Window{}, Counts{Scraped: 4, Lost: 4, Doubtful: 1}},
		"all came":         {[]Request{taken(arrival(1, Stored), arrival(2, Stored), arrival(3, Stored), arrival(4, Stored))}, Window{}, Counts{Scraped: 4, Delivered: 4, Doubtful: 1}},
		"up to the second": {[]Request{taken(arrival(1, Stored), arrival(2, Stored))}, Window{UpTo: 2}, Counts{Scraped: 2, Delivered: 2}},
		"a gap":            {[]Request{taken(arrival(1, Stored), arrival(4, Stored))}, Window{}, Counts{Scraped: 4, Delivered: 2, Lost: 2, Doubtful: 1, passed: 2}},
		"a full disk":      {[]Request{taken(arrival(1, Stored), arrival(4, Stored))}, Window{FullFrom: 2, FullTo: 2}, Counts{Scraped: 4, Delivered: 2, Lost: 2, LostWhileFull: 1, Doubtful: 1, passed: 2}},
		"a gap by damage":  {[]Request{taken(arrival(1, Stored), arrival(4, Stored))}, Window{Damaged: 2}, Counts{Scraped: 4, Delivered: 2, Lost: 2, LostBefore: 1, Doubtful: 1, passed: 2}},
		"again":            {[]Request{taken(arrival(1, Stored)), taken(arrival(1, Again))}, Window{UpTo: 1}, Counts{Scraped: 1, Delivered: 1, Duplicated: 1}},
		"rolled back":      {[]Request{refused(arrival(1, Undone))}, Window{UpTo: 1}, Counts{Scraped: 1, Lost: 1}},
		"late and refused": {[]Request{taken(arrival(2, Stored)), refused(arrival(1, Overtaken))}, Window{UpTo: 2}, Counts{Scraped: 2, Delivered: 1, Lost: 1, OutOfOrder: 1, passed: 1}},
		"late and kept":    {[]Request{taken(arrival(2, Stored)), taken(arrival(1, Overtaken))}, Window{UpTo: 2}, Counts{Scraped: 2, Delivered: 2, OutOfOrder: 1}},
		"poisoned":         {[]Request{refused(arrival(1, Poisoned))}, Window{UpTo: 1, Poisoned: []int{0}}, Counts{}},
		"two times":        {[]Request{taken(arrival(1, Stored), Arrival{Number: 1, T: 101, Fate: Stored})}, Window{UpTo: 1}, Counts{Scraped: 1, Delivered: 1, Wrong: 1}},
		"never served":     {[]Request{taken(arrival(1, Stored), arrival(6, Stored))}, Window{UpTo: 1}, Counts{Scraped: 1, Delivered: 1, Wrong: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.window.Series = 1
			got := Judge(scrapes, tc.requests, tc.window)
			require.Equal(t, tc.want.Lost+tc.want.Wrong > 0, got.Example != "")
			got.Example = ""
			require.Equal(t, tc.want, got)
		})
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		counts Counts
		atRisk int
		crash  bool
		want   Verdict
	}{
		{Counts{}, 0, false, Failed},
		{Counts{Scraped: 9}, 0, false, OK},
		{Counts{Scraped: 9, Lost: 1}, 0, false, LostSamples},
		{Counts{Scraped: 9, Lost: 1, LostBefore: 1}, 4, false, Contained},
		{Counts{Scraped: 9, Lost: 2, LostBefore: 2}, 4, false, LostSamples},
		{Counts{Scraped: 9, Lost: 2, LostBefore: 1}, 4, false, LostSamples},
		{Counts{Scraped: 9, Lost: 3, LostWhileFull: 3}, 0, true, Contained},
		{Counts{Scraped: 9, Lost: 3, LostWhileFull: 2}, 0, true, LostSamples},
		{Counts{Scraped: 9, OutOfOrder: 1}, 0, false, Reordered},
		{Counts{Scraped: 9, Wrong: 1}, 0, false, Invented},
		{Counts{Scraped: 9, Duplicated: 1}, 0, false, Duplicates},
		{Counts{Scraped: 9, Duplicated: 1}, 0, true, OK},
	} {
		require.Equal(t, tc.want, verdict(tc.counts, tc.atRisk, tc.crash, true), "%+v", tc)
	}
	require.Equal(t, OK, verdict(Counts{Scraped: 9, Duplicated: 1}, 0, false, false))
}

// TestRules: what a receiver of Prometheus refuses, and what it keeps of the
// rest of the request.
func TestRules(t *testing.T) {
	s := func(t int64, v float64) sample { return sample{series: "a", t: t, v: v} }
	other, never := sample{series: "b", t: 5, v: 1}, sample{series: "c", t: 5, v: 1, poison: true}
	for name, tc := range map[string]struct {
		rules    Rules
		protocol wire.Protocol
		second   []sample // After 10=1 and 20=2.
		fates    []Fate
		stored   int
		refused  bool
	}{
		"newer":               {Strict, wire.V1, []sample{s(30, 3)}, []Fate{Stored}, 1, false},
		"the newest again":    {Strict, wire.V1, []sample{s(20, 2), other}, []Fate{Again, Stored}, 2, false},
		"an older one again":  {Strict, wire.V1, []sample{other, s(10, 1)}, []Fate{Undone, Again}, 0, true},
		"in v2":               {Strict, wire.V2, []sample{other, s(10, 1)}, []Fate{Stored, Again}, 1, true},
		"late":                {Strict, wire.V1, []sample{s(15, 1), other}, []Fate{Overtaken, Undone}, 0, true},
		"late, in v2":         {Strict, wire.V2, []sample{s(15, 1), other}, []Fate{Overtaken, Stored}, 1, true},
		"another value":       {Strict, wire.V2, []sample{s(20, 3)}, []Fate{Conflict}, 0, true},
		"late, lenient":       {Lenient, wire.V1, []sample{s(15, 1), s(10, 1), other}, []Fate{Overtaken, Again, Stored}, 3, false},
		"poison":              {Strict, wire.V1, []sample{other, never, s(15, 1)}, []Fate{Undone, Poisoned, Overtaken}, 0, true},
		"poison, lenient":     {Lenient, wire.V2, []sample{other, never, s(30, 3)}, []Fate{Stored, Poisoned, Stored}, 2, true},
		"conflict, lenient":   {Lenient, wire.V1, []sample{s(10, 3)}, []Fate{Conflict}, 1, false},
		"late in one request": {Strict, wire.V1, []sample{s(40, 4), s(30, 3)}, []Fate{Undone, Overtaken}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStore(tc.rules)
			_, _, err := st.write(tc.protocol, []sample{s(10, 1), s(20, 2)})
			require.NoError(t, err)
			fates, stored, err := st.write(tc.protocol, tc.second)
			require.Equal(t, tc.fates, fates)
			require.Equal(t, tc.stored, stored)
			require.Equal(t, tc.refused, err != nil)
			if tc.refused && tc.protocol == wire.V1 {
				// The rollback was complete: the same samples are new again.
				_, _, err = st.write(tc.protocol, []sample{s(25, 1), other})
				require.NoError(t, err)
			}
		})
	}
}
