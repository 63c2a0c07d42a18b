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
	"sync"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// queue holds what one endpoint has read and not yet had acknowledged, by
// partition. Its rules are those of I2 and I4: a partition has at most one
// request under way, what a partition has acknowledged is a prefix of what it
// was given, and a mark never passes an item that is not acknowledged.
//
// It does no I/O. Everything is guarded by mu; push, take, ack and release cost
// a walk over the partitions, nothing per item, but where a request of the line
// ends within a batch.
type queue struct {
	mu   sync.Mutex
	cond *sync.Cond // Signals senders (work is ready) and the reader (room).

	parts    [partitions]partition
	line     line
	next     int          // Partition at which the next take begins to look.
	read     cursor.Point // End of the last batch pushed.
	taken    cursor.Position
	queued   int       // Items pushed and not acknowledged.
	held     int       // Bytes of the entries that they are in, see weight.go.
	waiting  int       // Items that are neither acknowledged nor under way.
	inReplay int       // Items of the replay range that are not under way.
	ready    int       // Items that can be taken now.
	flying   int       // Requests under way.
	idle     int       // Senders that wait in take.
	since    time.Time // When ready last rose from zero, or the last take.
	limit    int       // Items beyond which push waits.
	max      int       // Items a full request takes.
	senders  int
	linger   time.Duration
	timer    *time.Timer
	closed   bool

	deep    bool   // The endpoint has to catch up: requests wait for depth.
	window  int    // Items of one partition that a request takes at most then.
	admit   bool   // The reader may push it although there is no room, see takeOther.
	blocked *entry // What the reader waits to push, nil if it does not.
	full    func() // Told when it begins to, may be nil. Set once.

	now func() time.Time
}

// partition is the state of one virtual partition of a queue.
type partition struct {
	fifo    fifo           // Entries with items of the partition that are not acknowledged.
	done    int            // Items of the first entry that are acknowledged.
	waiting int            // Items that are neither acknowledged nor under way.
	busy    bool           // A request is under way.
	resumed savepoint.Mark // Where an earlier run had left off.
	skip    int            // Acknowledged items after resumed that were not met yet.
	probe   int            // Items of a request of the replay range, see fill.
}

// fifo is a list of entries that keeps its array while entries come and go.
type fifo struct {
	list []*entry
	head int
}

// keepFifo is how long an array is kept when the list has become empty.
const keepFifo = 256

func (f *fifo) push(e *entry) {
	if f.head > 0 && len(f.list) == cap(f.list) {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, e)
}

func (f *fifo) pop() {
	f.list[f.head] = nil
	f.head++
	if f.head < len(f.list) {
		return
	}
	if f.list, f.head = f.list[:0], 0; cap(f.list) > keepFifo {
		f.list = nil
	}
}

// all returns the entries, oldest first.
func (f *fifo) all() []*entry { return f.list[f.head:] }

func (f *fifo) len() int { return len(f.list) - f.head }

func newQueue(now func() time.Time) *queue {
	q := &queue{now: now, limit: 1, max: 1}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// resume sets where each partition stands before anything is pushed.
func (q *queue) resume(at cursor.Point, marks []savepoint.Mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.read = at
	for p := range q.parts {
		q.parts[p].resumed, q.parts[p].skip, q.parts[p].probe = marks[p], marks[p].Skip, minProbe
	}
}

// configure sets the limits: items held, items per request, and how long an
// item waits for others to fill a request.
func (q *queue) configure(limit, perRequest int, linger time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit, q.max, q.linger = max(limit, 1), max(perRequest, 1), linger
	q.arm()
	q.cond.Broadcast()
}

// push adds an entry, waiting for room. It returns false if the queue was
// closed. A batch larger than the limit is taken when the queue is empty.
func (q *queue) push(e *entry) bool {
	e.takeParts()
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && !q.fits(e) && !q.admit {
		if q.blocked == nil {
			q.blocked = e
			q.cond.Broadcast() // Nothing gets deeper now.
			if q.full != nil {
				q.full()
			}
		}
		q.cond.Wait()
	}
	q.blocked, q.admit = nil, false
	if q.closed {
		return false
	}
	for p, n := range e.skipped {
		q.parts[p].skip -= n
	}
	if e.gap {
		for p := range q.parts {
			q.parts[p].skip = 0 // See resumption.filter.
		}
	}
	was := q.ready
	q.line.add(e, q.waiting == 0)
	q.deep = e.behind && !e.replay
	for p := range q.parts {
		n := e.length(p)
		if n == 0 {
			continue
		}
		part := &q.parts[p]
		part.fifo.push(e)
		part.waiting += n
		if e.replay {
			q.inReplay += n
		}
		if !part.busy {
			q.ready += n
		}
	}
	q.queued += e.total
	q.held += e.hold()
	q.waiting += e.total
	q.read = e.end
	if q.ready == was {
		q.cond.Broadcast() // For drain: nothing else tells that read has moved.
	}
	q.woken(was, e.waited)
	return true
}

// jump moves the reading position without an entry: what lies between has been
// given up by a limit.
func (q *queue) jump(to cursor.Point) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.read.Before(to.Position) {
		return
	}
	q.read = to
	for p := range q.parts {
		if q.parts[p].resumed.Before(to.Position) {
			q.parts[p].skip = 0 // See resumption.jump.
		}
	}
}

// unskip forgets what was to be skipped and is not in the log.
func (q *queue) unskip() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.parts {
		q.parts[p].skip = 0
	}
}

// woken follows every rise of ready from was. What is new has waited elsewhere
// for a while.
func (q *queue) woken(was int, waited time.Duration) {
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

// due reports whether what is ready is worth a request now. The replay range is
// sent in small requests anyway.
func (q *queue) due() bool {
	switch {
	case q.ready == 0:
		return false
	case q.inReplay > 0 || q.now().Sub(q.since) >= q.linger:
		return true
	case q.blocked != nil && q.flying == 0:
		return true // Nothing else makes room.
	case q.deep:
		return q.blocked != nil || q.fullest(q.window)
	case q.line.on && q.flying > 0 && q.waiting < spreadAbove*q.max:
		return false // It goes on where the request under way ends.
	}
	return q.ready >= q.max
}

// arm makes sure that senders look again when the oldest item has lingered.
func (q *queue) arm() {
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

// wake lets everybody look again. It takes the lock, since who has looked and is
// about to wait would not notice.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cond.Broadcast()
}

// request is what one sender has taken. It belongs to the sender until it is
// acknowledged or released.
type request struct {
	spans   []span
	stretch []stretch // In place of spans, see line.
	took    [partitions]int
	items   int
	replay  bool            // Of the replay range, and then of one partition.
	behind  bool            // Everything in it was read to catch up.
	refused bool            // Set by the sender: something had been stored before.
	renew   func()          // Called before what comes behind it can be taken, may be nil.
	end     cursor.Position // No item of the request ends after it.
}

// minProbe is the size of the first requests of a partition in the replay range.
const minProbe = 16

// take waits until a request is worth sending and fills r with it. It returns
// false when the queue is closed or keep returns false; keep is asked each time
// before waiting, with the queue locked.
func (q *queue) take(r *request, keep func() bool) bool {
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
	clear(r.spans)
	clear(r.stretch)
	*r = request{spans: r.spans[:0], stretch: r.stretch[:0], behind: true}
	if q.lined() {
		q.takeLine(r)
	} else {
		q.line.on = false
		q.takeDeep(r)
		for i := 0; i < partitions && r.items < q.max && !r.replay; i++ {
			q.fill(r, (q.next+i)%partitions, q.max)
		}
		q.next = (r.spans[len(r.spans)-1].part + 1) % partitions
	}
	q.flying++
	q.waiting -= r.items
	if q.taken.Before(r.end) {
		q.taken = r.end
	}
	q.since = q.now()
	if q.due() {
		q.cond.Signal()
	}
	return true
}

// fill adds items of partition p to r as far as there is room. Of an entry it
// takes all or nothing, unless the entry alone is too much for a request.
//
// The replay range and what follows it never share a request, nor do partitions
// within the range. A request there that was stored before is refused, and taken
// apart down to its items; so requests begin small and double as long as
// nothing is refused, and little is done again if it comes to a crash meanwhile.
func (q *queue) fill(r *request, p, room int) {
	part := &q.parts[p]
	if part.busy || part.waiting == 0 {
		return
	}
	replay := part.fifo.all()[0].replay
	if replay {
		if r.items > 0 {
			return
		}
		room = min(max(part.probe, minProbe), q.max)
	}
	before, ready := r.items, part.waiting
	from := part.done
	for _, e := range part.fifo.all() {
		n := e.length(p) - from
		if e.replay != replay || (r.items > 0 && r.items+n > room) {
			break
		}
		whole := n <= q.max
		n = min(n, q.max)
		r.spans = append(r.spans, span{entry: e, part: p, from: from, to: from + n})
		r.items += n
		r.behind = r.behind && e.behind
		part.waiting -= n
		if r.end.Before(e.end.Position) {
			r.end = e.end.Position
		}
		if from = 0; !whole {
			break
		}
	}
	if r.items == before {
		return
	}
	r.replay = replay
	part.busy = true
	q.ready -= ready
	if replay {
		q.inReplay -= r.items
	}
}

// ack records that everything in r was delivered or deliberately dropped.
func (q *queue) ack(r *request) { q.finish(r, true) }

// release gives r back undone: its items are the next of their partitions.
func (q *queue) release(r *request) { q.finish(r, false) }

func (q *queue) finish(r *request, acknowledged bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.ready
	q.flying--
	if r.renew != nil {
		r.renew()
	}
	if acknowledged {
		q.queued -= r.items
	} else {
		q.waiting += r.items
		q.line.on = false
	}
	q.finishLine(r, acknowledged)
	for i, s := range r.spans {
		part := &q.parts[s.part]
		if acknowledged {
			q.held -= part.advance(s)
		} else {
			part.waiting += s.to - s.from
			if r.replay {
				q.inReplay += s.to - s.from
			}
		}
		if r.replay {
			part.probe *= 2
			if r.refused {
				part.probe = minProbe
			}
		}
		if i+1 == len(r.spans) || r.spans[i+1].part != s.part {
			part.busy = false
			q.ready += part.waiting
		}
	}
	q.cond.Broadcast()
	q.woken(was, 0)
}

// advance moves the partition past a span of its first entry, and returns how
// many bytes that gives back.
func (part *partition) advance(s span) (freed int) {
	if s.to < s.entry.length(s.part) {
		part.done = s.to
		return 0
	}
	return part.pass(s.part)
}

// pass moves the partition, whose number is p, past its first entry, likewise.
func (part *partition) pass(p int) (freed int) {
	freed = part.fifo.all()[0].letGo(p)
	part.done = 0
	part.fifo.pop()
	return freed
}

// drain waits until everything before head has been pushed and acknowledged, or
// the queue is closed, or ctx ends. Meanwhile nothing lingers.
func (q *queue) drain(ctx context.Context, head cursor.Position) {
	defer context.AfterFunc(ctx, q.wake)()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.linger = 0
	q.cond.Broadcast()
	for !q.closed && ctx.Err() == nil && (q.queued > 0 || q.read.Before(head)) {
		q.cond.Wait()
	}
}

// close makes push and take return false.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if q.timer != nil {
		q.timer.Stop()
	}
	q.cond.Broadcast()
}

// marks writes the acknowledged position of every partition into dst and
// returns the lowest. A partition with nothing outstanding stands where the
// endpoint has read to.
func (q *queue) marks(dst []savepoint.Mark) (floor savepoint.Mark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.parts {
		part := &q.parts[p]
		m := savepoint.Mark{Point: q.read, Skip: part.skip}
		switch {
		case part.fifo.len() > 0:
			e := part.fifo.all()[0]
			m = savepoint.Mark{Point: e.start, Skip: part.done + e.skipped[p]}
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
