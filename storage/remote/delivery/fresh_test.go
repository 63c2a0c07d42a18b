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
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// TestFreshFirst shows what the option is for: after an outage what is new
// arrives while the backlog is held up, in order on each stream (I4); the log is
// held for the backlog (I1); and in the end everything arrived once, on one
// stream.
func TestFreshFirst(t *testing.T) {
	r, release := newDividedRig(t, 3)
	j := r.journal
	r.live(20)

	require.NoError(t, r.Persist(t.Context()))
	saved := r.saved()
	require.NotNil(t, saved.Fresh)
	floor := j.gate.Floor()
	require.Equal(t, gate.Held, floor.State)
	require.Equal(t, saved.Floor.Position, floor.Position)
	require.True(t, floor.Position.Before(saved.Fresh.From.Position))
	streams := r.running[0].streams()
	require.LessOrEqual(t, streams[0].senders(), 2)
	require.LessOrEqual(t, streams[1].senders(), 2)
	// The metrics follow with the next look at the streams.
	require.Eventually(t, func() bool {
		old := r.value("prometheus_remote_storage_fresh_first_backlog_bytes", nil)
		return old > 0 && r.value("prometheus_remote_storage_fresh_first_active", nil) == 1 && r.value("prometheus_remote_storage_unacked_bytes", nil) >= old &&
			r.value("prometheus_remote_storage_shards", nil) == float64(streams[0].senders()+streams[1].senders()) &&
			r.value("prometheus_remote_storage_samples_pending", nil) > 0 &&
			r.value("prometheus_remote_storage_acked_segment", nil) == float64(floor.Position.Segment)
	}, time.Minute, 5*time.Millisecond)

	// Neither stream waits for the other.
	release()
	r.live(20)
	r.complete()
	r.merged()
	r.live(20)
	r.complete()
	_, again := r.rc.counts()
	require.Zero(t, again)
	r.rc.requireOrdered(t, r.until)
	require.NoError(t, r.Persist(t.Context()))
	require.Nil(t, r.saved().Fresh)
	require.Equal(t, *j.head.Load(), j.gate.Floor().Position)
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_fresh_first_active", nil) == 0 && r.value("prometheus_remote_storage_unacked_bytes", nil) == 0 &&
			r.value("prometheus_remote_storage_fresh_first_backlog_bytes", nil) == 0 && r.value("prometheus_remote_storage_samples_pending", nil) == 0
	}, time.Minute, 5*time.Millisecond)
	r.end()
}

// TestFreshFirstIsAsked: without the option an endpoint catches up in order.
func TestFreshFirstIsAsked(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	opts := freshOptions()
	opts.FreshFirst = map[string]float64{"b": 0.5}
	r := newFreshRig(t, j, newLateReceiver(), opts)
	r.outage()
	r.rc.set(nil)
	r.complete()
	r.rc.requireOrdered(t, 0)
	r.end()

	// A name that no endpoint has is most likely a mistake, and reported as one.
	var log bytes.Buffer
	s, err := NewStorage(slog.New(slog.NewTextHandler(&log, nil)), nil, func() (int64, error) { return 0, nil }, t.TempDir(), time.Second, nil, false, opts)
	require.NoError(t, err)
	require.NoError(t, s.ApplyConfig(r.confWith(remoteWrite("a"))))
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), "not in the configuration")
	require.Contains(t, log.String(), "remote_name=b")

	for _, share := range []float64{0, -1, 1, 2} {
		_, err := NewStorage(nil, nil, nil, t.TempDir(), 0, nil, false, Options{FreshFirst: map[string]float64{"a": share}})
		require.ErrorContains(t, err, "above 0 and below 1")
	}
}

// TestFreshIsSavedFirst defends I8: whatever of the fresh range a receiver gets,
// a savepoint on the disk knows that it can have been sent.
func TestFreshIsSavedFirst(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newFreshRig(t, j, newLateReceiver(), freshOptions())
	r.outage()
	var (
		once  sync.Once
		saved savepoint.Endpoint
		block = make(chan struct{})
		until = r.until
		first = 3
		mtx   sync.Mutex
	)
	r.rc.set(func(ctx context.Context, _, newest int64) *client.Result {
		if newest > until {
			once.Do(func() {
				// The fallback is what a loss of power leaves.
				data, err := os.ReadFile(filepath.Join(j.dir, savepoint.PreviousName))
				require.NoError(t, err)
				f, err := savepoint.Decode(data)
				require.NoError(t, err)
				saved = f.Endpoints[0]
			})
			return nil
		}
		mtx.Lock()
		first--
		pass := first >= 0
		mtx.Unlock()
		if !pass {
			select {
			case <-block:
			case <-ctx.Done():
			}
		}
		return nil
	})
	r.divided()
	from := *j.head.Load()
	r.live(10)
	close(block)
	r.complete()
	require.NotNil(t, saved.Fresh)
	require.Equal(t, from, saved.Fresh.From.Position)
	require.True(t, from.Before(saved.Fresh.Dispatched))
	require.False(t, saved.Dispatched.Before(saved.Fresh.Dispatched))
	require.False(t, saved.Fresh.From.Before(saved.Fresh.BacklogDispatched))
	r.end()
}

// TestFreshReload defends that a reload changes neither stream but for its
// settings, and that each keeps to its part of the senders.
func TestFreshReload(t *testing.T) {
	r, release := newDividedRig(t, 3)
	streams := r.running[0].streams()
	for _, shards := range []int{1, 2, 3, 8, 200} {
		changed := remoteWrite("a")
		changed.QueueConfig.MaxShards, changed.QueueConfig.MinShards = shards, shards
		changed.RemoteTimeout = model.Duration(time.Duration(shards) * time.Second)
		r.apply(changed)
		require.Equal(t, streams, r.running[0].streams())
		all := min(shards, queue.Partitions)
		require.Equal(t, (all+1)/2, streams[0].senders(), "backlog, max_shards %d", shards)
		require.Equal(t, max(all/2, 1), streams[1].senders(), "fresh, max_shards %d", shards)
		require.Equal(t, float64((all+1)/2+max(all/2, 1)), r.value("prometheus_remote_storage_shards", nil))
		r.live(3)
	}
	release()
	renamed := remoteWrite("a")
	renamed.URL.Path = "/moved" // New metrics, the same endpoint.
	r.apply(renamed)
	r.complete()
	r.merged()
	r.end()
}

// TestFreshSecondOutage defends that there are never more than two ranges: what
// comes with a second outage follows on the second stream, in order.
func TestFreshSecondOutage(t *testing.T) {
	r, release := newDividedRig(t, 3)
	j := r.journal
	r.live(10)
	streams := r.running[0].streams()
	from := r.journal.time
	r.rc.set(down)
	for range 4 {
		for range 30 {
			r.commit(50)
		}
		j.cut()
	}
	// The backlog is still held up when the receiver works again.
	releaseToo := r.blockOld(0)
	require.Eventually(t, func() bool { return r.rc.has(from, j.time) == 4*30*50 }, time.Minute, time.Millisecond)
	require.Equal(t, streams, r.running[0].streams())
	r.live(10)
	require.Equal(t, streams, r.running[0].streams())
	release()
	releaseToo()
	r.complete()
	r.merged()
	require.Same(t, streams[1], r.running[0].streams()[0])
	r.rc.requireOrdered(t, r.until)

	// The next outage after that is another matter.
	r.outage()
	release = r.blockOld(3)
	r.divided()
	require.Same(t, streams[1], r.running[0].streams()[0])
	r.live(10)
	release()
	r.complete()
	r.end()
}

// TestIsolatedOnBothStreams: series can be isolated on both streams at once, and what
// waits of them on either arrives when the receiver takes it (I2).
func TestIsolatedOnBothStreams(t *testing.T) {
	r, release := newDividedRig(t, 2)
	r.rc.refuse(map[uint64]bool{0: true, poisonOf / 2: true})
	release()
	require.True(t, r.isolateOnBoth())
	r.rc.refuse(nil)
	r.complete()
	r.merged()
	r.end()
}

// TestFreshShare defends the share: the backlog's senders wait so long that all
// of them work no more of the time than it says.
func TestFreshShare(t *testing.T) {
	for _, tc := range []struct {
		shards int
		share  float64
		want   int
		wait   time.Duration // After a second of work.
	}{
		{1, 0.5, 1, time.Second},
		{1, 0.25, 1, 3 * time.Second},
		{4, 0.5, 2, 0},
		{4, 0.25, 1, 0},
		{3, 0.5, 2, time.Second / 3},
		{10, 0.01, 1, 9 * time.Second},
		{10, 0.99, 10, time.Second / 99},
		{500, 0.5, 32, 0},
		{0, 0.5, 1, time.Second},
	} {
		set := &settings{share: tc.share}
		set.queue.MaxShards = tc.shards
		busy, senders := set.budget()
		require.Equal(t, tc.want, senders, tc)
		require.InDelta(t, tc.wait, throttleFor(time.Second, senders, busy), float64(time.Microsecond), tc)
		require.Zero(t, throttleFor(0, senders, busy), tc)
		require.Zero(t, throttleFor(time.Second, int(busy), busy), "as many as there is time for need not wait")
	}
	require.Equal(t, DefaultFreshShare, (&settings{}).freshShare())
}

// TestFreshRests: with hardly any share the backlog gets one request through,
// what is new all of them, and a stop does not wait for the rest.
func TestFreshRests(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	opts, conf := restingOptions()
	r := newFreshRig(t, j, newLateReceiver(), opts, conf)
	r.outage()
	release := r.blockOld(1)
	r.divided()
	r.rc.set(nil)
	release()
	r.live(50)
	old := r.rc.has(0, r.until)
	r.live(50)
	require.LessOrEqual(t, r.rc.has(0, r.until), 50+(1+2*queue.MaxWindow)*100)
	require.GreaterOrEqual(t, r.rc.has(0, r.until), old)
	require.NoError(t, r.Close())
	require.NotNil(t, r.saved().Fresh)
	require.NoError(t, j.wal.Close())
}

// TestFreshDue says when an endpoint gets a second stream.
func TestFreshDue(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	start := *j.head.Load()
	now := time.Now()
	j.time = now.Add(-time.Hour).UnixMilli()
	for range 3 {
		j.commit(100)
	}
	j.cut()
	src := j.source()
	head := *j.head.Load()
	table := map[string]struct {
		share          float64
		failing, fresh bool
		delivers       bool
		after          time.Duration
		at             cursor.Position
		want           bool
	}{
		"far behind":            {share: 0.5, delivers: true, after: time.Minute, want: true},
		"not asked for":         {delivers: true, after: time.Minute},
		"failing":               {share: 0.5, failing: true, delivers: true, after: time.Minute},
		"nothing delivered yet": {share: 0.5, after: time.Minute},
		"not far enough":        {share: 0.5, delivers: true, after: 2 * time.Hour},
		"at the head":           {share: 0.5, delivers: true, after: time.Minute, at: head},
	}
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			e := &endpoint{src: &src, freshAfter: tc.after, ctx: t.Context()}
			at := start
			if tc.at != (cursor.Position{}) {
				at = tc.at
			}
			s := e.newStream(stateAt("", savepoint.Identity{}, "", cursor.Point{Position: at}, at).acked, nil, at)
			defer s.cancel()
			s.failing.Store(tc.failing)
			s.delivers.Store(tc.delivers)
			s.queue.Configure(1000, 100, 0)
			if at == start {
				r := newLogReader(promslog.NewNopLogger(), &src, nil)
				defer r.close()
				require.NoError(t, r.seek(cursor.Point{Position: at}))
				b, err := r.batch(maxBatchItems, func(cursor.Position) bool { return false })
				require.NoError(t, err)
				require.True(t, s.queue.Push(&queue.Entry{Batch: b, Behind: true}))
			}
			got, due := s.splitDue(now, &settings{share: tc.share})
			require.Equal(t, tc.want, due)
			if due {
				require.Equal(t, head, got)
			}
		})
	}
	require.NoError(t, j.wal.Close())
}

// TestHeldDenialFails: a receiver that denies everything, and is to be asked
// again, is one that fails. An endpoint is not divided in the middle of that
// outage, since what comes later in it would be behind the new stream's head.
func TestHeldDenialFails(t *testing.T) {
	opts := freshOptions()
	opts.pace = time.Hour // The test looks at the streams itself.
	r := newFreshRig(t, openJournal(t, t.TempDir(), nil), newLateReceiver(), opts)
	r.commit(50)
	r.complete()

	asked := make(chan struct{}, 1)
	r.rc.set(func(context.Context, int64, int64) *client.Result {
		select {
		case asked <- struct{}{}:
		default:
		}
		return &client.Result{Status: 401, Outcome: client.Denied, Err: errors.New("denied")}
	})
	for range 6 {
		for range 30 {
			r.commit(50)
		}
		r.journal.cut()
	}
	for range 2 { // There is one sender: it asks again when it has dealt with the first answer.
		select {
		case <-asked:
		case <-time.After(time.Minute):
			require.Fail(t, "the receiver is not asked again")
		}
	}
	s := r.running[0].streams()[0]
	require.True(t, s.failing.Load())
	_, due := s.splitDue(time.Now(), s.endpoint.settings.Load())
	require.False(t, due)

	r.rc.set(nil)
	r.complete()
	require.Eventually(t, func() bool { return !s.failing.Load() }, time.Minute, time.Millisecond)
	require.Zero(t, r.value("prometheus_remote_storage_refused_total", nil))
	r.end()
}
