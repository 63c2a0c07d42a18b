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

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

// Commit is what one commit writes to the log, in memory: the writer of the log hands
// it to the dispatcher, and readers need not read and decode the same. It is filled
// in the order of the records, since positions count items in that order.
//
// It belongs to one goroutine until [Storage.Committed] or [Commit.Discard].
type Commit struct {
	items      queue.Sequence
	records    queue.RecordCounts
	start, end cursor.Position
	written    time.Time
	to         *commitQueue
	tooLarge   bool // For the queue, and it is not filled any more.
}

// Float adds a sample. Times are in ms; st is 0 where the log does not keep it.
func (c *Commit) Float(s *series.Series, st, t int64, v float64) { c.items.Float(s, st, t, v) }

// Histogram adds a histogram, which it copies.
func (c *Commit) Histogram(s *series.Series, st, t int64, h *histogram.Histogram) {
	if c.room() {
		c.items.Histogram(s, st, t, h.Copy())
	}
}

// FloatHistogram adds a histogram, which it copies.
func (c *Commit) FloatHistogram(s *series.Series, st, t int64, h *histogram.FloatHistogram) {
	if c.room() {
		c.items.FloatHistogram(s, st, t, h.Copy())
	}
}

// Exemplar adds an exemplar.
func (c *Commit) Exemplar(s *series.Series, t int64, v float64, lset labels.Labels) {
	if c.room() {
		c.items.Exemplar(s, t, v, lset)
	}
}

// room reports whether there is room for what can be large. If not, the commit
// comes to nothing: the same is read from the log.
func (c *Commit) room() bool {
	if !c.tooLarge && c.items.Attached() >= queuedBytes/2 {
		c.tooLarge = true
		c.items.Reset()
	}
	return !c.tooLarge
}

// bytes returns how much memory the commit takes.
func (c *Commit) bytes() int { return c.items.Bytes() + c.items.Len() }

// Record counts a record that is written, of any type.
func (c *Commit) Record(rec []byte) {
	if len(rec) > 0 {
		c.records.Add(record.Type(rec[0]))
	}
}

// Discard gives a commit back that was not written, or not in one segment.
func (c *Commit) Discard() { c.to.recycle(c) }

// commitQueue holds in-memory commits until the leading reader (dispatcher) takes them.
// It is bounded (I6), and nothing depends on it being complete: where a commit is
// missing, the log is read up to the next one.
type commitQueue struct {
	wanted atomic.Bool // A subscription is at the shared batches.

	delay atomic.Pointer[batchDelay] // Nil for none.

	mtx   sync.Mutex // Guards what follows; held for moments only.
	ready []*Commit  // In the order of the log.
	items int        // In ready.
	bytes int        // Of those.
	free  []*Commit
}

const (
	// queuedItems and queuedBytes bound what waits.
	queuedItems = 1 << 16
	queuedBytes = 8 << 20
	// keptCommits and keptItems bound the buffers that are kept.
	keptCommits = 16
	keptItems   = 2 * maxBatchItems
	// wholeItems is the size from which on a commit makes a batch of its own,
	// without a copy; smaller ones are put together.
	wholeItems = 256
)

func (q *commitQueue) newCommit(items int) *Commit {
	if !q.wanted.Load() || items > keptItems {
		return nil
	}
	q.mtx.Lock()
	defer q.mtx.Unlock()
	if q.items+items > queuedItems || q.bytes >= queuedBytes {
		return nil
	}
	c := &Commit{to: q}
	if n := len(q.free); n > 0 {
		c = q.free[n-1]
		q.free = q.free[:n-1]
	}
	if c.items.Cap() < items { // A batch may take them as they are.
		c.items = queue.SequenceFor(items)
	}
	return c
}

func (q *commitQueue) put(c *Commit) {
	c.written = time.Now()
	q.mtx.Lock()
	fits := !c.tooLarge && q.bytes+c.bytes() <= queuedBytes
	if fits {
		q.ready = append(q.ready, c)
		q.items += c.items.Len()
		q.bytes += c.bytes()
	}
	q.mtx.Unlock()
	if !fits {
		q.recycle(c) // It is read from the log.
	}
}

func (q *commitQueue) recycle(c *Commit) {
	c.items.Reset()
	*c = Commit{items: c.items, to: q}
	q.mtx.Lock()
	defer q.mtx.Unlock()
	if len(q.free) < keptCommits && c.items.Cap() <= 2*keptItems {
		q.free = append(q.free, c)
	}
}

// clear drops what waits.
func (q *commitQueue) clear() {
	q.mtx.Lock()
	gone := q.ready
	q.ready, q.items, q.bytes = nil, 0, 0
	q.mtx.Unlock()
	for _, c := range gone {
		q.recycle(c)
	}
}

// next returns the first commit that begins at or after p, and drops those
// before: they were read from the log. It stays in the list unless it begins at
// p.
func (q *commitQueue) next(p cursor.Position) (c *Commit, at bool) {
	var gone []*Commit
	q.mtx.Lock()
	for len(q.ready) > 0 && c == nil {
		switch first := q.ready[0]; {
		case p.Before(first.start):
			c = first
		case first.start == p:
			c, at = first, true
			q.pop()
		default:
			gone = append(gone, first)
			q.pop()
		}
	}
	q.mtx.Unlock()
	for _, c := range gone {
		q.recycle(c)
	}
	return c, at
}

// pop takes the first commit off the list. Callers hold mtx.
func (q *commitQueue) pop() {
	q.items -= q.ready[0].items.Len()
	q.bytes -= q.ready[0].bytes()
	n := copy(q.ready, q.ready[1:])
	q.ready[n] = nil
	q.ready = q.ready[:n]
}

// starts reports whether a commit that waits begins at p, so that no reader need
// read on there.
func (q *commitQueue) starts(p cursor.Position) bool {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	return len(q.ready) > 0 && q.ready[0].start == p
}

// batch makes one of the commits that wait from a position on, nil if none does. bb
// is scratch space.
func (q *commitQueue) batch(bb *queue.Builder, head cursor.Point) *queue.Batch {
	c, at := q.next(head.Position)
	if !at {
		return nil
	}
	bb.Reset(head)
	bb.Waited = time.Since(c.written)
	for {
		if bb.Items.Len() == 0 && c.items.Len() >= wholeItems {
			bb.Items, c.items = c.items, bb.Items
		} else {
			bb.Items.AddAll(c.items)
		}
		bb.Records.Plus(&c.records)
		bb.End = cursor.Point{Position: c.end}
		q.recycle(c)
		if bb.Items.Len() >= wholeItems {
			break
		}
		if c, at = q.next(bb.End.Position); !at {
			break
		}
	}
	return bb.Build()
}

// batchDelay is how long in-memory commits may wait, so that readers and senders
// are woken once for a request and not with each commit. An item that waits has
// that part of batch_send_deadline behind it when it is read.
type batchDelay struct {
	items int           // Enough to fill a request: no reader waits for more.
	wait  time.Duration // How long less than that may wait.
}

// leastWait is the shortest wait that is worth a timer.
const leastWait = time.Millisecond

// batchDelayFor returns what suits all of some endpoints, nil if one of them wants
// everything at once.
func batchDelayFor(all []*settings) *batchDelay {
	delay := batchDelay{items: queuedItems / 2, wait: pollInterval}
	for _, set := range all {
		delay.items = min(delay.items, set.queue.MaxSamplesPerSend)
		delay.wait = min(delay.wait, time.Duration(set.queue.BatchSendDeadline)/4)
	}
	if len(all) == 0 || delay.wait < leastWait {
		return nil
	}
	return &delay
}

// mayWait reports whether the dispatcher need not be told now that the log ends at
// head: all of it waits in the queue, and is not enough yet.
func (q *commitQueue) mayWait(head cursor.Position) bool {
	delay := q.delay.Load()
	if delay == nil {
		return false
	}
	q.mtx.Lock()
	defer q.mtx.Unlock()
	n := len(q.ready)
	return n > 0 && q.items < delay.items && q.bytes < queuedBytes/2 && q.ready[n-1].end == head
}
