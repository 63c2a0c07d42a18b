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
	"math/rand/v2"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// What is sent beside the requests of a queue, to find out what a receiver takes, is taken
// here: a sample from behind a request that fails.

// Other is a sample that waits behind a request.
type Other struct {
	ItemView
	entry *Entry
	part  int
	held  bool // Its partition is held for it.
}

// End returns a position that the sample lies before.
func (o *Other) End() cursor.Position { return o.entry.Batch.End.Position }

// TakeOther takes a sample out of its turn that is the first of its partition, so that
// it can be acknowledged by itself, and none of the request's series or of those that
// isolated reports. If there is none, because nothing waits but what has no room in
// the queue, that gets in.
func (q *Queue) TakeOther(r *Request, isolated func(*series.Series) bool) (o Other, ok bool) {
	mine, taken := map[uint64]bool{}, r.took // By labels: refs may share them.
	for l := range r.Lists() {
		for i := range l.Items {
			mine[StableHash(l.Items[i].Series)] = true
		}
	}
	for _, sp := range r.byPart {
		taken[sp.part] += sp.to - sp.from
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	first := rand.IntN(Partitions) // What is at another place may be no better, or nothing that is sent.
	for k := range q.parts {
		p := (first + k) % Partitions
		part := &q.parts[p]
		// A request in order keeps all partitions, also those of which it has
		// nothing.
		if part.entries.len() == 0 || taken[p] > 0 || (part.busy && !r.InOrder()) {
			continue
		}
		e := part.entries.first()
		if !e.Batch.Plain() || e.Replay {
			continue
		}
		it, found := e.item(p, part.done)
		if !found || mine[StableHash(it.Series)] || isolated(it.Series) {
			continue
		}
		q.inOrder.on = false // What is left goes by partition.
		if !r.InOrder() {
			part.busy = true
			q.ready -= part.waiting
		}
		if q.taken.Before(e.Batch.End.Position) {
			q.taken = e.Batch.End.Position
		}
		return Other{ItemView: it, entry: e, part: p, held: !r.InOrder()}, true
	}
	if q.blocked != nil && (q.waiting == 0 || q.queued < 2*q.limit) {
		// All there is belongs to partitions that senders have, maybe for as long as
		// nothing else comes.
		q.admit = true
		q.cond.Broadcast()
	}
	return o, false
}

// FinishOther gives the partition back, past the sample if it was delivered.
func (q *Queue) FinishOther(o Other, delivered bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	part := &q.parts[o.part]
	if delivered {
		q.queued--
		q.waiting--
		part.waiting--
		q.held -= part.advance(partSpan{entry: o.entry, part: o.part, from: part.done, to: part.done + 1})
	}
	if o.held {
		part.busy = false
		q.ready += part.waiting
	}
	q.cond.Broadcast()
}
