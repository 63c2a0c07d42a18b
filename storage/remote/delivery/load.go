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
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// loadStates loads the savepoint and finds its positions in the log again. What it
// cannot find is resolved towards sending again, never towards skipping. others are the
// segments of another engine. Callers hold mtx.
func (s *Storage) loadStates(src *Source) (out []*endpointState, others []int, err error) {
	f, from, err := s.store.Load()
	var lost *savepoint.LostError
	switch {
	case errors.As(err, &lost):
		s.lost = true
	case err != nil:
		return nil, nil, fmt.Errorf("load the savepoint of remote write: %w", err)
	}
	for _, p := range from.Problems {
		if p.Reason != savepoint.Absent {
			s.logger.Error("A savepoint cannot be used", "path", p.Path, "reason", p.Reason.String(), "set_aside", p.SetAside, "err", p.Err)
		}
	}
	segments, err := epoch.Scan(src.WALDir)
	if err != nil {
		return nil, nil, fmt.Errorf("look for segments of other engines in %s: %w", src.WALDir, err)
	}
	src.density = &density{items: float64(f.Density[0]), bytes: float64(f.Density[1])}
	compare(src, f, segments)
	knowEnd(src, segments, f)
	others = s.findOthers(src, segments, f)
	s.oldest = cursor.Position{}
	if len(segments) > 0 {
		s.oldest = src.beyond(cursor.Position{Segment: segments[0].Index})
	}
	s.unsaved.Store(from.Origin == savepoint.None)
	if from.Origin != savepoint.None {
		s.metrics.savepointWritten.set(*byClock(&f.Written, time.Now()))
	}
	if from.Origin == savepoint.None && !s.lost {
		// No savepoint is what a new directory and one of stock's have. With
		// segments of an earlier run of ours, it was removed.
		for _, seg := range segments {
			s.lost = s.lost || (seg.Run != ulid.ULID{} && seg.Run != src.Run)
		}
	}
	if s.lost {
		s.logger.Error("The positions of all endpoints are lost; delivery begins at the oldest segment and may send again what was delivered", "position", s.oldest.String())
	}
	first := from.Origin == savepoint.None && !s.lost
	s.fromStart = src.begun && first
	s.firstAfter = first && len(others) > 0
	s.resumeOld = s.firstAfter && s.opts.ResumeAfterBestEffort
	for i := range f.Endpoints {
		st, removed, lost, err := s.resolve(src, f, &f.Endpoints[i], segments)
		if err != nil {
			return nil, nil, err
		}
		if len(removed.Parts) > 0 {
			estimateLost(s.logger, src, segments, &removed)
			s.removedByOther(st, removed)
		}
		if len(lost.Parts) > 0 {
			estimateLost(s.logger, src, segments, &lost)
			for i, n := range lost.Sums() {
				st.uncounted[i] = min(st.uncounted[i]+n, endOfSegment) // No savepoint takes more.
			}
			s.losses.Error("The start or the end of the log is gone, and what an endpoint had not been sent of it", "remote_name", st.name,
				"segments", lost.Segments(), "last", f.Segment, "bytes", lost.Bytes(), "samples_estimated", math.Ceil(lost.Items()))
		}
		out = append(out, st)
	}
	return out, others, nil
}

// findOthers finds the segments with records of another engine, and returns them in order.
// Endpoints pass over them unless they are to resume after that engine.
func (s *Storage) findOthers(src *Source, segments []epoch.Segment, f savepoint.File) (others []int) {
	if src.follow != nil {
		return nil
	}
	src.others = map[int]bool{}
	for i, seg := range segments {
		if isForeign(src.WALDir, segments, i, f) {
			others = append(others, seg.Index)
			src.others[seg.Index] = !s.opts.ResumeAfterBestEffort
		}
	}
	return others
}

// isForeign reports whether the i-th of all segments has records of another
// engine. Segments of ours begin with a marker. One whose marker was lost is
// still known by its fingerprint, or by lying within one run of ours.
func isForeign(walDir string, segments []epoch.Segment, i int, f savepoint.File) bool {
	seg := segments[i]
	if !seg.Foreign() {
		return false
	}
	if i > 0 && i+1 < len(segments) && segments[i-1].Run != (ulid.ULID{}) && segments[i-1].Run == segments[i+1].Run {
		return false
	}
	if fp := f.Segments[seg.Index]; fp != 0 {
		if now, err := cursor.Fingerprint(walDir, seg.Index); err == nil && now == fp {
			return false
		}
	}
	return true
}

// resolve finds the positions of a saved endpoint in the log that is there now. lost is
// what it lost of the start and the end of the log by then, and removed what another engine
// removed of the start.
func (s *Storage) resolve(src *Source, f savepoint.File, e *savepoint.Endpoint, segments []epoch.Segment) (st *endpointState, removed, lost queue.Unread, err error) {
	st = savedState(e)
	for _, c := range e.Counted {
		if c.Segment < src.Head().Segment { // Else the number was given again.
			st.counted = append(st.counted, c)
		}
	}
	found := map[cursor.Point]resolved{}
	worst, err := s.findRange(src, f, st.name, &st.acked, &st.apart, found)
	if err != nil {
		return nil, removed, lost, err
	}
	if st.fresh != nil {
		if err := s.findFresh(src, f, e, st, found); err != nil {
			return nil, removed, lost, err
		}
	}
	forfeitedBefore := e.ForfeitedBefore
	if forfeitedBefore == 0 && e.Memory != [3]int{} {
		forfeitedBefore = segments[0].Index // A release before said no more.
	}
	if worst == cursor.SegmentStart || worst == cursor.Ahead || forfeitedBefore > src.Head().Segment {
		forfeitedBefore = 0 // It is not certain that this is still the log of which it was forfeited.
	}
	st = st.without(forfeitedBefore)
	s.forfeitMemory(st.name, e.Memory, e.Floor.Position, max(forfeitedBefore, segments[0].Index))
	lost = startOf(src, f, e, forfeitedBefore, &counted{parts: st.counted}, segments)
	if src.passesFrom(e.Floor.Segment) {
		removed, lost = lost, queue.Unread{}
	}
	st.passed = passedBy(src, st)
	st.countedAcked = ackedOf(src, f, e, st, found, segments)
	end := endOf(src, f, e, found, segments)
	lost.Parts = append(lost.Parts, end.Parts...)
	if src.lostEnd != nil { // The reader that comes there is not to count it again.
		st.counted = append(st.counted, savepoint.Range{Segment: src.lostEnd.Segment, From: src.lostEnd.From, To: endOfSegment})
	}
	switch worst {
	case cursor.SegmentStart:
		// Nothing is known of what was sent from here on.
		st.dispatched = src.Head()
		if st.fresh != nil {
			st.confine()
		}
	case cursor.Ahead:
		// The log was wiped: nothing in it can have been sent.
		st.dispatched = st.floor().Position
	}
	if worst > cursor.Sealed && (worst != cursor.Oldest || forfeitedBefore < st.floor().Segment) {
		s.logger.Error("A saved position is not in the log any more; delivery resumes before it or at the oldest segment",
			"remote_name", st.name, "saved", e.Floor.String(), "resuming_at", st.floor().String(), "reason", worst.String())
	}
	return st, removed, lost, nil
}

// resolved is where a saved point was found.
type resolved struct {
	savepoint.Mark
	verdict cursor.Verdict
}

// find puts marks where they are in the log that is there now, and returns what
// is the worst that can be said of one. found remembers what was looked up.
func (s *Storage) find(src *Source, f savepoint.File, name string, marks []savepoint.Mark, found map[cursor.Point]resolved) (worst cursor.Verdict, err error) {
	for p, m := range marks {
		at, ok := found[m.Point]
		if !ok {
			pos, verdict, err := cursor.Resolve(src.WALDir, cursor.Saved{Point: m.Point, Fingerprint: f.Segments[m.Segment]})
			if err != nil {
				return worst, fmt.Errorf("find the saved position of remote write endpoint %q: %w", name, err)
			}
			if src.other && (verdict == cursor.Sealed || verdict == cursor.SegmentStart || m.Offset == 0) {
				// Another log has other records before it too.
				pos, verdict = s.oldest, cursor.SegmentStart
			}
			pos = src.beyond(pos)
			s.metrics.resumed.WithLabelValues(verdict.String()).Inc()
			at = resolved{savepoint.Mark{Point: cursor.Point{Position: pos}}, verdict}
			if verdict == cursor.Exact && pos == m.Position {
				at.Point = m.Point
			}
			found[m.Point] = at
		}
		worst = max(worst, at.verdict)
		if at.Point == m.Point {
			at.Skip = m.Skip
		}
		marks[p] = at.Mark
	}
	return worst, nil
}

// findRange is find for a range with isolated series. If one of them is not where it
// was, each partition begins where the first of its own did. One of which a limit took
// the place goes on at what is left.
func (s *Storage) findRange(src *Source, f savepoint.File, name string, marks *[]savepoint.Mark, apart *[]isolatedMark, found map[cursor.Point]resolved) (cursor.Verdict, error) {
	placed := slices.Clone(*apart)
	worst, doubtful := cursor.Exact, false
	for i, is := range placed {
		at := []savepoint.Mark{is.Mark}
		verdict, err := s.find(src, f, name, at, found)
		if err != nil {
			return verdict, err
		}
		placed[i].Mark = at[0]
		worst = max(worst, verdict)
		doubtful = doubtful || verdict == cursor.SegmentStart || verdict == cursor.Ahead
	}
	if doubtful {
		placed, *marks = nil, savepoint.Cautious(*marks, *apart)
	}
	*apart = placed
	verdict, err := s.find(src, f, name, *marks, found)
	return max(worst, verdict), err
}

// findFresh finds the fresh range of a state whose other marks were found. If
// anything of it is not exactly where it was, or the backlog is found to go on
// behind its end, there is one range again, from the backlog's marks on: what
// was delivered before its turn is sent once more.
func (s *Storage) findFresh(src *Source, f savepoint.File, e *savepoint.Endpoint, st *endpointState, found map[cursor.Point]resolved) error {
	ends := []savepoint.Mark{{Point: st.fresh.from}}
	worst, err := s.find(src, f, st.name, ends, found)
	if err != nil {
		return err
	}
	of, err := s.findRange(src, f, st.name, &st.fresh.acked, &st.fresh.apart, found)
	if err != nil {
		return err
	}
	behind := slices.ContainsFunc(st.acked, func(m savepoint.Mark) bool { return st.fresh.from.Before(m.Position) })
	if worst = max(worst, of); worst == cursor.Exact && !behind {
		st.mergeRanges()
		return nil
	}
	s.logger.Error("What was delivered before its turn cannot be found in the log again; it is sent once more, behind the backlog",
		"remote_name", st.name, "saved", e.Fresh.From.String(), "resuming_at", st.floor().String(), "reason", worst.String())
	st.fresh, st.dispatched = nil, e.Dispatched
	if worst == cursor.SegmentStart {
		st.dispatched = src.Head() // Nothing is known of what was sent from there on.
	}
	return nil
}
