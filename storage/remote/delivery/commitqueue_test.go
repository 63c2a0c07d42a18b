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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/record"
)

// commitInMemory commits like journal.commit, and hands the commit to the dispatcher
// in memory.
func (r *rig) commitInMemory(n int, late bool) {
	j := r.journal
	from := *j.head.Load()
	c := r.NewCommit(n)
	j.commit(n)
	if late {
		r.Notify() // The dispatcher may read it from the log now.
	}
	if c != nil {
		for i := range n {
			c.Float(j.series[i], 0, j.time, float64(i))
		}
		c.Record([]byte{byte(record.Samples)})
		r.Committed(c, from, *j.head.Load())
	}
	r.Notify()
}

// TestInMemoryCommits defends that what is delivered, and the positions that are saved,
// do not depend on how the dispatcher came to know of a commit: in memory in
// time, too late or not at all, across segments (I2, I4, I8).
func TestInMemoryCommits(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	receivers := map[string]*receiver{"a": rc}
	taken := 0
	for run := range 4 {
		r := newRig(t, j, receivers, Options{})
		r.attach(remoteWrite("a"))
		if run == 0 {
			r.commit(150)
		}
		require.Eventually(t, r.dispatcher.commits.wanted.Load, time.Minute, time.Millisecond)
		for range 100 {
			n := 1 + rnd.Intn(2*wholeItems)
			switch rnd.Intn(6) {
			case 0:
				r.commit(n)
			case 1:
				r.commitInMemory(n, true)
			case 2:
				j.cut()
				r.commitInMemory(n, false)
			default:
				r.commitInMemory(n, false)
			}
			if rnd.Intn(10) == 0 {
				r.complete("a", j.count)
			}
		}
		r.complete("a", j.count)
		r.dispatcher.commits.mtx.Lock()
		taken += len(r.dispatcher.commits.free)
		r.dispatcher.commits.mtx.Unlock()
		_, before := rc.counts()
		require.Equal(t, j.count, before, "something was sent twice")
		require.NoError(t, r.Close())
		for _, st := range r.retained {
			for p, m := range st.acked {
				want, err := cursor.PointAt(j.source().WALDir, m.Position)
				require.NoError(t, err)
				require.LessOrEqual(t, m.Compare(*j.head.Load()), 0)
				f, _, err := r.store.Load()
				require.NoError(t, err)
				require.Equal(t, want, f.Endpoints[0].MarksFor(queue.Partitions)[p].Point, "saved without what identifies it")
			}
		}
		if run > 0 {
			require.Positive(t, taken)
		}
	}
	require.NoError(t, j.wal.Close())
}

// TestCommitQueueBounds defends I6: nothing waits while no endpoint follows, and no
// more waits than the bound says, whatever is committed.
func TestCommitQueueBounds(t *testing.T) {
	var q commitQueue
	require.Nil(t, q.newCommit(1), "no reader wants it")
	q.wanted.Store(true)
	require.Nil(t, q.newCommit(keptItems+1), "too large")
	all := someSeries(t, 1)
	pos := at(0, 0)
	put := func(items int) bool {
		c := q.newCommit(items)
		if c == nil {
			return false
		}
		for range items {
			c.Float(all[0], 0, 1, 1)
		}
		c.start = pos.Position
		pos.Offset += 10
		c.end = pos.Position
		q.put(c)
		return true
	}
	n := 0
	for put(1000) {
		n++
		require.Less(t, n*1000, queuedItems+1)
	}
	require.Greater(t, n*1000, queuedItems-1001)

	bb := queue.Builder{Ordered: true}
	require.Nil(t, q.batch(&bb, at(0, 5)), "not the start of a commit")
	require.Len(t, q.ready, n-1, "the first begins before, and was read from the log")
	require.True(t, q.starts(at(0, 10).Position))
	b := q.batch(&bb, at(0, 10))
	require.Equal(t, at(0, 20).Position, b.End.Position)
	require.Equal(t, 1000, b.Total)
	require.Zero(t, bb.Items.Len())
	require.LessOrEqual(t, len(q.free), keptCommits)
	q.clear()
	require.Zero(t, q.items)
	require.Empty(t, q.ready)

	// Small ones are put together.
	first := pos
	for range 3 {
		require.True(t, put(100))
	}
	b = q.batch(&bb, first)
	require.Equal(t, pos.Position, b.End.Position)
	require.Equal(t, 300, b.Total)
	require.Empty(t, q.ready)
}

// removedButOpen returns the segments that are removed and take room on the disk all
// the same.
func removedButOpen(t *testing.T, j *journal) (held []string) {
	t.Helper()
	const files = "/proc/self/fd"
	open, err := os.ReadDir(files)
	if err != nil {
		t.Skip("nothing tells which files are open")
	}
	for _, f := range open {
		name, _ := os.Readlink(filepath.Join(files, f.Name()))
		if strings.HasPrefix(name, j.dir) && strings.HasSuffix(name, "(deleted)") {
			held = append(held, name)
		}
	}
	return held
}

// TestWaitingReaderHoldsNoSegment: nor has one whose endpoint takes nothing.
func TestWaitingReaderHoldsNoSegment(t *testing.T) {
	for _, own := range []bool{false, true} {
		j := openJournal(t, t.TempDir(), nil)
		rc := newReceiver()
		r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
		if own {
			r.attach(remoteWrite("a"))
			require.NoError(t, r.Close())
			r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
		} else {
			r.attach(remoteWrite("a"))
		}
		rc.set(unavailable)
		for range 10 {
			for range 20 {
				r.commit(1000)
			}
			j.cut()
		}
		if own {
			r.attach(remoteWrite("a"))
		}
		require.Eventually(t, func() bool { return r.value("prometheus_remote_storage_enqueue_retries_total", nil) > 2*longWait }, time.Minute, time.Millisecond)
		before := j.head.Load().Segment
		require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: before}, "max_size"))
		require.NoError(t, j.wal.Truncate(before))
		require.Empty(t, removedButOpen(t, j), "own %t", own)
		rc.set(nil)
		r.end()
	}
}

// TestInMemoryCommitsCloseTheLog: while the dispatcher gets commits in memory, nothing is
// open that may be removed.
func TestInMemoryCommitsCloseTheLog(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	d := openDispatcher(t, j, cursor.Position{})
	d.commits.wanted.Store(true)
	j.commit(10)
	b, err := d.read(cursor.Point{}, maxBatchItems)
	require.NoError(t, err)
	require.Equal(t, 10, b.Total)
	require.NotNil(t, d.reader.tail)
	c := d.commits.newCommit(1)
	c.Float(j.series[0], 0, 1, 1)
	c.start, c.end = b.End.Position, cursor.Position{Segment: 1}
	d.commits.put(c)
	b, err = d.read(b.End, maxBatchItems)
	require.NoError(t, err)
	require.Equal(t, 1, b.Total)
	require.Nil(t, d.reader.tail)
}

// TestRemovedSegmentsAreNotHeld defends that a segment which is removed gives its
// room on the disk back: an endpoint that had to read it on its own has no need of
// it once it has caught up.
func TestRemovedSegmentsAreNotHeld(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	slow := newReceiver()
	slow.set(unavailable)
	receivers := map[string]*receiver{"a": newReceiver(), "b": slow}
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"), remoteWrite("b"))
	for range 10 {
		for range 20 {
			r.commit(1000)
		}
		r.complete("a", j.count)
		j.cut()
	}
	slow.set(nil)
	r.complete("b", j.count)
	for range 3 {
		require.Eventually(t, r.dispatcher.commits.wanted.Load, time.Minute, time.Millisecond)
		r.commitInMemory(1000, false)
		r.complete("a", j.count)
		r.complete("b", j.count)
	}
	require.NoError(t, j.wal.Truncate(j.head.Load().Segment))
	require.Empty(t, removedButOpen(t, j))
	r.end()
}
