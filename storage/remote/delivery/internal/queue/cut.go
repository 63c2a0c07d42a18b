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
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
)

// How requests are cut follows from how much waits:
//
//	             more waits than one request at a time
//	             can carry, one is released, or a sample
//	             is taken out of its turn
//	   in order ────────────────────────────────────────▶ by partition
//	       ▲                                               │       ▲
//	       └───────────────────────────────────────────────┘       │
//	             an entry comes when nothing waits                 ▼
//	                                                            windows
//	                                      while entries come that are behind
//
// In order means: requests are spans of the log, over all partitions, one at a time.
// That keeps neighbours of the log together, which are alike and lie near each other
// in memory, and it makes endpoints that keep up cut the same requests, so that they
// can share them, see Key.
//
// By partition means: a request takes what waits of partitions that are not under way,
// so that many can be under way. In the replay range it takes a little of one.
//
// While an endpoint has a backlog to catch up with, samples of one series cost a
// fraction if they share a time series. Requests then wait until a partition has many,
// which costs nothing: the log is read faster than it can be sent. A sender takes a
// window of several requests of one partition and sends them one after the other,
// series by series, so that each series' samples meet in one request, whatever
// max_samples_per_send is. What a window has had acknowledged is acknowledged as a
// whole: the prefix that a savepoint can express ends with it (I8).

const (
	// spreadAbove is how many full requests have to wait before they are cut by
	// partition, so that several senders can be at work.
	spreadAbove = 2
	// commonEvery is how many full requests lie between places where no request
	// reaches over. Endpoints whose requests have come to differ, because one
	// lingered a little longer, cut the same ones again after it.
	commonEvery = 16
	// catchUpRounds is how many samples of each series a queue holds to catch up, so
	// that there is no more in memory than is of use.
	catchUpRounds = 16
	// MaxWindow is how many full requests a window has.
	MaxWindow = 8
	// minReplay is the size of the first requests of a partition in the replay range.
	minReplay = 16
)

// CatchUpRoom returns how many items an endpoint that catches up may hold when the
// table has so many series. Bytes are bounded as ever.
func CatchUpRoom(series int) int { return catchUpRounds * series }

// inOrder is what can be sent in the order of the log: all that waits, as long as on
// is set.
type inOrder struct {
	on      bool
	able    bool // The last entry could be sent so, whatever is ahead of it.
	entries fifo
	taken   int // Items of the first entry that are taken.
}

// add appends an entry, if it can be sent in the order of the log. empty says
// that nothing waits.
func (o *inOrder) add(e *Entry, empty bool) {
	if e.Batch.Total == 0 {
		return
	}
	if empty {
		*o = inOrder{on: true, entries: o.entries}
		for o.entries.len() > 0 {
			o.entries.pop()
		}
	}
	o.able = e.Batch.Ordered && !e.Replay && !e.Behind && e.Skipped == nil
	if o.on = o.on && o.able; o.on {
		o.entries.push(e)
	}
}

// due reports whether what is ready is worth a request now. The replay range is
// sent in small requests anyway.
func (q *Queue) due() bool {
	switch {
	case q.ready == 0:
		return false
	case q.inReplay > 0 || q.now().Sub(q.since) >= q.linger:
		return true
	case q.blocked != nil && q.flying == 0:
		return true // Nothing else makes room.
	case q.catchUp:
		return q.blocked != nil || q.hasWindow()
	case q.inOrder.on && q.flying > 0 && q.waiting < spreadAbove*q.max:
		return false // It goes on where the request under way ends.
	case !q.inOrder.on && q.inOrder.able && q.flying == 0:
		return true // Once nothing waits by partition, what comes next is in order again.
	}
	return q.ready >= q.max
}

// cut fills r with what is to be sent next. Something is ready.
func (q *Queue) cut(r *Request) {
	if q.staysInOrder() {
		q.takeInOrder(r)
		return
	}
	q.inOrder.on = false
	if q.catchUp && q.inReplay == 0 {
		q.takeWindow(r)
	}
	for i := 0; i < Partitions && r.Items < q.max && !r.Replay; i++ {
		q.fill(r, (q.next+i)%Partitions, q.max)
	}
	q.next = (r.byPart[len(r.byPart)-1].part + 1) % Partitions
}

// staysInOrder reports whether the next request is one in order.
func (q *Queue) staysInOrder() bool {
	if !q.inOrder.on || q.flying > 0 || (q.waiting >= spreadAbove*q.max && q.senders > 1) {
		return false
	}
	b := q.inOrder.entries.first().Batch
	return b.Total <= q.max || b.Plain()
}

// takeInOrder fills r in the order of the log. It cuts an entry only if there are no
// exemplars that would be parted from their samples.
func (q *Queue) takeInOrder(r *Request) {
	r.Behind = false
	o, common := &q.inOrder, uint64(commonEvery*q.max)
	section := o.entries.first().Batch.Before / common
	for o.entries.len() > 0 && r.Items < q.max {
		e := o.entries.first()
		b, n := e.Batch, e.Batch.Total-o.taken
		if r.Items > 0 && (b.Before/common != section || (r.Items+n > q.max && !b.Plain())) {
			break
		}
		n = min(n, q.max-r.Items)
		sp := logSpan{entry: e, from: o.taken, to: o.taken + n}
		sp.count(&r.took)
		r.inOrder = append(r.inOrder, sp)
		r.Items += n
		r.End = b.End.Position
		if o.taken = sp.to; o.taken == b.Total {
			o.entries.pop()
			o.taken = 0
		}
	}
	for p := range q.parts {
		q.parts[p].busy = true
		q.parts[p].waiting -= r.took[p]
	}
	q.ready = 0
}

// finishInOrder ends a request in order.
func (q *Queue) finishInOrder(r *Request, acknowledged bool) {
	for p := range q.parts {
		q.parts[p].busy = false
		if !acknowledged {
			q.parts[p].waiting += r.took[p]
		}
		q.ready += q.parts[p].waiting
	}
	if !acknowledged {
		return
	}
	for _, sp := range r.inOrder {
		b := sp.entry.Batch
		whole := sp.to == b.Total
		var done [Partitions]int
		if !whole {
			sp.count(&done)
		}
		for p := range q.parts {
			part := &q.parts[p]
			switch {
			case b.length(p) == 0:
			case !whole:
				// The partition may be through with the entry already.
				if part.done += done[p]; part.done == b.length(p) {
					q.held -= part.popEntry(p)
				}
			case part.entries.len() > 0 && part.entries.first() == sp.entry:
				q.held -= part.popEntry(p)
			}
		}
	}
}

// fill adds items of partition p to r as far as there is room. Of an entry it
// takes all or nothing, unless the entry alone is too much for a request.
//
// The replay range and what follows it never share a request, nor do partitions
// within the range. A request there that was stored before is refused, and taken
// apart down to its items; so requests begin small and double as long as
// nothing is refused, and little is done again if it comes to a crash meanwhile.
func (q *Queue) fill(r *Request, p, room int) {
	part := &q.parts[p]
	if part.busy || part.waiting == 0 {
		return
	}
	replay := part.entries.first().Replay
	if replay {
		if r.Items > 0 {
			return
		}
		room = min(max(part.replay, minReplay), q.max)
	}
	before, ready := r.Items, part.waiting
	from := part.done
	for _, e := range part.entries.all() {
		n := e.Batch.length(p) - from
		if e.Replay != replay || (r.Items > 0 && r.Items+n > room) {
			break
		}
		whole := n <= q.max
		n = min(n, q.max)
		r.byPart = append(r.byPart, partSpan{entry: e, part: p, from: from, to: from + n})
		r.Items += n
		r.Behind = r.Behind && e.Behind
		part.waiting -= n
		if r.End.Before(e.Batch.End.Position) {
			r.End = e.Batch.End.Position
		}
		if from = 0; !whole {
			break
		}
	}
	if r.Items == before {
		return
	}
	r.Replay = replay
	part.busy = true
	q.ready -= ready
	if replay {
		q.inReplay -= r.Items
	}
}

// finishByPart ends a request by partition.
func (q *Queue) finishByPart(r *Request, acknowledged bool) {
	for i, s := range r.byPart {
		part := &q.parts[s.part]
		if acknowledged {
			q.held -= part.advance(s)
		} else {
			part.waiting += s.to - s.from
			if r.Replay {
				q.inReplay += s.to - s.from
			}
		}
		if r.Replay {
			part.replay *= 2
			if r.Refused {
				part.replay = minReplay
			}
		}
		if i+1 == len(r.byPart) || r.byPart[i+1].part != s.part {
			part.busy = false
			q.ready += part.waiting
		}
	}
}

// hasWindow reports whether a partition that is not under way has a window waiting.
func (q *Queue) hasWindow() bool {
	for p := range q.parts {
		if part := &q.parts[p]; !part.busy && part.waiting >= max(q.window, q.max) {
			return true
		}
	}
	return false
}

// takeWindow fills r with a window of the partition that has most to send.
func (q *Queue) takeWindow(r *Request) {
	most, which := 0, 0
	for p := range q.parts {
		if part := &q.parts[p]; !part.busy && part.waiting > most {
			most, which = part.waiting, p
		}
	}
	// Full requests only, so that the last of the window is no small one.
	q.fill(r, which, max(min(most, q.window)/q.max, 1)*q.max)
}

// StableHash returns the hash of a series that does not change with the run.
func StableHash(s *series.Series) uint64 { return labels.StableHash(s.Labels()) }
