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
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

var errDisk = errors.New("no space left on device")

// faults says which operations of all logs of a test fail.
type faults struct {
	mtx   sync.Mutex
	log   func(recs [][]byte) (pass int, err error) // How many records are written all the same.
	next  error
	close error
}

func (f *faults) set(change func(f *faults)) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	change(f)
}

// faultyLog is a log on a disk with faults.
type faultyLog struct {
	segmentLog
	*faults
}

func (l faultyLog) Log(recs ...[]byte) error {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if l.log != nil {
		pass, err := l.log(recs)
		if err != nil {
			if pass > 0 {
				err = errors.Join(err, l.segmentLog.Log(recs[:pass]...))
			}
			return err
		}
	}
	return l.segmentLog.Log(recs...)
}

func (l faultyLog) NextSegment() (int, error) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if l.next != nil {
		return 0, l.next
	}
	return l.segmentLog.NextSegment()
}

func (l faultyLog) Close() error {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if l.close != nil {
		return l.close
	}
	return l.segmentLog.Close()
}

func withFaults(env environment) (environment, *faults) {
	f := &faults{}
	env.wrap = func(l segmentLog) segmentLog { return faultyLog{l, f} }
	return env, f
}

func failLog(pass int) func(*faults) {
	return func(f *faults) {
		f.log = func(recs [][]byte) (int, error) { return min(pass, len(recs)), errDisk }
	}
}

func works(f *faults) { f.log, f.next, f.close = nil, nil, nil }

// breakLog makes a write fail and recovers from it.
func breakLog(t *testing.T, db *DB) {
	t.Helper()
	db.journal.mtx.Lock()
	require.NoError(t, db.journal.log.Log([]byte("what a failed write left behind")))
	require.Error(t, db.journal.fail(errDisk))
	db.journal.mtx.Unlock()
	require.NoError(t, db.recoverNow())
}

// A failed write costs exactly its own commit: what was committed before stays,
// what it left behind is cut off, commits fail with the cause meanwhile, and
// its series are logged with their next sample (invariants 3 and 4, I8).
func TestWriteFailure(t *testing.T) {
	for name, inject := range map[string]func(*faults){
		"nothing written":    failLog(0),
		"series written":     failLog(1),
		"everything written": failLog(100),
		"no close":           func(f *faults) { failLog(1)(f); f.close = errDisk },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			env, f := withFaults(still())
			sender := &fakeSender{}
			reg := prometheus.NewRegistry()
			db, err := open(nil, reg, sender, dir, small(), env)
			require.NoError(t, err)
			appendFloats(t, db, 0, 10, 1)
			head := db.journal.Head()

			f.set(inject)
			err = tryFloats(db, 5, 15, 2)
			require.ErrorIs(t, err, errDisk)
			var broken *WriteError
			require.ErrorAs(t, err, &broken)
			require.Contains(t, err.Error(), wlog.SegmentName(filepath.Join(dir, "wal"), 0))
			require.Equal(t, head, db.journal.Head())
			require.Equal(t, int64(1), sender.notified.Load())

			// Fails fast, without another attempt to write.
			f.set(works)
			require.ErrorIs(t, tryFloats(db, 0, 1, 2), errDisk)
			require.Equal(t, 1.0, valueOf(t, reg, "prometheus_agent_wal_broken"))
			require.Equal(t, 2.0, valueOf(t, reg, "prometheus_agent_wal_refused_commits_total"))
			require.Equal(t, 11.0, valueOf(t, reg, "prometheus_agent_wal_refused_samples_total"))

			require.NoError(t, db.recoverNow())
			require.Equal(t, 0.0, valueOf(t, reg, "prometheus_agent_wal_broken"))
			require.Equal(t, 1, db.journal.Head().Segment)
			appendFloats(t, db, 5, 15, 2)
			require.NoError(t, db.Close())

			got := readLogged(t, dir)
			require.Len(t, got.samples, 20, "the failed commit left nothing")
			require.Zero(t, got.orphans)
			require.Equal(t, map[int]int{0: 1, 1: 1}, got.markers)
			info, err := os.Stat(wlog.SegmentName(filepath.Join(dir, "wal"), 0))
			require.NoError(t, err)
			require.Equal(t, head.Offset, info.Size())
		})
	}
}

// A cut that fails, whether before or after the new segment exists, is a failed
// write like any other.
func TestCutFailure(t *testing.T) {
	for name, inject := range map[string]func(*faults){
		"no segment": func(f *faults) { f.next = errDisk },
		"no marker":  failLog(0),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			env, f := withFaults(still())
			db := openTest(t, dir, nil, small(), env)
			appendFloats(t, db, 0, 10, 1)
			f.set(inject)
			_, err := db.journal.cutIfOlder(0)
			require.ErrorIs(t, err, errDisk)
			require.ErrorIs(t, tryFloats(db, 0, 1, 2), errDisk)
			f.set(works)
			require.NoError(t, db.recoverNow())
			appendFloats(t, db, 0, 10, 2)
			require.NoError(t, db.Close())
			got := readLogged(t, dir)
			require.Len(t, got.samples, 20)
			require.Zero(t, got.orphans)
			for segment, first := range got.first {
				require.Equal(t, "tombstones", first, "segment %d", segment)
			}
		})
	}
}

// While a disk takes nothing at all, attempts to recover use up no segments.
func TestRecoveryWaitsForTheDisk(t *testing.T) {
	dir := t.TempDir()
	env, f := withFaults(still())
	db := openTest(t, dir, nil, small(), env)
	appendFloats(t, db, 0, 10, 1)
	f.set(failLog(0))
	require.Error(t, tryFloats(db, 0, 10, 2))

	// A directory in place of the probe's file is a disk that takes no file.
	obstacle := filepath.Join(dir, "wal", probeName)
	require.NoError(t, os.Mkdir(obstacle, 0o777))
	for range 5 {
		require.ErrorIs(t, db.recoverNow(), errDisk)
	}
	require.Equal(t, []int{0}, segmentNumbers(t, dir))
	require.NoError(t, os.Remove(obstacle))

	// The disk takes the probe, but no marker.
	require.ErrorIs(t, db.recoverNow(), errDisk)
	f.set(works)
	require.NoError(t, db.recoverNow())
	appendFloats(t, db, 0, 10, 2)
	require.NoError(t, db.Close())
	require.Len(t, readLogged(t, dir).samples, 20)
}

// A log whose end is gone, as on a volume that was taken out and put in again, is
// repaired and goes on: what is gone is gone.
func TestRecoveryOfAShortenedLog(t *testing.T) {
	dir := t.TempDir()
	env, f := withFaults(still())
	db := openTest(t, dir, nil, small(), env)
	appendFloats(t, db, 0, 2000, 1)
	path := wlog.SegmentName(filepath.Join(dir, "wal"), db.journal.Head().Segment)
	info, err := os.Stat(path)
	require.NoError(t, err)
	f.set(failLog(0))
	require.Error(t, tryFloats(db, 0, 10, 2))
	require.NoError(t, os.Truncate(path, info.Size()/4))
	f.set(works)
	require.NoError(t, db.recoverNow())
	appendFloats(t, db, 0, 10, 3)
	require.NoError(t, db.Close())
	require.NotEmpty(t, readLogged(t, dir).samples)
}

// The maintenance recovers on its own.
func TestRecoveryByMaintenance(t *testing.T) {
	env, f := withFaults(realEnvironment)
	db := openTest(t, t.TempDir(), nil, small(), env)
	f.set(failLog(0))
	require.Error(t, tryFloats(db, 0, 10, 1))
	f.set(works)
	require.Eventually(t, func() bool { return tryFloats(db, 0, 10, 1) == nil }, time.Minute, 10*time.Millisecond)
	require.Equal(t, 1.0, testutil.ToFloat64(db.metrics.writeFailures))
}

// A log that was broken for want of room is recovered as soon as another program made some.
func TestRoomGrew(t *testing.T) {
	env, f := withFaults(still())
	space := int64(0)
	env.diskSpace = func(string) (int64, int64, error) { return space, 1 << 30, nil }
	db := openTest(t, t.TempDir(), nil, small(), env)
	free, enough := int64(-1), min(maxRecord, db.journal.segmentSize)
	looks := func(now int64) bool {
		space = now
		return db.roomGrew(&free)
	}
	require.False(t, looks(1<<30) || looks(2<<30), "it is not broken")
	f.set(func(f *faults) { f.log = func([][]byte) (int, error) { return 0, syscall.ENOSPC } })
	require.Error(t, tryFloats(db, 0, 10, 1))
	require.False(t, looks(0), "the first look")
	require.False(t, looks(enough-1), "less than a record may need")
	require.True(t, looks(2*enough))
	require.False(t, looks(2*enough), "no more than before")
	f.set(works)
	require.NoError(t, db.recoverNow())
}

// Every operation that can fail does so once, at every point of a workload: no
// error is swallowed, and what was committed is there in the end, in order
// (I8).
func TestErrorSweep(t *testing.T) {
	for at := range 40 {
		dir := t.TempDir()
		env, f := withFaults(still())
		db := openTest(t, dir, nil, small(), env)
		n := 0
		f.set(func(f *faults) {
			f.log = func(recs [][]byte) (int, error) {
				n++
				if n == at {
					return len(recs) / 2, errDisk
				}
				return 0, nil
			}
		})
		committed := 0
		for ts := range int64(30) {
			err := tryFloats(db, 0, 600, ts)
			if err == nil {
				committed += 600
				continue
			}
			require.ErrorIs(t, err, errDisk, "at %d", at)
			require.NoError(t, db.recoverNow())
		}
		require.NoError(t, db.Close())
		got := readLogged(t, dir)
		require.Len(t, got.samples, committed, "at %d", at)
		require.Zero(t, got.orphans)
		if at > 0 && at < 30 {
			require.Equal(t, 29*600, committed, "at %d", at)
		}
	}
}

// The log is recovered while the snapshot is brought up to date: neither waits
// for the other, and nothing of the log that is still to change counts as
// finished. Run it with -race.
func TestCaptureWhileRecovering(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	const turns = 50
	var (
		wg   sync.WaitGroup
		done = make(chan struct{})
	)
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := db.capture(t.Context(), false); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for turn := range turns {
		appendFloats(t, db, 10*turn, 10*turn+10, 1)
		breakLog(t, db)
	}
	close(done)
	wg.Wait()
	require.NoError(t, db.Close())
	got := readLogged(t, dir)
	require.Len(t, got.samples, 10*turns)
	require.Zero(t, got.orphans)
	db = openTest(t, dir, nil, small(), still())
	active, _ := db.table.Len()
	require.Equal(t, 10*turns, active, "the snapshot lacks series")
	require.NoError(t, db.Close())
}

// Appenders are empty after whatever end they came to.
func TestAppendersAreCleared(t *testing.T) {
	env, f := withFaults(still())
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), env)
	f.set(failLog(0))
	a := db.Appender(context.Background()).(*appender)
	_, err := a.Append(0, metric(1), 1, 1)
	require.NoError(t, err)
	require.Error(t, a.Commit())
	require.Empty(t, a.touched)
	require.Empty(t, a.unlogged)
	require.Empty(t, a.floatSamples)
	require.Len(t, db.table.Retire(db.now().Add(time.Hour), func() int { return 0 }), 1, "nothing is pinned any more")
	f.set(works)
	require.NoError(t, db.recoverNow())
	appendFloats(t, db, 2, 3, 1)
	require.NoError(t, db.Close())
	require.Len(t, readLogged(t, dir).samples, 1)
}

// A storage that was closed says so.
func TestClosed(t *testing.T) {
	db := openTest(t, t.TempDir(), nil, nil, still())
	require.NoError(t, db.Close())
	require.ErrorIs(t, tryFloats(db, 0, 1, 1), errClosed)
	require.NoError(t, db.Close())
	require.ErrorIs(t, db.recoverNow(), errClosed)
}

// onDisk is never less than what a record takes up, wherever it starts.
func TestOnDiskBound(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, nil, still())
	for _, n := range []int{1, 100, cursor.PageSize - 8, cursor.PageSize - 7, cursor.PageSize, 70_000, 100_000, 5, 32_740, 3} {
		before := db.journal.Head().Offset
		require.NoError(t, db.journal.commit(nil, [][]byte{make([]byte, n)}, nil, nil))
		require.LessOrEqual(t, db.journal.Head().Offset-before, onDisk(n), "%d bytes at %d", n, before)
		segment, offset, err := db.journal.log.(*wlog.WL).LastSegmentAndOffset()
		require.NoError(t, err)
		require.Equal(t, cursor.Position{Segment: segment, Offset: int64(offset)}, db.journal.Head())
	}
}
