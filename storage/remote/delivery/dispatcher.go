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
	"slices"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

const (
	// sharedItems and sharedBytes bound what the dispatcher keeps for endpoints that
	// are a little behind.
	sharedItems = 16 * maxBatchItems
	sharedBytes = 8 << 20
	// pollInterval is how long a lost notification can delay reading.
	pollInterval = 500 * time.Millisecond
)

// errBehind tells a reader that the batch it wants is no longer shared.
var errBehind = errors.New("position is behind the shared batches")

// dispatcher has the head of the log read and decoded once, for all
// endpoints that keep up. They share its latest batches; one that falls behind
// them reads on its own until it meets them again, at a position where one of
// them starts.
//
// It has no goroutine of its own, which would have to be woken for everything
// that is committed, only to wake others: of the readers that wait at the head,
// one leads: it reads for all, until there is a batch. While none leads, all of
// them have enough to fill their queues, and no batch is needed.
//
// mu is never held across I/O.
type dispatcher struct {
	// What follows belongs to the reader that leads.
	reader *logReader
	own    queue.Builder   // For in-memory commits.
	at     cursor.Position // Where the log's reader stands.
	poll   *time.Ticker
	every  time.Duration // The interval of poll.

	notified chan struct{} // Something was written. Capacity 1.
	commits  commitQueue

	mu       sync.Mutex
	leading  bool           // A reader leads.
	shared   []*queue.Batch // Oldest first; each starts where the one before ends.
	items    int            // Items in shared.
	bytes    int            // What they take in memory.
	count    uint64         // Batches there were, and items in them.
	total    uint64
	head     cursor.Point // Where the next batch will start.
	follow   map[*subscription]struct{}
	attached int           // How many of them are.
	changed  chan struct{} // Closed when there is a batch or no reader leads; nil if none waits.
}

// subscription is one endpoint's place among the shared batches.
type subscription struct {
	at       cursor.Point // Where the endpoint's next batch starts.
	attached bool         // at is within the shared batches, or their end.
}

func newDispatcher(r *logReader, head cursor.Point) *dispatcher {
	return &dispatcher{
		reader:   r,
		own:      queue.Builder{Ordered: true},
		poll:     time.NewTicker(pollInterval),
		every:    pollInterval,
		notified: make(chan struct{}, 1),
		head:     head,
		follow:   map[*subscription]struct{}{},
	}
}

// close ends it when all readers have ended.
func (f *dispatcher) close() {
	f.poll.Stop()
	f.reader.close()
}

// notify tells the leading reader that something was written, if it has to know. It
// never blocks, and returns false if an earlier notification was not taken yet.
func (f *dispatcher) notify() bool {
	return f.commits.rests(f.reader.head()) || f.rouse()
}

// rouse makes the leading reader look again.
func (f *dispatcher) rouse() bool {
	select {
	case f.notified <- struct{}{}:
		return true
	default:
		return false
	}
}

// setDelay replaces the batch delay at once. Nil is for none.
func (f *dispatcher) setDelay(p *batchDelay) {
	f.commits.delay.Store(p)
	f.rouse()
}

// join adds an endpoint that reads on at p. leave takes it out again.
func (f *dispatcher) join(p cursor.Point) *subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := &subscription{}
	f.follow[fl] = struct{}{}
	f.advance(fl, p)
	return fl
}

func (f *dispatcher) leave(fl *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attach(fl, false)
	delete(f.follow, fl)
}

// advance notes where a subscription is now, and moves the head up to it if the head is
// further back, since no reader kept up. Callers hold mu.
func (f *dispatcher) advance(fl *subscription, p cursor.Point) {
	if f.head.Before(p.Position) {
		f.head, f.shared, f.items, f.bytes = p, nil, 0, 0
		f.rouse() // The leading reader is behind now.
	}
	fl.at = p
	f.attach(fl, f.index(p.Position) >= 0)
}

// attach notes whether a subscription is at the shared batches. If none is, no
// commit needs to be queued. Callers hold mu.
func (f *dispatcher) attach(fl *subscription, attached bool) {
	switch {
	case attached && !fl.attached:
		f.attached++
	case !attached && fl.attached:
		f.attached--
	}
	fl.attached = attached
	if wanted := f.attached > 0; wanted != f.commits.wanted.Load() {
		f.commits.wanted.Store(wanted)
		if !wanted {
			f.commits.clear()
		}
	}
}

// detach says that a subscription does not wait at the head any more.
func (f *dispatcher) detach(fl *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attach(fl, false)
}

// index returns which shared batch starts at p, len(shared) for the head, and
// -1 for none. Callers hold mu.
func (f *dispatcher) index(p cursor.Position) int {
	if p == f.head.Position {
		return len(f.shared)
	}
	i, found := slices.BinarySearchFunc(f.shared, p, func(b *queue.Batch, p cursor.Position) int {
		return b.Start.Compare(p)
	})
	if !found {
		return -1
	}
	return i
}

// signal lets all readers that wait look again. Callers hold mu.
func (f *dispatcher) signal() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// after returns the shared batch that starts at p, waiting for it at the head.
// It returns errBehind where the endpoint has to read on its own, and what kept
// it from reading if it was to read for all. Limit is how many items it then reads
// at a time.
func (f *dispatcher) after(ctx context.Context, fl *subscription, p cursor.Point, limit int) (*queue.Batch, error) {
	for {
		f.mu.Lock()
		f.advance(fl, p)
		i := f.index(p.Position)
		if i < 0 {
			f.mu.Unlock()
			return nil, errBehind
		}
		if i < len(f.shared) {
			b := f.shared[i]
			f.mu.Unlock()
			return b, nil
		}
		if !f.leading {
			f.leading = true
			head := f.head
			f.mu.Unlock()
			if err := f.lead(ctx, head, limit); err != nil {
				f.detach(fl)
				return nil, err
			}
			continue
		}
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lead reads at the head until there is a batch, or the head is another.
func (f *dispatcher) lead(ctx context.Context, head cursor.Point, limit int) error {
	for {
		b, err := f.read(head, limit)
		if err == nil {
			f.publish(b)
			return nil
		}
		if !errors.Is(err, cursor.ErrCaughtUp) {
			f.reader.close()
			f.resign()
			return err
		}
		if !f.stillAt(head.Position) {
			f.resign()
			return nil
		}
		if p := f.commits.delay.Load(); p != nil && p.wait != f.every {
			f.every = p.wait
			f.poll.Reset(f.every)
		}
		select {
		case <-f.notified:
		case <-f.poll.C:
		case <-ctx.Done():
			f.resign()
			return ctx.Err()
		}
	}
}

// read returns what was committed at the head: in-memory commits, or what
// is in the log, and then about limit items.
func (f *dispatcher) read(head cursor.Point, limit int) (*queue.Batch, error) {
	if b := f.commits.batch(&f.own, head); b != nil {
		if b.Start.Segment == b.End.Segment {
			f.reader.density.saw(b.Total, b.End.Offset-b.Start.Offset)
		}
		f.reader.close() // What it read last may be removed while the log is not read.
		return b, nil
	}
	if !head.Before(f.reader.head()) {
		return nil, cursor.ErrCaughtUp
	}
	if f.reader.tail == nil || f.at != head.Position {
		if err := f.reader.seek(head); err != nil {
			return nil, err
		}
	}
	// Endpoints far behind ask for partitions, and a second order would cost memory.
	f.reader.bb.Ordered = !lags(head.Position, f.reader.head())
	b, err := f.reader.batch(limit, f.commits.starts)
	if err == nil {
		f.at = b.End.Position
	}
	return b, err
}

func (f *dispatcher) stillAt(head cursor.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head.Position == head
}

// rest closes the log if no reader leads.
func (f *dispatcher) rest() {
	f.mu.Lock()
	leading := f.leading
	f.leading = true
	f.mu.Unlock()
	if !leading {
		f.reader.close()
		f.resign()
	}
}

// resign lets another reader lead.
func (f *dispatcher) resign() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leading = false
	f.signal()
}

// meets reports whether an endpoint that reads on its own may stop at p because
// a shared batch starts there.
func (f *dispatcher) meets(p cursor.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index(p) >= 0
}

// shares reports whether p is no further back than the shared batches.
func (f *dispatcher) shares(p cursor.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.head.Position
	if len(f.shared) > 0 {
		oldest = f.shared[0].Start.Position
	}
	return !p.Before(oldest)
}

// publish shares a batch and lets go of the oldest ones beyond the bounds. Endpoints
// that needed those read on their own from here on. A batch that was read before
// the head was moved is discarded. The reader of the batch no longer leads.
func (f *dispatcher) publish(b *queue.Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leading = false
	f.signal()
	if b.Start.Position != f.head.Position {
		return
	}
	b.Number, b.Before = f.count+1, f.total
	f.count, f.total = b.Number, f.total+uint64(b.Total)
	f.shared = append(f.shared, b)
	f.items += b.Total
	f.bytes += b.Bytes
	f.head = b.End
	for len(f.shared) > 1 && (f.items > sharedItems || f.bytes > sharedBytes || len(f.shared) > sharedItems/16) {
		f.items -= f.shared[0].Total
		f.bytes -= f.shared[0].Bytes
		f.shared[0] = nil
		f.shared = f.shared[1:]
	}
	oldest := f.shared[0].Start.Position
	for fl := range f.follow {
		if fl.attached && fl.at.Before(oldest) {
			f.attach(fl, false)
		}
	}
}
