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
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// TestOrderOfState defends I2 and I8: what a savepoint says of a stream is taken in the
// order dispatch watermark, marks, isolated series, while a sender that puts something on
// trial isolates it first and has its marks pass it then. So the dispatch watermark covers
// whatever is sent meanwhile, and no mark passes an item that is not in the savepoint. Each
// round has the state taken in the middle of that, with the queue locked.
func TestOrderOfState(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	j.commit(1)
	src := j.source()
	e := &endpoint{src: &src, ctx: t.Context()}
	for range 20 {
		start := cursor.Point{}
		s := e.newStream(make([]savepoint.Mark, queue.Partitions), nil, cursor.Position{})
		s.queue.Configure(1000, 100, 0)
		r := newLogReader(promslog.NewNopLogger(), &src, nil)
		require.NoError(t, r.seek(start))
		b, err := r.batch(maxBatchItems, func(cursor.Position) bool { return false })
		require.NoError(t, err)
		r.close()
		require.True(t, s.queue.Push(&queue.Entry{Batch: b}))
		var req queue.Request
		require.True(t, s.queue.Take(&req, func() bool { return true }))
		items := req.AppendItems(nil)
		require.Len(t, items, 1)
		at := req.Marks(items)[items[0].Item]

		var (
			marks []savepoint.Mark
			apart []isolatedMark
			taken = make(chan struct{})
		)
		req.Renew = func() { // Called with the queue locked.
			s.dispatched.renew()
			go func() {
				defer close(taken)
				marks, apart, _ = s.toSave(false)
			}()
			require.Eventually(t, func() bool {
				s.dispatched.mtx.Lock()
				defer s.dispatched.mtx.Unlock()
				return !s.dispatched.stale
			}, time.Minute, time.Millisecond, "the dispatch watermark is taken before the marks")
			s.isolation.park(&req, items, &trial{})
		}
		s.queue.Ack(&req)
		<-taken
		passed := at.Before(marks[items[0].Series.Partition()].Position)
		require.True(t, passed, "its marks are taken behind that")
		require.Equal(t, []isolatedMark{{Series: queue.StableHash(items[0].Series), Mark: at}}, apart)
		s.cancel()
	}
	require.NoError(t, j.wal.Close())
}

// TestOnlySavepointsCount defends I4: a savepoint that was begun before settings changed does
// not count as one begun after, whoever looks at the endpoint meanwhile.
func TestOnlySavepointsCount(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	d, begun := &r.running[0].streams()[0].dispatched, false
	require.NoError(t, r.saveStates(func() []*endpointState {
		all := r.statesToSave()
		d.renew() // Settings are replaced while the savepoint is written.
		r.Status()
		r.Holders()
		r.Progress()
		begun = true
		return all
	}, true, false))
	require.True(t, begun)
	require.False(t, d.covers(cursor.Position{Offset: 1}))
	require.NoError(t, r.Persist(t.Context()))
	require.True(t, d.covers(cursor.Position{Offset: 1}))
	r.end()
}
