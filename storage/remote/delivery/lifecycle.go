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
	"os"
	"time"

	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// paceInterval is how often the number of senders is looked at.
const paceInterval = time.Second

// adopt makes set the endpoint's settings. Whatever is under way goes on; it is
// only the next attempt that uses them.
func (e *endpoint) adopt(set *settings) error {
	old := e.settings.Load()
	m := e.metrics.Load()
	if old == nil || old.name != set.name || old.url != set.url {
		fresh := newEndpointMetrics(e.reg.reg, e.reg.watcher, set.name, set.url)
		if err := fresh.set.register(); err != nil {
			return err
		}
		if m != nil {
			st := e.queue.stats()
			fresh.pending[classSamples].Set(float64(st.queued))
		}
		e.metrics.Store(fresh)
		if m != nil {
			// Only now, so that hardly anything is counted where nobody looks.
			m.unregister()
		}
		m = fresh
	}
	m.shardsMin.Set(float64(set.queue.MinShards))
	m.shardsMax.Set(float64(min(set.queue.MaxShards, partitions)))
	m.capacity.Set(float64(set.queue.Capacity))
	m.perSend.Set(float64(set.queue.MaxSamplesPerSend))
	if set.queue.MaxShards > partitions {
		e.logger.Warn("max_shards is more than can be used", "max_shards", set.queue.MaxShards, "used", partitions)
	}
	e.settings.Store(set)
	left := e.exchange.Swap(e.exchanges.join(set.kindred()))
	e.exchanges.leave(left)
	e.setSenders(min(max(e.senders(), set.queue.MinShards, 1), max(set.queue.MaxShards, 1)))
	if old != nil {
		close(old.replaced)
		// Requests under way keep the old client until they are done.
		old.client.Close()
	}
	return nil
}

// setSenders changes how many senders there are.
func (e *endpoint) setSenders(n int) {
	n = min(n, partitions)
	set := e.settings.Load()
	e.sendersMtx.Lock()
	e.want = n
	for ; e.live < n && !e.stopping(); e.live++ {
		e.wg.Go((&sender{e: e}).run)
	}
	e.sendersMtx.Unlock()
	e.queue.staff(n)
	e.queue.configure(set.capacity(n), set.queue.MaxSamplesPerSend, time.Duration(set.queue.BatchSendDeadline))
	m := e.metrics.Load()
	m.shards.Set(float64(n))
}

// pace adapts the number of senders until ctx ends.
func (e *endpoint) pace(ctx context.Context) {
	ticker := time.NewTicker(paceInterval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			set := e.settings.Load()
			st := e.queue.stats()
			have := e.senders()
			n, desired := e.rates.pace(now, have, set.queue.MinShards, set.queue.MaxShards, st.backlog)
			m := e.metrics.Load()
			m.shardsDesired.Set(desired)
			if n != have {
				e.logger.Debug("Changing the number of senders", "from", have, "to", n)
				e.setSenders(n)
			}
			e.observe(m, st)
		case <-ctx.Done():
			return
		}
	}
}

// observe sets the gauges that tell how far behind the endpoint is.
func (e *endpoint) observe(m *endpointMetrics, st stats) {
	marks := make([]savepoint.Mark, partitions)
	floor := e.queue.marks(marks)
	m.ackedSegment.Set(float64(floor.Segment))
	m.ackedOffset.Set(float64(floor.Offset))
	m.unackedBytes.Set(float64(logBytes(e.src.WALDir, floor.Position, e.src.Head())))
	waiting := 0.0
	if st.oldest > 0 {
		waiting = max(0, time.Since(time.UnixMilli(st.oldest)).Seconds())
	}
	m.unackedSeconds.Set(waiting)
}

// beginStop makes the endpoint make no second attempt at anything. One that
// fails already is stopped at once.
func (e *endpoint) beginStop() {
	e.sendersMtx.Lock()
	close(e.stop)
	e.sendersMtx.Unlock()
	if e.failing.Load() {
		e.halt()
		e.cancel()
	}
}

// halt lets nothing new begin. Requests under way may finish.
func (e *endpoint) halt() {
	e.queue.close()
	e.reader()
}

// drain lets an endpoint that has kept up deliver what was committed last,
// until ctx ends or an attempt fails. A backlog is not for draining.
func (e *endpoint) drain(ctx context.Context) {
	pos, _ := e.place.get()
	if e.feed.shares(pos.Position) {
		e.queue.drain(ctx, e.src.Head())
	}
}

// finishStop waits for what is under way, until ctx ends at most, and returns
// where the endpoint stands.
func (e *endpoint) finishStop(ctx context.Context) *stand {
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
	e.exchanges.leave(e.exchange.Swap(nil))
	e.metrics.Load().unregister()
	return e.stand(true)
}

// stand returns where the endpoint stands. final says that it has stopped, so
// that the dispatch mark can be taken back to what really was sent.
func (e *endpoint) stand(final bool) *stand {
	set := e.settings.Load()
	st := &stand{id: e.id, identity: set.identity, name: set.name, marks: make([]savepoint.Mark, partitions)}
	// The mark is read first: it must cover whatever is sent while the
	// positions are read.
	st.mark = e.marks.get()
	e.queue.marks(st.marks)
	if final {
		st.mark = e.queue.stats().taken
		if st.mark.Before(e.zoneEnd) {
			st.mark = e.zoneEnd
		}
		if floor := st.floor(); st.mark.Before(floor.Position) {
			st.mark = floor.Position
		}
	}
	return st
}

// logBytes returns how many bytes of the log lie between two positions.
func logBytes(dir string, from, to cursor.Position) (n int64) {
	for seg := from.Segment; seg <= to.Segment; seg++ {
		size := to.Offset
		if seg < to.Segment {
			size = fileSize(wlog.SegmentName(dir, seg))
		}
		if seg == from.Segment {
			size -= min(from.Offset, size)
		}
		n += size
	}
	return n
}

func fileSize(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}
