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
	"math/rand"
	"slices"
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

// someSeries returns n series.
func someSeries(n int) []*series.Series {
	out := make([]*series.Series, n)
	for i := range out {
		out[i] = series.Detached(chunks.HeadSeriesRef(i+1), labels.FromStrings("__name__", "m", "i", strconv.Itoa(i)))
	}
	return out
}

func at(segment int, offset int64) cursor.Point {
	return cursor.Point{Position: cursor.Position{Segment: segment, Offset: offset}}
}

// always keeps a sender.
func always() bool { return true }

// logged is what a model log holds at one position.
type logged struct {
	end   cursor.Point
	items []Item
}

// modelLog makes records of random size, with the time as the identity of each
// item.
func modelLog(rnd *rand.Rand, all []*series.Series, records int) []logged {
	var (
		out   []logged
		ts    int64
		pos   = at(0, 0)
		items []Item
	)
	for range records {
		items = nil
		for range rnd.Intn(40) {
			ts++
			items = append(items, Item{Series: all[rnd.Intn(len(all))], T: ts})
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
		all := someSeries(1 + rnd.Intn(200))
		log := modelLog(rnd, all, 200)

		total := 0
		for _, l := range log {
			total += len(l.items)
		}
		delivered := map[int64]int{}
		marks := make([]savepoint.Mark, Partitions)
		for runs := 0; len(delivered) < total || runs == 0; runs++ {
			require.Less(t, runs, 100, "no progress")
			marks = oneRun(t, rnd, log, marks, delivered)
		}
		for ts, n := range delivered {
			require.Equal(t, 1, n, "item %d", ts)
		}
	}
}

// oneRun reads the log from the lowest mark on, for a random number of steps.
func oneRun(t *testing.T, rnd *rand.Rand, log []logged, marks []savepoint.Mark, delivered map[int64]int) []savepoint.Mark {
	q := New(time.Now)
	res := NewResumption(marks)
	start := slices.MinFunc(marks, func(a, b savepoint.Mark) int { return a.Compare(b.Position) }).Point
	q.Resume(start, marks)
	q.Configure(1<<30, 1+rnd.Intn(50), 0)
	q.SetSenders(1 + rnd.Intn(2))
	number := uint64(0)

	next := 0
	for next < len(log) && !start.Before(log[next].end.Position) {
		next++
	}
	bb := Builder{Ordered: rnd.Intn(4) > 0}
	bb.Reset(start)
	var (
		flying []*Request
		order  = map[int]int64{}
		replay = cursor.Position{Segment: rnd.Intn(10)}
		push   = func() {
			for many := 1 + rnd.Intn(4); many > 0 && next < len(log); many-- {
				for _, it := range log[next].items {
					bb.Items.Float(it.Series, 0, it.T, it.V)
				}
				bb.End = log[next].end
				next++
				if res.Active(bb.Start.Position) && res.At(bb.End.Position) {
					break
				}
			}
			if bb.End == bb.Start {
				return
			}
			resuming := res.Active(bb.Start.Position)
			b := bb.Build()
			number++
			b.Number, b.Before = number, number*100
			e := &Entry{Batch: b, Replay: b.Start.Before(replay), Behind: rnd.Intn(3) == 0}
			if resuming {
				e.Batch, e.Skipped = res.Filter(b)
			}
			require.True(t, q.Push(e))
		}
		take = func() {
			if q.Stats().Ready == 0 {
				return
			}
			r := &Request{}
			require.True(t, q.Take(r, always))
			require.Positive(t, r.Items)
			require.LessOrEqual(t, r.Items, max(q.max, q.window))
			r.Refused = r.Replay && rnd.Intn(2) == 0
			busy, handed := map[int]bool{}, 0
			for _, f := range flying {
				require.Empty(t, r.inOrder, "a request in order beside another")
				require.Empty(t, f.inOrder, "a request beside one in order")
				for _, o := range f.byPart {
					busy[o.part] = true
				}
			}
			eachOf(r, func(int, *Item) { handed++ })
			require.Equal(t, r.Items, handed)
			for _, sp := range r.byPart {
				require.Equal(t, r.Replay, sp.entry.Replay, "the replay range and newer samples share a request")
				require.NotContains(t, busy, sp.part, "two requests of one partition")
				if r.Replay {
					require.Equal(t, r.byPart[0].part, sp.part, "partitions of the replay range share a request")
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
				q.Release(r)
				return
			}
			eachOf(r, func(p int, it *Item) {
				if it.T <= order[p] {
					require.Greater(t, it.T, order[p], "partition %d goes back", p)
				}
				order[p] = it.T
				delivered[it.T]++
			})
			q.Ack(r)
		}
	)
	for range rnd.Intn(600) {
		switch rnd.Intn(5) {
		case 0:
			q.SetWindow(250 / (1 + rnd.Intn(1000)))
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
	out := make([]savepoint.Mark, Partitions)
	q.Marks(out)
	return out
}

// eachOf calls f for the items of a request, in the order in which they are sent.
func eachOf(r *Request, f func(part int, it *Item)) {
	for _, sp := range r.inOrder {
		for i := sp.from; i < sp.to; i++ {
			it := &sp.entry.Batch.inOrder.list.Items[i]
			f(it.Series.Partition(), it)
		}
	}
	for _, sp := range r.byPart {
		part := sp.entry.part(sp.part)
		for i := sp.from; i < sp.to; i++ {
			f(sp.part, &part.Items[i])
		}
	}
}

// checkMarks compares the marks with what was delivered: everything before a
// mark, and as many items after it as it skips, and nothing else.
func checkMarks(t *testing.T, q *Queue, log []logged, delivered map[int64]int) {
	t.Helper()
	marks := make([]savepoint.Mark, Partitions)
	floor := q.Marks(marks)
	var skip [Partitions]int
	for p, m := range marks {
		skip[p] = m.Skip
		require.False(t, m.Before(floor.Position))
	}
	for _, l := range log {
		for _, it := range l.items {
			p := it.Series.Partition()
			want := 0
			switch {
			case l.end.Compare(marks[p].Position) <= 0:
				want = 1
			case skip[p] > 0:
				skip[p]--
				want = 1
			}
			if delivered[it.T] != want {
				require.Equal(t, want, delivered[it.T], "deliveries of item %d of partition %d, whose mark is %v", it.T, p, marks[p])
			}
		}
	}
}

// TestQueueWaitsForRoom defends I6: a queue whose endpoint does not deliver
// stops the reader, and closing it releases all that wait.
func TestQueueWaitsForRoom(t *testing.T) {
	all := someSeries(10)
	q := New(time.Now)
	q.Configure(10, 5, time.Hour)
	batchOf := func(from int64, n int) *Entry {
		bb := Builder{}
		bb.Reset(at(0, from))
		for i := range n {
			bb.Items.Float(all[i%len(all)], 0, from+int64(i)+1, 0)
		}
		bb.End = at(0, from+int64(n))
		return &Entry{Batch: bb.Build()}
	}
	require.True(t, q.Push(batchOf(0, 30)), "a batch beyond the limit fits an empty queue")
	pushed := make(chan bool)
	go func() { pushed <- q.Push(batchOf(30, 1)) }()

	var r Request
	require.True(t, q.Take(&r, always))
	require.Positive(t, r.Items)
	require.LessOrEqual(t, r.Items, 5)
	select {
	case <-pushed:
		require.Fail(t, "pushed into a full queue")
	default:
	}
	q.Ack(&r)
	for q.Stats().Queued > 9 {
		require.True(t, q.Take(&r, always))
		q.Ack(&r)
	}
	require.True(t, <-pushed)

	took := make(chan bool)
	go func() {
		var r Request
		for q.Take(&r, always) {
			q.Ack(&r)
		}
		took <- true
	}()
	q.Close()
	require.True(t, <-took)
	require.False(t, q.Push(batchOf(31, 1)))
}

// TestFullQueueIsABacklog defends that more senders are asked for also where the queue
// has no room for a full request beside the one that is under way.
func TestFullQueueIsABacklog(t *testing.T) {
	all := someSeries(10)
	q := New(time.Now)
	q.Configure(10, 10, time.Hour)
	batchOf := func(from int64) *Entry {
		bb := Builder{}
		bb.Reset(at(0, from))
		for i, s := range all {
			bb.Items.Float(s, 0, from+int64(i)+1, 0)
		}
		bb.End = at(0, from+int64(len(all)))
		return &Entry{Batch: bb.Build()}
	}
	require.True(t, q.Push(batchOf(0)))
	var r Request
	require.True(t, q.Take(&r, always))
	require.False(t, q.Stats().Backlog, "nothing waits")
	pushed := make(chan bool)
	go func() { pushed <- q.Push(batchOf(10)) }()
	require.Eventually(t, func() bool { return q.Stats().Backlog }, time.Minute, time.Millisecond)
	q.Ack(&r)
	require.True(t, <-pushed)
}

// TestInOrder defends that endpoints that keep up cut the same requests, which is
// what they can share: with one request under way at a time they are full, in
// the order of the log, and end in the same places again after one has lingered.
func TestInOrder(t *testing.T) {
	all := someSeries(300)
	var ts int64
	bb := Builder{Ordered: true}
	bb.Reset(at(0, 0))
	batches := make([]*Batch, 200)
	for n := range batches {
		for i := range 70 {
			ts++
			bb.Items.Float(all[(n*70+i)%len(all)], 0, ts, 0)
		}
		bb.End = at(0, int64(n+1))
		batches[n] = bb.Build()
		batches[n].Number, batches[n].Before = uint64(n+1), uint64(n*70)
	}
	run := func(linger func(n int) time.Duration) (keys []Key) {
		now := time.Now()
		q := New(func() time.Time { return now })
		q.Configure(1<<20, 200, time.Second)
		last := int64(0)
		for n, b := range batches {
			require.True(t, q.Push(&Entry{Batch: b}))
			now = now.Add(linger(n))
			for q.due() {
				var r Request
				require.True(t, q.Take(&r, always))
				require.NotEmpty(t, r.inOrder)
				require.LessOrEqual(t, r.Items, 200)
				eachOf(&r, func(_ int, it *Item) {
					require.Equal(t, last+1, it.T, "not in the order of the log")
					last = it.T
				})
				keys = append(keys, r.Key())
				q.Ack(&r)
			}
		}
		require.Zero(t, q.Stats().Queued-q.Stats().Waiting)
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
	require.Equal(t, 200, steady[0].Items)
}

// TestBackInOrder defends that what several senders had to share is no reason to cut by
// partition for good: once they keep up, requests are in order again, which endpoints
// share.
func TestBackInOrder(t *testing.T) {
	all := someSeries(300)
	q := New(time.Now)
	q.Configure(1<<20, 200, time.Hour)
	q.SetSenders(2)
	bb := Builder{Ordered: true}
	bb.Reset(at(0, 0))
	n := 0
	push := func() {
		for range 130 {
			n++
			bb.Items.Float(all[n%len(all)], 0, int64(n), 0)
		}
		bb.End = at(0, int64(n))
		require.True(t, q.Push(&Entry{Batch: bb.Build()}))
	}
	for range 7 {
		push()
	}
	var a, b Request
	require.True(t, q.Take(&a, always))
	require.False(t, a.InOrder())
	require.True(t, q.Take(&b, always))
	require.False(t, b.InOrder())
	q.Ack(&a)
	q.Ack(&b)
	for range 20 {
		push()
		for q.due() {
			require.True(t, q.Take(&a, always))
			q.Ack(&a)
		}
	}
	require.True(t, a.InOrder())
	require.Equal(t, 200, a.Items, "it is full")
}

// TestWindow defends that an endpoint that catches up waits for many items, and that
// what it takes then are windows of one partition: full requests each, and no
// more of them than fit between two savepoints (I8).
func TestWindow(t *testing.T) {
	all := someSeries(640)
	q := New(time.Now)
	q.Configure(100, 50, time.Hour)
	q.SetWindow(3)
	require.Equal(t, 150, q.window)
	bb := Builder{}
	bb.Reset(at(0, 0))
	push := func(behind bool) {
		for i, s := range all {
			bb.Items.Float(s, 0, bb.End.Offset*1000+int64(i), 0)
		}
		bb.End.Offset++
		require.True(t, q.Push(&Entry{Batch: bb.Build(), Behind: behind, Room: 1 << 20}))
	}
	for !q.due() {
		require.Less(t, bb.End.Offset, int64(100))
		push(true)
	}
	require.Greater(t, q.ready, 20*q.max, "they were not waited for")
	var r Request
	require.True(t, q.Take(&r, always))
	require.True(t, r.Behind)
	for _, sp := range r.byPart {
		require.Equal(t, r.byPart[0].part, sp.part)
	}
	require.LessOrEqual(t, r.Items, 150)
	require.Greater(t, r.Items, 100)
	q.Ack(&r)
	for q.due() {
		require.True(t, q.Take(&r, always))
		q.Ack(&r)
	}
	require.Positive(t, q.ready, "what is no window yet")
	q.CaughtUp()
	require.True(t, q.due(), "nothing more comes: there is no point in waiting")

	q.SetWindow(0)
	require.Equal(t, 50, q.window, "a slow receiver gets one request at a time")
}

// TestWaitedElsewhere: what has waited for others already lingers for the rest of the
// time only.
func TestWaitedElsewhere(t *testing.T) {
	all := someSeries(1)
	now := time.Unix(1, 0)
	q := New(func() time.Time { return now })
	q.Resume(at(0, 0), make([]savepoint.Mark, Partitions))
	q.Configure(1000, 100, time.Second)
	q.SetSenders(1)
	bb := Builder{Ordered: true}
	bb.Reset(at(0, 0))
	bb.Items.Float(all[0], 0, 1, 0)
	bb.End, bb.Waited = at(0, 10), 300*time.Millisecond
	require.True(t, q.Push(&Entry{Batch: bb.Build()}))
	due := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.due()
	}
	now = now.Add(699 * time.Millisecond)
	require.False(t, due())
	now = now.Add(time.Millisecond)
	require.True(t, due())
	q.Close()
}
