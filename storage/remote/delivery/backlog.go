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
)

// What a queue holds, as those see it who neither fill nor empty it.

// stats is a snapshot for metrics and for the number of senders.
type stats struct {
	read     cursor.Point
	taken    cursor.Position
	queued   int
	ready    int
	inReplay int
	oldest   int64 // Timestamp in ms of an item that waits longest, 0 if none.
	middle   int64 // The middle one of those of the partitions, 0 if none.
	waiting  int   // Items neither acknowledged nor under way.
	backlog  bool  // A full request waits, or no more has room, and every sender is busy.
}

func (q *queue) stats() stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := stats{read: q.read, taken: q.taken, queued: q.queued, ready: q.ready, inReplay: q.inReplay, waiting: q.waiting}
	s.backlog = (q.idle == 0 && (q.waiting >= q.max || q.blocked != nil)) || q.inReplay > 0
	if fronts := q.fronts(); len(fronts) > 0 {
		slices.Sort(fronts)
		s.oldest, s.middle = fronts[0], fronts[len(fronts)/2]
	}
	return s
}

// fronts returns the timestamps of the oldest items that partitions have not had
// acknowledged, each's in turn. Callers hold mu.
func (q *queue) fronts() []int64 {
	fronts := make([]int64, 0, partitions)
	var seen []*entry // Those looked through, for all partitions that have come to them.
	for p := range q.parts {
		part := &q.parts[p]
		if part.fifo.len() == 0 {
			continue
		}
		e := part.fifo.all()[0]
		if l, ok := e.parted(p); ok {
			fronts = append(fronts, l.items[part.done].t)
		} else if !slices.Contains(seen, e) {
			seen = append(seen, e)
			fronts = q.frontsOf(e, fronts)
		}
	}
	return fronts
}

// frontsOf appends the timestamps of the items that come next in e, whose items
// have the order of the log, for each partition that has come to it. Nothing is
// grouped for that: it is asked once a second of entries that may never be taken
// by partition. Callers hold mu.
func (q *queue) frontsOf(e *entry, fronts []int64) []int64 {
	var pass [partitions]int // Items to go by; negative for none to find.
	left := 0
	for p := range q.parts {
		pass[p] = -1
		if part := &q.parts[p]; part.fifo.len() > 0 && part.fifo.all()[0] == e {
			pass[p] = part.done
			left++
		}
	}
	for i := 0; left > 0; i++ {
		p := e.parts[i]
		if pass[p] == 0 {
			fronts = append(fronts, e.items[i].t)
			left--
		}
		pass[p]-- // Below zero it stays there, however often.
	}
	return fronts
}

// done reports whether everything before a position was pushed, and everything
// that was pushed is acknowledged.
func (q *queue) done(until cursor.Position) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued == 0 && q.flying == 0 && !q.read.Before(until)
}

// before counts what is not acknowledged and begins before a segment.
func (q *queue) before(segment int) (t counts) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.blocked; e != nil && e.start.Segment < segment {
		t.plus(e.content())
	}
	for p := range q.parts {
		from := q.parts[p].done
		for _, e := range q.parts[p].fifo.all() {
			if e.start.Segment >= segment {
				break
			}
			rest := e.part(p)
			rest = rest.from(from, len(rest.items))
			t.plus(rest.count())
			from = 0
		}
	}
	return t
}
