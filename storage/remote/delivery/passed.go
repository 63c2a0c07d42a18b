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

package delivery

import (
	"context"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// When another engine has had the log, an endpoint goes on behind what that one
// wrote, which it is taken to have delivered. What was not delivered before then
// is given up: stock begins with what is new. That is loss, and is counted as what
// a limit takes is (I1).

// reasonOtherEngine is for what is passed over because of another engine.
const reasonOtherEngine = "other_engine"

// passedOver is what one endpoint passes over.
type passedOver struct {
	behind *endpointState // Where it stood, and what is gone of what lay before the oldest segment.
	runs   []ownRun
}

// ownRun is a run of segments with records of ours only, between two positions.
type ownRun struct{ from, to cursor.Position }

// ownRuns returns the runs before the last segment of another engine.
func ownRuns(walDir string, segments []epoch.Segment, f savepoint.File, foreign int) (runs []ownRun) {
	for i, seg := range segments {
		if seg.Index > foreign || isForeign(walDir, segments, i, f) {
			continue
		}
		from, to := cursor.Position{Segment: seg.Index}, cursor.Position{Segment: seg.Index + 1}
		if n := len(runs); n > 0 && runs[n-1].to == from {
			runs[n-1].to = to
		} else {
			runs = append(runs, ownRun{from, to})
		}
	}
	return runs
}

// countPassed counts what endpoints pass over. Nothing can be removed meanwhile.
// Callers hold mtx.
func (s *Storage) countPassed(passed []passedOver) {
	var (
		all []*loss
		of  = make([][]*loss, len(passed))
	)
	for i, p := range passed {
		if len(p.runs) == 0 {
			continue
		}
		_, ranges := p.behind.forfeit(p.runs[len(p.runs)-1].to)
		for _, l := range ranges {
			parts := []lostRange{l} // Series by series, wherever they are.
			if l.apart == nil {
				parts = partsOf(l, p.runs)
			}
			for _, part := range parts {
				of[i] = append(of[i], newLoss(p.behind.name, part, &counted{parts: p.behind.counted}))
			}
		}
		all = append(all, of[i]...)
	}
	s.count(context.Background(), all)
	for i, p := range passed {
		var (
			lost      queue.Counts
			bytes     = p.behind.uncounted[0]
			estimated = int(p.behind.uncounted[1])
		)
		lost[queue.Samples] = estimated
		for _, l := range of[i] {
			lost.Plus(l.lost)
			estimated += l.estimated
			if l.apart == nil {
				bytes += logBytes(s.src.WALDir, l.from, l.to)
			}
		}
		s.countForfeited(p.behind.name, reasonOtherEngine, lost, bytes)
		if lost.Total() > 0 {
			s.logger.Error("What had not been delivered before another engine wrote to the log is given up", "remote_name", p.behind.name,
				"bytes", bytes, "samples", lost[queue.Samples], "histograms", lost[queue.Histograms], "exemplars", lost[queue.Exemplars], "samples_estimated", estimated)
		}
	}
}

// partsOf returns the parts of a range that lie in runs.
func partsOf(l lostRange, runs []ownRun) (parts []lostRange) {
	for _, r := range runs {
		from, to := furthest(r.from, l.from), nearest(r.to, l.to)
		if !from.Before(to) {
			continue
		}
		part := lostRange{from: from, to: to, acked: l.acked}
		if l.from.Before(from) {
			part.acked = marksFrom(l.acked, from) // What was to be skipped is not behind it.
		}
		parts = append(parts, part)
	}
	return parts
}

func furthest(a, b cursor.Position) cursor.Position {
	if a.Before(b) {
		return b
	}
	return a
}

func nearest(a, b cursor.Position) cursor.Position {
	if b.Before(a) {
		return b
	}
	return a
}
