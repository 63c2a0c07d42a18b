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
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// TestFollowStockAgent defends I2 for a log that stock's agent writes: all that
// it commits arrives, once, over restarts of both, also if nothing was read
// before.
func TestFollowStockAgent(t *testing.T) {
	dir := t.TempDir()
	rc := newReceiver()
	count := 0
	for run := range 4 {
		db, _, err := Stock.OpenAgent(promslog.NewNopLogger(), dir, 0, false)
		require.NoError(t, err)
		r := newRig(t, &journal{t: t, dir: dir}, map[string]*receiver{"a": rc}, Options{})
		require.NoError(t, r.Follow(FollowOptions{WALDir: filepath.Join(dir, "wal")}))
		r.apply(remoteWrite("a"))
		if run%2 == 0 {
			db.SetWriteNotified(r)
		}
		for i := range 20 {
			app := db.Appender(t.Context())
			for n := range 100 {
				_, err := app.Append(0, labels.FromStrings("__name__", "m", "i", strconv.Itoa(run*30+n)), int64(run*100+i+1), 1)
				require.NoError(t, err)
				count++
			}
			require.NoError(t, app.Commit())
		}
		if run == 1 {
			rc.set(unavailable) // Some of it will be the next run's.
		} else {
			r.complete("a", count)
		}
		require.NoError(t, db.Close())
		require.NoError(t, r.Close())
		stored, received := rc.counts()
		if run == 0 {
			require.Equal(t, stored, received, "sent again")
		}
		rc.set(nil)
	}
	stored, _ := rc.counts()
	require.Equal(t, count, stored)
}

// TestFollowStockTruncation defends I6 with the checkpoints that stock's agent
// writes, of either kind: series that it drops leave memory here as well, those
// that it keeps do not.
func TestFollowStockTruncation(t *testing.T) {
	for _, fromMemory := range []bool{false, true} {
		t.Run(fmt.Sprintf("from_memory=%v", fromMemory), func(t *testing.T) {
			dir := t.TempDir()
			last := &lastTruncation{done: make(chan struct{})}
			db, every, err := Stock.OpenAgent(slog.New(last), dir, 50*time.Millisecond, fromMemory)
			require.NoError(t, err)
			last.every.Store(every)
			rc := newReceiver()
			r := newRig(t, &journal{t: t, dir: dir}, map[string]*receiver{"a": rc}, Options{})
			require.NoError(t, r.Follow(FollowOptions{WALDir: filepath.Join(dir, "wal")}))
			r.apply(remoteWrite("a"))
			commit := func(at time.Time, names ...string) {
				app := db.Appender(t.Context())
				for _, name := range names {
					_, err := app.Append(0, labels.FromStrings("__name__", name), at.UnixMilli(), 1)
					require.NoError(t, err)
				}
				require.NoError(t, app.Commit())
				r.Notify()
			}
			live := names("live", 30)
			for i := range 10 {
				commit(time.Now(), names(fmt.Sprint("dead", i, "_"), 100)...)
			}
			// By their timestamps these are in use for an hour. They are committed
			// until they are: what stock's agent drops between Append and Commit is
			// in its log, but in none of its checkpoints.
			at := time.Now().Add(time.Hour)
			more := func() {
				at = at.Add(time.Second)
				commit(at, live...)
			}
			inMemory := stringer(func() string {
				first, end, err := wlog.Segments(filepath.Join(dir, "wal"))
				return fmt.Sprintf("%d series in memory, not %d; head %s, segments %d to %d (%v)", tableLen(r), len(live), r.src.Head(), first, end, err)
			})
			require.Eventually(t, func() bool { more(); return tableLen(r) == len(live) }, time.Minute, 20*time.Millisecond, "%s", inMemory)
			arrived := func() (n int) {
				rc.mtx.Lock()
				defer rc.mtx.Unlock()
				for _, name := range live {
					n += rc.samples[labels.FromStrings("__name__", name).String()]
				}
				return n
			}
			before := arrived()
			require.Eventually(t, func() bool {
				more() // The log is not held for an endpoint that is late.
				return arrived() >= before+3*len(live)
			}, time.Minute, 20*time.Millisecond)
			require.Eventually(t, func() bool { return tableLen(r) == len(live) }, time.Minute, 20*time.Millisecond, "%s", inMemory)
			require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", nil))
			last.wanted.Store(true)
			<-last.done
			require.NoError(t, db.Close())
			require.NoError(t, r.Close())
		})
	}
}

// lastTruncation is a log handler for stock's agent that makes a truncation its
// last when that is wanted: Close waits for the truncation with a lock held that
// a truncation takes, and so for ever if one is just about to begin.
type lastTruncation struct {
	slog.Handler
	every  atomic.Pointer[time.Duration]
	wanted atomic.Bool
	done   chan struct{}
}

func (*lastTruncation) Enabled(context.Context, slog.Level) bool { return true }

// Handle is called by the goroutine that truncates, which alone reads the
// interval.
func (h *lastTruncation) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "series GC completed" && h.wanted.CompareAndSwap(true, false) {
		*h.every.Load() = time.Hour
		close(h.done)
	}
	return nil
}
