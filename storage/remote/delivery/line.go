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

// line is the part of a queue of which nothing is under way but its front: as
// long as one request at a time is enough, requests are stretches of the log in
// its own order, over all partitions. That keeps neighbours of the log
// together, which are alike and lie near each other in memory, and it makes
// endpoints that keep up cut the same requests, so that they can share them
// (see requestCache).
//
// If more waits than that, requests take partitions instead, of which many can
// be under way; the line goes on when all that waited is taken.
type line struct {
	on      bool
	entries fifo
	at      int // Items of the first entry that are taken, in the order of the log.
}

const (
	// spreadAbove is how many full requests have to wait before they are cut by
	// partition, so that several senders can be at work.
	spreadAbove = 2
	// commonEvery is how many full requests lie between places where no request
	// reaches over. Endpoints whose requests have come to differ, because one
	// lingered a little longer, cut the same ones again after it.
	commonEvery = 16
)

// stretch is a run of an entry's items in the order of the log.
type stretch struct {
	entry    *entry
	from, to int // Indexes into entry.items, which is ordered.
}

// add appends an entry, if it can be sent in the order of the log. fresh says
// that nothing waits.
func (l *line) add(e *entry, fresh bool) {
	if e.total == 0 {
		return
	}
	if fresh {
		*l = line{on: true, entries: l.entries}
		for l.entries.len() > 0 {
			l.entries.pop()
		}
	}
	if l.on = l.on && e.ordered && !e.replay && !e.behind && e.skipped == nil; l.on {
		l.entries.push(e)
	}
}

// lined reports whether the next request is one of the line.
func (q *queue) lined() bool {
	if !q.line.on || q.flying > 0 || (q.waiting >= spreadAbove*q.max && q.senders > 1) {
		return false
	}
	e := q.line.entries.all()[0]
	return e.total <= q.max || e.plain()
}

// takeLine fills r from the line. It cuts an entry only if there are no
// exemplars that would be parted from their samples.
func (q *queue) takeLine(r *request) {
	r.behind = false
	l := &q.line
	first := l.entries.all()[0].before / uint64(commonEvery*q.max)
	for l.entries.len() > 0 && r.items < q.max {
		e := l.entries.all()[0]
		n := e.total - l.at
		if r.items > 0 && (e.before/uint64(commonEvery*q.max) != first || (r.items+n > q.max && !e.plain())) {
			break
		}
		n = min(n, q.max-r.items)
		sp := stretch{entry: e, from: l.at, to: l.at + n}
		sp.count(&r.took)
		r.stretch = append(r.stretch, sp)
		r.items += n
		r.end = e.end.Position
		if l.at = sp.to; l.at == e.total {
			l.entries.pop()
			l.at = 0
		}
	}
	for p := range q.parts {
		q.parts[p].busy = true
		q.parts[p].waiting -= r.took[p]
	}
	q.ready = 0
}

// finishLine ends a request of the line.
func (q *queue) finishLine(r *request, acknowledged bool) {
	if len(r.stretch) == 0 {
		return
	}
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
	for _, sp := range r.stretch {
		whole := sp.to == sp.entry.total
		var done [partitions]int
		if !whole {
			sp.count(&done)
		}
		for p := range q.parts {
			part := &q.parts[p]
			switch {
			case sp.entry.length(p) == 0:
			case !whole:
				// The partition may be through with the entry already.
				if part.done += done[p]; part.done == sp.entry.length(p) {
					q.held -= part.pass(p)
				}
			case part.fifo.len() > 0 && part.fifo.all()[0] == sp.entry:
				q.held -= part.pass(p)
			}
		}
	}
}

// count adds how many items of each partition the stretch has.
func (sp stretch) count(to *[partitions]int) {
	if sp.from == 0 && sp.to == sp.entry.total {
		for p := range to {
			to[p] += sp.entry.length(p)
		}
		return
	}
	for _, p := range sp.entry.parts[sp.from:sp.to] {
		to[p]++
	}
}
