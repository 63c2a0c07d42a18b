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
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// Fresh first: an endpoint that was away for long, and whose receiver takes
// samples out of order, is sent what is new at once, while what it missed
// follows within a share of its senders. Its stream then ends at the head of the
// log as it is at that moment, always the end of a commit, and another one
// begins there. When the first, the backlog's, has come to its end, the second
// is the only one. There are never more than two: an endpoint that fails again
// meanwhile catches up with the second in the order of the log.
//
// Each stream keeps the order (I4), has a savepoint (I2) and a dispatch watermark (I8)
// of its own. The log is held from the floor of the backlog (I1).

// splitDue reports whether an endpoint with one stream should have two now: it is to
// have fresh samples first, its receiver works again, and it is far behind. How
// far is told by timestamps against the clock, since the log has no other time;
// by the middle one of the partitions' oldest, so that a few series with
// timestamps of their own decide nothing.
func (s *stream) splitDue(now time.Time, set *settings) (head cursor.Position, due bool) {
	if set.share == 0 || s.failing.Load() || !s.delivers.Load() {
		return head, false
	}
	head = s.endpoint.src.Head()
	if floor := s.queue.Marks(make([]savepoint.Mark, queue.Partitions)); !lags(floor.Position, head) {
		return head, false
	}
	middle := s.queue.Stats().Middle
	return head, middle != 0 && now.Sub(time.UnixMilli(middle)) >= s.endpoint.freshAfter
}

// splitStreams gives an endpoint a second stream if it is due. That one is at work only
// after a savepoint with both is on the disk, see beginFresh.
func (e *endpoint) splitStreams(now time.Time, set *settings) {
	streams := e.streams()
	if len(streams) > 1 || !streams[0].working() {
		return
	}
	backlog := streams[0]
	head, due := backlog.splitDue(now, set)
	if !due {
		return
	}
	from := e.pointAt(head)
	if from.CRC == 0 && from.Offset != 0 {
		return // A restart would not find it. There is a next time.
	}
	marks := make([]savepoint.Mark, queue.Partitions)
	for p := range marks {
		marks[p].Point = from
	}
	fresh := e.newStream(marks, nil, from.Position)
	e.streamsMtx.Lock()
	// The streams meet at from, whatever limits do in this moment.
	divided := !e.stopping() && backlog.cursor.bound(from)
	if divided {
		e.at = []*stream{backlog, fresh}
	}
	e.streamsMtx.Unlock()
	if !divided {
		fresh.cancel()
		return
	}
	backlog.adapt(set)
	fresh.adapt(set)
	e.logger.Info("The endpoint is far behind: what is new is delivered at once, and the backlog beside it", "backlog_until", from.String(), "share", set.freshShare())
}

// beginFresh puts the last stream to work if it is not yet: once a savepoint that
// has it is on the disk, or if there is no other stream. Before that, a restart
// would know nothing of what it had sent.
func (e *endpoint) beginFresh() {
	streams := e.streams()
	last := streams[len(streams)-1]
	if last.working() {
		return
	}
	first := last.cursor.start()
	first.Offset++
	if len(streams) > 1 && !last.dispatched.covers(first) {
		if err := e.persist(func() bool { return last.dispatched.covers(first) }); err != nil {
			e.logger.Error("Cannot write the savepoint; what is new waits until it can be written, or the backlog is delivered", "err", err)
		}
		if !last.dispatched.covers(first) {
			return
		}
	}
	last.begin()
}

// merge ends the backlog's stream if everything of it is delivered.
func (e *endpoint) merge() {
	streams := e.streams()
	if len(streams) < 2 || !streams[0].allDelivered() {
		return
	}
	streams[0].halt()
	streams[0].cancel()
	if streams[0].working() {
		<-streams[0].isolated
	}
	// First there, then here: a savepoint of the moment between has both.
	streams[1].isolation.adopt(streams[0].isolation)
	e.streamsMtx.Lock()
	e.at = streams[1:]
	e.streamsMtx.Unlock()
	e.logger.Info("The backlog is delivered", "until", streams[1].resumption.Marks()[0].String())
}

// allDelivered reports whether a stream has delivered everything up to its end.
func (s *stream) allDelivered() bool {
	until, bounded := s.cursor.end()
	return bounded && s.queue.Done(until.Position)
}

// pace looks at the streams and at the number of senders until the endpoint
// stops.
func (e *endpoint) pace() {
	ticker := time.NewTicker(e.paceEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			set := e.settings.Load()
			e.merge()
			e.splitStreams(now, set)
			e.beginFresh()
			desired := 0.0
			for _, s := range e.streams() {
				desired += s.adjust(now, set)
			}
			e.metrics.Load().shardsDesired.Set(desired)
			bytes := e.observe()
			e.logState(catchUpMark{at: now, left: bytes, acked: e.note(now, bytes)})
		case <-e.stop:
			return
		}
	}
}

// forfeitBefore has all streams skip what they have not read before a position, and no
// stream what another one has. It returns what is forfeited by it.
func (e *endpoint) forfeitBefore(before cursor.Position) (forfeited []forfeitedRange) {
	e.streamsMtx.Lock()
	defer e.streamsMtx.Unlock()
	for _, s := range e.at {
		forfeited = append(forfeited, isolatedBefore(s.isolation.forfeitBefore(before), before)...)
		from, to, skip, moved := s.cursor.skipBefore(before)
		if !moved {
			continue
		}
		marks := slices.Clone(s.resumption.Marks())
		for p, m := range marks {
			if m.Before(from.Position) {
				marks[p] = savepoint.Mark{Point: from, Skip: skip[p]}
			}
		}
		forfeited = append(forfeited, forfeitedRange{from: from.Position, to: to, acked: marks})
	}
	return forfeited
}
