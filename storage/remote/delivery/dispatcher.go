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
// one leads. It reads a batch, publishes it for all, and stops leading. While none
// leads, all of them have enough to fill their queues, and no batch is needed.
//
// mu is never held across I/O.
type dispatcher struct {
	// What follows belongs to the reader that leads.
	reader *logReader
	own    queue.Builder   // For in-memory commits.
	at     cursor.Position // Where the log's reader is.
	poll   *time.Ticker
	every  time.Duration // The interval of poll.

	notified chan struct{} // Something was written. Capacity 1.
	commits  commitQueue

	mu            sync.Mutex
	leading       bool           // A reader leads.
	shared        []*queue.Batch // Oldest first; each starts where the one before ends.
	items         int            // Items in shared.
	bytes         int            // What they take in memory.
	count         uint64         // Batches there were, and items in them.
	total         uint64
	head          cursor.Point // Where the next batch will start.
	subscriptions map[*subscription]struct{}
	attached      int           // How many of them are.
	changed       chan struct{} // Closed when there is a batch or no reader leads; nil if none waits.
}

// subscription says where one endpoint is among the shared batches.
type subscription struct {
	at       cursor.Point // Where the endpoint's next batch starts.
	attached bool         // at is within the shared batches, or their end.
}

func newDispatcher(r *logReader, head cursor.Point) *dispatcher {
	return &dispatcher{
		reader:        r,
		own:           queue.Builder{Ordered: true},
		poll:          time.NewTicker(pollInterval),
		every:         pollInterval,
		notified:      make(chan struct{}, 1),
		head:          head,
		subscriptions: map[*subscription]struct{}{},
	}
}

// close ends it when all readers have ended.
func (d *dispatcher) close() {
	d.poll.Stop()
	d.reader.close()
}

// notify tells the leading reader that something was written, if it has to know. It
// never blocks, and returns false if an earlier notification was not taken yet.
func (d *dispatcher) notify() bool {
	return d.commits.mayWait(d.reader.head()) || d.wakeLeader()
}

// wakeLeader has the leading reader look again.
func (d *dispatcher) wakeLeader() bool {
	select {
	case d.notified <- struct{}{}:
		return true
	default:
		return false
	}
}

// setDelay replaces the batch delay at once. Nil is for none.
func (d *dispatcher) setDelay(delay *batchDelay) {
	d.commits.delay.Store(delay)
	d.wakeLeader()
}

// join adds an endpoint that reads on at p. leave takes it out again.
func (d *dispatcher) join(p cursor.Point) *subscription {
	d.mu.Lock()
	defer d.mu.Unlock()
	sub := &subscription{}
	d.subscriptions[sub] = struct{}{}
	d.advance(sub, p)
	return sub
}

func (d *dispatcher) leave(sub *subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attach(sub, false)
	delete(d.subscriptions, sub)
}

// advance notes where a subscription is now, and moves the head up to it if the head is
// further back, since no reader kept up. Callers hold mu.
func (d *dispatcher) advance(sub *subscription, p cursor.Point) {
	if d.head.Before(p.Position) {
		d.head, d.shared, d.items, d.bytes = p, nil, 0, 0
		d.wakeLeader() // The leading reader is behind now.
	}
	sub.at = p
	d.attach(sub, d.index(p.Position) >= 0)
}

// attach notes whether a subscription is at the shared batches. If none is, no
// commit needs to be queued. Callers hold mu.
func (d *dispatcher) attach(sub *subscription, attached bool) {
	switch {
	case attached && !sub.attached:
		d.attached++
	case !attached && sub.attached:
		d.attached--
	}
	sub.attached = attached
	if wanted := d.attached > 0; wanted != d.commits.wanted.Load() {
		d.commits.wanted.Store(wanted)
		if !wanted {
			d.commits.clear()
		}
	}
}

// detach says that a subscription does not wait at the head any more.
func (d *dispatcher) detach(sub *subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attach(sub, false)
}

// index returns which shared batch starts at p, len(shared) for the head, and
// -1 for none. Callers hold mu.
func (d *dispatcher) index(p cursor.Position) int {
	if p == d.head.Position {
		return len(d.shared)
	}
	i, found := slices.BinarySearchFunc(d.shared, p, func(b *queue.Batch, p cursor.Position) int {
		return b.Start.Compare(p)
	})
	if !found {
		return -1
	}
	return i
}

// signal lets all readers that wait look again. Callers hold mu.
func (d *dispatcher) signal() {
	if d.changed != nil {
		close(d.changed)
		d.changed = nil
	}
}

// after returns the shared batch that starts at p, waiting for it at the head.
// It returns errBehind where the endpoint has to read on its own, and what kept
// it from reading if it was to read for all. Limit is how many items it then reads
// at a time.
func (d *dispatcher) after(ctx context.Context, sub *subscription, p cursor.Point, limit int) (*queue.Batch, error) {
	for {
		d.mu.Lock()
		d.advance(sub, p)
		i := d.index(p.Position)
		if i < 0 {
			d.mu.Unlock()
			return nil, errBehind
		}
		if i < len(d.shared) {
			b := d.shared[i]
			d.mu.Unlock()
			return b, nil
		}
		if !d.leading {
			d.leading = true
			head := d.head
			d.mu.Unlock()
			if err := d.lead(ctx, head, limit); err != nil {
				d.detach(sub)
				return nil, err
			}
			continue
		}
		if d.changed == nil {
			d.changed = make(chan struct{})
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lead reads at the head until there is a batch, or the head is another.
func (d *dispatcher) lead(ctx context.Context, head cursor.Point, limit int) error {
	for {
		b, err := d.read(head, limit)
		if err == nil {
			d.publish(b)
			return nil
		}
		if !errors.Is(err, cursor.ErrCaughtUp) {
			d.reader.close()
			d.resign()
			return err
		}
		if !d.stillAt(head.Position) {
			d.resign()
			return nil
		}
		if delay := d.commits.delay.Load(); delay != nil && delay.wait != d.every {
			d.every = delay.wait
			d.poll.Reset(d.every)
		}
		select {
		case <-d.notified:
		case <-d.poll.C:
		case <-ctx.Done():
			d.resign()
			return ctx.Err()
		}
	}
}

// read returns what was committed at the head: in-memory commits, or what
// is in the log, and then about limit items.
func (d *dispatcher) read(head cursor.Point, limit int) (*queue.Batch, error) {
	if b := d.commits.batch(&d.own, head); b != nil {
		if b.Start.Segment == b.End.Segment {
			d.reader.density.saw(b.Total, b.End.Offset-b.Start.Offset)
		}
		d.reader.close() // What it read last may be removed while the log is not read.
		return b, nil
	}
	if !head.Before(d.reader.head()) {
		return nil, cursor.ErrCaughtUp
	}
	if d.reader.tail == nil || d.at != head.Position {
		if err := d.reader.seek(head); err != nil {
			return nil, err
		}
	}
	// Endpoints far behind ask for partitions, and a second order would cost memory.
	d.reader.bb.Ordered = !lags(head.Position, d.reader.head())
	b, err := d.reader.batch(limit, d.commits.starts)
	if err == nil {
		d.at = b.End.Position
	}
	return b, err
}

func (d *dispatcher) stillAt(head cursor.Position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.head.Position == head
}

// closeIdle closes the log if no reader leads.
func (d *dispatcher) closeIdle() {
	d.mu.Lock()
	leading := d.leading
	d.leading = true
	d.mu.Unlock()
	if !leading {
		d.reader.close()
		d.resign()
	}
}

// resign lets another reader lead.
func (d *dispatcher) resign() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leading = false
	d.signal()
}

// meets reports whether an endpoint that reads on its own may stop at p because
// a shared batch starts there.
func (d *dispatcher) meets(p cursor.Position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.index(p) >= 0
}

// shares reports whether p is no further back than the shared batches.
func (d *dispatcher) shares(p cursor.Position) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest := d.head.Position
	if len(d.shared) > 0 {
		oldest = d.shared[0].Start.Position
	}
	return !p.Before(oldest)
}

// publish shares a batch and lets go of the oldest ones beyond the bounds. Endpoints
// that needed those read on their own from here on. A batch that was read before
// the head was moved is discarded. The reader of the batch no longer leads.
func (d *dispatcher) publish(b *queue.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leading = false
	d.signal()
	if b.Start.Position != d.head.Position {
		return
	}
	b.Number, b.Before = d.count+1, d.total
	d.count, d.total = b.Number, d.total+uint64(b.Total)
	d.shared = append(d.shared, b)
	d.items += b.Total
	d.bytes += b.Bytes
	d.head = b.End
	for len(d.shared) > 1 && (d.items > sharedItems || d.bytes > sharedBytes || len(d.shared) > sharedItems/16) {
		d.items -= d.shared[0].Total
		d.bytes -= d.shared[0].Bytes
		d.shared[0] = nil
		d.shared = d.shared[1:]
	}
	oldest := d.shared[0].Start.Position
	for sub := range d.subscriptions {
		if sub.attached && sub.at.Before(oldest) {
			d.attach(sub, false)
		}
	}
}
