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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// readLog feeds the stream's queue until the stream ends or stops, or the queue
// closes.
func (l *stream) readLog() {
	ctx := l.reading
	own := newLogReader(l.endpoint.logger, l.endpoint.src, l.endpoint.damaged)
	defer own.close()
	l.full.rest = func() {
		own.letGo()
		l.endpoint.dispatcher.rest()
	}
	pos, _ := l.cursor.get()
	moves := 0 // A limit may have moved the cursor before this.
	fl := l.endpoint.dispatcher.join(pos)
	defer l.endpoint.dispatcher.leave(fl)
	met := false // The endpoint has been at the head of the log.
	for ctx.Err() == nil {
		if p, m := l.cursor.get(); m != moves {
			pos, moves = p, m
			l.resumption.Jump(pos.Position)
			l.queue.Jump(pos)
		}
		until, bounded := l.cursor.end()
		if bounded && !pos.Before(until.Position) {
			l.queue.CaughtUp() // Nothing gets deeper now.
			return
		}
		if bounded && own.until == nil {
			// What was read ahead may be behind the end, and so is what
			// others share.
			own.close()
			own.until = &until
			l.endpoint.dispatcher.leave(fl)
		}
		b, err := (*queue.Batch)(nil), errBehind
		replay := pos.Before(l.replayEnd)
		resuming := replay || l.resumption.Active(pos.Position)
		limit := maxBatchItems
		switch {
		case replay:
			limit = 1 // One commit, so that requests can be small.
		case !l.failing.Load() && lags(pos.Position, l.endpoint.src.Head()):
			limit = farBatchItems
		}
		if !resuming && !bounded && !own.tries.stuckAt(pos.Position) {
			if !pos.Before(l.endpoint.src.Head()) {
				l.queue.CaughtUp()
			}
			switch b, err = l.endpoint.dispatcher.after(ctx, fl, pos, limit); {
			case err == nil:
				met = true
				own.close()
				own.tries.worked(b)
			case errors.Is(err, os.ErrNotExist):
				err = errBehind // Who reads alone finds the way behind what is gone.
			case ctx.Err() == nil && !errors.Is(err, errBehind):
				own.tries.failed(pos.Position)
			}
		}
		if errors.Is(err, errBehind) {
			stop := l.endpoint.dispatcher.meets
			if bounded {
				stop = func(cursor.Position) bool { return false }
			}
			if resuming {
				stop = l.resumption.At
			}
			b, err = own.read(pos, limit, stop)
		}
		switch {
		case err == nil:
		case errors.Is(err, cursor.ErrCaughtUp):
			// Only while resuming, or in the moment before the dispatcher
			// is met: what is acknowledged ends where the log does.
			l.resumption.End()
			l.queue.Unskip()
			sleep(ctx, 10*time.Millisecond)
			continue
		case ctx.Err() != nil:
			return
		default:
			l.endpoint.logger.Error("Cannot read the log, trying again", "position", pos.String(), "err", err, "tries", own.tries.of[pos.Segment].n)
			sleep(ctx, retryInterval)
			continue
		}
		part, was := b, l.resumption.Left()
		var skipped map[int]int
		if resuming {
			part, skipped = l.resumption.Filter(b)
		}
		if !l.cursor.advance(moves, b.End, l.resumption.Left()) {
			l.resumption.Restore(was)
			continue
		}
		pos = b.End
		l.endpoint.countUnknown(b.Unknown)
		l.loseUnread(b.Unread)
		ent := &queue.Entry{Batch: part, Skipped: skipped, Replay: replay, Behind: bounded || lags(b.End.Position, l.endpoint.src.Head())}
		if ent.Behind && !replay && !l.failing.Load() {
			active, _ := l.endpoint.src.Table.Len()
			ent.Room = queue.CatchUpRoom(active)
		}
		m := l.endpoint.metrics.Load()
		l.endpoint.changePending(ent.Batch.Counts, +1)
		m.enqueued(b, !met)
		if !bounded {
			m.segment.Set(float64(b.End.Segment))
		}
		m.highest.raise(l.highest(ent.Batch))
		room := l.queue.Push(ent)
		l.full.end()
		if !room {
			l.unqueued = ent
			return
		}
	}
}

// loseUnread counts what the reader of a stream could not read.
func (l *stream) loseUnread(u queue.Unread) {
	if len(u.Parts) > 0 {
		lost := lostTo(&u, l.acked, spreadOf(l.endpoint.src.Table, l.acked), &l.endpoint.counted)
		l.endpoint.metrics.Load().countUnread(lost.Sums())
		l.endpoint.counted.add(u)
	}
}

// highest returns the highest timestamp in ms of what the endpoint will send of
// a batch, as far as that can be told cheaply: where rules apply, only if the
// endpoint fails, since else a sender tells soon enough.
func (l *stream) highest(b *queue.Batch) (highest int64) {
	set := l.endpoint.settings.Load()
	ruled := len(set.rules.configs) > 0
	if set.queue.SampleAgeLimit != 0 || (ruled && !l.failing.Load()) {
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
	var verdicts []judgement
	b.Each(func(part *queue.List) {
		verdicts = set.rules.judge(len(part.Items), func(i int) *series.Series { return part.Items[i].Series }, verdicts)
		for i := range part.Items {
			if set.wants(part.Kind(i)) && !verdicts[i].drop {
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
