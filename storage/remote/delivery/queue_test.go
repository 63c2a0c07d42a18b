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
	"math/rand"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// someSeries returns n series of one table.
func someSeries(t testing.TB, n int) []*series.Series {
	t.Helper()
	table := series.New(series.Options{})
	out := make([]*series.Series, n)
	for i := range out {
		lset := labels.FromStrings("__name__", "m", "i", strconv.Itoa(i))
		s, created := table.GetOrCreate(lset, func() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(i + 1) })
		require.True(t, created)
		out[i] = s
	}
	return out
}

func at(segment int, offset int64) cursor.Point {
	return cursor.Point{Position: cursor.Position{Segment: segment, Offset: offset}}
}

// logged is what a model log holds at one position.
type logged struct {
	end   cursor.Point
	items []item
}

// modelLog makes records of random size, with the time as the identity of each
// item.
func modelLog(rnd *rand.Rand, all []*series.Series, records int) []logged {
	var (
		out   []logged
		ts    int64
		pos   = at(0, 0)
		items []item
	)
	for range records {
		items = nil
		for range rnd.Intn(40) {
			ts++
			items = append(items, item{series: all[rnd.Intn(len(all))], t: ts})
		}
		pos.Offset += int64(1 + rnd.Intn(100))
		if rnd.Intn(10) == 0 {
			pos = at(pos.Segment+1, 0)
			items = nil
		}
		out = append(out, logged{end: pos, items: items})
	}
	return out
}

// TestQueueModel defends I2 and I4: whatever the order of pushes, takes,
// acknowledgements and releases, each partition is handed out in the order of
// the log by one request at a time, and no mark passes an item that is not
// acknowledged. Each run ends like a process does, with requests under way, and
// is resumed from the marks: nothing may be missing then, and only what was not
// acknowledged may come again.
func TestQueueModel(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	for run := range 20 {
		rnd := rand.New(rand.NewSource(seed + int64(run)))
		all := someSeries(t, 1+rnd.Intn(200))
		log := modelLog(rnd, all, 200)

		total := 0
		for _, l := range log {
			total += len(l.items)
		}
		delivered := map[int64]int{}
		marks := make([]savepoint.Mark, partitions)
		for lives := 0; len(delivered) < total || lives == 0; lives++ {
			require.Less(t, lives, 100, "no progress")
			marks = oneLife(t, rnd, log, marks, delivered)
		}
		for ts, n := range delivered {
			require.Equal(t, 1, n, "item %d", ts)
		}
	}
}

// oneLife reads the log from the lowest mark on, for a random number of steps.
func oneLife(t *testing.T, rnd *rand.Rand, log []logged, marks []savepoint.Mark, delivered map[int64]int) []savepoint.Mark {
	q := newQueue(time.Now)
	res := newResumption(marks)
	start := lowest(marks).Point
	q.resume(start, marks)
	q.configure(1<<30, 1+rnd.Intn(50), 0)
	q.setSenders(1 + rnd.Intn(2))
	number := uint64(0)

	next := 0
	for next < len(log) && !start.Before(log[next].end.Position) {
		next++
	}
	bb := batchBuilder{summary: summary{ordered: rnd.Intn(4) > 0}}
	bb.reset(start)
	var (
		flying []*request
		order  = map[int]int64{}
		replay = cursor.Position{Segment: rnd.Intn(10)}
		push   = func() {
			for many := 1 + rnd.Intn(4); many > 0 && next < len(log); many-- {
				for _, it := range log[next].items {
					bb.float(it.series, 0, it.t, it.v)
				}
				bb.end = log[next].end
				next++
				if res.active(bb.start.Position) && res.at(bb.end.Position) {
					break
				}
			}
			if bb.end == bb.start {
				return
			}
			resuming := res.active(bb.start.Position)
			b := bb.build()
			number++
			b.number, b.before = number, number*100
			e := &entry{batch: b, replay: b.start.Before(replay), behind: rnd.Intn(3) == 0}
			if resuming {
				e.batch, e.skipped = res.filter(b)
			}
			require.True(t, q.push(e))
		}
		take = func() {
			if q.stats().ready == 0 {
				return
			}
			r := &request{}
			require.True(t, q.take(r, func() bool { return true }))
			require.Positive(t, r.items)
			require.LessOrEqual(t, r.items, max(q.max, q.window))
			r.refused = r.replay && rnd.Intn(2) == 0
			busy, handed := map[int]bool{}, 0
			for _, f := range flying {
				require.Empty(t, r.stretch, "a request of the line beside another")
				require.Empty(t, f.stretch, "a request beside one of the line")
				for _, o := range f.spans {
					busy[o.part] = true
				}
			}
			eachOf(r, func(int, *item) { handed++ })
			require.Equal(t, r.items, handed)
			for _, sp := range r.spans {
				require.Equal(t, r.replay, sp.entry.replay, "the replay range and newer samples share a request")
				require.NotContains(t, busy, sp.part, "two requests of one partition")
				if r.replay {
					require.Equal(t, r.spans[0].part, sp.part, "partitions of the replay range share a request")
				}
			}
			flying = append(flying, r)
		}
		land = func(ok bool) {
			if len(flying) == 0 {
				return
			}
			i := rnd.Intn(len(flying))
			r := flying[i]
			flying = append(flying[:i], flying[i+1:]...)
			if !ok {
				q.release(r)
				return
			}
			eachOf(r, func(p int, it *item) {
				if it.t <= order[p] {
					require.Greater(t, it.t, order[p], "partition %d goes back", p)
				}
				order[p] = it.t
				delivered[it.t]++
			})
			q.ack(r)
		}
	)
	for range rnd.Intn(600) {
		switch rnd.Intn(5) {
		case 0:
			q.widen(time.Duration(rnd.Intn(1000)) * time.Millisecond)
			push()
		case 1, 2:
			take()
		case 3:
			land(rnd.Intn(5) > 0)
		case 4:
			checkMarks(t, q, log, delivered)
		}
	}
	checkMarks(t, q, log, delivered)
	out := make([]savepoint.Mark, partitions)
	q.marks(out)
	return out
}

// eachOf calls f for the items of a request, in the order in which they are sent.
func eachOf(r *request, f func(part int, it *item)) {
	for _, sp := range r.stretch {
		for i := sp.from; i < sp.to; i++ {
			it := &sp.entry.items[i]
			f(it.series.Partition(), it)
		}
	}
	for _, sp := range r.spans {
		part := sp.entry.part(sp.part)
		for i := sp.from; i < sp.to; i++ {
			f(sp.part, &part.items[i])
		}
	}
}

// checkMarks compares the marks with what was delivered: everything before a
// mark, and as many items after it as it skips, and nothing else.
func checkMarks(t *testing.T, q *queue, log []logged, delivered map[int64]int) {
	t.Helper()
	marks := make([]savepoint.Mark, partitions)
	floor := q.marks(marks)
	var skip [partitions]int
	for p, m := range marks {
		skip[p] = m.Skip
		require.False(t, m.Before(floor.Position))
	}
	for _, l := range log {
		for _, it := range l.items {
			p := it.series.Partition()
			want := 0
			switch {
			case l.end.Compare(marks[p].Position) <= 0:
				want = 1
			case skip[p] > 0:
				skip[p]--
				want = 1
			}
			if delivered[it.t] != want {
				require.Equal(t, want, delivered[it.t], "deliveries of item %d of partition %d, whose mark is %v", it.t, p, marks[p])
			}
		}
	}
}

// TestQueueWaitsForRoom defends I6: a queue whose endpoint does not deliver
// stops the reader, and closing it lets everybody go.
func TestQueueWaitsForRoom(t *testing.T) {
	all := someSeries(t, 10)
	q := newQueue(time.Now)
	q.configure(10, 5, time.Hour)
	batchOf := func(from int64, n int) *entry {
		bb := batchBuilder{}
		bb.reset(at(0, from))
		for i := range n {
			bb.float(all[i%len(all)], 0, from+int64(i)+1, 0)
		}
		bb.end = at(0, from+int64(n))
		return &entry{batch: bb.build()}
	}
	require.True(t, q.push(batchOf(0, 30)), "a batch beyond the limit fits an empty queue")
	pushed := make(chan bool)
	go func() { pushed <- q.push(batchOf(30, 1)) }()

	var r request
	require.True(t, q.take(&r, func() bool { return true }))
	require.Positive(t, r.items)
	require.LessOrEqual(t, r.items, 5)
	select {
	case <-pushed:
		require.Fail(t, "pushed into a full queue")
	default:
	}
	q.ack(&r)
	for q.stats().queued > 9 {
		require.True(t, q.take(&r, func() bool { return true }))
		q.ack(&r)
	}
	require.True(t, <-pushed)

	took := make(chan bool)
	go func() {
		var r request
		for q.take(&r, func() bool { return true }) {
			q.ack(&r)
		}
		took <- true
	}()
	q.close()
	require.True(t, <-took)
	require.False(t, q.push(batchOf(31, 1)))
}

// TestFullQueueIsABacklog defends that more senders are asked for also where the queue
// has no room for a full request beside the one that is under way.
func TestFullQueueIsABacklog(t *testing.T) {
	all := someSeries(t, 10)
	q := newQueue(time.Now)
	q.configure(10, 10, time.Hour)
	batchOf := func(from int64) *entry {
		bb := batchBuilder{}
		bb.reset(at(0, from))
		for i, s := range all {
			bb.float(s, 0, from+int64(i)+1, 0)
		}
		bb.end = at(0, from+int64(len(all)))
		return &entry{batch: bb.build()}
	}
	require.True(t, q.push(batchOf(0)))
	var r request
	require.True(t, q.take(&r, func() bool { return true }))
	require.False(t, q.stats().backlog, "nothing waits")
	pushed := make(chan bool)
	go func() { pushed <- q.push(batchOf(10)) }()
	require.Eventually(t, func() bool { return q.stats().backlog }, time.Minute, time.Millisecond)
	q.ack(&r)
	require.True(t, <-pushed)
}

// TestCapacity: there is room for a request beside the one under way, for each sender.
func TestCapacity(t *testing.T) {
	var s settings
	s.queue.MaxSamplesPerSend, s.queue.Capacity = 500, 100
	require.Equal(t, 3000, s.capacity(3))
	s.queue.Capacity = 5000
	require.Equal(t, 15000, s.capacity(3))
}

// TestLine defends that endpoints that keep up cut the same requests, which is
// what they can share: with one request under way at a time they are full, in
// the order of the log, and end in the same places again after one has lingered.
func TestLine(t *testing.T) {
	all := someSeries(t, 300)
	var ts int64
	bb := batchBuilder{summary: summary{ordered: true}}
	bb.reset(at(0, 0))
	batches := make([]*batch, 200)
	for n := range batches {
		for i := range 70 {
			ts++
			bb.float(all[(n*70+i)%len(all)], 0, ts, 0)
		}
		bb.end = at(0, int64(n+1))
		batches[n] = bb.build()
		batches[n].number, batches[n].before = uint64(n+1), uint64(n*70)
	}
	run := func(linger func(n int) time.Duration) (keys []stretchKey) {
		now := time.Now()
		q := newQueue(func() time.Time { return now })
		q.configure(1<<20, 200, time.Second)
		last := int64(0)
		for n, b := range batches {
			require.True(t, q.push(&entry{batch: b}))
			now = now.Add(linger(n))
			for q.due() {
				var r request
				require.True(t, q.take(&r, func() bool { return true }))
				require.NotEmpty(t, r.stretch)
				require.LessOrEqual(t, r.items, 200)
				eachOf(&r, func(_ int, it *item) {
					require.Equal(t, last+1, it.t, "not in the order of the log")
					last = it.t
				})
				keys = append(keys, r.stretchKey())
				q.ack(&r)
			}
		}
		require.Zero(t, q.stats().queued-q.stats().waiting)
		return keys
	}
	steady := run(func(int) time.Duration { return 0 })
	hasty := run(func(n int) time.Duration {
		if n == 3 {
			return 2 * time.Second
		}
		return 0
	})
	require.NotEqual(t, steady[1], hasty[1])
	require.Equal(t, steady[len(steady)-5:], hasty[len(hasty)-5:])
	require.Equal(t, 200, steady[0].items)
}

// TestDeep defends that an endpoint that catches up waits for depth, and that
// what it takes then are windows of one partition: full requests each, and no
// more of them than fit between two savepoints (I8).
func TestDeep(t *testing.T) {
	all := someSeries(t, 640)
	q := newQueue(time.Now)
	q.configure(100, 50, time.Hour)
	q.widen(saveInterval / 3)
	require.Equal(t, 150, q.window)
	bb := batchBuilder{}
	bb.reset(at(0, 0))
	push := func(behind bool) {
		for i, s := range all {
			bb.float(s, 0, bb.end.Offset*1000+int64(i), 0)
		}
		bb.end.Offset++
		require.True(t, q.push(&entry{batch: bb.build(), behind: behind, room: 1 << 20}))
	}
	for !q.due() {
		require.Less(t, bb.end.Offset, int64(100))
		push(true)
	}
	require.Greater(t, q.ready, 20*q.max, "depth was not waited for")
	var r request
	require.True(t, q.take(&r, func() bool { return true }))
	require.True(t, r.behind)
	for _, sp := range r.spans {
		require.Equal(t, r.spans[0].part, sp.part)
	}
	require.LessOrEqual(t, r.items, 150)
	require.Greater(t, r.items, 100)
	q.ack(&r)
	for q.due() {
		require.True(t, q.take(&r, func() bool { return true }))
		q.ack(&r)
	}
	require.Positive(t, q.ready, "what is not deep enough yet")
	q.shallow()
	require.True(t, q.due(), "nothing more comes: there is no point in waiting")

	q.widen(10 * saveInterval)
	require.Equal(t, 50, q.window, "a slow receiver gets no windows")
}

// TestFifo covers that the list keeps its order and, as long as it is short, its
// array.
func TestFifo(t *testing.T) {
	var f fifo
	in, out := 0, 0
	entries := make([]*entry, 10_000)
	for i := range entries {
		entries[i] = &entry{}
	}
	for in < len(entries) {
		for n := in % 7; n >= 0 && in < len(entries); n-- {
			f.push(entries[in])
			in++
		}
		for f.len() > in%5 {
			require.Same(t, entries[out], f.all()[0])
			f.pop()
			out++
		}
	}
	require.LessOrEqual(t, cap(f.list), 64)
}
