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
	"os"
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// reader fills a stream's queue from the log, until the stream ends or stops, or the
// queue closes. One goroutine owns it. Where it is says how it reads:
//
//	replaying ──▶ resuming ──▶ attached ◀──────┐
//	                            │       ▲      │ a batch begins there that others
//	                 what it is │       └──────┤ share, or this is the reader that
//	                 to read is │              │ leads
//	                 not shared └──▶ alone ────┘
//
// replaying: before the end of the replay range, alone, one commit at a time, so that
// requests can be small. resuming: before the last of the partitions' marks, alone, and
// to each of the marks. What an earlier run had acknowledged is filtered out in both.
// attached: what the dispatcher shares. alone: by itself, until it meets what is shared.
// A stream that has an end is alone from when it got that, and is never attached again.
type reader struct {
	stream *stream
	log    *logReader    // Its own.
	shared *subscription // Where it is among what others share.
	pos    cursor.Point  // Where the next batch begins,
	moves  int           // if cursor.moves is the same still; else a limit has moved the cursor since.
	met    bool          // The endpoint has been at the head of the log.
	newest int64         // Highest timestamp of the last batch that had one, in ms.
}

// phase is how a part of the log is read.
type phase uint8

const (
	attached phase = iota // Or alone, as it turns out.
	resuming
	replaying
)

// readLog fills the stream's queue.
func (s *stream) readLog() {
	r := &reader{stream: s, log: newLogReader(s.endpoint.logger, s.endpoint.src, s.endpoint.damaged)}
	defer r.log.close()
	s.full.letGo = func() {
		r.log.letGo()
		s.endpoint.dispatcher.closeIdle()
	}
	r.pos, _ = s.cursor.get() // A limit may have moved it before this.
	r.shared = s.endpoint.dispatcher.join(r.pos)
	defer s.endpoint.dispatcher.leave(r.shared)
	for s.reading.Err() == nil && !r.ended() {
		ph := r.phase()
		b, err := r.read(ph)
		if err == nil && !r.push(b, ph) {
			return
		}
		if err != nil {
			r.waitAfter(err)
		}
	}
}

// ended goes where a limit has moved the cursor meanwhile, and reports whether that is
// the end of the stream.
func (r *reader) ended() bool {
	s := r.stream
	if pos, moves := s.cursor.get(); moves != r.moves {
		r.pos, r.moves = pos, moves
		s.resumption.Jump(pos.Position)
		s.queue.Jump(pos)
	}
	until, bounded := s.cursor.end()
	if !bounded {
		return false
	}
	if !r.pos.Before(until.Position) {
		s.queue.CaughtUp() // Nothing more comes.
		return true
	}
	if !r.bounded() {
		// What was read ahead may be behind the end, and so is what others share.
		r.log.close()
		r.log.until = &until
		s.endpoint.dispatcher.leave(r.shared)
	}
	return false
}

// bounded reports whether the stream has an end.
func (r *reader) bounded() bool { return r.log.until != nil }

func (r *reader) phase() phase {
	switch at := r.pos.Position; {
	case at.Before(r.stream.replayEnd):
		return replaying
	case r.stream.resumption.Active(at):
		return resuming
	}
	return attached
}

// read returns the batch that begins where the reader is.
func (r *reader) read(ph phase) (*queue.Batch, error) {
	s, limit := r.stream, maxBatchItems
	switch {
	case ph == replaying:
		limit = 1 // One commit.
	case !s.failing.Load() && lags(r.pos.Position, s.endpoint.src.Head()):
		limit = farBatchItems
	}
	if ph == attached && !r.bounded() && !r.log.tries.stuckAt(r.pos.Position) {
		b, err := r.readShared(limit)
		if !errors.Is(err, errBehind) {
			return b, err
		}
	}
	stop := s.endpoint.dispatcher.meets
	switch {
	case ph != attached:
		stop = s.resumption.At
	case r.bounded():
		stop = func(cursor.Position) bool { return false }
	}
	return r.log.read(r.pos, limit, stop)
}

// readShared returns what the dispatcher shares, or errBehind.
func (r *reader) readShared(limit int) (*queue.Batch, error) {
	s, ctx := r.stream, r.stream.reading
	if !r.pos.Before(s.endpoint.src.Head()) {
		s.queue.CaughtUp()
	}
	b, err := s.endpoint.dispatcher.after(ctx, r.shared, r.pos, limit)
	switch {
	case err == nil:
		r.met = true
		r.log.close()
		r.log.tries.noteSuccess(b)
	case errors.Is(err, os.ErrNotExist):
		err = errBehind // Alone, it finds the way past what is gone.
	case ctx.Err() == nil && !errors.Is(err, errBehind):
		r.log.tries.noteFailure(r.pos.Position)
	}
	return b, err
}

// waitAfter waits before the log is read again that could not be read.
func (r *reader) waitAfter(err error) {
	s, ctx := r.stream, r.stream.reading
	switch {
	case errors.Is(err, cursor.ErrCaughtUp):
		// Only while resuming, or in the moment before the dispatcher is met: what is
		// acknowledged ends where the log does.
		s.resumption.End()
		s.queue.Unskip()
		sleep(ctx, 10*time.Millisecond)
	case ctx.Err() == nil:
		s.endpoint.logger.Error("Cannot read the log, trying again", "position", r.pos.String(), "err", err, "tries", r.log.tries.of[r.pos.Segment].n)
		sleep(ctx, retryInterval)
	}
}

// push gives the queue a batch, waiting for room, unless a limit has moved the cursor
// meanwhile. It returns false if the queue takes no more.
func (r *reader) push(b *queue.Batch, ph phase) bool {
	s := r.stream
	e := &queue.Entry{Batch: b, Replay: ph == replaying, Behind: r.bounded() || lags(b.End.Position, s.endpoint.src.Head())}
	before := s.resumption.Left()
	if ph != attached {
		e.Batch, e.Skipped = s.resumption.Filter(b)
	}
	if !s.cursor.advance(r.moves, b.End, s.resumption.Left()) {
		s.resumption.Restore(before)
		return true
	}
	r.pos = b.End
	s.endpoint.countUnknown(b.Unknown)
	s.countUnread(b.Unread, r.around(b))
	if e.Behind && !e.Replay && !s.failing.Load() {
		active, _ := s.endpoint.src.Table.Len()
		e.Room = queue.CatchUpRoom(active)
	}
	m := s.endpoint.metrics.Load()
	s.endpoint.changePending(e.Batch.Counts, +1)
	m.countEnqueued(b, !r.met)
	if !r.bounded() {
		m.segment.Set(float64(b.End.Segment))
	}
	m.highest.raise(s.highest(e.Batch))
	pushed := s.queue.Push(e)
	s.full.end()
	if !pushed {
		s.unqueued = e
	}
	return pushed
}

// around returns the times of what stands in a batch and before it.
func (r *reader) around(b *queue.Batch) (span timeSpan) {
	if r.newest > 0 {
		span.add(r.newest)
	}
	if newest := slices.Max(b.Highest[:]); newest > 0 {
		r.newest = newest
		span.add(newest)
	}
	return span
}

// highest returns the highest timestamp in ms of what the endpoint will send of
// a batch, as far as that can be told cheaply: where rules apply, only if the
// endpoint fails, since else a sender tells soon enough.
func (s *stream) highest(b *queue.Batch) (highest int64) {
	set := s.endpoint.settings.Load()
	ruled := len(set.rules.configs) > 0
	if set.queue.SampleAgeLimit != 0 || (ruled && !s.failing.Load()) {
		return 0
	}
	if !ruled {
		for c := range b.Highest {
			if set.wantsClass(queue.Class(c)) {
				highest = max(highest, b.Highest[c])
			}
		}
		return highest
	}
	var judgements []judgement
	b.Each(func(part *queue.List) {
		judgements = set.rules.judge(len(part.Items), func(i int) *series.Series { return part.Items[i].Series }, judgements)
		for i := range part.Items {
			if set.wants(part.Kind(i)) && !judgements[i].drop {
				highest = max(highest, part.Items[i].T)
			}
		}
	})
	return highest
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
