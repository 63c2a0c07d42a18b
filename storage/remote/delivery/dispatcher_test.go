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
	"math/rand"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

func openDispatcher(t *testing.T, j *journal, at cursor.Position) *dispatcher {
	src := j.source()
	d := newDispatcher(newLogReader(promslog.NewNopLogger(), &src, func(*cursor.Corruption) {}), cursor.Point{Position: at})
	d.poll.Reset(time.Hour) // A reader looks only when it is notified.
	t.Cleanup(func() {
		d.close()
		_ = j.wal.Close() // One test removes the segment.
	})
	return d
}

// waiter is one subscription that asks for the batch at a position.
type waiter struct {
	cancel context.CancelFunc
	done   chan struct{} // Closed when what follows is set.
	b      *queue.Batch
	err    error
}

func (d *dispatcher) ask(at cursor.Point) *waiter {
	ctx, cancel := context.WithCancel(context.Background())
	w := &waiter{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		sub := d.join(at)
		defer d.leave(sub)
		w.b, w.err = d.after(ctx, sub, at, maxBatchItems)
	}()
	return w
}

// state waits until a reader leads or none does, and others wait or none do.
func (d *dispatcher) state(t *testing.T, leading, waiting bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.leading == leading && (d.changed != nil) == waiting
	}, time.Minute, time.Millisecond)
}

// TestOneReaderLeads defends I5 where one reader reads for all: it may leave, fail or
// be overtaken, and the others go on.
func TestOneReaderLeads(t *testing.T) {
	both := func(t *testing.T) (j *journal, d *dispatcher, first, second *waiter) {
		j = openJournal(t, t.TempDir(), nil)
		j.commit(10)
		d = openDispatcher(t, j, *j.head.Load())
		first = d.ask(d.head)
		d.state(t, true, false)
		second = d.ask(d.head)
		d.state(t, true, true)
		require.True(t, d.commits.wanted.Load())
		return j, d, first, second
	}
	t.Run("leaves", func(t *testing.T) {
		j, d, first, second := both(t)
		first.cancel()
		<-first.done
		require.ErrorIs(t, first.err, context.Canceled)
		d.state(t, true, false)
		j.commit(10)
		d.notify()
		<-second.done
		require.NoError(t, second.err)
		require.Equal(t, 10, second.b.Total)
		require.Equal(t, *j.head.Load(), second.b.End.Position)
		require.False(t, d.commits.wanted.Load(), "no subscription is attached, and commits are wanted")
	})
	t.Run("came by another way", func(t *testing.T) {
		j := openJournal(t, t.TempDir(), nil)
		j.commit(10)
		d := openDispatcher(t, j, *j.head.Load())
		d.head.CRC = 1
		w := d.ask(cursor.Point{Position: d.head.Position})
		d.state(t, true, false)
		j.commit(10)
		d.notify()
		<-w.done
		require.NoError(t, w.err)
		require.Equal(t, uint32(1), w.b.Start.CRC, "what identifies the start is lost")
	})
	t.Run("is far behind", func(t *testing.T) {
		j := openJournal(t, t.TempDir(), nil)
		j.commit(10)
		d := openDispatcher(t, j, *j.head.Load())
		for _, ordered := range []bool{false, true} {
			j.commit(10)
			if !ordered {
				j.cut()
			}
			w := d.ask(d.head)
			<-w.done
			require.NoError(t, w.err)
			require.Equal(t, 10, w.b.Total)
			require.Equal(t, ordered, w.b.Ordered, "I6")
			if !ordered {
				w = d.ask(d.head) // The rest, without items.
				<-w.done
				require.Equal(t, *j.head.Load(), w.b.End.Position)
			}
		}
	})
	t.Run("reads", func(t *testing.T) {
		j, d, first, second := both(t)
		j.commit(10)
		d.notify()
		<-first.done
		<-second.done
		require.NoError(t, first.err)
		require.NoError(t, second.err)
		require.Same(t, first.b, second.b)
	})
	t.Run("fails", func(t *testing.T) {
		j, d, first, second := both(t)
		j.commit(10)
		require.NoError(t, os.Remove(wlog.SegmentName(j.source().WALDir, 0)))
		d.notify()
		<-first.done
		<-second.done
		require.ErrorIs(t, first.err, os.ErrNotExist)
		require.ErrorIs(t, second.err, os.ErrNotExist)
		d.state(t, false, false)
	})
	t.Run("is overtaken", func(t *testing.T) {
		j, d, first, second := both(t)
		before := d.head
		j.commit(10)
		third := d.ask(cursor.Point{Position: *j.head.Load()})
		<-first.done
		<-second.done
		for _, w := range []*waiter{first, second} {
			if w.err == nil { // It looked before the third one came.
				require.Equal(t, before, w.b.Start)
				continue
			}
			require.ErrorIs(t, w.err, errBehind)
		}
		third.cancel()
		<-third.done
		d.state(t, false, false)
	})
}

// TestSubscriptionsGetAll defends that every subscription gets all of the log, in order
// and once, whichever reader leads, comes or goes.
func TestSubscriptionsGetAll(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	j := openJournal(t, t.TempDir(), nil)
	j.commit(10)
	began := *j.head.Load()
	before := j.count
	d := openDispatcher(t, j, began)
	d.setDelay(&batchDelay{items: 100, wait: time.Millisecond})
	const commits = 300
	last := make(chan struct{}) // Closed when everything is committed.
	var readers sync.WaitGroup
	totals := make([]int, 4)
	for i := range totals {
		leaveEvery := 1 + rnd.Intn(5)
		readers.Go(func() {
			at := cursor.Point{Position: began}
			src := j.source()
			own := newLogReader(promslog.NewNopLogger(), &src, func(*cursor.Corruption) {})
			defer own.close()
			for n := 0; ; n++ {
				select {
				case <-last:
					if at.Position == *j.head.Load() {
						return
					}
				default:
				}
				// Some give up soon, and leave while they lead.
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+n%leaveEvery)*time.Millisecond)
				sub := d.join(at)
				b, err := d.after(ctx, sub, at, maxBatchItems)
				d.leave(sub)
				cancel()
				if errors.Is(err, errBehind) {
					if err = own.seek(at); err == nil {
						b, err = own.batch(maxBatchItems, d.meets)
					}
				}
				if err != nil {
					continue
				}
				if b.Start.Position != at.Position {
					t.Errorf("batch begins at %s, not at %s", b.Start, at)
					return
				}
				totals[i] += b.Total
				at = b.End
			}
		})
	}
	for range commits {
		j.commit(1 + rnd.Intn(30))
		if rnd.Intn(20) == 0 {
			j.cut()
		}
		d.notify()
	}
	close(last)
	readers.Wait()
	for _, n := range totals {
		require.Equal(t, j.count-before, n)
	}
}

// TestBatchDelay defends that what waits in memory is never what fills a request,
// that the log is looked at where a commit is missing in memory, and that
// batch_send_deadline begins with the commit.
func TestBatchDelay(t *testing.T) {
	q := commitQueue{}
	q.wanted.Store(true)
	all := someSeries(t, 1)
	head := at(0, 10).Position
	put := func(n int) {
		c := q.newCommit(n)
		for range n {
			c.Float(all[0], 0, 1, 1)
		}
		c.start = head
		head.Offset += 10
		c.end = head
		q.put(c)
	}
	put(10)
	require.False(t, q.mayWait(head), "no delay was set for it")
	q.delay.Store(&batchDelay{items: 100})
	require.True(t, q.mayWait(head))
	put(89)
	require.True(t, q.mayWait(head))
	require.False(t, q.mayWait(at(0, 31).Position), "the last commit is missing")
	put(1)
	require.False(t, q.mayWait(head), "enough for a request")
	q.clear()
	require.False(t, q.mayWait(head), "nothing waits")

	set := func(items int, deadline time.Duration) *settings {
		return &settings{queue: config.QueueConfig{MaxSamplesPerSend: items, BatchSendDeadline: model.Duration(deadline)}}
	}
	require.Nil(t, batchDelayFor(nil))
	require.Nil(t, batchDelayFor([]*settings{set(100, time.Minute), set(100, 0)}))
	require.Equal(t, &batchDelay{items: 100, wait: pollInterval}, batchDelayFor([]*settings{set(100, time.Minute), set(200, time.Hour)}))
	require.Equal(t, &batchDelay{items: queuedItems / 2, wait: 25 * time.Millisecond}, batchDelayFor([]*settings{set(1<<20, 100*time.Millisecond)}))
}
