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
	"errors"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// Attach gives the storage its log. Call it once, after the log has been made
// whole and its series are in the table, and before the first append. Delivery
// begins when a configuration has been applied too.
//
// It is an error if the savepoint is of a later version than this release reads.
func (s *Storage) Attach(src Source) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	switch {
	case s.closed:
		return errors.New("remote write is closed")
	case s.src != nil:
		return errors.New("a log is attached already")
	}
	held, err := s.recall(&src)
	if err != nil {
		return err
	}
	src.Table.OnRemove(func(refs []chunks.HeadSeriesRef) { s.rules.forget(refs) })

	reader := newLogReader(s.logger, &src, s.damaged)
	s.saveMtx.Lock()
	s.src = &src
	s.saveMtx.Unlock()
	s.listMtx.Lock()
	s.feed = newFeed(reader, s.pointAt(src.WALDir, src.Head()))
	s.held = held
	s.wake = s.feed.poke
	s.listMtx.Unlock()

	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.followLog(ctx)
	s.wg.Go(func() { s.keep(ctx) })

	if s.conf == nil {
		return nil
	}
	// The configuration came before the log; it has been found valid then.
	sets, _, err := s.prepare(s.conf)
	if err != nil {
		return err
	}
	s.conf = nil
	return s.apply(sets)
}

// recall loads the savepoint and finds its positions in the log again. What it
// cannot find is resolved towards sending again, never towards skipping.
// Callers hold mtx.
func (s *Storage) recall(src *Source) ([]*stand, error) {
	f, from, err := s.store.Load()
	var lost *savepoint.LostError
	switch {
	case errors.As(err, &lost):
		s.lost = true
	case err != nil:
		return nil, fmt.Errorf("load the savepoint of remote write: %w", err)
	}
	for _, p := range from.Problems {
		if p.Reason != savepoint.Absent {
			s.logger.Error("A savepoint cannot be used", "path", p.Path, "reason", p.Reason.String(), "set_aside", p.SetAside, "err", p.Err)
		}
	}
	segments, err := epoch.Scan(src.WALDir)
	if err != nil {
		return nil, fmt.Errorf("look for segments of other engines in %s: %w", src.WALDir, err)
	}
	foreign := -1
	if src.follow == nil {
		foreign = lastForeign(src.WALDir, segments, f)
	}
	s.oldest = cursor.Position{}
	for _, seg := range segments {
		if seg.Index > foreign {
			s.oldest = cursor.Position{Segment: seg.Index}
			break
		}
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
	out := make([]*stand, 0, len(f.Endpoints))
	for i := range f.Endpoints {
		st, err := s.resolve(src, f, &f.Endpoints[i], foreign)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// lastForeign returns the highest segment with records of another engine, -1
// for none. Segments of ours begin with a marker. One whose marker was lost is
// still known by its fingerprint, or by lying within one run of ours.
func lastForeign(walDir string, segments []epoch.Segment, f savepoint.File) int {
	for i := len(segments) - 1; i >= 0; i-- {
		seg := segments[i]
		if !seg.Foreign() {
			continue
		}
		if i > 0 && i+1 < len(segments) && segments[i-1].Run != (ulid.ULID{}) && segments[i-1].Run == segments[i+1].Run {
			continue
		}
		if fp := f.Segments[seg.Index]; fp != 0 {
			if now, err := cursor.Fingerprint(walDir, seg.Index); err == nil && now == fp {
				continue
			}
		}
		return seg.Index
	}
	return -1
}

// resolve finds where a saved endpoint stands in the log that is there now.
func (s *Storage) resolve(src *Source, f savepoint.File, e *savepoint.Endpoint, foreign int) (*stand, error) {
	st := &stand{id: e.ID, identity: e.Identity, name: e.Identity.Name, marks: e.MarksFor(partitions), mark: e.Dispatched, removed: e.Removed}
	if r := e.FreshFor(partitions); r != nil {
		st.mark = r.BacklogDispatched
		st.fresh = &freshRange{from: r.From, marks: r.Acked, mark: r.Dispatched}
	}
	if st.name == "" {
		st.name = e.Identity.URLHash[:min(6, len(e.Identity.URLHash))]
	}
	if from := st.floor(); from.Segment <= foreign && !s.opts.ResumeForeign {
		at := cursor.Position{Segment: foreign + 1}
		s.metrics.epochGap.Add(float64(foreign - from.Segment + 1))
		s.logger.Warn("Another engine has written to the log since this endpoint's position was saved; what lies between is taken to be delivered by it",
			"remote_name", st.name, "saved", from.String(), "resuming_at", at.String())
		mark := at
		if mark.Before(e.Dispatched) {
			// It was here before, and sent some of what it is sent now.
			mark = e.Dispatched
		}
		behind := standAt(st.id, st.identity, st.name, cursor.Point{Position: at}, mark)
		behind.removed = st.removed
		return behind, nil
	}
	found := map[cursor.Point]resolved{}
	worst, err := s.find(src, f, st.name, st.marks, found)
	if err != nil {
		return nil, err
	}
	if st.fresh != nil {
		if err := s.findFresh(src, f, e, st, found); err != nil {
			return nil, err
		}
	}
	switch worst {
	case cursor.SegmentStart:
		// Nothing is known of what was sent from here on.
		st.mark = src.Head()
		if st.fresh != nil {
			st.confine()
		}
	case cursor.Ahead:
		// The log was wiped: nothing in it can have been sent.
		st.mark = st.floor().Position
	}
	if worst > cursor.Sealed {
		s.logger.Error("A saved position is not in the log any more; delivery resumes before it or at the oldest segment",
			"remote_name", st.name, "saved", e.Floor.String(), "resuming_at", st.floor().String(), "reason", worst.String())
	}
	return st, nil
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
			s.metrics.resumed.WithLabelValues(verdict.String()).Inc()
			at = resolved{savepoint.Mark{Point: cursor.Point{Position: pos}}, verdict}
			if verdict == cursor.Exact {
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

// findFresh finds the fresh range of a stand whose other marks were found. If
// anything of it is not exactly where it was, or the backlog is found to go on
// behind its end, there is one range again, from the backlog's marks on: what
// was delivered before its turn is sent once more.
func (s *Storage) findFresh(src *Source, f savepoint.File, e *savepoint.Endpoint, st *stand, found map[cursor.Point]resolved) error {
	ends := []savepoint.Mark{{Point: st.fresh.from}}
	worst, err := s.find(src, f, st.name, ends, found)
	if err != nil {
		return err
	}
	of, err := s.find(src, f, st.name, st.fresh.marks, found)
	if err != nil {
		return err
	}
	behind := slices.ContainsFunc(st.marks, func(m savepoint.Mark) bool { return st.fresh.from.Before(m.Position) })
	if worst = max(worst, of); worst == cursor.Exact && !behind {
		st.settle()
		return nil
	}
	s.logger.Error("What was delivered before its turn cannot be found in the log again; it is sent once more, behind the backlog",
		"remote_name", st.name, "saved", e.Fresh.From.String(), "resuming_at", st.floor().String(), "reason", worst.String())
	st.fresh, st.mark = nil, e.Dispatched
	if worst == cursor.SegmentStart {
		st.mark = src.Head() // Nothing is known of what was sent from there on.
	}
	return nil
}
