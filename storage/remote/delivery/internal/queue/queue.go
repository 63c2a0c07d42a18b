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

package queue

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// Queue holds what one stream of an endpoint has read and not yet had acknowledged, by
// partition. Push, Take, Ack and Release cost a walk over the partitions, nothing per
// item, but where a request in order ends within a batch. All methods may be called
// from any goroutine.
type Queue struct {
	// OnFull is told when Push begins to wait for room, with the queue locked. It may
	// be nil, and is set before the first Push.
	OnFull func()

	now func() time.Time

	mu   sync.Mutex // Guards what follows.
	cond *sync.Cond // Signals Take (work is ready), Push (room) and Drain.

	parts  [Partitions]partition
	read   cursor.Point    // End of the last batch pushed.
	taken  cursor.Position // No item that was ever taken ends after it.
	closed bool

	// How much there is of what.
	queued   int // Items pushed and not acknowledged.
	held     int // Bytes of the entries that they are in.
	waiting  int // Items that are neither acknowledged nor under way.
	ready    int // Items that can be taken now: of those, the ones of partitions not under way.
	inReplay int // Items of the replay range that are not under way.
	flying   int // Requests under way.

	// How requests are cut, see cut.go.
	inOrder inOrder
	next    int  // Partition at which the next request by partition begins to look.
	catchUp bool // The endpoint has to catch up: requests wait for a window.
	window  int  // Items of one partition that it takes at most.

	// What limits them.
	limit   int // Items beyond which Push waits.
	max     int // Items a full request takes.
	senders int
	linger  time.Duration // How long items wait for others to fill a request.

	// What waits, and since when.
	since   time.Time   // When ready last rose from zero, or the last Take.
	timer   *time.Timer // Wakes senders when the oldest item has lingered.
	idle    int         // Senders that wait in Take.
	blocked *Entry      // What waits in Push, nil if nothing does.
	admit   bool        // It may be pushed although there is no room, see TakeOther.
}

// partition is the state of one virtual partition of a queue.
type partition struct {
	entries fifo           // Those with items of the partition that are not acknowledged.
	done    int            // Items of the first entry that are acknowledged.
	waiting int            // Items that are neither acknowledged nor under way.
	busy    bool           // A request is under way.
	resumed savepoint.Mark // Where an earlier run had left off.
	skip    int            // Acknowledged items after resumed that were not met yet.
	replay  int            // Items of a request of the replay range, see fill.
}

const (
	// heldItem is what a plain sample takes at most: itself, its partition, and
	// its copy if its batch comes to be grouped.
	heldItem = 2*int(unsafe.Sizeof(Item{})) + 1
	// heldBytes is what a queue may hold whatever queue_config.capacity says.
	heldBytes = 20 << 20
)

// HeldBytes returns how many bytes a queue may hold that may hold so many items.
func HeldBytes(items int) int { return max(heldBytes, items*heldItem) }

// New returns an empty queue that takes the time from now.
func New(now func() time.Time) *Queue {
	q := &Queue{now: now, limit: 1, max: 1}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// Resume sets how far each partition is before anything is pushed.
func (q *Queue) Resume(at cursor.Point, marks []savepoint.Mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.read = at
	for p := range q.parts {
		q.parts[p].resumed, q.parts[p].skip, q.parts[p].replay = marks[p], marks[p].Skip, minReplay
	}
}

// Configure sets the limits: items held, items per request, and how long an
// item waits for others to fill a request.
func (q *Queue) Configure(limit, perRequest int, linger time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit, q.max, q.linger = max(limit, 1), max(perRequest, 1), linger
	q.arm()
	q.cond.Broadcast()
}

// SetSenders tells how many senders there are.
func (q *Queue) SetSenders(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.senders = n
}

// SetWindow sets how many full requests a sender takes of one partition while the
// endpoint catches up. There is one at least, and MaxWindow at most.
func (q *Queue) SetWindow(requests int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.window = q.max * min(max(requests, 1), MaxWindow)
}

// CaughtUp says that the reader has met the head of the log: nothing waits for a
// window any more.
func (q *Queue) CaughtUp() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.catchUp {
		q.catchUp = false
		q.woken(q.ready, 0)
	}
}

// Push adds an entry, waiting for room. It returns false if the queue was
// closed. A batch larger than the limit is taken when the queue is empty.
func (q *Queue) Push(e *Entry) bool {
	e.takeParts()
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && !q.fits(e) && !q.admit {
		if q.blocked == nil {
			q.blocked = e
			q.cond.Broadcast() // No window fills any more.
			if q.OnFull != nil {
				q.OnFull()
			}
		}
		q.cond.Wait()
	}
	q.blocked, q.admit = nil, false
	if q.closed {
		return false
	}
	for p, n := range e.Skipped {
		q.parts[p].skip -= n
	}
	if e.Batch.Gap {
		for p := range q.parts {
			q.parts[p].skip = 0 // See Resumption.Filter.
		}
	}
	was := q.ready
	q.inOrder.add(e, q.waiting == 0)
	q.catchUp = e.Behind && !e.Replay
	for p := range q.parts {
		n := e.Batch.length(p)
		if n == 0 {
			continue
		}
		part := &q.parts[p]
		part.entries.push(e)
		part.waiting += n
		if e.Replay {
			q.inReplay += n
		}
		if !part.busy {
			q.ready += n
		}
	}
	q.queued += e.Batch.Total
	q.held += e.hold()
	q.waiting += e.Batch.Total
	q.read = e.Batch.End
	if q.ready == was {
		q.cond.Broadcast() // For Drain: nothing else tells that read has moved.
	}
	q.woken(was, e.Batch.Waited)
	return true
}

// fits reports whether there is room for an entry.
func (q *Queue) fits(e *Entry) bool {
	return q.queued == 0 || q.queued+e.Batch.Total <= max(q.limit, e.Room) && q.held+e.Batch.Bytes <= HeldBytes(q.limit)
}

// Jump moves the reading position without an entry: what lies between is
// forfeited to a limit.
func (q *Queue) Jump(to cursor.Point) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.read.Before(to.Position) {
		return
	}
	q.read = to
	for p := range q.parts {
		if q.parts[p].resumed.Before(to.Position) {
			q.parts[p].skip = 0 // See Resumption.Jump.
		}
	}
}

// Unskip forgets what was to be skipped and is not in the log.
func (q *Queue) Unskip() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.parts {
		q.parts[p].skip = 0
	}
}

// woken follows every rise of ready from was. What is new has waited elsewhere
// for a while.
func (q *Queue) woken(was int, waited time.Duration) {
	if q.ready == 0 {
		return
	}
	if was == 0 {
		q.since = q.now().Add(-waited)
	}
	if q.due() {
		q.cond.Broadcast()
		return
	}
	q.arm()
}

// arm makes sure that senders look again when the oldest item has lingered.
func (q *Queue) arm() {
	if q.ready == 0 {
		return
	}
	d := q.linger - q.now().Sub(q.since)
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.wake)
		return
	}
	q.timer.Reset(d)
}

// wake lets all waiting goroutines look again. It takes the lock, since one that has
// looked and is about to wait would not notice.
func (q *Queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cond.Broadcast()
}

// Take waits until a request is worth sending and fills r with it. It returns
// false when the queue is closed or keep returns false; keep is asked each time
// before waiting, with the queue locked.
func (q *Queue) Take(r *Request, keep func() bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed || !keep() {
			return false
		}
		if q.due() {
			break
		}
		if q.ready > 0 {
			q.arm()
		}
		q.idle++
		q.cond.Wait()
		q.idle--
	}
	r.reset()
	q.cut(r)
	q.flying++
	q.waiting -= r.Items
	if q.taken.Before(r.End) {
		q.taken = r.End
	}
	q.since = q.now()
	if q.due() {
		q.cond.Signal()
	}
	return true
}

// Ack records that everything in r was delivered or deliberately dropped.
func (q *Queue) Ack(r *Request) { q.finish(r, true) }

// Release gives r back undone: its items are the next of their partitions.
func (q *Queue) Release(r *Request) { q.finish(r, false) }

func (q *Queue) finish(r *Request, acknowledged bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.ready
	q.flying--
	if r.Renew != nil {
		r.Renew()
	}
	if acknowledged {
		q.queued -= r.Items
	} else {
		q.waiting += r.Items
		q.inOrder.on = false
	}
	if r.InOrder() {
		q.finishInOrder(r, acknowledged)
	} else {
		q.finishByPart(r, acknowledged)
	}
	q.cond.Broadcast()
	q.woken(was, 0)
}

// advance moves the partition past a span of its first entry, and returns how
// many bytes that gives back.
func (part *partition) advance(s partSpan) (freed int) {
	if s.to < s.entry.Batch.length(s.part) {
		part.done = s.to
		return 0
	}
	return part.popEntry(s.part)
}

// popEntry moves the partition, whose number is p, past its first entry, likewise.
func (part *partition) popEntry(p int) (freed int) {
	freed = part.entries.first().letGo(p)
	part.done = 0
	part.entries.pop()
	return freed
}

// Drain waits until everything before head has been pushed and acknowledged, or
// the queue is closed, or ctx ends. Meanwhile nothing lingers.
func (q *Queue) Drain(ctx context.Context, head cursor.Position) {
	defer context.AfterFunc(ctx, q.wake)()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.linger = 0
	q.cond.Broadcast()
	for !q.closed && ctx.Err() == nil && (q.queued > 0 || q.read.Before(head)) {
		q.cond.Wait()
	}
}

// Close makes Push and Take return false.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.cond.Broadcast()
}

// Marks writes the acknowledged position of every partition into dst and
// returns the lowest. A partition with nothing outstanding is where the
// stream has read to.
func (q *Queue) Marks(dst []savepoint.Mark) (floor savepoint.Mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.parts {
		part := &q.parts[p]
		m := savepoint.Mark{Point: q.read, Skip: part.skip}
		switch {
		case part.entries.len() > 0:
			e := part.entries.first()
			m = savepoint.Mark{Point: e.Batch.Start, Skip: part.done + e.Skipped[p]}
		case q.read.Before(part.resumed.Position):
			m = part.resumed
		}
		dst[p] = m
		if p == 0 || m.Before(floor.Position) {
			floor = m
		}
	}
	floor.Skip = 0 // Skips are per partition and mean nothing for the whole.
	return floor
}
