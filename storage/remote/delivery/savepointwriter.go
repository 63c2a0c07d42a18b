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
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// statesToSave returns the states of all endpoints, those at work and those retained, for a
// savepoint that begins now.
func (s *Storage) statesToSave() []*endpointState {
	s.listMtx.Lock()
	running, retained := s.running, s.retained
	s.listMtx.Unlock()
	out := make([]*endpointState, 0, len(running)+len(retained))
	for _, e := range running {
		out = append(out, e.toSave(false))
	}
	return append(out, retained...)
}

// save writes a savepoint. A durable one is synced to disk before save returns;
// it moves the gate and the dispatch watermarks. Others are written only if
// something changed.
func (s *Storage) save(durable bool) error {
	return s.saveStates(s.statesToSave, durable, false)
}

// saveStates writes what states returns, asked under the lock that orders
// savepoints.
func (s *Storage) saveStates(states func() []*endpointState, durable, clean bool) error {
	s.saveMtx.Lock()
	defer s.saveMtx.Unlock()
	return s.write(states, durable, clean)
}

// saveUnless writes a durable savepoint, unless done says that another caller's,
// for which it had to wait, will do.
func (s *Storage) saveUnless(done func() bool) error {
	s.saveMtx.Lock()
	defer s.saveMtx.Unlock()
	if done() {
		return nil
	}
	return s.write(s.statesToSave, true, false)
}

// write writes a savepoint. Callers hold saveMtx.
func (s *Storage) write(states func() []*endpointState, durable, clean bool) error {
	if s.src == nil {
		return errors.New("no log is attached")
	}
	settled := s.settledItems()
	all := states()
	f := s.content(all, durable, clean)
	if !durable && s.last.holds(f) {
		s.metrics.savepointWritten.set(time.Now()) // It is what would be written.
		return nil
	}
	f.Written = time.Now()
	data, err := savepoint.Encode(f)
	if err == nil {
		err = s.store.WriteEncoded(data, durable)
	}
	if err != nil {
		s.last.data = nil
		s.metrics.savepointFails.Inc()
		return fmt.Errorf("write savepoint in %s: %w", s.src.DataDir, err)
	}
	s.last = lastSave{settled: settled, data: data, written: f.Written, segment: f.Segment, end: f.End, checkpoint: f.Checkpoint}
	s.unsaved.Store(false)
	s.metrics.savepointWrites.WithLabelValues(strconv.FormatBool(durable)).Inc()
	s.metrics.savepointWritten.set(f.Written)
	if durable {
		s.moveGate(all)
	}
	return nil
}

// content returns what is to be written, but for the time. Callers hold saveMtx.
func (s *Storage) content(all []*endpointState, durable, clean bool) savepoint.File {
	head := s.src.Head()
	f := savepoint.File{
		Run:        s.src.Run.String(),
		Segment:    head.Segment,
		End:        head.Offset,
		Checkpoint: s.checkpoint(head.Segment, durable),
		Partitions: queue.Partitions,
		Clean:      clean,
		Endpoints:  make([]savepoint.Endpoint, 0, len(all)),
	}
	sums := map[cursor.Position]uint32{}
	for _, st := range all {
		f.Endpoints = append(f.Endpoints, s.identified(st, sums).saved())
	}
	s.sums = sums
	if s.src.follow != nil {
		f.Followed, f.Sizes, f.EndCRC = true, s.sizes(&f), s.pointAt(s.src.WALDir, head).CRC
	}
	f.Segments = s.fingerprints(f.Referenced())
	items, bytes := s.src.density.seen()
	f.Density = [2]int64{int64(items), int64(bytes)}
	return f
}

// mostSizes bounds how many sizes of segments a savepoint has.
const mostSizes = 1 << 12

// sizes returns those of the segments that endpoints need, up to the one before the last.
func (s *Storage) sizes(f *savepoint.File) (sizes []int64) {
	oldest := f.Segment - 1
	for i := range f.Endpoints {
		oldest = min(oldest, f.Endpoints[i].Floor.Segment)
	}
	for n := max(oldest, f.Segment-mostSizes, 0); n < f.Segment; n++ {
		sizes = append(sizes, s.src.Size(n))
	}
	return sizes
}

// identified returns st with the checksums of its marks, which it lacks where
// what lies there came from memory. They are read from the log once and kept in
// sums; one that cannot be read would cost that a part is sent again. Callers
// hold saveMtx.
func (s *Storage) identified(st *endpointState, sums map[cursor.Position]uint32) *endpointState {
	whole := *st // States may be shared.
	whole.acked = s.identifiedMarks(st.acked, sums)
	whole.apart = s.identifiedApart(st.apart, sums)
	if st.fresh != nil {
		fresh := *st.fresh
		fresh.acked = s.identifiedMarks(fresh.acked, sums)
		fresh.apart = s.identifiedApart(fresh.apart, sums)
		fresh.from = s.identifiedMarks([]savepoint.Mark{{Point: fresh.from}}, sums)[0].Point
		whole.fresh = &fresh
	}
	return &whole
}

// identifiedMarks returns marks with their checksums, in place of the caller's
// if one was missing.
func (s *Storage) identifiedMarks(marks []savepoint.Mark, sums map[cursor.Position]uint32) []savepoint.Mark {
	var own []savepoint.Mark
	for p, m := range marks {
		if m.CRC != 0 || m.Offset == 0 {
			continue
		}
		crc, known := sums[m.Position]
		if !known {
			if crc, known = s.sums[m.Position]; !known {
				crc = s.pointAt(s.src.WALDir, m.Position).CRC
			}
			sums[m.Position] = crc
		}
		if own == nil {
			own = slices.Clone(marks)
		}
		own[p].CRC = crc
	}
	if own == nil {
		return marks
	}
	return own
}

// identifiedApart is identifiedMarks for isolated series.
func (s *Storage) identifiedApart(apart []isolatedMark, sums map[cursor.Position]uint32) []isolatedMark {
	marks := make([]savepoint.Mark, len(apart))
	for i, is := range apart {
		marks[i] = is.Mark
	}
	marks = s.identifiedMarks(marks, sums)
	var own []isolatedMark
	for i, m := range marks {
		own = append(own, isolatedMark{Series: apart[i].Series, Mark: m})
	}
	return own
}

// moveGate lets the gate and the dispatch watermarks follow what is on disk now.
// Callers hold saveMtx.
func (s *Storage) moveGate(all []*endpointState) {
	holders := map[string]bool{}
	for _, st := range all {
		holders[st.id] = true
		s.src.Gate.Set(gate.Holder{ID: st.id, Name: st.name, Position: st.neededFrom()})
	}
	for _, h := range s.src.Gate.Holders() {
		if !holders[h.ID] {
			s.src.Gate.Remove(h.ID)
		}
	}
	if s.configured.Load() {
		s.src.Gate.Open()
	}
	for _, st := range all {
		// Each stream learns of its own mark only: that of one says nothing of
		// what another may send.
		if st.stream != nil {
			st.stream.dispatched.synced(st.dispatched)
		}
		if st.fresh != nil && st.fresh.stream != nil {
			st.fresh.stream.dispatched.synced(st.fresh.dispatched)
		}
	}
}

// fingerprints returns what identifies the segments now. They are looked at
// once; a segment without a record yet is asked again. Callers hold saveMtx.
func (s *Storage) fingerprints(segments []int) map[int]uint32 {
	out := make(map[int]uint32, len(segments))
	for _, n := range segments {
		if s.src.others[n] {
			continue // It would be taken for one of ours.
		}
		fp := s.prints[n]
		if fp == 0 {
			var err error
			if fp, err = cursor.Fingerprint(s.src.WALDir, n); err != nil {
				continue // Gone, or not there yet: resolved towards sending again.
			}
		}
		if fp != 0 {
			out[n] = fp
		}
	}
	s.prints = out
	return out
}

// writeSavepoints writes them and lets go of removed endpoints until ctx ends.
func (s *Storage) writeSavepoints(ctx context.Context) {
	ticker := time.NewTicker(saveInterval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.expire(now)
			if !s.saveDue(now) {
				continue
			}
			if err := s.save(false); err != nil {
				s.logger.Error("Cannot write the savepoint; what is acknowledged now would be sent again after a crash", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// saveDue reports whether it is time for a savepoint without a sync, if anything changed:
// where no endpoint settles much, few are as good as many.
func (s *Storage) saveDue(now time.Time) bool {
	s.saveMtx.Lock()
	defer s.saveMtx.Unlock()
	for e, n := range s.settledItems() {
		if n-s.last.settled[e] >= muchSettled {
			return true
		}
	}
	return now.Sub(s.last.written) > slowSaves-saveInterval
}

// settledItems returns how many items have left the queue of each endpoint at work.
func (s *Storage) settledItems() map[*endpoint]int {
	s.listMtx.Lock()
	running := s.running
	s.listMtx.Unlock()
	settled := make(map[*endpoint]int, len(running))
	for _, e := range running {
		e.pending.mtx.Lock()
		settled[e] = e.pending.settled
		e.pending.mtx.Unlock()
	}
	return settled
}

// pointAt returns a position together with what identifies it. If that cannot be
// had, a restart before anything is read resolves it to its segment's start: more
// is sent then, nothing is skipped.
func (s *Storage) pointAt(walDir string, at cursor.Position) cursor.Point {
	p, err := cursor.PointAt(walDir, at)
	if err != nil {
		s.logger.Warn("A position in the log cannot be identified", "position", at.String(), "err", err)
		return cursor.Point{Position: at}
	}
	return p
}

// lastSave is the newest savepoint. It tells that nothing has changed since. It is guarded by saveMtx.
type lastSave struct {
	settled map[*endpoint]int // See Storage.settledItems.

	data []byte // Nil if what there is on disk is not known.

	written    time.Time
	segment    int
	end        int64
	checkpoint int
}

// holds reports whether a savepoint with that content would be the same but for the
// time. What is compared is what would be written, so that nothing is forgotten.
func (l *lastSave) holds(f savepoint.File) bool {
	if l.data == nil || f.Segment != l.segment || f.End != l.end {
		return false // The log has grown: it takes no second encoding to know.
	}
	f.Written = l.written
	data, err := savepoint.Encode(f)
	return err == nil && bytes.Equal(data, l.data)
}

// checkpoint returns the number of the newest checkpoint, -1 for none. To list
// the directory costs as much as to write the file, so it is done for durable
// savepoints, which go with every truncation, and for new segments.
func (s *Storage) checkpoint(segment int, durable bool) int {
	if s.last.data != nil && !durable && segment == s.last.segment {
		return s.last.checkpoint
	}
	if _, n, err := wlog.LastCheckpoint(s.src.WALDir); err == nil {
		return n
	}
	return -1
}
