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
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"
)

// TestFreshStop defends I2 and I8: a graceful stop while the backlog drains
// keeps both ranges, and nothing is sent again afterwards, whether the option
// is still on, off, or the endpoint was out of the configuration meanwhile.
func TestFreshStop(t *testing.T) {
	for name, opts := range map[string]Options{"on": freshOptions(), "off": {pace: 2 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t, t.TempDir(), nil)
			resting, conf := restingOptions()
			r := newFreshRig(t, j, newLateReceiver(), resting, conf)
			r.outage()
			release := r.blockOld(3)
			r.divided()
			r.live(20)
			release() // What is under way is stored.
			require.NoError(t, r.Close())
			saved := r.saved()
			require.NotNil(t, saved.Fresh)
			require.True(t, saved.Floor.Before(saved.Fresh.From.Position))
			before, again := r.rc.counts()
			require.Zero(t, again)
			require.Less(t, before, j.count)

			j.commit(50)
			r.rc.set(down)
			for range 2 {
				// A restart in which nothing is delivered changes nothing.
				r = newFreshRig(t, j, r.rc, opts)
				require.Len(t, r.running[0].streams(), 2)
				require.NoError(t, r.Close())
				require.Equal(t, saved.Fresh.From, r.saved().Fresh.From)
			}
			r.rc.set(nil)
			r = newFreshRig(t, j, r.rc, opts)
			require.Len(t, r.running[0].streams(), 2)
			for range 5 {
				r.commit(50)
			}
			r.complete()
			r.merged()
			_, again = r.rc.counts()
			require.Zero(t, again)
			require.NoError(t, r.Close())
			require.Nil(t, r.saved().Fresh)
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestFreshRemovedAndBack defends that a removed endpoint is retained with both its
// ranges, over a restart too, and resumes them.
func TestFreshRemovedAndBack(t *testing.T) {
	r, release := newDividedRig(t, 3)
	j := r.journal
	r.live(20)
	r.rc.set(down)
	release() // What is under way is stored, and no more: two streams remain.
	r.apply()
	require.Empty(t, r.running)
	require.NotNil(t, r.retained[0].fresh)
	require.Equal(t, r.retained[0].floor().Position, j.gate.Floor().Position)
	require.NoError(t, r.Close())

	opts := freshOptions()
	opts.newClient = func(client.Config) (storer, error) { return r.rc, nil }
	r.rig = newRig(t, j, nil, opts)
	r.attach()
	require.NotNil(t, r.saved().Fresh)
	require.NotNil(t, r.saved().Removed)
	for range 5 {
		r.commit(50)
	}
	r.rc.set(nil)
	r.apply(remoteWrite("a"))
	require.Len(t, r.running[0].streams(), 2)
	r.complete()
	r.merged()
	r.end()
}

// TestFreshCrash defends I2 and I8 on both streams: after a crash with requests
// under way on each, of which some had been stored, nothing is missing, and
// what comes again is no more than what was under way and what was acknowledged
// since the savepoint.
func TestFreshCrash(t *testing.T) {
	r, release := newDividedRig(t, 20)
	j := r.journal
	r.live(20)
	before, _ := r.rc.counts()
	require.NoError(t, r.save(false))
	// From here on answers are lost, on both streams, half of them after the
	// request was stored.
	var (
		mtx sync.Mutex
		n   int
	)
	r.rc.set(func(context.Context, int64, int64) *client.Result {
		mtx.Lock()
		defer mtx.Unlock()
		n++
		if n%2 == 0 {
			return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
		}
		return nil
	})
	r.rc.mtx.Lock()
	r.rc.after = func(context.Context, int64, int64) *client.Result {
		return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
	}
	r.rc.mtx.Unlock()
	release()
	for range 5 {
		r.commit(50)
	}
	require.Eventually(t, func() bool { mtx.Lock(); defer mtx.Unlock(); return n > 20 }, time.Minute, time.Millisecond)
	require.NoError(t, r.save(false))
	crashed, err := os.ReadFile(filepath.Join(j.dir, savepoint.CurrentName))
	require.NoError(t, err)
	r.rc.set(down)
	require.NoError(t, r.Close())
	require.NoError(t, os.WriteFile(filepath.Join(j.dir, savepoint.CurrentName), crashed, 0o600))
	stored, again := r.rc.counts()

	r.rc.after = nil
	r.rc.set(nil)
	r = newFreshRig(t, j, r.rc, freshOptions())
	require.Len(t, r.running[0].streams(), 2)
	r.complete()
	r.merged()
	require.NoError(t, r.Close())
	_, after := r.rc.counts()
	require.LessOrEqual(t, after-again, stored-before+5*queue.MaxWindow*100)
	require.NoError(t, j.wal.Close())
}

// TestFreshNotFound defends I2 where the fresh range cannot be resumed: it is
// dropped, and everything behind the backlog's marks is sent again as what may
// have been sent.
func TestFreshNotFound(t *testing.T) {
	for name, spoil := range map[string]func(f *savepoint.File){
		"where it begins": func(f *savepoint.File) { f.Endpoints[0].Fresh.From.CRC++ },
		"a mark": func(f *savepoint.File) {
			f.Endpoints[0].Fresh.Acked[7].Segment += 100
			f.Segments[f.Endpoints[0].Fresh.Acked[7].Segment] = 1
		},
		"the segment": func(f *savepoint.File) { f.Segments[f.Endpoints[0].Fresh.From.Segment]++ },
		"partitions": func(f *savepoint.File) {
			f.Partitions = 1
			f.Endpoints[0].Acked = f.Endpoints[0].MarksFor(1)
			f.Endpoints[0].Fresh.Acked = []savepoint.Mark{{Point: f.Endpoints[0].Fresh.From}}
		},
		"an old release": func(f *savepoint.File) { f.Endpoints[0].Fresh = nil },
	} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t, t.TempDir(), nil)
			opts, conf := restingOptions()
			r := newFreshRig(t, j, newLateReceiver(), opts, conf)
			r.outage()
			release := r.blockOld(3)
			r.divided()
			r.live(20)
			release()
			require.NoError(t, r.Close())
			store := savepoint.NewStore(j.dir)
			f, _, err := store.Load()
			require.NoError(t, err)
			sent := f.Endpoints[0].Fresh.Dispatched
			spoil(&f)
			require.NoError(t, store.Write(f, true))

			r = newFreshRig(t, j, r.rc, Options{})
			streams := r.running[0].streams()
			require.Len(t, streams, 1)
			require.False(t, streams[0].replayEnd.Before(sent))
			r.complete()
			require.NoError(t, r.Close())
			require.GreaterOrEqual(t, r.metrics.savepointWritten.age(), 0.0)
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestFreshBehindForeignSegments defends that an endpoint with two ranges is
// treated like others when another engine wrote to the log: it goes on with both,
// and is sent what that engine wrote only if it is told to be.
func TestFreshBehindForeignSegments(t *testing.T) {
	for _, resume := range []bool{false, true} {
		j := openJournal(t, t.TempDir(), nil)
		opts, conf := restingOptions()
		r := newFreshRig(t, j, newLateReceiver(), opts, conf)
		r.outage()
		release := r.blockOld(3)
		r.divided()
		r.live(20)
		release()
		require.NoError(t, r.Close())
		_, err := j.wal.NextSegmentSync() // Without a marker.
		require.NoError(t, err)
		j.commit(50)
		j.run = ulid.Make()
		j.cut()
		opts = freshOptions()
		opts.ResumeAfterBestEffort = resume
		r = newFreshRig(t, j, r.rc, opts)
		require.Len(t, r.running[0].streams(), 2)
		r.commit(50)
		r.completeBut(map[bool]int{false: 50}[resume])
		_, again := r.rc.counts()
		require.Zero(t, again)
		r.end()
	}
}

// onFullDisk returns a rig whose endpoint has two streams, and a disk that has no
// room since before the second one came.
func onFullDisk(t *testing.T) (r *freshRig, fsys *faultfs.FS, release func()) {
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	opts := freshOptions()
	opts.FS = fsys
	r = newFreshRig(t, openJournal(t, dir, nil), newLateReceiver(), opts)
	r.outage()
	fsys.Inject(faultfs.Fault{At: 0, Err: faultfs.NoSpace, Stays: true})
	release = r.blockOld(3)
	require.Eventually(t, func() bool { return len(r.running[0].streams()) == 2 }, time.Minute, time.Millisecond)
	return r, fsys, release
}

// TestFreshWaitsForTheDisk defends I8: while no savepoint can be written,
// nothing of the fresh range is sent; the backlog goes on, since delivering is
// what makes room.
func TestFreshWaitsForTheDisk(t *testing.T) {
	r, fsys, release := onFullDisk(t)
	fails := r.value("prometheus_remote_storage_savepoint_write_failures_total", nil)
	for range 20 {
		r.commit(50)
	}
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_savepoint_write_failures_total", nil) > fails+10
	}, time.Minute, time.Millisecond)
	require.False(t, r.running[0].streams()[1].working())
	require.Zero(t, r.rc.has(r.until, r.journal.time))

	fsys.Count(nil)
	r.divided()
	require.Eventually(t, func() bool { return r.rc.has(r.until, r.journal.time) == 20*50 }, time.Minute, time.Millisecond)
	release()
	r.complete()
	r.merged()
	r.end()
}

// TestFreshBacklogDeliveredOnFullDisk: if the backlog is delivered before a
// savepoint could be written, what is new waits no longer.
func TestFreshBacklogDeliveredOnFullDisk(t *testing.T) {
	r, fsys, release := onFullDisk(t)
	release()
	r.commit(50)
	r.complete()
	r.merged()
	fsys.Count(nil)
	r.end()
}
