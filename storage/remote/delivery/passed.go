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
// is forfeited: stock begins with what is new. It is counted as what is forfeited to a
// limit is (I1).

// passedOver is what one endpoint passes over.
type passedOver struct {
	state *endpointState // Where it was, and what is gone of what lay before the oldest segment.
	own   []ownRange
}

// ownRange is what consecutive segments hold with records of ours only, between two positions.
type ownRange struct{ from, to cursor.Position }

// ownRanges returns the ranges before the last segment of another engine.
func ownRanges(walDir string, segments []epoch.Segment, f savepoint.File, foreign int) (ranges []ownRange) {
	for i, seg := range segments {
		if seg.Index > foreign || isForeign(walDir, segments, i, f) {
			continue
		}
		from, to := cursor.Position{Segment: seg.Index}, cursor.Position{Segment: seg.Index + 1}
		if n := len(ranges); n > 0 && ranges[n-1].to == from {
			ranges[n-1].to = to
		} else {
			ranges = append(ranges, ownRange{from, to})
		}
	}
	return ranges
}

// countPassed counts what endpoints pass over. Nothing can be removed meanwhile.
// Callers hold mtx.
func (s *Storage) countPassed(passed []passedOver) {
	var (
		all []*forfeit
		of  = make([][]*forfeit, len(passed))
	)
	for i, p := range passed {
		if len(p.own) == 0 {
			continue
		}
		_, ranges := p.state.forfeitBefore(p.own[len(p.own)-1].to)
		for _, f := range ranges {
			parts := []forfeitedRange{f} // Series by series, wherever they are.
			if f.apart == nil {
				parts = partsOf(f, p.own)
			}
			for _, part := range parts {
				of[i] = append(of[i], newForfeit(p.state.name, part, &counted{parts: p.state.counted}))
			}
		}
		all = append(all, of[i]...)
	}
	s.countForfeits(context.Background(), all)
	for i, p := range passed {
		var (
			items     queue.Counts
			bytes     = p.state.uncounted[0]
			estimated = int(p.state.uncounted[1])
			span      timeSpan
		)
		items[queue.Samples] = estimated
		for _, f := range of[i] {
			items.Plus(f.items)
			estimated += f.estimated
			span = span.with(f.span)
			if f.apart == nil {
				bytes += logBytes(s.src.WALDir, f.from, f.to)
			}
		}
		s.countForfeited(p.state.name, reasonOtherEngine, items, bytes)
		if items.Total() > 0 {
			s.losses.Error("What had not been delivered before another engine wrote to the log is forfeited", append([]any{
				"remote_name", p.state.name, "reason", reasonOtherEngine,
				"bytes", bytes, "samples", items[queue.Samples], "histograms", items[queue.Histograms], "exemplars", items[queue.Exemplars], "samples_estimated", estimated,
			}, span.attrs()...)...)
		}
	}
}

// partsOf returns the parts of a range that lie in others.
func partsOf(f forfeitedRange, own []ownRange) (parts []forfeitedRange) {
	for _, r := range own {
		from, to := furthest(r.from, f.from), nearest(r.to, f.to)
		if !from.Before(to) {
			continue
		}
		part := forfeitedRange{from: from, to: to, acked: f.acked}
		if f.from.Before(from) {
			part.acked = marksFrom(f.acked, from) // What was to be skipped is not behind it.
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
