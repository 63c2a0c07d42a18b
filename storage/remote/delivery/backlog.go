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
	read    cursor.Point
	taken   cursor.Position
	queued  int
	ready   int
	zoned   int
	oldest  int64 // Timestamp in ms of an item that waits longest, 0 if none.
	middle  int64 // The middle one of those of the partitions, 0 if none.
	waiting int   // Items neither acknowledged nor under way.
	backlog bool  // A full request waits, and every sender is busy.
}

func (q *queue) stats() stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := stats{read: q.read, taken: q.taken, queued: q.queued, ready: q.ready, zoned: q.zoned, waiting: q.waiting}
	s.backlog = (q.idle == 0 && q.waiting >= q.max) || q.zoned > 0
	fronts := make([]int64, 0, partitions)
	for p := range q.parts {
		part := &q.parts[p]
		if part.fifo.len() == 0 {
			continue
		}
		fronts = append(fronts, part.fifo.all()[0].part(p).items[part.done].t)
	}
	if len(fronts) > 0 {
		slices.Sort(fronts)
		s.oldest, s.middle = fronts[0], fronts[len(fronts)/2]
	}
	return s
}

// done reports whether everything before a position was pushed, and everything
// that was pushed is acknowledged.
func (q *queue) done(until cursor.Position) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued == 0 && q.flying == 0 && !q.read.Before(until)
}

// before counts what is not acknowledged and begins before a segment.
func (q *queue) before(segment int) (t tally) {
	q.mu.Lock()
	defer q.mu.Unlock()
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
