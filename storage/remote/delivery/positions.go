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
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

const (
	// saveInterval is how often positions are written without a sync, if much was
	// settled. It bounds what is sent again after a crash (I8).
	saveInterval = 250 * time.Millisecond
	// slowSaves is how often they are written if anything changed at all. Each costs a
	// page on the disk, as much as the log takes for some 500 samples.
	slowSaves = time.Second
	// muchSettled is how many items of an endpoint are much: fifty times that page.
	muchSettled = 25_000
)

// readCursor is where a stream reads on. A limit may move it while the reader is at
// work; what the reader had advanced past before then is delivered all the same. Once
// it has an end, it does not advance beyond that.
type readCursor struct {
	mu    sync.Mutex
	pos   cursor.Point
	moves int
	until *cursor.Point // Where the stream ends, nil for nowhere.
	// skip says how many items of each partition behind pos an earlier run had
	// acknowledged, where the partition's mark is before pos.
	skip [queue.Partitions]int
}

func (c *readCursor) get() (cursor.Point, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pos, c.moves
}

// start returns the position alone.
func (c *readCursor) start() cursor.Position {
	pos, _ := c.get()
	return pos.Position
}

// end returns where the stream ends, if it does.
func (c *readCursor) end() (until cursor.Point, bounded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil {
		return cursor.Point{}, false
	}
	return *c.until, true
}

// bound gives the stream an end, unless it has one or is behind that already.
func (c *readCursor) bound(until cursor.Point) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until != nil || until.Before(c.pos.Position) {
		return false
	}
	c.until = &until
	return true
}

// advance moves the cursor from one position to the next, unless a limit has moved
// it meanwhile or the stream ends before that. skip is what is left to be skipped
// then.
func (c *readCursor) advance(moves int, to cursor.Point, skip [queue.Partitions]int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moves != moves || (c.until != nil && c.until.Before(to.Position)) {
		return false
	}
	c.pos, c.skip = to, skip
	return true
}

// skipBefore moves the cursor forward to a position, or to the end of the stream if
// that is before it, and returns where it was and is, and what would have been
// skipped in between.
func (c *readCursor) skipBefore(before cursor.Position) (from cursor.Point, to cursor.Position, skip [queue.Partitions]int, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, skip = c.pos, c.skip
	target := cursor.Point{Position: before}
	if c.until != nil && c.until.Before(before) {
		target = *c.until
	}
	if !from.Before(target.Position) {
		return from, from.Position, skip, false
	}
	c.pos, c.skip = target, [queue.Partitions]int{}
	c.moves++
	return from, target.Position, skip, true
}

// watermarkAhead is how far, in bytes of the log, the dispatch watermark is raised
// beyond what is about to be sent. Raising it costs a sync.
const watermarkAhead = 8 << 20

// dispatchWatermark keeps ahead, on disk, of everything that is sent: after a crash
// nothing at or after it can have reached the receiver.
type dispatchWatermark struct {
	mtx     sync.Mutex
	wanted  cursor.Position // Goes into the next savepoint.
	durable cursor.Position // Is in one that is synced to disk.
	failed  time.Time       // When raising it failed last.
	stale   bool            // What is saved now does not count, see renew.
}

// renew makes sure that nothing more is sent before a savepoint is written that begins
// now: what was left out under settings that have changed meanwhile would be sent after
// a crash, behind what is newer (I4).
func (d *dispatchWatermark) renew() {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.durable, d.stale = cursor.Position{}, true
}

// covers reports whether everything before end may be sent; if not, the next
// savepoint raises the watermark so that it may.
func (d *dispatchWatermark) covers(end cursor.Position) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.durable.Before(end) {
		return true
	}
	if ahead := (cursor.Position{Segment: end.Segment, Offset: end.Offset + watermarkAhead}); d.wanted.Before(ahead) {
		d.wanted = ahead
	}
	return false
}

// takeWanted returns the watermark for a savepoint that begins now, whose positions are
// read after it.
func (d *dispatchWatermark) takeWanted() cursor.Position {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.stale = false
	return d.wanted
}

// synced notes that p is on disk.
func (d *dispatchWatermark) synced(p cursor.Position) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.stale && d.durable.Before(p) {
		d.durable = p
	}
}

// noteFailure notes that a savepoint with a watermark that covers what is to be sent was
// not written.
func (d *dispatchWatermark) noteFailure() {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.failed = time.Now()
}

// failedWithin reports whether that was less than a time ago.
func (d *dispatchWatermark) failedWithin(t time.Duration) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return time.Since(d.failed) < t
}
