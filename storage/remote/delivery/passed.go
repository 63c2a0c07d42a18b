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
	"maps"
	"os"
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// When another engine has had the log, what it wrote is taken to be delivered by it, and
// endpoints pass over its segments. What they had not been sent before is still sent, as far
// as that engine has not removed it. A segment says itself who wrote it, so that each start
// finds the same ones, wherever an endpoint is by then; only that it was counted is kept in
// the savepoint, as a part that is not counted again.

// passedBy returns which segments of another engine an endpoint has yet to pass over. What
// is in them is counted later.
func passedBy(src *Source, st *endpointState) *passed {
	var (
		p      passed
		floor  = st.floor().Segment
		before = counted{parts: st.counted}
	)
	for _, segment := range slices.Sorted(maps.Keys(src.others)) {
		whole := savepoint.Range{Segment: segment, To: endOfSegment}
		if left := before.uncounted(whole); src.others[segment] && segment >= floor && left.From < left.To {
			p.segments = append(p.segments, whole)
		}
	}
	if len(p.segments) == 0 {
		return nil
	}
	return &p
}

// countPassed counts for an endpoint that begins what it passes over.
func (s *Storage) countPassed(m *endpointMetrics, st *endpointState) {
	if st.passed == nil {
		return
	}
	for c, n := range st.passed.items {
		m.dropped[c].WithLabelValues(reasonOtherEngine).Add(float64(n))
	}
	s.tallies.add(st.name, DropLeftOut, reasonOtherEngine, st.passed.items, st.passed.bytes)
	s.metrics.segmentsSkipped.WithLabelValues(st.name).Add(float64(len(st.passed.segments)))
}

// tellPassed finds out what endpoints pass over, and what of the log before it is still to be
// sent, and says both: by estimate where that would take long, since a start or a reload
// waits for it. Nothing can be removed meanwhile. Callers hold mtx.
func (s *Storage) tellPassed(states []*endpointState) {
	var (
		all, rest []*forfeit
		of, own   = make([][]*forfeit, len(states)), make([][]*forfeit, len(states))
		over      []*endpointState
	)
	for _, st := range states {
		if st.passed == nil {
			continue
		}
		n := len(over)
		over = append(over, st)
		before := &counted{parts: st.counted}
		_, ranges := st.forfeitBefore(s.src.Head())
		for _, r := range ranges {
			own[n] = append(own[n], newForfeit(st.name, r, before))
			if r.apart == nil { // What isolated series wait with is before what is new to all.
				for _, part := range partsOf(r, st.passed.segments) {
					of[n] = append(of[n], newForfeit(st.name, part, before))
				}
			}
		}
		all, rest = append(all, of[n]...), append(rest, own[n]...)
	}
	if len(over) == 0 {
		return
	}
	soon, cancel := s.countingTime()
	defer cancel()
	s.countForfeits(soon, all, nowhere)
	soon, cancel = s.countingTime()
	defer cancel()
	s.countForfeits(soon, rest, s.src.beyond)
	for n, st := range over {
		sum := sumOf(of[n])
		st.passed.items = sum.items
		first, last := st.passed.segments[0].Segment, st.passed.segments[len(st.passed.segments)-1].Segment
		for _, r := range st.passed.segments {
			st.passed.bytes += cursor.SegmentSize(s.src.WALDir, r.Segment)
		}
		s.losses.Warn("Another engine has written to the log in between; what it wrote is taken to be delivered by it and is passed over",
			append([]any{"remote_name", st.name, "reason", reasonOtherEngine, "segments", len(st.passed.segments), "first", first, "last", last, "bytes", st.passed.bytes}, sum.attrs()...)...)
		if sum := sumOf(own[n]); sum.items.Total() > 0 {
			s.losses.Warn("What had not been delivered before another engine wrote to the log is resumed",
				append([]any{"remote_name", st.name, "from", st.floor().String(), "bytes", s.src.bytes(st.floor().Position, s.src.Head())}, sum.attrs()...)...)
		}
	}
}

// removedByOther counts what an endpoint had not been sent of segments that another engine
// has removed. Callers hold mtx.
func (s *Storage) removedByOther(st *endpointState, lost queue.Unread) {
	sums := lost.Sums()
	s.countForfeited(st.name, reasonOtherEngine, queue.Counts{queue.Samples: int(sums[1])}, sums[0])
	s.losses.Error("Another engine has removed a part of the log before it was delivered", "remote_name", st.name, "reason", reasonOtherEngine,
		"segments", sums[2], "bytes", sums[0], "samples_estimated", sums[1], "resuming_at", st.floor().String())
}

// tellOld says that nothing of the log of another engine is sent, or that all of it is, at
// the first start of ours. Callers hold mtx.
func (s *Storage) tellOld(others []int) {
	from, to := cursor.Position{Segment: others[0]}, cursor.Position{Segment: others[len(others)-1] + 1}
	what := newForfeit("", forfeitedRange{from: from, to: to, acked: stateAt("", savepoint.Identity{}, "", cursor.Point{Position: from}, from).acked}, &counted{})
	soon, cancel := s.countingTime()
	defer cancel()
	s.countForfeits(soon, []*forfeit{what}, nowhere)
	sum := sumOf([]*forfeit{what})
	if sum.estimated > 0 { // Its end was not read.
		if info, err := os.Stat(wlog.SegmentName(s.src.WALDir, to.Segment-1)); err == nil {
			sum.span.add(info.ModTime().UnixMilli())
		}
	}
	message := "The log is that of another engine, or of an older release, which is taken to have delivered it: nothing of it is sent, unless --storage.agent.delivery.resume-after-best-effort is set at this start"
	if s.resumeOld {
		message = "The log is that of another engine, or of an older release, and is sent from its oldest segment on, as --storage.agent.delivery.resume-after-best-effort says"
	}
	s.losses.Warn(message, append([]any{"first", others[0], "last", to.Segment - 1, "bytes", logBytes(s.src.WALDir, from, to)}, sum.attrs()...)...)
}

// sum is what is in forfeited ranges together.
type sum struct {
	items     queue.Counts
	span      timeSpan
	estimated int
}

func sumOf(all []*forfeit) (s sum) {
	for _, f := range all {
		s.items.Plus(f.items)
		s.span = s.span.with(f.span)
		s.estimated += f.estimated
	}
	return s
}

// attrs is what log lines say of it.
func (s sum) attrs() []any {
	return append([]any{
		"samples", s.items[queue.Samples], "histograms", s.items[queue.Histograms], "exemplars", s.items[queue.Exemplars],
		"samples_estimated", s.estimated,
	}, s.span.attrs()...)
}

// partsOf returns the parts of a range that lie in some segments.
func partsOf(f forfeitedRange, segments []savepoint.Range) (parts []forfeitedRange) {
	for _, r := range segments {
		from := cursor.Later(f.from, cursor.Position{Segment: r.Segment})
		to := cursor.Earlier(f.to, cursor.Position{Segment: r.Segment + 1})
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
