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
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Stats is what a queue holds, as metrics and the number of senders need it.
type Stats struct {
	Read     cursor.Point    // Where what was pushed ends.
	Taken    cursor.Position // Where what was taken ends.
	Queued   int             // Items that are not acknowledged.
	Waiting  int             // Items neither acknowledged nor under way.
	Ready    int             // Of those, items that can be taken now.
	InReplay int             // Items of the replay range that are not under way.
	Oldest   int64           // Timestamp in ms of an item that waits longest, 0 if none.
	Middle   int64           // The middle one of those of the partitions, 0 if none.
	Full     bool            // Push waits for room.
	Backlog  bool            // A full request waits, or no more has room, and every sender is busy.
}

// Stats returns what the queue holds.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{
		Read: q.read, Taken: q.taken, Queued: q.queued, Waiting: q.waiting, Ready: q.ready, InReplay: q.inReplay,
		Full: q.blocked != nil,
	}
	s.Backlog = (q.idle == 0 && (q.waiting >= q.max || s.Full)) || q.inReplay > 0
	if fronts := q.fronts(); len(fronts) > 0 {
		slices.Sort(fronts)
		s.Oldest, s.Middle = fronts[0], fronts[len(fronts)/2]
	}
	return s
}

// fronts returns the timestamps of the oldest items that partitions have not had
// acknowledged, each's in turn.
func (q *Queue) fronts() []int64 {
	fronts := make([]int64, 0, Partitions)
	var seen []*Entry // Those looked through, for all partitions that have come to them.
	for p := range q.parts {
		part := &q.parts[p]
		if part.entries.len() == 0 {
			continue
		}
		e := part.entries.first()
		if l, ok := e.parted(p); ok {
			fronts = append(fronts, l.Items[part.done].T)
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
// by partition.
func (q *Queue) frontsOf(e *Entry, fronts []int64) []int64 {
	var pass [Partitions]int // Items to go by; negative for none to find.
	left := 0
	for p := range q.parts {
		pass[p] = -1
		if part := &q.parts[p]; part.entries.len() > 0 && part.entries.first() == e {
			pass[p] = part.done
			left++
		}
	}
	all := &e.Batch.inOrder
	for i := 0; left > 0; i++ {
		p := all.parts[i]
		if pass[p] == 0 {
			fronts = append(fronts, all.list.Items[i].T)
			left--
		}
		pass[p]-- // Below zero it stays there, however often.
	}
	return fronts
}

// Done reports whether everything before a position was pushed, and everything
// that was pushed is acknowledged.
func (q *Queue) Done(until cursor.Position) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued == 0 && q.flying == 0 && !q.read.Before(until)
}

// Before counts what is not acknowledged and begins before a segment.
func (q *Queue) Before(segment int) (t Counts) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.blocked; e != nil && e.Batch.Start.Segment < segment {
		t.Plus(e.Batch.Counts)
	}
	for p := range q.parts {
		from := q.parts[p].done
		for _, e := range q.parts[p].entries.all() {
			if e.Batch.Start.Segment >= segment {
				break
			}
			rest := e.part(p)
			rest = rest.Slice(from, len(rest.Items))
			t.Plus(rest.Count())
			from = 0
		}
	}
	return t
}
