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
	"os"
	"slices"

	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// Forfeit makes endpoints give up everything before a position, because a limit
// forces its removal: the holders of the gate that are named, or all if none
// is. What an endpoint has read already it delivers all the same. The rest is
// counted, by reading it once more, and logged (I1). The caller removes segments
// after it has returned.
func (s *Storage) Forfeit(before cursor.Position, reason string, holders ...string) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.src == nil {
		return errors.New("no log is attached")
	}
	meant := func(name, id string) bool {
		return len(holders) == 0 || slices.Contains(holders, name) || slices.Contains(holders, holderName(name, id))
	}
	var errs []error
	for _, e := range s.running {
		if !meant(e.settings.Load().name, e.id) {
			continue
		}
		for _, l := range e.raise(before) {
			errs = append(errs, s.forfeit(e.settings.Load().name, reason, l))
		}
	}
	held := make([]*stand, len(s.held))
	for i, st := range s.held {
		held[i] = st
		if !st.floor().Before(before) || !meant(st.name, st.id) {
			continue
		}
		moved, lost := st.given(before)
		for _, l := range lost {
			errs = append(errs, s.forfeit(st.name, reason, l))
		}
		held[i] = moved
	}
	s.setLists(s.running, held)
	return errors.Join(errs...)
}

// forfeit counts what a limit takes from one endpoint.
func (s *Storage) forfeit(name, reason string, l lostRange) error {
	lost, err := s.countItems(l.from, l.to, l.marks)
	s.forfeited(name, l.from, l.to, reason, lost, logBytes(s.src.WALDir, l.from, l.to))
	return err
}

// reasonStopped is for what a limit had removed from the log while it was still
// in memory, and that a stop then ended the delivery of.
const reasonStopped = "stopped_after_limit"

// forfeitMemory counts what a stopped endpoint had in memory only. Callers hold
// mtx.
func (s *Storage) forfeitMemory(e *endpoint) {
	first, _, err := wlog.Segments(s.src.WALDir)
	if err != nil || first <= 0 {
		return
	}
	for _, l := range e.lanes() {
		lost := l.queue.before(first)
		if u := l.unqueued; u != nil && u.start.Segment < first {
			lost.plus(u.content())
		}
		if lost.total() > 0 {
			to := cursor.Position{Segment: first}
			marks := make([]savepoint.Mark, partitions)
			s.forfeited(e.settings.Load().name, l.queue.marks(marks).Position, to, reasonStopped, lost, 0)
		}
	}
}

func (s *Storage) forfeited(name string, from, to cursor.Position, reason string, lost tally, bytes int64) {
	s.metrics.forfeitedBytes.WithLabelValues(name, reason).Add(float64(bytes))
	for c, n := range lost {
		s.metrics.forfeited.WithLabelValues(name, reason, classNames[c]).Add(float64(n))
	}
	s.logger.Error("A limit removes a part of the log before it was delivered", "remote_name", name, "reason", reason,
		"from", from.String(), "to", to.String(), "bytes", bytes, "samples", lost[classSamples], "histograms", lost[classHistograms], "exemplars", lost[classExemplars])
}

// countItems counts what lies between two positions and after the partitions'
// marks.
func (s *Storage) countItems(from, to cursor.Position, marks []savepoint.Mark) (t tally, err error) {
	r := newLogReader(s.logger, s.src, func(*cursor.Corruption) {})
	defer r.close()
	r.until = &cursor.Point{Position: to}
	if err := r.seek(cursor.Point{Position: from}); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return t, nil
		}
		return t, fmt.Errorf("count what is removed from the log at %s: %w", from, err)
	}
	res := newResumption(marks)
	for {
		b, err := r.batch(maxBatchItems, res.at)
		if errors.Is(err, cursor.ErrCaughtUp) {
			return t, nil
		}
		if err != nil {
			return t, fmt.Errorf("count what is removed from the log at %s: %w", from, err)
		}
		b, _ = res.filter(b)
		t.plus(b.content())
		t.plus(b.unknown)
		if !b.end.Before(to) {
			return t, nil
		}
	}
}
