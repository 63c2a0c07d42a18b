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
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// isolate resumes what an earlier run had isolated, as one trial. marks are those
// of the partitions: what lies before them of the series is in the log only. What that
// run may have sent lies before sent.
func (q *queue) isolate(list []isolatedMark, marks []savepoint.Mark, sent cursor.Position) {
	if len(list) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &trial{replayed: true}
	for _, m := range list {
		is := q.isolation.get(m.Series)
		is.behind, is.next, is.until = true, m.Mark, marks[q.isolation.partOf(m.Series)]
		is.maybeSent(sent)
		is.unsent()
		t.series = append(t.series, is)
	}
	q.isolation.trial = t
	q.isolation.signal()
}

// adopt takes over the isolated series of a queue whose part of the log is before
// that of q. Nobody works on from any more. The isolator of q makes them its own
// when it has nothing under way, see inherit; until then, the savepoint has them
// as they were.
func (q *queue) adopt(from *queue) {
	from.mu.Lock()
	defer from.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	// What that queue had adopted itself and not made its own is older still.
	own := from.isolation.inherited
	for _, old := range from.isolation.series {
		if _, waits := old.mark(); waits {
			own = append(own, old)
		}
	}
	from.isolation.inherited = nil
	q.isolation.inherited = append(q.isolation.inherited, own...)
	q.isolation.signal()
}

// inherit merges what was adopted with what is isolated already: the former comes
// first. Of a series that waits in the log, what this stream had delivered lies
// between, and is sent once more. Those of a trial are on trial again. Only the
// isolator calls it, with nothing under way.
func (q *queue) inherit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	x := &q.isolation
	if len(x.inherited) == 0 || x.trial != nil {
		return
	}
	t := &trial{replayed: true}
	for _, old := range slices.Backward(x.inherited) {
		is := x.get(old.hash)
		_, both := is.mark()
		switch {
		case !both:
			is.items, is.behind, is.next, is.until = old.items, old.behind, old.next, old.until
		case old.behind:
			end := is.end()
			x.drop(is, len(is.items))
			is.items, is.behind, is.next, is.until = old.items, true, old.next, end
		default:
			is.items = append(slices.Clip(old.items), is.items...)
		}
		x.bytes += sizeOf(old.items)
		is.maybeSent(past(is.end()))
		if is.suspect = is.suspect || old.suspect; !is.suspect {
			t.series = append(t.series, is)
		}
	}
	x.inherited = nil
	if len(t.series) > 0 {
		x.trial = t
	}
}

// divert takes those items out of a request that belong to isolated series, and
// leaves them to the isolator.
func (q *queue) divert(r *request, items []flat) []flat {
	q.mu.Lock()
	defer q.mu.Unlock()
	x := &q.isolation
	if len(x.series) == 0 {
		return items
	}
	kept := items[:0]
	var (
		apart []flat
		of    []*isolated
	)
	for _, it := range items {
		if is := x.find(it.series); is != nil {
			apart, of = append(apart, it), append(of, is)
			continue
		}
		kept = append(kept, it)
	}
	clear(items[len(kept):])
	if len(apart) == 0 {
		return kept
	}
	at := r.marksOf(apart)
	for i, it := range apart {
		if r.replay {
			of[i].maybeSent(past(at[it.item]))
		}
		x.add(of[i], it, at[it.item], false)
	}
	x.signal()
	return kept
}

// park takes items that the endpoint did not take out of a request, and puts
// them on trial, when no other request is. If the queue is closed before that,
// they are isolated all the same, and the next run has the trial.
func (q *queue) park(r *request, items []flat, t *trial) {
	var (
		known = hashes{}
		of    = make([]uint64, len(items))
	)
	for i, it := range items {
		of[i] = known.of(it.series)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	x := &q.isolation
	for x.trial != nil && !q.closed {
		x.parking++
		x.signal() // The endpoint takes something, which the trial may have to know.
		q.cond.Wait()
		x.parking--
	}
	at := r.marksOf(items)
	for i, it := range items {
		is := x.series[of[i]]
		if is == nil {
			is = x.get(of[i])
			t.series = append(t.series, is)
		}
		if t.replayed {
			is.maybeSent(past(at[it.item]))
		}
		x.add(is, it, at[it.item], true)
	}
	if x.trial == nil {
		x.trial = t
	}
	x.signal()
}

// parking reports whether a sender waits to put a request on trial.
func (q *queue) parking() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isolation.parking > 0
}

// marksOf returns where items of the request are in the log: the start of their
// batch, and how many items of their partition come before them.
func (r *request) marksOf(items []flat) map[*item]savepoint.Mark {
	at := make(map[*item]savepoint.Mark, len(items))
	for _, it := range items {
		at[it.item] = savepoint.Mark{}
	}
	note := func(e *entry, it *item, p, index int) {
		if _, asked := at[it]; asked {
			at[it] = savepoint.Mark{Point: e.start, Skip: e.skipped[p] + index}
		}
	}
	for _, sp := range r.stretch {
		var before [partitions]int
		for i := 0; i < sp.to; i++ {
			p := sp.entry.parts[i]
			if i >= sp.from {
				note(sp.entry, &sp.entry.items[i], int(p), before[p])
			}
			before[p]++
		}
	}
	for _, sp := range r.spans {
		// Exemplars that go ahead of their turn lie behind the span.
		part := sp.entry.part(sp.part)
		for i := sp.from; i < len(part.items); i++ {
			note(sp.entry, &part.items[i], sp.part, i)
		}
	}
	return at
}

// isolatedBefore counts what isolated series have in memory that begins before a
// segment. What was diverted from a request that was released then is in the
// queue again, and counts there.
func (q *queue) isolatedBefore(segment int) (t counts) {
	q.mu.Lock()
	defer q.mu.Unlock()
	marks := make([]savepoint.Mark, partitions)
	q.partMarks(marks)
	for _, is := range q.isolation.all() {
		until := marks[q.isolation.partOf(is.hash)]
		for i := range is.items {
			m := is.items[i].mark
			if m.Segment < segment && m.Less(until) {
				t.add(is.items[i].kind())
			}
		}
	}
	return t
}

// isolatedSeries returns how many series are isolated.
func (q *queue) isolatedSeries() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.isolation.series)
}

// isolatedFloor returns the lowest position at which an isolated series waits.
func (q *queue) isolatedFloor() (floor cursor.Position, oldest int64, waits bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, is := range q.isolation.all() {
		m, ok := is.mark()
		if !ok {
			continue
		}
		if !waits || m.Before(floor) {
			floor = m.Position
		}
		waits = true
		if len(is.items) > 0 && (oldest == 0 || is.items[0].t < oldest) {
			oldest = is.items[0].t
		}
	}
	return floor, oldest, waits
}
