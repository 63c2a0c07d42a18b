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
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// TestEndOfPart says what an end means for a reader and for limits.
func TestEndOfPart(t *testing.T) {
	p := readCursor{pos: at(2, 100)}
	require.False(t, p.bound(at(2, 99)), "it has read further")
	require.True(t, p.bound(at(4, 50)))
	require.False(t, p.bound(at(5, 0)), "an end is for ever")
	_, moves := p.get()
	var skip [queue.Partitions]int
	skip[3] = 7
	require.False(t, p.advance(moves, at(4, 51), skip))
	require.True(t, p.advance(moves, at(3, 0), skip))

	_, _, _, moved := p.skipBefore(at(3, 0).Position)
	require.False(t, moved)
	from, to, left, moved := p.skipBefore(at(3, 10).Position)
	require.True(t, moved)
	require.Equal(t, skip, left)
	require.Equal(t, at(3, 0), from)
	require.Equal(t, at(3, 10).Position, to)
	require.False(t, p.advance(moves, at(3, 20), skip), "a limit was faster")
	from, to, left, moved = p.skipBefore(at(9, 0).Position)
	require.True(t, moved)
	require.Equal(t, [queue.Partitions]int{}, left, "what was to be skipped lies before")
	require.Equal(t, at(3, 10), from)
	require.Equal(t, at(4, 50).Position, to, "what comes then is the other stream's")
	_, _, _, moved = p.skipBefore(at(9, 0).Position)
	require.False(t, moved)
}

// TestForfeitOfTwoRanges says what a limit takes from a held endpoint with two
// ranges: no item is counted twice, and none of one range in the other.
func TestForfeitOfTwoRanges(t *testing.T) {
	held := func() *endpointState {
		st := stateAt("id", savepoint.Identity{}, "a", at(2, 10), at(3, 0).Position)
		st.acked[5] = savepoint.Mark{Point: at(4, 0), Skip: 7}
		st.fresh = &freshRange{
			from:       cursor.Point{Position: at(5, 100).Position, CRC: 9},
			acked:      stateAt("", savepoint.Identity{}, "", at(6, 10), at(6, 10).Position).acked,
			dispatched: at(8, 0).Position,
		}
		st.fresh.acked[5] = savepoint.Mark{Point: at(7, 0), Skip: 3}
		return st
	}
	type lost [2]cursor.Point
	for name, tc := range map[string]struct {
		before cursor.Point
		lost   []lost
		two    bool
		floor  cursor.Point
		other  savepoint.Mark // Of partition 5, of the first range.
	}{
		"nothing":                {before: at(2, 0), two: true, floor: at(2, 10), other: savepoint.Mark{Point: at(4, 0), Skip: 7}},
		"of the backlog":         {before: at(3, 0), lost: []lost{{at(2, 10), at(3, 0)}}, two: true, floor: at(3, 0), other: savepoint.Mark{Point: at(4, 0), Skip: 7}},
		"nearly all of it":       {before: at(5, 0), lost: []lost{{at(2, 10), at(5, 0)}}, two: true, floor: at(5, 0), other: savepoint.Mark{Point: at(5, 0)}},
		"all of it":              {before: at(5, 100), lost: []lost{{at(2, 10), at(5, 100)}}, floor: at(6, 10), other: savepoint.Mark{Point: at(7, 0), Skip: 3}},
		"what the other one has": {before: at(6, 0), lost: []lost{{at(2, 10), at(5, 100)}}, floor: at(6, 10), other: savepoint.Mark{Point: at(7, 0), Skip: 3}},
		"of the fresh range too": {before: at(7, 0), lost: []lost{{at(6, 10), at(7, 0)}, {at(2, 10), at(5, 100)}}, floor: at(7, 0), other: savepoint.Mark{Point: at(7, 0), Skip: 3}},
		"all there is":           {before: at(9, 0), lost: []lost{{at(6, 10), at(9, 0)}, {at(2, 10), at(5, 100)}}, floor: at(9, 0), other: savepoint.Mark{Point: at(9, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			st := held()
			after, ranges := st.forfeitBefore(tc.before.Position)
			require.Equal(t, held(), st, "states are shared")
			var got []lost
			for _, l := range ranges {
				got = append(got, lost{{Position: l.from}, {Position: l.to}})
			}
			require.Equal(t, tc.lost, got)
			require.Equal(t, tc.floor.Position, after.floor().Position)
			require.Equal(t, tc.other, after.acked[5])
			require.Equal(t, tc.two, after.fresh != nil)
			require.Equal(t, at(8, 0).Position, after.lastDispatched())
		})
	}
}

// TestFreshForfeit defends I1 with two streams: whatever a limit takes, of the
// backlog, of what the fresh stream has not read, or of both, is counted once,
// and everything else arrives.
func TestFreshForfeit(t *testing.T) {
	for name, before := range map[string]func(from, head cursor.Position) cursor.Position{
		"of the backlog":   func(from, _ cursor.Position) cursor.Position { return cursor.Position{Segment: from.Segment - 2} },
		"all of it":        func(from, _ cursor.Position) cursor.Position { return cursor.Position{Segment: from.Segment + 1} },
		"of both":          func(_, head cursor.Position) cursor.Position { return cursor.Position{Segment: head.Segment - 1} },
		"nearly all":       func(_, head cursor.Position) cursor.Position { return cursor.Position{Segment: head.Segment} },
		"nothing any more": func(cursor.Position, cursor.Position) cursor.Position { return cursor.Position{} },
	} {
		for _, held := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r, release := newDividedRig(t, 1)
				j := r.journal
				r.live(5)
				from, bounded := r.running[0].streams()[0].cursor.end()
				require.True(t, bounded)
				j.cut()
				r.rc.set(down)
				for range 4 {
					for range 30 {
						r.commit(50)
					}
					j.cut()
				}
				to := before(from.Position, *j.head.Load())
				loses := held // On a slow machine, all of that may be read already.
				for _, s := range r.running[0].streams() {
					pos := s.cursor.start()
					until, bounded := s.cursor.end()
					loses = loses || (pos.Before(to) && (!bounded || until.Position != pos))
				}
				if held {
					r.apply()
				}
				require.NoError(t, r.Forfeit(t.Context(), to, "max_size"))
				// Once more is not twice.
				require.NoError(t, r.Forfeit(t.Context(), to, "max_size"))
				lost := int(r.expired(map[string]string{"reason": "max_size", "type": "samples"}))
				if loses && to != (cursor.Position{}) {
					require.Positive(t, lost)
				}
				r.rc.set(nil)
				release()
				if held {
					r.apply(remoteWrite("a"))
				}
				r.completeBut(lost)
				r.merged()
				require.NoError(t, r.Close())
				require.Zero(t, r.expired(map[string]string{"reason": reasonStopped}))
				require.NoError(t, j.wal.Close())
			})
		}
	}
}

// TestFreshForfeitThenStop defends I1 for what two streams had in memory only when
// a stop came.
func TestFreshForfeitThenStop(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newFreshRig(t, j, newLateReceiver(), freshOptions())
	r.flush = 30 * time.Millisecond
	r.outage()
	r.blockOld(1)
	r.divided()
	r.live(5)
	r.rc.set(down)
	for range 100 {
		r.commit(50)
	}
	j.cut()
	head := *j.head.Load()
	require.NoError(t, r.Forfeit(t.Context(), head, "max_size"))
	require.NoError(t, j.wal.Truncate(head.Segment))
	lost := int(r.expired(map[string]string{"reason": "max_size", "type": "samples"}))
	require.NoError(t, r.Close())
	lost += r.saved().Memory[queue.Samples] // For the next run to count.
	n, _ := r.rc.counts()
	require.Equal(t, j.count, n+lost)
	require.NoError(t, j.wal.Close())
}

// TestReadingEndsAt defends that two streams share nothing and leave nothing out,
// wherever they meet; and I9: damage that reaches over that place ends the
// first.
func TestReadingEndsAt(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	start := *j.head.Load()
	const commits = 400
	var ends []cursor.Position
	for range commits {
		j.commit(100)
		ends = append(ends, *j.head.Load())
		if len(ends)%250 == 0 {
			j.cut()
		}
	}
	src := j.source()
	read := func(from, until *cursor.Position) (items int, gap bool, end cursor.Position) {
		r := newLogReader(promslog.NewNopLogger(), &src, func(*cursor.Corruption) {})
		defer r.close()
		if until != nil {
			r.until = &cursor.Point{Position: *until}
		}
		end = *from
		require.NoError(t, r.seek(cursor.Point{Position: *from}))
		for {
			b, err := r.batch(maxBatchItems, func(cursor.Position) bool { return false })
			if err != nil {
				require.ErrorIs(t, err, cursor.ErrCaughtUp)
				return items, gap, end
			}
			items += b.Total
			gap = gap || b.Gap
			end = b.End.Position
			if until != nil {
				require.False(t, until.Before(end))
			}
		}
	}
	for i := 0; i < commits; i += 37 {
		items, gap, end := read(&start, &ends[i])
		require.Equal(t, 100*(i+1), items, "up to %s", ends[i])
		require.Equal(t, ends[i], end)
		require.False(t, gap)
		items, _, _ = read(&ends[i], nil)
		require.Equal(t, 100*(commits-i-1), items, "from %s", ends[i])
	}

	// Damage from before the end to behind it.
	const page = 2 * cursor.PageSize
	i := 0
	for ends[i].Offset <= page+200 {
		i++
	}
	f, err := os.OpenFile(wlog.SegmentName(src.WALDir, 0), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 300), page+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	items, _, end := read(&start, &ends[i])
	require.Less(t, items, 100*(i+1))
	require.Equal(t, ends[i], end)
	all, gap, _ := read(&start, nil)
	require.True(t, gap)
	require.Greater(t, all, items)
	require.NoError(t, j.wal.Close())
}

// TestLimitBeforeReading defends I1: what was forfeited to a limit, and counted, before
// the reader looked for its position is not sent after a stop all the same.
func TestLimitBeforeReading(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newFreshRig(t, j, newLateReceiver(), freshOptions())
	marks := make([]savepoint.Mark, queue.Partitions)
	s := r.running[0].newStream(marks, nil, cursor.Position{})
	defer s.cancel()
	to := cursor.Position{Segment: 3}
	_, _, _, moved := s.cursor.skipBefore(to)
	require.True(t, moved)
	marks, _, mark := s.toSave(true)
	require.Equal(t, to, lowest(marks).Position)
	require.False(t, mark.Before(to))

	// A batch that the reader had read before is not forfeited with it.
	s = r.running[0].newStream(make([]savepoint.Mark, queue.Partitions), nil, cursor.Position{})
	defer s.cancel()
	s.unqueued = &queue.Entry{}
	_, _, _, moved = s.cursor.skipBefore(to)
	require.True(t, moved)
	marks, _, _ = s.toSave(true)
	require.Equal(t, cursor.Position{}, lowest(marks).Position)
	r.end()
}
