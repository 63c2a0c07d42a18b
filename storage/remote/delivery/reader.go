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

	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// readLog feeds the endpoint's queue until ctx ends or the queue closes.
func (e *endpoint) readLog(ctx context.Context) {
	own := newLogReader(e.logger, e.src, e.damaged)
	defer own.close()
	pos, moves := e.place.get()
	fl := e.feed.join(pos)
	defer e.feed.leave(fl)
	ownAt := cursor.Point{}
	met := false // The endpoint has been at the head of the log.
	for ctx.Err() == nil {
		if p, m := e.place.get(); m != moves {
			pos, moves = p, m
			e.queue.jump(pos)
		}
		b, err := (*batch)(nil), errBehind
		zone := pos.Before(e.zoneEnd)
		resuming := zone || e.resumption.active(pos.Position)
		if !resuming {
			if !pos.Before(e.src.Head()) {
				e.queue.shallow()
			}
			if b, err = e.feed.after(ctx, fl, pos); err == nil {
				met = true
			}
		}
		if errors.Is(err, errBehind) {
			if own.tail == nil || ownAt != pos {
				err = own.seek(pos)
			} else {
				err = nil
			}
			if err == nil {
				limit, stop := maxBatchItems, e.feed.meets
				if resuming {
					stop = e.resumption.at
				}
				if zone {
					limit = 1 // One commit, so that requests can be small.
				}
				b, err = own.batch(limit, stop)
			}
			if err == nil {
				ownAt = b.end
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrNotExist):
			own.close()
			e.lostSegment(pos, moves)
			continue
		case errors.Is(err, cursor.ErrCaughtUp):
			// Only while resuming, or in the moment before the dispatcher
			// is met: what is acknowledged ends where the log does.
			e.resumption.beyond = cursor.Position{}
			e.resumption.skip = [partitions]int{}
			sleep(ctx, 10*time.Millisecond)
			continue
		case ctx.Err() != nil:
			return
		default:
			own.close()
			e.logger.Error("Cannot read the log, trying again", "position", pos.String(), "err", err)
			sleep(ctx, retryInterval)
			continue
		}
		if !e.place.claim(moves, b.end) {
			continue
		}
		pos = b.end
		e.countUnknown(b.unknown)
		ent := &entry{batch: b, zone: zone, behind: lags(b.end.Position, e.src.Head())}
		if ent.behind && !zone && !e.failing.Load() {
			active, _ := e.src.Table.Len()
			ent.room = deepRoom(active)
		}
		if resuming {
			ent.batch, ent.skipped = e.resumption.filter(b)
		}
		m := e.metrics.Load()
		m.enqueued(b, ent.content(), !met)
		m.highest.raise(e.highest(ent.batch))
		if !e.queue.push(ent) {
			return
		}
	}
}

// backlog is how many bytes of the log make one: about a second of a busy agent.
const backlog = 1 << 20

// lags reports whether an endpoint that reads at one position, while the log
// ends at another, has to catch up. Who reads for it is another question: if
// all endpoints are as far behind, the dispatcher does.
func lags(at, head cursor.Position) bool {
	return at.Segment != head.Segment || head.Offset-at.Offset > backlog
}

// highest returns the highest timestamp in ms of what the endpoint will send of
// a batch, as far as that can be told cheaply: where rules apply, only if the
// endpoint fails, since else a sender tells soon enough.
func (e *endpoint) highest(b *batch) (highest int64) {
	set := e.settings.Load()
	ruled := len(set.rules.configs) > 0
	if set.queue.SampleAgeLimit != 0 || (ruled && !e.failing.Load()) {
		return 0
	}
	if !ruled {
		for c := range b.highest {
			if set.wantsClass(class(c)) {
				highest = max(highest, b.highest[c])
			}
		}
		return highest
	}
	verdicts := set.rules.judge(len(b.items), func(i int) *series.Series { return b.items[i].series }, nil)
	for i := range b.items {
		if it := &b.items[i]; set.wants(it.kind) && !verdicts[i].drop {
			highest = max(highest, it.t)
		}
	}
	return highest
}

// lostSegment moves on to the oldest segment there is, after one vanished that
// was not removed by a limit of ours.
func (e *endpoint) lostSegment(pos cursor.Point, moves int) {
	first, _, err := wlog.Segments(e.src.WALDir)
	to := cursor.Position{Segment: first}
	if err != nil || first < 0 || !pos.Before(to) {
		// The directory cannot be listed, or the log has not come to this
		// segment yet.
		sleep(e.ctx, retryInterval)
		return
	}
	if _, m := e.place.get(); m != moves {
		return
	}
	if from, moved := e.place.raise(to); moved {
		e.skipped(from.Position, to)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// skipped counts segments that vanished before the endpoint had read them.
func (e *endpoint) skipped(from, to cursor.Position) {
	e.logger.Error("Segments of the log vanished before they were delivered", "position", from.String(), "resuming_at", to.String())
	e.metrics.Load().segmentsMissing.Add(float64(to.Segment - from.Segment))
}
