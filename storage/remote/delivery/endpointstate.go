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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// endpointState is what is known of an endpoint while it is not at work: loaded from a
// savepoint, or removed from the configuration and retained for a while.
type endpointState struct {
	id              string
	identity        savepoint.Identity
	name            string           // Last known name, for logs and metrics.
	acked           []savepoint.Mark // The mark of each partition.
	apart           []isolatedMark
	dispatched      cursor.Position // The dispatch watermark.
	removed         *time.Time
	removedAt       cursor.Position // The end of the log then, the zero position if that is not known.
	fresh           *freshRange     // What was delivered before its turn, or nil.
	stream          *stream         // Whose marks these are, nil if it has stopped.
	counted         []savepoint.Range
	memory          queue.Counts     // Items read before a limit forfeited their part of the log, and not acknowledged.
	forfeitedBefore int              // The segment before which all of the log is forfeited, if acked lies before it; else 0.
	countedAcked    []savepoint.Mark // In place of acked where losses are counted, if some of it is sent again; else nil.

	uncounted [3]int64 // Sums of what starts found lost, until metrics have them.
	passed    *passed  // Likewise, what another engine wrote; nil if that is nothing.
}

// freshRange is the second range of an endpoint. With it, the marks of the state
// are those of the backlog, which ends where it begins. Its fields are as there.
type freshRange struct {
	from       cursor.Point
	acked      []savepoint.Mark
	apart      []isolatedMark
	dispatched cursor.Position
	stream     *stream
}

// passed is what an endpoint passes over that was not counted before.
type passed struct {
	segments []savepoint.Range // Each a whole one.
	bytes    int64
	items    queue.Counts
}

// whenCounted returns the state as it is once metrics have what was found lost or passed over.
func (st *endpointState) whenCounted() *endpointState {
	is := *st // States may be shared.
	is.uncounted = [3]int64{}
	if st.passed != nil {
		is.counted, is.passed = slices.Concat(st.counted, st.passed.segments), nil
	}
	return &is
}

// saved returns what is written of it to the savepoint.
func (st *endpointState) saved() savepoint.Endpoint {
	e := savepoint.Endpoint{
		ID:              st.id,
		Identity:        st.identity,
		Floor:           st.floor(),
		Dispatched:      st.lastDispatched(),
		Acked:           st.acked,
		Isolated:        st.apart,
		Removed:         st.removed,
		RemovedAt:       st.removedAt,
		Counted:         st.counted,
		Memory:          st.memory,
		ForfeitedBefore: st.forfeitedBefore,
		Uncounted:       st.uncounted,
	}
	if st.identity.Name == "" {
		e.Label = st.name
	}
	if r := st.fresh; r != nil {
		e.Fresh = &savepoint.Fresh{From: r.from, Dispatched: r.dispatched, Acked: r.acked, Isolated: r.apart, BacklogDispatched: st.dispatched}
	}
	return e
}

// savedState is the reverse of saved, for a log that has not changed. What has yet to
// be compared with the log, parts that were counted and what was in memory, is left
// out.
func savedState(e *savepoint.Endpoint) *endpointState {
	st := &endpointState{id: e.ID, identity: e.Identity, name: e.Identity.Name, dispatched: e.Dispatched, removed: byClock(e.Removed, time.Now()), removedAt: e.RemovedAt, uncounted: e.Uncounted}
	st.acked, st.apart = e.MarksFor(queue.Partitions), e.IsolatedFor(queue.Partitions)
	if r := e.FreshFor(queue.Partitions); r != nil {
		st.dispatched = r.BacklogDispatched
		st.fresh = &freshRange{from: r.From, acked: r.Acked, apart: r.Isolated, dispatched: r.Dispatched}
	}
	if st.name == "" {
		st.name = e.Label
	}
	if st.name == "" { // Of a release that did not save it.
		st.name = e.Identity.URLHash[:min(6, len(e.Identity.URLHash))]
	}
	return st
}

// byClock returns when an endpoint was removed, by the clock of the savepoint, as
// a time from which this process can count, whatever becomes of the clock now.
// One that lies in the future, because the clock was set back, is now: the log
// is not to be held for longer than the grace time from here on.
func byClock(removed *time.Time, now time.Time) *time.Time {
	if removed == nil {
		return nil
	}
	at := now.Add(min(removed.Sub(now), 0))
	return &at
}

// floor returns the lowest mark of all ranges.
func (st *endpointState) floor() savepoint.Mark {
	floor := lowestOf(st.acked, st.apart)
	if st.fresh == nil {
		return floor
	}
	return lowestOf([]savepoint.Mark{floor}, st.fresh.apart)
}

// lastDispatched returns the dispatch watermark for a release that knows one range only.
func (st *endpointState) lastDispatched() cursor.Position {
	if st.fresh != nil {
		return st.fresh.dispatched
	}
	return st.dispatched
}

// confine lets no mark of the backlog be behind its end. What a partition had to
// skip and never met is of no use behind it.
func (st *endpointState) confine() {
	end := st.fresh.from
	if end.Before(st.dispatched) {
		st.dispatched = end.Position
	}
	for p, m := range st.acked {
		if !m.Before(end.Position) {
			st.acked[p] = savepoint.Mark{Point: end}
		}
	}
}

// mergeRanges leaves one range if the backlog is delivered.
func (st *endpointState) mergeRanges() {
	if st.fresh != nil && !lowestOf(st.acked, st.apart).Before(st.fresh.from.Position) {
		st.acked, st.apart, st.dispatched, st.stream, st.fresh = st.fresh.acked, st.fresh.apart, st.fresh.dispatched, st.fresh.stream, nil
	}
}

// forfeitBefore returns the state after everything before a position was forfeited, and
// the ranges of that of which something was left.
func (st *endpointState) forfeitBefore(before cursor.Position) (after *endpointState, ranges []forfeitedRange) {
	moved := *st
	end := before
	if st.fresh != nil && st.fresh.from.Before(before) {
		end = st.fresh.from.Position
		fresh := *st.fresh
		ranges = append(ranges, rangesBefore(before, fresh.acked, fresh.apart)...)
		fresh.acked, fresh.apart = marksFrom(fresh.acked, before), isolatedFrom(fresh.apart, fresh.acked, before)
		moved.fresh = &fresh
	}
	ranges = append(ranges, rangesBefore(end, st.acked, st.apart)...)
	moved.acked, moved.apart = marksFrom(st.acked, end), isolatedFrom(st.apart, st.acked, end)
	if moved.fresh != nil {
		moved.confine()
		moved.mergeRanges()
	}
	return &moved, ranges
}

func stateAt(id string, ident savepoint.Identity, name string, at cursor.Point, mark cursor.Position) *endpointState {
	st := &endpointState{id: id, identity: ident, name: name, dispatched: mark, acked: make([]savepoint.Mark, queue.Partitions)}
	for p := range st.acked {
		st.acked[p] = savepoint.Mark{Point: at}
	}
	return st
}

// neededFrom returns from where on an endpoint needs the log that has acknowledged
// everything before floor and forfeited what is before a segment: of that, what it has in
// memory needs no log.
func neededFrom(floor cursor.Position, forfeitedBefore int) cursor.Position {
	return cursor.Later(floor, cursor.Position{Segment: forfeitedBefore})
}

func (st *endpointState) neededFrom() cursor.Position {
	return neededFrom(st.floor().Position, st.forfeitedBefore)
}

// owedTo returns up to where a removed endpoint was to be sent the log, which has an end:
// what was written after the removal is not for it, unless it comes back.
func (st *endpointState) owedTo(head cursor.Position) cursor.Position {
	if st.removedAt == (cursor.Position{}) {
		return head
	}
	return cursor.Earlier(st.removedAt, head)
}
