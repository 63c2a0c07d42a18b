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
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/follow"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
)

// FollowOptions say which log is followed.
type FollowOptions struct {
	// WALDir holds the segments and checkpoints. Savepoints are written to the
	// data directory that NewStorage was given.
	WALDir string
	// Release is called once when the storage is closed, may be nil. It is for
	// a lock on the directories that must outlast the last savepoint.
	Release func() error
	// FromStart lets endpoints begin at the oldest record, and not at the end, if
	// there is no savepoint: all of the log was written while they were configured.
	FromStart bool
	// Lost is what a repair by the log's writer has taken out of it since the last
	// savepoint was written: of each segment the bytes that are gone. What endpoints
	// had not acknowledged of it is counted. What a repair by package repair has filled
	// does not belong here; it is counted where it is read.
	Lost []repair.Damage
}

// Follow gives the storage a log in stock's format that has a writer of its own,
// in this process or in another. It takes the place of Attach; call it once,
// after the writer has opened the log. Delivery begins when a configuration has
// been applied too.
//
// All that is known of the log is read from it: series come from the newest
// checkpoint and the segments, and a series that neither mentions any more is no
// longer in use. The log is never written to, and what is in it is not held: see
// Floor. Notify tells of commits; without it, they are found a tenth of a second
// later.
//
// Saved positions are taken up whichever writer made the log, as long as the
// segments are those that they were saved for. If segments that an endpoint
// still needed are gone, delivery goes on with the oldest one there is, and
// segments_missing_total says how many are lost.
//
// It is an error if there is no log, or if the savepoint is of a later version
// than this release reads.
func (s *Storage) Follow(o FollowOptions) error {
	f, err := follow.Open(s.logger, o.WALDir, s.damaged)
	if err != nil {
		return err
	}
	err = s.Attach(Source{
		WALDir:  o.WALDir,
		DataDir: s.dataDir,
		Table:   f.Table(),
		Gate:    gate.New(),
		Head:    f.Head,
		Size:    f.Size,
		Run:     ulid.Make(),
		Release: o.Release,
		follow:  f,
		begun:   o.FromStart,
		lost:    o.Lost,
	})
	if err != nil && !s.follows(f) {
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("follow the log in %s: %w", o.WALDir, err)
	}
	return nil
}

// Reopened tells that this process has opened the log, as its only writer. Without
// that, a series record that comes in a later segment than the first samples of its
// series is not taken to be theirs: the log may have been opened in between, and the
// ref given to another series.
func (s *Storage) Reopened() {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.src != nil && s.src.follow != nil {
		s.src.follow.Reopened()
	}
}

// follows reports whether f is what the storage reads.
func (s *Storage) follows(f *follow.Follower) bool {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.src != nil && s.src.follow == f
}

// Floor returns what the writer of the log may remove, by positions that are
// synced to disk; Persist brings them up to date. While the state is
// gate.Closed, which it is until the first configuration is applied, nothing may
// be. With gate.Free no endpoint needs the log, and its writer goes by rules of
// its own. With gate.Held, segments before Position.Segment may go, and a
// checkpoint in their stead has at most the number of the last of them.
//
// It never blocks, and rises only while the configuration stays the same.
func (s *Storage) Floor() gate.Floor {
	s.listMtx.Lock()
	g := s.gate
	s.listMtx.Unlock()
	if g == nil {
		return gate.Floor{State: gate.Closed}
	}
	return g.Floor()
}

// followLog begins to read a followed log for series. Callers hold mtx.
func (s *Storage) followLog(ctx context.Context) {
	f := s.src.follow
	s.listMtx.Lock()
	s.gate = s.src.Gate
	if f != nil {
		s.wake = f.Notify
	}
	s.listMtx.Unlock()
	if f != nil {
		s.wg.Go(func() { f.Run(ctx, func() { s.dispatcher.notify() }, s.truncated) })
	}
}

// catchUp makes sure that what was written last is seen, if the log is followed.
// Callers hold mtx.
func (s *Storage) catchUp(ctx context.Context) {
	if f := s.src.follow; f != nil {
		f.CatchUp(ctx)
		s.dispatcher.notify()
	}
}

// truncated lets endpoints go on at a segment because those before it were
// removed, and reports whether no leading reader is in them any more. A file that
// is open can be read without its name, but an endpoint that far behind would not
// get beyond it.
func (s *Storage) truncated(first int) bool {
	to := cursor.Position{Segment: first}
	s.listMtx.Lock()
	running := s.running
	s.listMtx.Unlock()
	for _, e := range running {
		e.forfeitedBefore.Store(max(e.forfeitedBefore.Load(), int64(first)))
		for _, g := range e.forfeitBefore(to) {
			e.skipped(g.from, g.to)
		}
	}
	return !s.dispatcher.readsBefore(to)
}

// skipped counts segments that vanished before the endpoint had read them.
func (e *endpoint) skipped(from, to cursor.Position) {
	e.logger.Error("Segments of the log vanished before they were delivered", "position", from.String(), "resuming_at", to.String())
	e.metrics.Load().segmentsMissing.Add(float64(to.Segment - from.Segment))
}

// readsBefore reports whether a leading reader is before p. One that is about to
// lead finds that the head was moved before it uses what it read.
func (d *dispatcher) readsBefore(p cursor.Position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leading && d.head.Before(p)
}
