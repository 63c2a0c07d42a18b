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

package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

const (
	// pollInterval is how long a commit stays unread without a notification.
	pollInterval = 100 * time.Millisecond
	// collectInterval is how often segments and checkpoints are looked at.
	collectInterval = time.Second
	// publishAfter is how many records are read before the head moves, if
	// there are more.
	publishAfter = 64
)

// Follower keeps a table in step with a log. Run it once; the other methods may
// be called from anywhere, before that and after.
type Follower struct {
	sinceReopened atomic.Int64 // From this segment on the writer has not opened the log again; first, for 32-bit platforms.
	logger        *slog.Logger
	dir           string
	table         *series.Table
	past          past
	damage        func(*cursor.Corruption)
	head          atomic.Pointer[cursor.Position]
	notified      chan struct{} // Something was written. Capacity 1.

	passMtx     sync.Mutex
	begun, done int           // Passes over what is new.
	passed      chan struct{} // Closed and replaced when one is done.

	finished finished
	// The rest belongs to Open, and then to Run.
	tail        *cursor.Tail
	at          cursor.Position // What was read.
	dec         *decoder
	early       early
	segment     int  // What definitions count as a mention in.
	first       int  // Oldest segment, as last seen.
	readersPast bool // No reader is before it any more.
	checkpoint  int  // The last one that was taken into account.
	whole       bool // Nothing of that is damaged.
	dropped     int  // Series were dropped that no segment from here on mentions.
	collected   time.Time
	complained  time.Time
}

// Open reads what is in the log, which its writer has opened. damage is told of
// each damaged part in what is read by Open; it may be called from several
// goroutines.
func Open(l *slog.Logger, walDir string, damage func(*cursor.Corruption)) (*Follower, error) {
	for attempt := 1; ; attempt++ {
		f := &Follower{
			logger:      l,
			dir:         walDir,
			table:       series.New(series.Options{}),
			notified:    make(chan struct{}, 1),
			passed:      make(chan struct{}),
			dec:         newDecoder(l),
			early:       newEarly(),
			readersPast: true,
			checkpoint:  -1,
			damage: func(c *cursor.Corruption) {
				l.Error("Skipped a damaged part of the log; series that only it defines are not known", "segment", c.Segment, "from", c.From, "to", c.To, "err", c.Err)
				damage(c)
			},
		}
		f.sinceReopened.Store(math.MaxInt64)
		err := f.load()
		if err == nil {
			f.publish(time.Now())
			return f, nil
		}
		f.Close()
		if !errors.Is(err, os.ErrNotExist) || attempt == maxOpens {
			return nil, fmt.Errorf("read the series of the write-ahead log in %s: %w", walDir, err)
		}
	}
}

// Close releases what Open has opened. Only a Follower that is not run needs
// it.
func (f *Follower) Close() {
	if f.tail != nil {
		_ = f.tail.Close() // Read-only: there is nothing to lose.
		f.tail = nil
	}
}

// Table returns the table. Only the follower may change it.
func (f *Follower) Table() *series.Table { return f.table }

// Head returns the position up to which records may be read.
func (f *Follower) Head() cursor.Position { return *f.head.Load() }

// Resolve returns the series that ref means in a record that ends at pos, nil if that
// is not known. pos must not be beyond the head.
func (f *Follower) Resolve(ref chunks.HeadSeriesRef, pos cursor.Position) *series.Series {
	// A ref gets another meaning in two steps: what it meant is noted, then
	// the table changes. A lookup in the other order, in the table last, would find
	// neither what was noted nor what was there, if both steps fell between.
	s := f.table.Resolve(ref)
	if was := f.past.at(ref, pos); was != nil {
		s = was
	}
	if s != nil && s.DefinedIn() > pos.Segment && int64(pos.Segment) < f.sinceReopened.Load() {
		return nil // Its writer may have opened the log in between, and given the ref again.
	}
	return s
}

// Size returns how many bytes a segment had when it was seen to be finished, 0 for
// unknown.
func (f *Follower) Size(segment int) int64 { return f.finished.size(segment) }

// Reopened tells that the log was opened by its only writer, which is this process.
func (f *Follower) Reopened() {
	if _, last, err := cursor.SegmentRange(f.dir); err == nil {
		f.sinceReopened.Store(int64(last))
	}
}

// Notify tells that something was written. It never blocks, and returns false if
// Run had been told already and has not looked yet.
func (f *Follower) Notify() bool {
	select {
	case f.notified <- struct{}{}:
		return true
	default:
		return false
	}
}

// CatchUp waits until Run has read everything that was written before the call,
// or ctx ends.
func (f *Follower) CatchUp(ctx context.Context) {
	f.passMtx.Lock()
	want := f.begun + 1
	f.passMtx.Unlock()
	f.Notify()
	for {
		f.passMtx.Lock()
		done, passed := f.done, f.passed
		f.passMtx.Unlock()
		if done >= want {
			return
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return
		}
	}
}

// Run reads what is written until ctx ends. It calls moved after the head has
// moved, and truncated when segments before the given one are gone, again until
// that returns true because no reader is in them any more.
func (f *Follower) Run(ctx context.Context, moved func(), truncated func(first int) bool) {
	defer f.Close()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for ctx.Err() == nil {
		f.passMtx.Lock()
		f.begun++
		pass := f.begun
		f.passMtx.Unlock()

		err := f.read(ctx, moved)
		if now := time.Now(); err == nil && (!f.readersPast || now.Sub(f.collected) >= collectInterval) {
			f.collected = now
			err = f.collect(truncated)
		}
		if err != nil {
			f.complain(err)
		}

		f.passMtx.Lock()
		f.done = pass
		close(f.passed)
		f.passed = make(chan struct{})
		f.passMtx.Unlock()
		select {
		case <-f.notified:
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// complain logs an error, not too often. It is tried again soon.
func (f *Follower) complain(err error) {
	if now := time.Now(); now.Sub(f.complained) >= 10*time.Second {
		f.complained = now
		f.logger.Error("Cannot read the log for series, trying again", "position", f.at.String(), "err", err)
	}
}

// read takes into account everything that is new, and moves the head.
func (f *Follower) read(ctx context.Context, moved func()) error {
	publish := func() {
		if f.publish(time.Now()) {
			moved()
		}
	}
	for n := 1; ctx.Err() == nil; n++ {
		it, err := f.next()
		switch {
		case err == nil:
		case errors.Is(err, cursor.ErrCaughtUp):
			publish()
			return nil
		default:
			publish()
			if errors.Is(err, os.ErrNotExist) {
				return f.vanished(err)
			}
			return err
		}
		switch it.Kind {
		case cursor.Record:
			f.take(it)
		case cursor.Seal:
			f.finished.note(f.dir, it.Start.Segment)
		}
		f.at = it.End.Position
		if n%publishAfter == 0 {
			publish()
		}
	}
	return nil
}

func (f *Follower) next() (cursor.Item, error) {
	if f.tail == nil {
		tail, err := cursor.Open(f.dir, f.at)
		if err != nil {
			return cursor.Item{}, err
		}
		f.tail = tail
	}
	return f.tail.Next()
}

// vanished goes on at the oldest segment if the writer has removed the one that
// was to be read. What was defined in those in between and is still in use is in
// the checkpoint.
func (f *Follower) vanished(cause error) error {
	f.Close()
	first, last, err := cursor.SegmentRange(f.dir)
	switch {
	case err != nil:
		return err
	case last < f.at.Segment:
		return fmt.Errorf("%w: the log ends before it, so it was made anew while it was followed; close this storage and follow the new log", cause)
	case first <= f.at.Segment:
		return cause
	}
	f.logger.Warn("Segments of the log were removed before they were read for series", "position", f.at.String(), "going_on_at", first)
	f.segment = first
	known, whole := f.checkpoint, f.whole
	if err := f.loadCheckpoint(); err != nil {
		return err
	}
	f.checkpoint, f.whole = known, whole // What is not in it has not been dropped yet.
	f.at = cursor.Position{Segment: first}
	f.Notify()
	return nil
}

// take takes a record into account.
func (f *Follower) take(it cursor.Item) {
	f.segment = it.Start.Segment
	if isAboutSeries(it.Data) {
		f.takeSeries(it)
		return
	}
	for _, ref := range f.dec.mentioned(it.Data) {
		if !f.mention(ref, f.segment) {
			f.early.met(ref, f.at, time.Now())
		}
	}
}

func (f *Follower) takeSeries(it cursor.Item) {
	defs, described, err := f.dec.about(it.Data)
	if err != nil {
		f.logger.Error("Skipped a record about series that cannot be decoded", "segment", it.Start.Segment, "end_offset", it.End.Offset, "err", err)
		return
	}
	f.define(defs, it.End.Position)
	f.describe(described)
}

// describe takes metadata into account. Of a series that is not known it is left out:
// its writer tells it after the definition.
func (f *Follower) describe(described []record.RefMetadata) {
	for _, m := range described {
		if s := f.table.Resolve(m.Ref); s != nil {
			f.table.SetMetadata(s, metadata.Metadata{Type: record.ToMetricType(m.Type), Unit: m.Unit, Help: m.Help})
		}
	}
}

// define takes definitions into account that hold from a position on. The zero
// position is for those of a checkpoint, which precede all there is to read.
func (f *Follower) define(defs []record.RefSeries, from cursor.Position) {
	for i := range defs {
		d := &defs[i]
		if old := f.table.Resolve(d.Ref); old != nil && from != (cursor.Position{}) && !old.Has(d.Labels) {
			// Before the table changes, see Resolve.
			f.past.add(old, from)
		}
		f.table.Define(d.Ref, d.Labels, f.segment, from.Segment)
		f.early.defined(d.Ref)
	}
}

// publish lets readers go on to what was read, and reports whether they can.
func (f *Follower) publish(now time.Time) bool {
	head, orphans := f.early.limit(f.at, now)
	if orphans > 0 {
		f.logger.Warn("The log mentions series that it does not define; their samples cannot be delivered", "series", orphans, "position", f.early.at.String())
	}
	if was := f.head.Load(); was != nil && !was.Before(head) {
		return false
	}
	f.head.Store(&head)
	return true
}
