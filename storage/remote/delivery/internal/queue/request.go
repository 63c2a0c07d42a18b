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
	"iter"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// Request is what one sender has taken: spans of the log in its own order, over all
// partitions, or spans of partitions. It belongs to the sender until it is
// acknowledged or released.
type Request struct {
	Items   int             // Number of items.
	Replay  bool            // Of the replay range, and then of one partition.
	Behind  bool            // Everything in it was read to catch up.
	End     cursor.Position // No item of the request ends after it.
	Refused bool            // Set by the sender: something had been stored before.
	Renew   func()          // Called before what comes behind it can be taken, may be nil.

	inOrder []logSpan // Of the log, or
	byPart  []partSpan
	took    [Partitions]int // Items of each partition, if it is in order.
}

// logSpan is a range of an entry's items in the order of the log.
type logSpan struct {
	entry    *Entry
	from, to int // Indexes into the batch's items, which are in order.
}

// partSpan is a range of one partition's items in one entry.
type partSpan struct {
	entry    *Entry
	part     int
	from, to int // Indexes into entry.part(part).
}

// reset empties the request and keeps its memory.
func (r *Request) reset() {
	clear(r.inOrder)
	clear(r.byPart)
	*r = Request{inOrder: r.inOrder[:0], byPart: r.byPart[:0], Behind: true}
}

// InOrder reports whether the request is one in the order of the log.
func (r *Request) InOrder() bool { return len(r.inOrder) > 0 }

// Lists returns the items of a request in order, as they follow each other.
func (r *Request) Lists() iter.Seq[List] {
	return func(yield func(List) bool) {
		for _, sp := range r.inOrder {
			if !yield(sp.list()) {
				return
			}
		}
	}
}

// AppendItems appends the items to a list: partition by partition, in the order of
// the log within each, or in the order of the log if the request is in order. Behind
// what it takes of a partition are exemplars that belong to it and would come later;
// it leaves out those that went before their turn.
func (r *Request) AppendItems(to []ItemView) []ItemView {
	for _, sp := range r.inOrder {
		l := sp.list()
		for i := range l.Items {
			to = append(to, l.At(i))
		}
	}
	for _, sp := range r.byPart {
		part := sp.entry.part(sp.part)
		plain := sp.entry.Batch.Plain()
		for i := sp.from; i < sp.to; i++ {
			if plain || sp.from == 0 || !sp.entry.early.has(sp.part, i) {
				to = append(to, part.At(i))
			}
		}
		if !plain && sp.to < len(part.Items) {
			to = sp.entry.early.add(to, sp, part)
		}
	}
	return to
}

// Content counts what the request took from the queue.
func (r *Request) Content() (t Counts) {
	for _, sp := range r.inOrder {
		if sp.whole() {
			t.Plus(sp.entry.Batch.Counts)
		} else {
			t[Samples] += sp.to - sp.from // Others are not cut.
		}
	}
	for _, sp := range r.byPart {
		part := sp.entry.part(sp.part)
		part = part.Slice(sp.from, sp.to)
		t.Plus(part.Count())
	}
	return t
}

// Plain reports whether the request has nothing but floats.
func (r *Request) Plain() bool {
	for _, sp := range r.inOrder {
		if !sp.entry.Batch.Plain() {
			return false
		}
	}
	for _, sp := range r.byPart {
		if !sp.entry.Batch.Plain() {
			return false
		}
	}
	return true
}

// Key identifies the items of a request in order among those of all endpoints. All
// batches in it have items, so that a gap between its ends shows in their number.
type Key struct {
	First, Last uint64 // Batches, by number.
	From, To    int
	Items       int
}

// Key returns what identifies the items of a request in order.
func (r *Request) Key() Key {
	first, last := r.inOrder[0], r.inOrder[len(r.inOrder)-1]
	return Key{First: first.entry.Batch.Number, From: first.from, Last: last.entry.Batch.Number, To: last.to, Items: r.Items}
}

// Marks returns where items of the request are in the log: the start of their
// batch, and how many items of their partition come before them.
func (r *Request) Marks(items []ItemView) map[*Item]savepoint.Mark {
	at := make(map[*Item]savepoint.Mark, len(items))
	for _, it := range items {
		at[it.Item] = savepoint.Mark{}
	}
	note := func(e *Entry, it *Item, p, index int) {
		if _, asked := at[it]; asked {
			at[it] = savepoint.Mark{Point: e.Batch.Start, Skip: e.Skipped[p] + index}
		}
	}
	for _, sp := range r.inOrder {
		var before [Partitions]int
		all := &sp.entry.Batch.inOrder
		for i := 0; i < sp.to; i++ {
			p := all.parts[i]
			if i >= sp.from {
				note(sp.entry, &all.list.Items[i], int(p), before[p])
			}
			before[p]++
		}
	}
	for _, sp := range r.byPart {
		// Exemplars that go before their turn lie behind the span.
		part := sp.entry.part(sp.part)
		for i := sp.from; i < len(part.Items); i++ {
			note(sp.entry, &part.Items[i], sp.part, i)
		}
	}
	return at
}

// list returns the items of the span.
func (sp logSpan) list() List { return sp.entry.Batch.inOrder.list.Slice(sp.from, sp.to) }

// whole reports whether the span is all of its entry.
func (sp logSpan) whole() bool { return sp.from == 0 && sp.to == sp.entry.Batch.Total }

// count adds how many items of each partition the span has.
func (sp logSpan) count(to *[Partitions]int) {
	if sp.whole() {
		for p := range to {
			to[p] += sp.entry.Batch.length(p)
		}
		return
	}
	for _, p := range sp.entry.Batch.inOrder.parts[sp.from:sp.to] {
		to[p]++
	}
}
