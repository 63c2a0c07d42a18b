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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/conformance/process"
)

// Verdict compares what was committed with what one endpoint has.
type Verdict struct {
	Committed  int // Samples and exemplars that were due.
	Delivered  int
	Lost       int
	Wrong      int // There with another value.
	Unknown    int // There, and never committed.
	Duplicates int // Sent again after the agent had been told they are delivered.
	Example    string
}

// Committed returns everything committed so far by the runs from first to
// last, both included; last may be -1 for no end.
func (s *Scenario) Committed(first, last int) Set {
	s.t.Helper()
	from, to := s.Agent.Runs[first].From, -1
	if last >= 0 && last+1 < len(s.Agent.Runs) {
		to = s.Agent.Runs[last+1].From - 1
	}
	set, err := s.Shadow.Committed(from, to)
	require.NoError(s.t, err)
	return set
}

// AllCommitted returns everything committed so far.
func (s *Scenario) AllCommitted() Set {
	s.t.Helper()
	return s.Committed(0, -1)
}

// stuckAfter is how many scrapes may pass without progress, while newer samples
// are delivered, until what is missing counts as lost.
const stuckAfter = 50

// Settle waits until everything due is with the receiver behind the proxy, or
// does not come any more, and returns what the receiver holds.
func (s *Scenario) Settle(p *Proxy, due Set) Set {
	s.t.Helper()
	newest := int64(0)
	for point := range due {
		newest = max(newest, point.T)
	}
	deadline := time.Now().Add(process.HangLimit)
	least, since := len(due)+1, s.Target.Scrapes()
	for {
		changed := p.Changed()
		missing, hopeless := p.Missing(due)
		if missing < least {
			least, since = missing, s.Target.Scrapes()
		}
		stuck := s.Target.Scrapes()-since >= stuckAfter && p.Newest() > newest
		if missing == hopeless || stuck {
			return s.held(p)
		}
		if time.Now().After(deadline) {
			s.t.Logf("%s still lacks %d of %d points after %s", p.Name, missing, len(due), process.HangLimit)
			return s.held(p)
		}
		select {
		case <-changed:
			// Answers come in bursts.
			time.Sleep(50 * time.Millisecond)
		case <-time.After(time.Second):
		}
	}
}

func (s *Scenario) held(p *Proxy) Set {
	s.t.Helper()
	r, ok := s.receivers[p.Name]
	if !ok {
		return p.Taken()
	}
	held, err := r.Samples(s.Symbols)
	require.NoError(s.t, err)
	exemplars, err := r.Exemplars(s.Symbols)
	require.NoError(s.t, err)
	held.Add(exemplars)
	return held
}

// Judge compares what was due with what is held.
func (s *Scenario) Judge(p *Proxy, due, held Set) Verdict {
	s.t.Helper()
	v := Verdict{Committed: len(due), Duplicates: len(p.Resends())}
	lost := []Point{}
	for point, want := range due {
		switch got, ok := held[point]; {
		case !ok:
			lost = append(lost, point)
		case got != want:
			v.Wrong++
			v.Example = "wrong: " + s.Symbols.Describe(point)
		default:
			v.Delivered++
		}
	}
	v.Lost = len(lost)
	if v.Lost > 0 {
		first := slices.MinFunc(lost, func(a, b Point) int { return int(a.T - b.T) })
		last := slices.MaxFunc(lost, func(a, b Point) int { return int(a.T - b.T) })
		v.Example = "lost: " + s.Symbols.Describe(first) + " to " + s.Symbols.Describe(last)
		s.traceLost(p, lost)
	}
	for point := range held.Without(s.AllCommitted()) {
		v.Unknown++
		v.Example = "unknown: " + s.Symbols.Describe(point)
	}
	return v
}

// traceLost leaves a list of what a proxy lost beside the logs.
func (s *Scenario) traceLost(p *Proxy, lost []Point) {
	slices.SortFunc(lost, func(a, b Point) int { return int(a.T - b.T) })
	text := strings.Builder{}
	for i, point := range lost {
		fmt.Fprintf(&text, "%s %s\n", time.UnixMilli(point.T).Format("15:04:05.000"), s.Symbols.Describe(point))
		if i < 100 {
			// A strings.Builder returns no error.
			_ = p.WriteStory(&text, point)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, p.Name+".lost"), []byte(text.String()), 0o666); err != nil {
		s.t.Logf("writing what proxy %s lost: %v", p.Name, err)
	}
}

// Deliver waits for everything committed by the runs from first on until now
// and judges it.
func (s *Scenario) Deliver(p *Proxy, first int) Verdict {
	s.t.Helper()
	due := s.Committed(first, -1)
	return s.Judge(p, due, s.Settle(p, due))
}

// RequireIntact fails the test unless nothing was lost, changed or invented,
// and nothing was seen that must never be seen.
func (s *Scenario) RequireIntact(p *Proxy, v Verdict) {
	s.t.Helper()
	require.Positive(s.t, v.Committed, "nothing was committed, so the test shows nothing")
	require.Zero(s.t, v.Lost, "%s lost %d of %d committed points; %s", p.Name, v.Lost, v.Committed, v.Example)
	require.Zero(s.t, v.Wrong, "%s has %d points with another value; %s", p.Name, v.Wrong, v.Example)
	require.Zero(s.t, v.Unknown, "%s has %d points that were never committed; %s", p.Name, v.Unknown, v.Example)
	require.Empty(s.t, p.Findings(s.Symbols), "%s", p.Name)
	require.Zero(s.t, s.Shadow.Unresolved(), "committed samples refer to series that were never committed")
}

// RequireNoResends fails the test if anything was sent again after the agent
// had been told that it is delivered.
func (s *Scenario) RequireNoResends(p *Proxy) {
	s.t.Helper()
	resends := p.Resends()
	if len(resends) > 0 {
		r := resends[0]
		s.t.Fatalf("%s got %d points again after they were acknowledged, first %s: acknowledged in run %d, sent again in run %d",
			p.Name, len(resends), s.Symbols.Describe(r.Point), r.AckedRun, r.Run)
	}
}

// RequireSequences fails the test unless, in each run, every scrape that the
// agent committed is the one after the one before: no scrape was left out.
func (s *Scenario) RequireSequences() {
	s.t.Helper()
	for run := range s.Agent.Runs {
		numbers := map[int64]int64{} // Time to number of the scrape.
		for point, v := range s.Committed(run, run) {
			if v != staleValue && s.Symbols.Labels(point.Series).Get("__name__") == SequenceMetric {
				numbers[point.T] = int64(v.Float())
			}
		}
		times := slices.Sorted(maps.Keys(numbers))
		for i := 1; i < len(times); i++ {
			before, now := numbers[times[i-1]], numbers[times[i]]
			require.Equal(s.t, before+1, now, "run %d left out scrapes between %d and %d", run, times[i-1], times[i])
		}
	}
}

// Report writes the summary line of a test.
func (s *Scenario) Report(v Verdict, notes ...string) {
	s.t.Helper()
	line := fmt.Sprintf("SUMMARY %s committed=%d delivered=%d lost=%d wrong=%d duplicates=%d seconds=%.0f",
		s.t.Name(), v.Committed, v.Delivered, v.Lost, v.Wrong, v.Duplicates, time.Since(s.started).Seconds())
	if len(notes) > 0 {
		line += " " + strings.Join(notes, " ")
	}
	s.t.Log(line)
	path := os.Getenv("ACKWAL_E2E_SUMMARY")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	require.NoError(s.t, err)
	defer file.Close()
	_, err = fmt.Fprintln(file, line)
	require.NoError(s.t, err)
}
