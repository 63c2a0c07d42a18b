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
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// Entry is a batch as one endpoint sees it.
type Entry struct {
	Batch *Batch
	// Skipped says how many items of each partition an earlier run had
	// acknowledged after the partition's mark, and are therefore not in the
	// batch; they come before those that are.
	Skipped map[int]int
	Behind  bool // Read by an endpoint that has to catch up.
	Replay  bool // In the replay range: it may have been sent before a crash.
	Room    int  // Items that may be held before this one waits, see CatchUpRoom.

	// What follows is the queue's.

	// left is what a batch by partition had, which is why the batch here has
	// none: what is acknowledged need not wait for the rest to be forgotten.
	left *[Partitions]List
	held int // Bytes that a queue holds because of it, and the number
	open int // of partitions with something of it left.

	early early // Guarded by its own lock: senders of several partitions share the entry.
}

// part returns the items of partition p, in the order of the log.
func (e *Entry) part(p int) List {
	if e.left != nil {
		return e.left[p]
	}
	return e.Batch.Part(p)
}

// parted returns the items of partition p if they are at hand without grouping
// what has the order of the log.
func (e *Entry) parted(p int) (List, bool) {
	if e.left != nil {
		return e.left[p], true
	}
	if have := e.Batch.byPart.Load(); have != nil {
		return have[p], true
	}
	return List{}, false
}

// item returns the nth item of a partition, without making lists of those of others.
func (e *Entry) item(p, n int) (it ItemView, found bool) {
	if e.left != nil || !e.Batch.Ordered {
		part := e.part(p)
		if n >= len(part.Items) {
			return it, false
		}
		return part.At(n), true
	}
	for i, q := range e.Batch.inOrder.parts {
		if int(q) != p {
			continue
		}
		n--
		if n < 0 {
			return e.Batch.inOrder.list.At(i), true
		}
	}
	return it, false
}

// takeParts makes the entry hold each partition of a batch by partition on its
// own, so that letGo can give them up one by one. Others may share the batch,
// of which only what describes it is left here.
func (e *Entry) takeParts() {
	b := e.Batch
	if b.Ordered || b.Total == 0 {
		return
	}
	left := *b.grouped()
	e.left = &left
	e.Batch = b.described()
}

// hold says that a queue holds the entry, and returns how many bytes that takes.
func (e *Entry) hold() int {
	e.held, e.open = e.Batch.Bytes, 0
	for p := range Partitions {
		if e.Batch.length(p) > 0 {
			e.open++
		}
	}
	return e.held
}

// letGo says that partition p of the entry is through, and returns how many
// bytes that gives back: its own where the lists of partitions share no memory, else all when the last
// one is through.
func (e *Entry) letGo(p int) (freed int) {
	if e.left != nil {
		freed = e.left[p].bytes()
		e.left[p] = List{}
	}
	e.open--
	if e.open == 0 {
		freed = e.held
	}
	e.held -= freed
	return freed
}

// early remembers which exemplars of an entry were sent before their turn.
// Where a request ends within an entry, the exemplars of its last samples lie
// behind its end, and would have no sample in the next one. They go with their
// samples, and are passed over when their turn comes. They are not part of any
// mark: after a crash they may come again.
type early struct {
	mtx  sync.Mutex
	sent map[indexInPart]bool
}

// indexInPart is which of the items of its partition one is.
type indexInPart struct{ part, index int }

// add appends to items the exemplars of part that belong to samples of the span
// sp, which ends before them.
func (a *early) add(items []ItemView, sp partSpan, part List) []ItemView {
	var in map[*series.Series]bool
	for i := sp.to; i < len(part.Items); i++ {
		if part.Kind(i) != Exemplar {
			continue
		}
		if in == nil {
			in = map[*series.Series]bool{}
			// A later sample of the series is the one it belongs to.
			for j := sp.from; j < len(part.Items); j++ {
				if part.Kind(j) != Exemplar {
					in[part.Items[j].Series] = j < sp.to
				}
			}
		}
		if !in[part.Items[i].Series] || a.has(sp.part, i) {
			continue
		}
		a.mtx.Lock()
		if a.sent == nil {
			a.sent = map[indexInPart]bool{}
		}
		a.sent[indexInPart{sp.part, i}] = true
		a.mtx.Unlock()
		items = append(items, part.At(i))
	}
	return items
}

// has reports whether that exemplar was sent before its turn.
func (a *early) has(part, index int) bool {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return a.sent[indexInPart{part, index}]
}

// fifo is a list of entries that keeps its array while entries come and go.
type fifo struct {
	list []*Entry
	head int
}

// keepFifo is how long an array is kept when the list has become empty.
const keepFifo = 256

func (f *fifo) push(e *Entry) {
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
func (f *fifo) all() []*Entry { return f.list[f.head:] }

// first returns the oldest entry.
func (f *fifo) first() *Entry { return f.list[f.head] }

func (f *fifo) len() int { return len(f.list) - f.head }
