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
	"time"

	"github.com/stretchr/testify/require"
)

// savepointMargin is how much older than its file the state in a savepoint may
// be: it is gathered, encoded and written while acknowledgements go on.
const savepointMargin = time.Second

// savepointStale is how long an acknowledgement may wait for a savepoint that is
// written about every second. It only tells a writer that stopped from one
// that is late on a busy machine.
const savepointStale = 15 * time.Second

// RequireBoundedResends fails the test if something was sent again that no
// crash excuses (I8). Exactly: a point may be sent again only by a later run
// than the one that was told of its delivery, only if the run before the
// sending one was killed, and only if at that kill it was one of
//
//   - acknowledged, or refused on its own, no earlier than the savepoint that
//     the killed run left was written, with a margin for the time between
//     gathering and writing it;
//   - part of a request in flight. A request that the receiver refuses is sent
//     again in parts until each sample has an answer of its own, and is in
//     flight until the last part is answered;
//   - excused by the kill before already, and not settled since.
//
// The bound is thereby computed from what happened and not from an assumed
// number of requests per second.
func (s *Scenario) RequireBoundedResends(p *Proxy) {
	s.t.Helper()
	resends := map[int][]Resend{} // By the run that sent them.
	for _, r := range p.Resends() {
		resends[r.Run] = append(resends[r.Run], r)
	}
	excused := Set{}
	for i, run := range s.Agent.Runs {
		again := Set{}
		for _, r := range resends[run.Number] {
			again[r.Point] = 0
			require.Less(s.t, r.AckedRun, r.Run, "%s was sent again by the run %d that knew of its delivery", s.Symbols.Describe(r.Point), r.Run)
			if _, ok := excused[r.Point]; !ok {
				s.t.Fatalf("%s was sent again by run %d without an excuse: run %d was told %s before its savepoint was written",
					s.Symbols.Describe(r.Point), r.Run, r.AckedRun, s.Agent.Runs[r.AckedRun].Saved.Sub(r.AckedAt))
			}
		}
		if i > 0 {
			s.t.Logf("run %d sent %d acknowledged points again; run %d was killed %s after its last savepoint and excuses %d",
				run.Number, len(again), i-1, s.Agent.Runs[i-1].KilledAt.Sub(s.Agent.Runs[i-1].Saved).Round(time.Millisecond), len(excused))
		}
		excused = s.excuses(p, run, excused)
	}
}

// excuses returns what the runs after one may send again, given what it might
// have sent again itself.
func (s *Scenario) excuses(p *Proxy, run Run, before Set) Set {
	s.t.Helper()
	excused := Set{}
	if run.KilledAt.IsZero() {
		return excused
	}
	require.False(s.t, run.Saved.IsZero(), "run %d left no savepoint", run.Number)
	require.Zero(s.t, p.AckedBetween(run.Saved, run.KilledAt.Add(-savepointStale)),
		"points that were acknowledged more than %s before run %d was killed, and after its last savepoint", savepointStale, run.Number)
	left := p.Leftover(run.Number)
	excused.Add(left.Unfinished)
	for point := range before {
		if left.Settled[point].IsZero() {
			excused[point] = 0
		}
	}
	for point, at := range left.Settled {
		if !at.Before(run.Saved.Add(-savepointMargin)) {
			excused[point] = 0
		}
	}
	return excused
}
