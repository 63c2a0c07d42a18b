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
	"context"
	"errors"
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// seriesRange is what of one series is to be read from the log: from a mark on, and
// before another.
type seriesRange struct {
	hash        uint64
	from, until savepoint.Mark

	begun, ending  bool
	skip, left     int  // Items of the partition to be skipped, and before the end, once begun and ending.
	done, complete bool // Nothing more is read of it; because all was.
}

// rereader reads the items of some series once more. Marks count from where a
// batch begins, so batches end wherever one of them lies.
type rereader struct {
	log    *logReader
	all    []*seriesRange
	stops  map[cursor.Position]bool
	hashes hashes
	// onUnread is told of what could not be had, and of how many series it is. It may
	// be nil.
	onUnread func(n int, u queue.Unread)
}

func newRereader(log *logReader, all []*seriesRange) *rereader {
	r := &rereader{log: log, all: all, stops: map[cursor.Position]bool{}, hashes: hashes{}}
	for _, m := range all {
		m.complete = !m.from.Less(m.until)
		m.done = m.complete
		r.stops[m.from.Position], r.stops[m.until.Position] = true, true
	}
	return r
}

// read calls take for each item, in the order of the log, with its mark. take
// returns false if no more is wanted of the series; from is then the mark behind
// the item. It ends when everything was read, when more returns false, or with
// what keeps it from reading.
func (r *rereader) read(ctx context.Context, more func() bool, take func(*seriesRange, queue.ItemView, savepoint.Mark) bool) error {
	start := r.all[0].from
	for _, m := range r.all {
		if m.from.Before(start.Position) {
			start = m.from
		}
	}
	if r.seriesLeft() == 0 {
		return nil
	}
	defer r.log.close()
	for at := start.Point; ctx.Err() == nil && (more() || r.ending()); {
		b, err := r.log.read(at, maxBatchItems, func(p cursor.Position) bool { return r.stops[p] })
		if errors.Is(err, cursor.ErrCaughtUp) {
			// There is less in the log than was: nothing comes any more.
			r.short(at.Position)
			for _, m := range r.all {
				m.complete = m.complete || !m.done
			}
			return nil
		}
		if err != nil {
			return err
		}
		at = b.End
		r.takeBatch(b, take)
		if r.seriesLeft() == 0 {
			return nil
		}
	}
	return ctx.Err()
}

// takeBatch calls take for the items of a batch.
func (r *rereader) takeBatch(b *queue.Batch, take func(*seriesRange, queue.ItemView, savepoint.Mark) bool) {
	r.reportUnread(b.Unread, func(m *seriesRange) bool { return m.in(b) })
	for _, m := range r.all {
		if !m.done {
			r.takeSeries(m, b, take)
		}
	}
}

// short tells of what is missing because the log ends before it.
func (r *rereader) short(end cursor.Position) {
	r.reportUnread(queue.Unread{Parts: []queue.UnreadPart{{Range: savepoint.Range{Segment: end.Segment, From: end.Offset, To: end.Offset + 1}}}}, func(m *seriesRange) bool { return !m.done && end.Before(m.until.Position) })
}

// reportUnread reports what could not be had, if it is of a series.
func (r *rereader) reportUnread(u queue.Unread, of func(*seriesRange) bool) {
	if r.onUnread == nil || (len(u.Parts) == 0 && u.Labels == 0) {
		return
	}
	n := 0
	for _, m := range r.all {
		if of(m) {
			n++
		}
	}
	if n > 0 {
		r.onUnread(n, u)
	}
}

// in reports whether items of the series may be in a batch that are still to be read.
func (m *seriesRange) in(b *queue.Batch) bool {
	return !m.done && m.from.Before(b.End.Position) &&
		(b.Start.Before(m.until.Position) || (m.until.Position == b.Start.Position && m.until.Skip > 0))
}

// seriesLeft returns of how many series something is still to be read.
func (r *rereader) seriesLeft() (n int) {
	for _, m := range r.all {
		if !m.done {
			n++
		}
	}
	return n
}

// ending reports whether the mark of an end counts from before the batch that
// would be next: then the pass does not end here, where it would have to be
// counted anew.
func (r *rereader) ending() bool {
	return slices.ContainsFunc(r.all, func(m *seriesRange) bool { return m.ending && !m.done })
}

// takeSeries looks for the items of one series in a batch.
func (r *rereader) takeSeries(m *seriesRange, b *queue.Batch, take func(*seriesRange, queue.ItemView, savepoint.Mark) bool) {
	if !m.begun {
		if b.Start.Before(m.from.Position) {
			return
		}
		m.begun = true
		if b.Start.Position == m.from.Position {
			m.skip = m.from.Skip
		}
	}
	if !m.ending && !b.Start.Before(m.until.Position) {
		// If damage took the mark itself, as many too many are read as are missing.
		m.ending, m.left = true, m.until.Skip
	}
	if b.Gap {
		m.skip = 0 // What was to be skipped may be among what is missing.
	}
	part := b.Part(int(m.hash % queue.Partitions))
	for i := range part.Items {
		if m.ending && m.left == 0 {
			break
		}
		if m.ending {
			m.left--
		}
		if m.skip > 0 {
			m.skip--
			continue
		}
		it := part.At(i)
		if r.hashes.of(it.Series) != m.hash {
			continue
		}
		at := savepoint.Mark{Point: b.Start, Skip: i}
		// Where something is missing, no mark inside the batch can be found again.
		if !take(m, it, at) && !m.ending && !b.Gap {
			at.Skip++
			m.from, m.done = at, true
			return
		}
	}
	m.from = savepoint.Mark{Point: b.End, Skip: m.skip}
	m.complete = m.ending && m.left == 0
	m.done = m.complete
}

// share estimates how many of the items that could not be read were of so many
// series.
func share(t *series.Table, n int, u queue.Unread) float64 {
	active, _ := t.Len()
	return max((u.Items()+float64(u.Labels))*float64(n)/float64(max(active, n)), float64(n))
}

// forfeitBefore moves isolated series on to a position, as far as what is before it is not
// in memory, and returns what they forfeit by it.
func (iso *isolation) forfeitBefore(to cursor.Position) (forfeited []*seriesRange) {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	iso.forfeited = cursor.Later(iso.forfeited, to)
	for _, is := range iso.all() {
		if !is.restInLog || !is.next.Before(to) {
			continue
		}
		m := &seriesRange{hash: is.hash, from: is.next, until: is.until}
		if to.Compare(is.until.Position) <= 0 {
			m.until = savepoint.Mark{Point: cursor.Point{Position: to}}
		}
		forfeited = append(forfeited, m)
		if is.next = m.until; is.next == is.until {
			is.restInLog = false
		}
	}
	return forfeited
}
