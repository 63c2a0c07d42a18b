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
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
	"go.uber.org/goleak"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/testutil"
)

var _ storage.Storage = (*DB)(nil)

func TestLockfile(t *testing.T) {
	tsdbutil.TestDirLockerUsage(t, func(t *testing.T, data string, createLock bool) (*tsdbutil.DirLocker, testutil.Closer) {
		opts := DefaultOptions()
		opts.NoLockfile = !createLock
		reg := prometheus.NewRegistry()
		db, err := open(nil, reg, nil, data, opts, still())
		require.NoError(t, err)
		return db.lock.locker, testutil.NewCallbackCloser(func() { require.NoError(t, db.Close()) })
	})
}

// The lock is held by storage and delivery, and released by the last of them;
// an Open that finds it held says which file it is and whose, and not that it was replaced.
func TestLockIsShared(t *testing.T) {
	for _, first := range []string{"storage", "delivery"} {
		t.Run(first, func(t *testing.T) {
			dir := t.TempDir()
			sender := &fakeSender{}
			db := openTest(t, dir, sender, nil, still())
			ends := []func() error{db.Close, sender.Release}
			if first == "delivery" {
				ends[0], ends[1] = ends[1], ends[0]
			}
			held := func() {
				var log bytes.Buffer
				_, err := open(slog.New(slog.NewTextHandler(&log, nil)), nil, nil, dir, nil, still())
				require.ErrorContains(t, err, filepath.Join(dir, "lock"))
				require.ErrorContains(t, err, fmt.Sprintf("process %d on ", os.Getpid()))
				require.Empty(t, log.String(), "the file that is in use was not replaced")
			}
			held()
			require.NoError(t, ends[0]())
			require.NoError(t, ends[0](), "a second time does not count")
			held()
			require.NoError(t, ends[1]())
			require.NoFileExists(t, filepath.Join(dir, "lock"))
			openTest(t, dir, nil, nil, still())
		})
	}
}

// An Open that fails leaves nothing behind: no lock, no metrics, no open log.
func TestOpenFailure(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	refused := errors.New("refused")
	_, err := open(nil, reg, &fakeSender{attach: refused}, dir, nil, still())
	require.ErrorIs(t, err, refused)
	_, err = open(nil, reg, nil, dir, &Options{Options: agent.Options{WALSegmentSize: 5}}, still())
	require.ErrorContains(t, err, filepath.Join(dir, "wal"))
	env, f := withFaults(still())
	f.set(failLog(0))
	_, err = open(nil, reg, nil, dir, nil, env)
	require.ErrorIs(t, err, errDisk)

	db, err := open(nil, reg, nil, dir, nil, realEnvironment)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
}

func TestUnsupported(t *testing.T) {
	db := openTest(t, t.TempDir(), nil, nil, still())
	_, err := db.Querier(0, 1)
	require.ErrorIs(t, err, agent.ErrUnsupported)
	_, err = db.ChunkQuerier(0, 1)
	require.ErrorIs(t, err, agent.ErrUnsupported)
	_, err = db.ExemplarQuerier(context.Background())
	require.ErrorIs(t, err, agent.ErrUnsupported)
	start, err := db.StartTime()
	require.NoError(t, err)
	stock := openStock(t, nil, t.TempDir(), agent.Options{})
	defer stock.Close()
	want, err := stock.StartTime()
	require.NoError(t, err)
	require.Equal(t, want, start)
}

// What no segment has room for is refused when it is appended.
func TestOversizedItems(t *testing.T) {
	dir := t.TempDir()
	opts := small()
	db := openTest(t, dir, nil, opts, still())
	app := db.Appender(context.Background())
	_, err := app.Append(0, labels.FromStrings("a", strings.Repeat("x", opts.WALSegmentSize/2)), 1, 1)
	require.ErrorIs(t, err, tsdb.ErrInvalidSample)
	n := opts.WALSegmentSize / 16
	h := &histogram.Histogram{
		Count: uint64(n), PositiveSpans: []histogram.Span{{Length: uint32(n)}}, PositiveBuckets: make([]int64, n),
	}
	h.PositiveBuckets[0] = 1
	_, err = app.AppendHistogram(0, metric(1), 1, h, nil)
	require.ErrorIs(t, err, tsdb.ErrInvalidSample)
	_, err = app.AppendHistogram(0, metric(1), 1, nil, nil)
	require.ErrorIs(t, err, tsdb.ErrInvalidSample)
	// The largest that is taken has room, too.
	_, err = app.Append(0, labels.FromStrings("a", strings.Repeat("x", opts.WALSegmentSize/2-4*varintBound)), 1, 1)
	require.NoError(t, err)
	require.NoError(t, app.Commit())
	require.NoError(t, db.Close())
	got := readLogged(t, dir)
	require.Len(t, got.samples, 1)
	for _, s := range segmentNumbers(t, dir) {
		require.Equal(t, 1, got.markers[s])
	}
}

type countingNotified struct{ n atomic.Int64 }

func (c *countingNotified) Notify() { c.n.Inc() }

// One commit with something in it is one notification, to one of the two.
func TestNotify(t *testing.T) {
	sender := &fakeSender{}
	db := openTest(t, t.TempDir(), sender, nil, still())
	appendFloats(t, db, 0, 0, 1)
	require.Equal(t, int64(0), sender.notified.Load())
	appendFloats(t, db, 0, 1, 1)
	require.Equal(t, int64(1), sender.notified.Load())
	var other countingNotified
	db.SetWriteNotified(&other)
	appendFloats(t, db, 0, 1, 2)
	require.Equal(t, []int64{1, 1}, []int64{sender.notified.Load(), other.n.Load()})
}

// The head is where a reader finds the end of what was committed, in order and
// complete (I8).
func TestHead(t *testing.T) {
	dir := t.TempDir()
	sender := &fakeSender{}
	db := openTest(t, dir, sender, small(), still())
	tail, err := cursor.Open(sender.WALDir, cursor.Position{})
	require.NoError(t, err)
	defer tail.Close()
	for ts := range int64(60) {
		appendFloats(t, db, 0, 700, ts)
		var last cursor.Position
		for {
			item, err := tail.Next()
			if errors.Is(err, cursor.ErrCaughtUp) {
				break
			}
			require.NoError(t, err)
			require.NotEqual(t, cursor.Gap, item.Kind)
			last = item.End.Position
		}
		require.Equal(t, sender.Head(), last)
	}
}

// Appenders, cuts, truncations and failures at the same time: the log holds
// exactly what was committed, each series in order (I4, I8). Run it with -race.
func TestConcurrency(t *testing.T) {
	dir := t.TempDir()
	env, f := withFaults(realEnvironment)
	opts := small()
	opts.TruncateFrequency = 20 * time.Millisecond
	sender := &fakeSender{}
	db := openTest(t, dir, sender, opts, env)
	sender.Gate.Set(holder("all", cursor.Position{}))
	sender.Gate.Open()

	const appenders, each = 4, 200
	var committed atomic.Int64
	var wg sync.WaitGroup
	for g := range appenders {
		wg.Go(func() {
			for ts := range int64(each) {
				app := db.Appender(context.Background())
				for i := range 300 {
					// Most series are this goroutine's own, some are shared.
					l := metric(1000*g + i)
					if i >= 250 {
						l = metric(100_000 + int(ts))
					}
					if _, err := app.Append(0, l, 300*ts+int64(i), 1); err != nil && !errors.Is(err, storage.ErrOutOfOrderSample) {
						t.Error(err)
					}
				}
				n := len(app.(*appender).touched)
				if err := app.Commit(); err == nil {
					committed.Add(int64(n))
				}
			}
		})
	}
	// Every now and then a write fails, half done.
	writes := 0
	f.set(func(f *faults) {
		f.log = func(recs [][]byte) (int, error) {
			writes++
			if writes%97 == 0 {
				return len(recs) / 2, errDisk
			}
			return 0, nil
		}
	})
	stop := make(chan struct{})
	var recovery sync.WaitGroup
	recovery.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if db.journal.broken() != nil {
					db.recoverNow()
				}
				runtime.Gosched()
			}
		}
	})
	wg.Wait()
	close(stop)
	recovery.Wait()
	require.NoError(t, db.Close())

	got := readLogged(t, dir)
	require.Zero(t, got.orphans)
	require.Len(t, got.samples, int(committed.Load()))
	last := map[int64]int64{}
	for _, s := range got.samples {
		var i, st, ts int64
		_, err := fmt.Sscanf(s, `float {__name__="m", i="%d"} %d %d`, &i, &st, &ts)
		require.NoError(t, err)
		if i < 100_000 {
			require.GreaterOrEqual(t, ts, last[i])
			last[i] = ts + 1
		}
	}
	first, _, err := wlog.Segments(sender.WALDir)
	require.NoError(t, err)
	require.Zero(t, first, "the endpoint holds everything")
	_, err = os.Stat(wlog.CheckpointDir(sender.WALDir, 0))
	require.ErrorIs(t, err, os.ErrNotExist)
}
