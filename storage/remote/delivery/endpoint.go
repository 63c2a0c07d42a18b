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
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

const (
	// markAhead is how far, in bytes of the log, the dispatch mark is raised
	// beyond what is about to be sent. Raising it costs a sync.
	markAhead = 8 << 20
	// paceInterval is how often the number of senders is looked at.
	paceInterval = time.Second
)

// stand is where an endpoint stands while it is not at work: loaded from a
// savepoint, or removed from the configuration and held for a while.
type stand struct {
	id       string
	identity savepoint.Identity
	name     string // Last known name, for logs and metrics.
	marks    []savepoint.Mark
	mark     cursor.Position // Dispatch mark.
	removed  *time.Time
}

// floor returns the lowest mark.
func (st *stand) floor() savepoint.Mark {
	floor := st.marks[0]
	for _, m := range st.marks[1:] {
		if m.Before(floor.Position) {
			floor = m
		}
	}
	floor.Skip = 0
	return floor
}

// endpoint is one remote-write endpoint at work: a reader that fills its queue
// from the log, and senders that empty it. Nothing it does waits for another
// endpoint (I5).
type endpoint struct {
	id       string
	identity savepoint.Identity // Guarded by Storage.mtx.
	logger   *slog.Logger
	src      *Source
	feed     *feed
	persist  func() error // Writes a durable savepoint.
	damaged  func(*cursor.Corruption)
	sm       remote.ReadyScrapeManager
	reg      registry

	settings atomic.Pointer[settings]
	metrics  atomic.Pointer[endpointMetrics]

	queue      *queue
	place      place
	resumption *resumption // Owned by the reader.
	zoneEnd    cursor.Position
	rates      rates
	failing    atomic.Bool // The last attempt failed and is to be made again.
	marks      dispatchMark

	ctx    context.Context // Ends when requests under way are to be broken off.
	cancel context.CancelFunc
	stop   chan struct{} // Closed when nothing new is to be begun.
	reader context.CancelFunc
	wg     sync.WaitGroup

	sendersMtx sync.Mutex
	live, want int // Senders there are, and that there should be.

	metadata *metadataSender // Guarded by Storage.mtx.
}

// dispatchMark keeps ahead, on disk, of everything that is sent: after a crash
// nothing at or after it can have reached the receiver.
type dispatchMark struct {
	mtx     sync.Mutex
	wanted  cursor.Position // Goes into the next savepoint.
	durable cursor.Position // Is in one that is synced to disk.
	failed  time.Time       // When raising it failed last.
}

// covers reports whether everything before end may be sent; if not, the next
// savepoint raises the mark so that it may.
func (d *dispatchMark) covers(end cursor.Position) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.durable.Before(end) {
		return true
	}
	if ahead := (cursor.Position{Segment: end.Segment, Offset: end.Offset + markAhead}); d.wanted.Before(ahead) {
		d.wanted = ahead
	}
	return false
}

func (d *dispatchMark) get() cursor.Position {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return d.wanted
}

// synced notes that p is on disk.
func (d *dispatchMark) synced(p cursor.Position) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if d.durable.Before(p) {
		d.durable = p
	}
}

// startEndpoint puts an endpoint to work where st says.
func startEndpoint(s *Storage, st *stand, set *settings) (*endpoint, error) {
	e := &endpoint{
		id:       st.id,
		identity: st.identity,
		logger:   s.logger.With("remote_name", set.name, "url", set.url),
		src:      s.src,
		feed:     s.feed,
		persist:  func() error { return s.save(true) },
		damaged:  s.damaged,
		sm:       s.scrape,
		reg:      registry{s.reg, s.watcher},
		queue:    newQueue(time.Now),
		zoneEnd:  st.mark,
		stop:     make(chan struct{}),
	}
	e.resumption = newResumption(st.marks)
	e.place.pos = st.floor().Point
	e.marks.wanted, e.marks.durable = st.mark, st.mark
	e.queue.resume(e.place.pos, st.marks)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.rates.paced = time.Now()
	if err := e.adopt(set); err != nil {
		e.cancel()
		return nil, err
	}
	readCtx, cancel := context.WithCancel(e.ctx)
	e.reader = cancel
	e.wg.Go(func() { e.readLog(readCtx) })
	e.wg.Go(func() { e.pace(readCtx) })
	return e, nil
}

// registry is where an endpoint's metrics go.
type registry struct {
	reg     prometheus.Registerer
	watcher *watcherMetrics
}

// adopt makes set the endpoint's settings. Whatever is under way goes on; it is
// only the next attempt that uses them.
func (e *endpoint) adopt(set *settings) error {
	old := e.settings.Load()
	m := e.metrics.Load()
	if old == nil || old.name != set.name || old.url != set.url {
		if m != nil {
			m.unregister()
		}
		fresh := newEndpointMetrics(e.reg.reg, e.reg.watcher, set.name, set.url)
		if err := fresh.set.register(); err != nil {
			return err
		}
		if m != nil {
			st := e.queue.stats()
			fresh.pending[classSamples].Set(float64(st.queued))
		}
		e.metrics.Store(fresh)
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
	e.setSenders(min(max(e.senders(), set.queue.MinShards, 1), max(set.queue.MaxShards, 1)))
	if old != nil {
		close(old.replaced)
		// Requests under way keep the old client until they are done.
		old.client.Close()
	}
	return nil
}

func (e *endpoint) senders() int {
	e.sendersMtx.Lock()
	defer e.sendersMtx.Unlock()
	return e.want
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
	e.queue.configure(set.capacity(n), set.queue.MaxSamplesPerSend, time.Duration(set.queue.BatchSendDeadline))
	m := e.metrics.Load()
	m.shards.Set(float64(n))
}

// wanted tells a sender between two requests whether it is still wanted.
func (e *endpoint) wanted() bool {
	e.sendersMtx.Lock()
	defer e.sendersMtx.Unlock()
	if e.live > e.want {
		e.live--
		return false
	}
	return true
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
			n, desired := e.rates.pace(now, have, set.queue.MinShards, set.queue.MaxShards, st.ready >= set.queue.MaxSamplesPerSend || st.zoned > 0)
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

func (e *endpoint) stopping() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// reserve makes sure that the dispatch mark on disk is past what is about to be
// sent. If it cannot be written, delivery goes on all the same: a full disk is
// emptied by delivering. What that can cost is said in the package's
// documentation.
func (e *endpoint) reserve(end cursor.Position) {
	for !e.marks.covers(end) {
		e.marks.mtx.Lock()
		recent := time.Since(e.marks.failed) < retryInterval
		e.marks.mtx.Unlock()
		if recent {
			return
		}
		if err := e.persist(); err != nil {
			e.marks.mtx.Lock()
			e.marks.failed = time.Now()
			e.marks.mtx.Unlock()
			return
		}
	}
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
	e.metrics.Load().unregister()
	return e.stand(true)
}

// stand returns where the endpoint stands. final says that it has stopped, so
// that the dispatch mark can be taken back to what really was sent.
func (e *endpoint) stand(final bool) *stand {
	st := &stand{id: e.id, identity: e.identity, name: e.settings.Load().name, marks: make([]savepoint.Mark, partitions)}
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
