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
	// muchSettled is how many items of each endpoint are much: fifty times that page.
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

func (p *readCursor) get() (cursor.Point, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pos, p.moves
}

// start returns the position alone.
func (p *readCursor) start() cursor.Position {
	pos, _ := p.get()
	return pos.Position
}

// end returns where the stream ends, if it does.
func (p *readCursor) end() (until cursor.Point, bounded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		return cursor.Point{}, false
	}
	return *p.until, true
}

// bound gives the stream an end, unless it has one or is behind that already.
func (p *readCursor) bound(until cursor.Point) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until != nil || until.Before(p.pos.Position) {
		return false
	}
	p.until = &until
	return true
}

// advance moves the cursor from one position to the next, unless a limit has moved
// it meanwhile or the stream ends before that. skip is what is left to be skipped
// then.
func (p *readCursor) advance(moves int, to cursor.Point, skip [queue.Partitions]int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moves != moves || (p.until != nil && p.until.Before(to.Position)) {
		return false
	}
	p.pos, p.skip = to, skip
	return true
}

// skipTo moves the cursor forward to a position, or to the end of the stream if
// that is before it, and returns where it was and is, and what would have been
// skipped in between.
func (p *readCursor) skipTo(before cursor.Position) (from cursor.Point, to cursor.Position, skip [queue.Partitions]int, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from, skip = p.pos, p.skip
	target := cursor.Point{Position: before}
	if p.until != nil && p.until.Before(before) {
		target = *p.until
	}
	if !from.Before(target.Position) {
		return from, from.Position, skip, false
	}
	p.pos, p.skip = target, [queue.Partitions]int{}
	p.moves++
	return from, target.Position, skip, true
}

// markAhead is how far, in bytes of the log, the dispatch mark is raised
// beyond what is about to be sent. Raising it costs a sync.
const markAhead = 8 << 20

// dispatchMark keeps ahead, on disk, of everything that is sent: after a crash
// nothing at or after it can have reached the receiver.
type dispatchMark struct {
	mtx     sync.Mutex
	wanted  cursor.Position // Goes into the next savepoint.
	durable cursor.Position // Is in one that is synced to disk.
	failed  time.Time       // When raising it failed last.
	stale   bool            // What is saved now does not count, see renew.
}

// renew makes sure that nothing more is sent before a savepoint is written that begins
// now: what was left out under settings that have changed meanwhile would be sent after
// a crash, behind what is newer (I4).
func (d *dispatchMark) renew() {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.durable, d.stale = cursor.Position{}, true
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

// get returns the mark for a savepoint, whose positions are read after it.
func (d *dispatchMark) get() cursor.Position {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.stale = false
	return d.wanted
}

// synced notes that p is on disk.
func (d *dispatchMark) synced(p cursor.Position) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.stale && d.durable.Before(p) {
		d.durable = p
	}
}

// fail notes that a savepoint with a mark that covers what is to be sent was not written.
func (d *dispatchMark) fail() {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.failed = time.Now()
}

// failedWithin reports whether that was less than a time ago.
func (d *dispatchMark) failedWithin(t time.Duration) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return time.Since(d.failed) < t
}
