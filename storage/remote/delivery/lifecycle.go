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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// applySettings makes set the endpoint's settings, and renamed its metrics, unless that is
// nil because name and URL are the same. Whatever is under way goes on; it is only
// the next attempt that uses them.
func (e *endpoint) applySettings(set *settings, renamed *endpointMetrics) {
	old := e.settings.Load()
	m := e.metrics.Load()
	if renamed != nil {
		e.names.set(set.name, set.shown)
		e.show(renamed)
		if m != nil {
			renamed.inherit(m)
			// Only now, so that hardly anything is counted in metrics that are gone.
			e.sets.release(m)
		}
		m = renamed
	}
	e.showFamilies(m, set.protocol == encoder.V1)
	m.shardsMin.Set(float64(set.queue.MinShards))
	m.shardsMax.Set(float64(min(set.queue.MaxShards, queue.Partitions)))
	m.capacity.Set(float64(set.queue.Capacity))
	m.perSend.Set(float64(set.queue.MaxSamplesPerSend))
	if set.queue.MaxShards > queue.Partitions {
		e.logger.Warn("max_shards is more than can be used", "max_shards", set.queue.MaxShards, "used", queue.Partitions)
	}
	if old != nil {
		for _, s := range e.streams() {
			s.dispatched.renew() // What the old ones left out is not to be sent by the next run.
		}
	}
	e.settings.Store(set)
	left := e.cache.Swap(e.caches.join(set.cacheKey()))
	e.caches.leave(left)
	for _, s := range e.streams() {
		s.adapt(set)
	}
	if old != nil {
		close(old.replaced)
		// Requests under way keep the old client until they are done.
		old.client.Close()
		e.observe() // New metrics say nothing yet.
	}
}

// showFamilies has the metrics of metadata messages shown under m, if there are
// such messages.
func (e *endpoint) showFamilies(m *endpointMetrics, show bool) {
	if e.families == m && show {
		return
	}
	e.hideFamilies()
	if !show {
		return
	}
	if err := e.sets.showFamilies(m); err != nil {
		// Delivery does not depend on them.
		e.logger.Error("Metrics of metadata messages are not shown", "err", err)
		return
	}
	e.families = m
}

func (e *endpoint) hideFamilies() {
	if e.families != nil {
		e.sets.hideFamilies(e.families)
		e.families = nil
	}
}

// showSenders tells how many senders there are on all streams.
func (e *endpoint) showSenders() {
	n := 0
	for _, s := range e.streams() {
		if s.working() {
			n += s.senders()
		}
	}
	e.metrics.Load().shards.Set(float64(n))
}

// observe sets the gauges that tell how far behind the endpoint is, and returns that in
// bytes of the log.
func (e *endpoint) observe() (bytes int64) {
	var (
		m       = e.metrics.Load()
		marks   = make([]savepoint.Mark, queue.Partitions)
		oldest  int64
		old     int64 // Of that, the backlog's.
		apart   int
		stuck   time.Duration
		streams = e.streams()
	)
	for i, s := range streams {
		floor := s.queue.Marks(marks)
		if at, t, waits := s.isolation.floor(); waits {
			floor.Position = cursor.Earlier(floor.Position, at)
			if t > 0 && (oldest == 0 || t < oldest) {
				oldest = t
			}
		}
		apart += s.isolation.size()
		end := e.src.Head()
		if i == 0 {
			stuck = e.standstill.stuck(floor.Position, end, time.Now())
			m.ackedSegment.Set(float64(floor.Segment))
			m.ackedOffset.Set(float64(floor.Offset))
		}
		from := neededFrom(floor.Position, int(e.forfeitedBefore.Load()))
		if until, bounded := s.cursor.end(); bounded {
			end = until.Position
			old = e.src.bytes(from, end)
		}
		bytes += e.src.bytes(from, end)
		if t := s.queue.Stats().Oldest; t > 0 && (oldest == 0 || t < oldest) {
			oldest = t
		}
	}
	m.isolated.Set(float64(apart))
	m.unackedBytes.Set(float64(bytes))
	m.freshActive.Set(float64(len(streams) - 1))
	m.freshBacklog.Set(float64(old))
	waiting := stuck.Seconds()
	if oldest > 0 {
		waiting = max(waiting, time.Since(time.UnixMilli(oldest)).Seconds())
	}
	m.unackedSeconds.Set(waiting)
	m.refusing.Set(e.refusal.lasts().Seconds())
	return bytes
}

// sentUpTo returns the time in ms up to which the endpoint has acknowledged everything:
// of its newest acknowledged sample, unless it has older ones to come.
func (e *endpoint) sentUpTo() int64 {
	sent := e.metrics.Load().highestSent.max.load()
	for _, s := range e.streams() {
		_, apart, _ := s.isolation.floor()
		for _, t := range []int64{apart, s.queue.Stats().Oldest} {
			if t > 0 {
				sent = min(sent, t-1)
			}
		}
	}
	return sent
}

// begin puts the stream to work, unless the endpoint stops.
func (s *stream) begin() {
	s.endpoint.sendersMtx.Lock()
	if s.begun || s.endpoint.stopping() {
		s.endpoint.sendersMtx.Unlock()
		return
	}
	s.begun = true
	s.endpoint.wg.Go(s.readLog)
	s.endpoint.wg.Go(func() {
		defer close(s.isolated)
		newIsolator(s).run()
	})
	s.endpoint.sendersMtx.Unlock()
	s.setSenders(s.senders())
}

// setSenders changes how many senders there are.
func (s *stream) setSenders(n int) {
	n = min(n, queue.Partitions)
	set := s.endpoint.settings.Load()
	s.endpoint.sendersMtx.Lock()
	s.want = n
	for ; s.begun && s.atWork < n && !s.endpoint.stopping(); s.atWork++ {
		s.endpoint.wg.Go((&sender{stream: s}).run)
	}
	s.endpoint.sendersMtx.Unlock()
	s.queue.SetSenders(n)
	s.queue.Configure(set.capacity(n), set.queue.MaxSamplesPerSend, time.Duration(set.queue.BatchSendDeadline))
	s.endpoint.showSenders()
}

// adapt takes new settings over.
func (s *stream) adapt(set *settings) {
	lowest, highest := s.senderLimits(set)
	s.setSenders(min(max(s.senders(), lowest, 1), highest))
}

// adjust changes the number of senders as the load asks, and returns the number
// it asks for whatever the limits.
func (s *stream) adjust(now time.Time, set *settings) (desired float64) {
	have := s.senders()
	lowest, highest := s.senderLimits(set)
	n, desired := s.rates.pace(now, have, lowest, highest, s.queue.Stats().Backlog)
	if n != have {
		s.endpoint.logger.Debug("Changing the number of senders", "from", have, "to", n)
		s.setSenders(n)
	}
	return desired
}

// beginStop makes the endpoint make no second attempt at anything. A stream that
// fails already is stopped at once.
func (e *endpoint) beginStop() {
	e.sendersMtx.Lock()
	close(e.stop)
	e.sendersMtx.Unlock()
	streams, failing := e.streams(), 0
	for _, s := range streams {
		if s.failing.Load() {
			failing++
			s.halt()
			s.cancel()
		}
	}
	if failing == len(streams) {
		e.cancel()
	}
}

// halt lets nothing new begin. Requests under way may finish.
func (e *endpoint) halt() {
	for _, s := range e.streams() {
		s.halt()
	}
}

// drain lets an endpoint that has kept up deliver what was committed last,
// until ctx ends or an attempt fails. A backlog is not for draining.
func (e *endpoint) drain(ctx context.Context) {
	streams := e.streams()
	if s := streams[len(streams)-1]; s.working() && e.dispatcher.shares(s.cursor.start()) {
		s.queue.Drain(ctx, e.src.Head())
	}
}

// finishStop waits for what is under way, until ctx ends at most, and returns
// the endpoint's state.
func (e *endpoint) finishStop(ctx context.Context) *endpointState {
	e.halt()
	done := make(chan struct{})
	go func() {
		e.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	e.cancel()
	<-done
	set := e.settings.Load()
	set.client.Close()
	e.lost.tell(e.losses, set, true)
	e.caches.leave(e.cache.Swap(nil))
	e.hideFamilies()
	e.sets.release(e.metrics.Load())
	return e.toSave(true)
}

// toSave returns the state of the endpoint for a savepoint that begins now. final says
// that it has stopped.
func (e *endpoint) toSave(final bool) *endpointState {
	set := e.settings.Load()
	st := &endpointState{id: e.id, identity: set.identity, name: set.name}
	streams := e.streams()
	st.acked, st.apart, st.dispatched = streams[0].toSave(final)
	st.stream = streams[0]
	if until, bounded := streams[0].cursor.end(); bounded && len(streams) > 1 {
		st.fresh = &freshRange{from: until, stream: streams[1]}
		st.fresh.acked, st.fresh.apart, st.fresh.dispatched = streams[1].toSave(final)
		st.confine()
	}
	if before := int(e.forfeitedBefore.Load()); st.floor().Segment < before {
		st.memory, st.forfeitedBefore = e.memoryBefore(before, final), before
	}
	if final {
		st.mergeRanges()
		st.stream = nil
		if st.fresh != nil {
			st.fresh.stream = nil
		}
	}
	st.counted = e.counted.from(st.floor().Position)
	return st
}

// memoryBefore counts what an endpoint has in memory that begins before a segment. final
// says that it has stopped.
func (e *endpoint) memoryBefore(segment int, final bool) (t queue.Counts) {
	for _, s := range e.streams() {
		t.Plus(s.queue.Before(segment))
		marks := make([]savepoint.Mark, queue.Partitions)
		s.queue.Marks(marks)
		t.Plus(s.isolation.before(segment, marks))
		if final && s.unqueued != nil && s.unqueued.Batch.Start.Segment < segment {
			t.Plus(s.unqueued.Batch.Counts)
		}
	}
	return t
}
