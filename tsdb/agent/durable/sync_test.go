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

package durable

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// With a sync interval, a loss of power at any moment costs no commit that is
// older than the interval (I8), and leaves a directory that is in order (I1,
// I7).
func TestSyncIntervalBoundsLoss(t *testing.T) {
	const interval = 5 * time.Second
	t.Parallel()
	w := newWorld(t)
	w.opts.SyncInterval = interval
	w.clock.at.Store(time.Unix(1_700_000_000, 0))
	var n, clones, must int
	cut := func(what string, seeds int) {
		var old []acked
		for _, c := range w.acked {
			if w.clock.now().Sub(c.at) > interval {
				old = append(old, c)
			}
		}
		must += len(old)
		for seed := range int64(seeds) {
			if seed != faultfs.Least {
				seed += int64(n * seeds)
			}
			clone := filepath.Join(t.TempDir(), "clone")
			require.NoError(t, w.fs.Clone(clone, seed))
			clones++
			requireCrashed(t, clone, old, fmt.Sprintf("power lost at %s, seed %d", what, seed))
		}
	}
	w.fs.Before(func(op faultfs.Op) {
		if !op.Changes {
			return
		}
		n++
		if n%*sweepStride == 0 {
			cut(fmt.Sprintf("operation %d (%s)", n, op), 2)
		}
	})
	require.True(t, w.open())
	for second := 1; second <= 60; second++ {
		w.clock.add(time.Second)
		w.commit(second%30, second%30+30)
		if second%5 == 0 {
			require.NoError(t, w.db.syncLog())
		}
		switch second % 20 {
		case 3, 17:
			w.cut()
		case 11:
			w.deliver()
			w.truncate()
		case 16:
			w.close()
			require.True(t, w.open())
		}
		if second%2 == 1 {
			cut(fmt.Sprintf("second %d", second), 1)
		}
	}
	w.close()
	// Closing syncs everything.
	w.clock.add(time.Hour)
	cut("the end", 2)
	w.fs.Before(nil)
	require.Empty(t, w.errs)
	require.Positive(t, clones)
	require.Positive(t, must)
}

// Without it, the least that a loss of power leaves lacks commits: the test
// above would notice.
func TestWithoutSyncInterval(t *testing.T) {
	w := newWorld(t)
	require.True(t, w.open())
	w.commit(0, 10)
	clone := filepath.Join(t.TempDir(), "clone")
	require.NoError(t, w.fs.Clone(clone, faultfs.Least))
	require.Empty(t, segmentNumbers(t, clone))
	w.close()
}

// A sync that fails is counted and made up for by the next one. Commits do not
// notice.
func TestSyncFailure(t *testing.T) {
	w := newWorld(t)
	w.opts.SyncInterval = time.Second
	require.True(t, w.open())
	w.commit(0, 10)
	require.NoError(t, w.db.syncLog())
	require.Equal(t, 1.0, testutil.ToFloat64(w.db.metrics.syncs))
	require.NoError(t, w.db.syncLog())
	require.Equal(t, 1.0, testutil.ToFloat64(w.db.metrics.syncs), "nothing was committed since")

	size := func() int64 {
		size, err := w.fs.Durable(wlog.SegmentName(filepath.Join(w.dir, "wal"), w.db.journal.Head().Segment))
		require.NoError(t, err)
		return size
	}
	require.Equal(t, w.db.journal.Head().Offset, size())
	w.commit(0, 10)
	failed := 0
	for at := 0; ; at++ {
		before := size()
		w.fs.Inject(faultfs.Fault{At: at, Err: faultfs.Broken})
		err := w.db.syncLog()
		if w.fs.Hits() == 0 {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, faultfs.Broken)
		failed++
		require.Equal(t, before, size())
		w.fs.Count(nil)
		w.commit(0, 10)
	}
	require.Empty(t, w.errs)
	require.Equal(t, float64(failed), testutil.ToFloat64(w.db.metrics.syncsFailed))
	require.Equal(t, w.db.journal.Head().Offset, size())

	// Names of new segments are part of it.
	w.cut()
	require.Equal(t, int64(-1), size())
	w.fs.Inject(faultfs.Fault{At: 0, Err: faultfs.Broken, Match: func(o faultfs.Op) bool { return o.Name == "syncdir" }})
	require.ErrorIs(t, w.db.syncLog(), faultfs.Broken)
	require.Equal(t, int64(-1), size())
	require.NoError(t, w.db.syncLog())
	require.Equal(t, w.db.journal.Head().Offset, size())
	w.close()
}

// A disk that takes its time to sync keeps no commit waiting, nor a cut (I5).
func TestSyncKeepsNoCommitWaiting(t *testing.T) {
	w := newWorld(t)
	w.opts.SyncInterval = time.Second
	require.True(t, w.open())
	w.commit(0, 10)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.fs.Before(func(op faultfs.Op) {
		if op.Name == "sync" {
			close(entered)
			<-leave
		}
	})
	done := make(chan error)
	go func() { done <- w.db.syncLog() }()
	<-entered
	w.commit(0, 10)
	w.cut()
	w.commit(0, 10)
	w.fs.Before(nil)
	close(leave)
	require.NoError(t, <-done)
	require.Empty(t, w.errs)
	w.close()
}

// The storage does it by itself.
func TestSyncInBackground(t *testing.T) {
	w := newWorld(t)
	w.opts.SyncInterval = time.Millisecond
	env := w.env()
	env.idle = false
	sender := newSavingSender(w.dir)
	db, err := open(nil, prometheus.NewRegistry(), sender, w.dir, w.opts, env)
	require.NoError(t, err)
	for ts := range int64(3) {
		appendFloats(t, db, 0, 10, ts)
		require.Eventually(t, func() bool {
			head := db.journal.Head()
			size, err := w.fs.Durable(wlog.SegmentName(filepath.Join(w.dir, "wal"), head.Segment))
			return err == nil && size == head.Offset
		}, time.Minute, time.Millisecond)
		_, err := db.journal.cutIfOlder(0)
		require.NoError(t, err)
	}
	require.NoError(t, db.truncate(context.Background()))
	require.NoError(t, db.Close())
	require.NoError(t, sender.Release())
}
