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

// Commit is what one commit writes to the log, in memory: handed over by the writer
// of the log, it spares readers the reading and decoding of the same. It is filled
// in the order of the records, since positions count items in that order.
//
// It belongs to one goroutine until [Storage.Committed] or [Commit.Discard].
type Commit struct {
	items      queue.Sequence
	records    queue.RecordCounts
	start, end cursor.Position
	written    time.Time
	to         *handover
	over       bool // It is too much to be handed over, and not filled any more.
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
	if !c.over && c.items.Attached() >= handedBytes/2 {
		c.over = true
		c.items.Reset()
	}
	return !c.over
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

// handover holds what was committed until the leading reader (dispatcher) takes it.
// It is bounded (I6), and nothing depends on it being complete: where a commit is
// missing, the log is read up to the next one.
type handover struct {
	wanted atomic.Bool // A subscription is at the shared batches.

	delay atomic.Pointer[batchDelay] // Nil for none.

	mtx   sync.Mutex // Guards what follows; held for moments only.
	ready []*Commit  // In the order of the log.
	items int        // In ready.
	bytes int        // Of those.
	free  []*Commit
}

const (
	// handedItems and handedBytes bound what waits.
	handedItems = 1 << 16
	handedBytes = 8 << 20
	// keptCommits and keptItems bound the buffers that are kept.
	keptCommits = 16
	keptItems   = 2 * maxBatchItems
	// wholeItems is the size from which on a commit makes a batch of its own,
	// without a copy; smaller ones are put together.
	wholeItems = 256
)

func (h *handover) take(items int) *Commit {
	if !h.wanted.Load() || items > keptItems {
		return nil
	}
	h.mtx.Lock()
	defer h.mtx.Unlock()
	if h.items+items > handedItems || h.bytes >= handedBytes {
		return nil
	}
	c := &Commit{to: h}
	if n := len(h.free); n > 0 {
		c = h.free[n-1]
		h.free = h.free[:n-1]
	}
	if c.items.Cap() < items { // A batch may take them as they are.
		c.items = queue.SequenceFor(items)
	}
	return c
}

func (h *handover) put(c *Commit) {
	c.written = time.Now()
	h.mtx.Lock()
	fits := !c.over && h.bytes+c.bytes() <= handedBytes
	if fits {
		h.ready = append(h.ready, c)
		h.items += c.items.Len()
		h.bytes += c.bytes()
	}
	h.mtx.Unlock()
	if !fits {
		h.recycle(c) // It is read from the log.
	}
}

func (h *handover) recycle(c *Commit) {
	c.items.Reset()
	*c = Commit{items: c.items, to: h}
	h.mtx.Lock()
	defer h.mtx.Unlock()
	if len(h.free) < keptCommits && c.items.Cap() <= 2*keptItems {
		h.free = append(h.free, c)
	}
}

// clear drops what waits.
func (h *handover) clear() {
	h.mtx.Lock()
	gone := h.ready
	h.ready, h.items, h.bytes = nil, 0, 0
	h.mtx.Unlock()
	for _, c := range gone {
		h.recycle(c)
	}
}

// next returns the first commit that begins at or after p, and drops those
// before: they were read from the log. It stays in the list unless it begins at
// p.
func (h *handover) next(p cursor.Position) (c *Commit, at bool) {
	var gone []*Commit
	h.mtx.Lock()
	for len(h.ready) > 0 && c == nil {
		switch first := h.ready[0]; {
		case p.Before(first.start):
			c = first
		case first.start == p:
			c, at = first, true
			h.pop()
		default:
			gone = append(gone, first)
			h.pop()
		}
	}
	h.mtx.Unlock()
	for _, c := range gone {
		h.recycle(c)
	}
	return c, at
}

// pop takes the first commit off the list. Callers hold mtx.
func (h *handover) pop() {
	h.items -= h.ready[0].items.Len()
	h.bytes -= h.ready[0].bytes()
	n := copy(h.ready, h.ready[1:])
	h.ready[n] = nil
	h.ready = h.ready[:n]
}

// starts reports whether a commit that waits begins at p, so that no reader need
// read on there.
func (h *handover) starts(p cursor.Position) bool {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	return len(h.ready) > 0 && h.ready[0].start == p
}

// batch makes one of what was handed over from a position on, nil if nothing
// was. bb is scratch space.
func (h *handover) batch(bb *queue.Builder, head cursor.Point) *queue.Batch {
	c, at := h.next(head.Position)
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
		h.recycle(c)
		if bb.Items.Len() >= wholeItems {
			break
		}
		if c, at = h.next(bb.End.Position); !at {
			break
		}
	}
	return bb.Build()
}

// batchDelay is how long what was handed over may wait, so that readers and senders
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
	p := batchDelay{items: handedItems / 2, wait: pollInterval}
	for _, set := range all {
		p.items = min(p.items, set.queue.MaxSamplesPerSend)
		p.wait = min(p.wait, time.Duration(set.queue.BatchSendDeadline)/4)
	}
	if len(all) == 0 || p.wait < leastWait {
		return nil
	}
	return &p
}

// rests reports whether the dispatcher need not be told now that the log ends at
// head: all of it was handed over, and is not enough yet.
func (h *handover) rests(head cursor.Position) bool {
	p := h.delay.Load()
	if p == nil {
		return false
	}
	h.mtx.Lock()
	defer h.mtx.Unlock()
	n := len(h.ready)
	return n > 0 && h.items < p.items && h.bytes < handedBytes/2 && h.ready[n-1].end == head
}
