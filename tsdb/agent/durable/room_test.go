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
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/room"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// fullFS takes no new file and no new directory while it is full.
type fullFS struct {
	vfs.FS
	full   atomic.Bool
	refuse string // What is not read from, by the end of its name.
}

func (f *fullFS) MkdirAll(name string, perm fs.FileMode) error {
	if f.full.Load() {
		return &fs.PathError{Op: "mkdir", Path: name, Err: faultfs.NoSpace}
	}
	return f.FS.MkdirAll(name, perm)
}

func (f *fullFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if f.full.Load() && flag&os.O_CREATE != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: faultfs.NoSpace}
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err == nil && f.refuse != "" && strings.HasSuffix(name, f.refuse) {
		return refusing{file}, nil
	}
	return file, err
}

type refusing struct{ vfs.File }

func (r refusing) ReadAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: r.Name(), Err: faultfs.Broken}
}

// size is what a log directory takes up, without what is shared with the snapshot.
func (db *DB) size(t *testing.T) int64 {
	t.Helper()
	u, err := db.measure()
	require.NoError(t, err)
	return u.segments()
}

// What every endpoint has goes as soon as a limit is reached, and not at the next
// truncation.
func TestAcknowledgedGoesFirst(t *testing.T) {
	dir := t.TempDir()
	opts := small()
	opts.MaxSize = 512 << 10
	sender := &fakeSender{forfeit: func(cursor.Position, string) error {
		t.Error("a sample was forfeited that had been delivered")
		return nil
	}}
	db := openTest(t, dir, sender, opts, still())
	sender.persist = func() error {
		sender.Gate.Set(holder("a", db.journal.Head()))
		return nil
	}
	require.NoError(t, sender.Persist(t.Context()))
	sender.Gate.Open()
	for ts := range int64(200) {
		appendFloats(t, db, 0, 1000, ts)
		require.NoError(t, db.enforceLimits(t.Context()))
		require.LessOrEqual(t, db.size(t), opts.MaxSize)
	}
	require.Positive(t, testutil.ToFloat64(db.metrics.segmentsRemoved.WithLabelValues(reasonSent)))
}

// With little room on the disk, whatever fills it, the same holds without a limit.
func TestLittleRoom(t *testing.T) {
	dir := t.TempDir()
	sender := &fakeSender{}
	env := still()
	env.diskSpace = func(string) (int64, int64, error) { return 5 << 20, 100 << 20, nil }
	db := openTest(t, dir, sender, small(), env)
	sender.Gate.Set(holder("a", cursor.Position{}))
	sender.Gate.Open()
	all := fill(t, db, dir, 4)
	require.True(t, db.underPressure())
	require.NoError(t, db.enforceLimits(t.Context()))
	require.Equal(t, all, segmentNumbers(t, dir), "nothing that was not delivered")
	sender.Gate.Set(holder("a", db.journal.Head()))
	require.NoError(t, db.enforceLimits(t.Context()))
	require.Equal(t, all[3:], segmentNumbers(t, dir))
	require.False(t, db.underPressure() && !db.pressed.Load(), "there is nothing left to go")
}

// No endpoint forfeits samples for segments that cannot be removed.
func TestForfeitOnlyWhatCanGo(t *testing.T) {
	dir := t.TempDir()
	opts := small()
	full := &fullFS{FS: vfs.OS}
	opts.FS = full
	given := 0
	sender := &fakeSender{forfeit: func(cursor.Position, string) error { given++; return nil }}
	db := openTest(t, dir, sender, opts, still())
	sender.Gate.Set(holder("dead", cursor.Position{}))
	sender.Gate.Open()
	all := fill(t, db, dir, 8)
	db.opts.MaxSize = int64(4 * db.opts.WALSegmentSize)
	full.full.Store(true)
	require.ErrorIs(t, db.enforceLimits(t.Context()), faultfs.NoSpace)
	require.Zero(t, given)
	require.Equal(t, all, segmentNumbers(t, dir))
	full.full.Store(false)
	require.NoError(t, db.enforceLimits(t.Context()))
	require.Equal(t, 1, given)
	require.Less(t, len(segmentNumbers(t, dir)), len(all))
}

// Removing takes no room: on a full disk what was delivered goes, also while the log
// cannot be written to.
func TestRemovingTakesNoRoom(t *testing.T) {
	dir := t.TempDir()
	opts := small()
	full := &fullFS{FS: vfs.OS}
	opts.FS = full
	sender := &fakeSender{}
	env, f := withFaults(still())
	db := openTest(t, dir, sender, opts, env)
	sender.Gate.Set(holder("a", cursor.Position{}))
	sender.Gate.Open()
	fill(t, db, dir, 3)
	sender.Gate.Set(holder("a", cursor.Position{Segment: 1}))
	require.NoError(t, db.truncate(t.Context()))
	all := fill(t, db, dir, 6)
	require.NoError(t, db.capture(t.Context(), false))

	full.full.Store(true)
	f.set(func(f *faults) { f.log = func([][]byte) (int, error) { return 0, faultfs.NoSpace } })
	require.ErrorIs(t, tryFloats(db, 0, 10, 1<<40), faultfs.NoSpace)
	last := all[len(all)-1]
	sender.Gate.Set(holder("a", cursor.Position{Segment: last}))
	require.NoError(t, db.makeRoom(t.Context()))
	require.Equal(t, []int{last}, segmentNumbers(t, dir))
	_, number, err := wlog.LastCheckpoint(filepath.Join(dir, "wal"))
	require.NoError(t, err)
	require.Equal(t, last-1, number)

	full.full.Store(false)
	f.set(works)
	require.NoError(t, db.recoverNow())
	appendFloats(t, db, 0, 10, 1<<40)
}

// A start without room comes up, has everything there is for the delivery, answers
// commits with the cause, leaves no segments behind however often it tries, and
// takes samples again when there is room.
func TestStartWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	appendFloats(t, db, 0, 10, 1)
	head := db.journal.Head()
	require.NoError(t, db.Close())
	before := segmentNumbers(t, dir)

	env, f := withFaults(still())
	noRoom := func(f *faults) { f.log = func([][]byte) (int, error) { return 0, faultfs.NoSpace } }
	f.set(noRoom)
	for range 3 {
		sender := &fakeSender{}
		db, err := open(promslog.NewNopLogger(), prometheus.NewRegistry(), sender, dir, small(), env)
		require.NoError(t, err)
		require.False(t, sender.Head().Before(head), "what there is can be delivered")
		err = tryFloats(db, 0, 10, 2)
		require.ErrorIs(t, err, faultfs.NoSpace)
		require.ErrorAs(t, err, new(*WriteError))
		require.Equal(t, 1.0, testutil.ToFloat64(db.metrics.refusedCommits))
		require.Positive(t, testutil.ToFloat64(db.metrics.refusedSamples))
		for range 3 {
			require.ErrorIs(t, db.recoverNow(), faultfs.NoSpace)
			require.Equal(t, before, segmentNumbers(t, dir))
		}
		require.NoError(t, db.Close())
		require.NoError(t, sender.Release())
	}
	db = openTest(t, dir, nil, small(), env)
	f.set(works)
	require.NoError(t, db.recoverNow())
	appendFloats(t, db, 0, 10, 2)
	require.NoError(t, db.Close())
	require.Len(t, readLogged(t, dir).samples, 20)
	requireStockOpens(t, dir, "after starts without room")
}

// A marker that fails, and a limit that then removes the segment before it, do not
// keep the log from being recovered.
func TestHeadIsRemovedWhileBroken(t *testing.T) {
	dir := t.TempDir()
	sender := &fakeSender{forfeit: func(cursor.Position, string) error { return nil }}
	env, f := withFaults(still())
	db := openTest(t, dir, sender, small(), env)
	sender.Gate.Set(holder("a", cursor.Position{}))
	sender.Gate.Open()
	appendFloats(t, db, 0, 10, 1)
	f.set(failLog(0))
	_, err := db.journal.cutIfOlder(0)
	require.ErrorIs(t, err, errDisk)
	require.Equal(t, []int{0, 1}, segmentNumbers(t, dir))
	sender.Gate.Set(holder("a", cursor.Position{Segment: 1}))
	// The series of the broken segment are not in the snapshot before it ends, so
	// the files go as a limit's removal leaves it.
	require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(dir, "wal"), 0)))
	f.set(works)
	require.NoError(t, db.recoverNow())
	appendFloats(t, db, 0, 10, 2)
	require.Equal(t, 2, db.journal.Head().Segment)
}

// Recovering the log does not wait for the removal of segments, and a limit has the
// snapshotter go on without pauses before it waits for it.
func TestRecoveryWaitsForNoRemoval(t *testing.T) {
	sender := &fakeSender{forfeit: func(cursor.Position, string) error { return nil }}
	dir := t.TempDir()
	db := openTest(t, dir, sender, small(), still())
	sender.Gate.Set(holder("dead", cursor.Position{}))
	sender.Gate.Open()
	db.maintenance.Lock()
	breakLog(t, db)
	done := make(chan error, 1)
	go func() { done <- db.enforceLimits(context.Background()) }()
	require.Eventually(t, func() bool { return db.snapshotter.urgent.Load() > 0 }, time.Minute, time.Millisecond)
	// The snapshotter does not pause any more: this would take half an hour.
	require.NoError(t, db.snapshotter.pace(t.Context(), 1<<30))
	db.maintenance.Unlock()
	require.NoError(t, <-done)

	// The same for an update of the snapshot.
	fill(t, db, dir, 8)
	db.opts.MaxSize = int64(4 * db.opts.WALSegmentSize)
	db.snapshotter.mtx.Lock()
	go func() { done <- db.enforceLimits(context.Background()) }()
	require.Eventually(t, func() bool { return db.snapshotter.urgent.Load() > 0 }, time.Minute, time.Millisecond)
	db.snapshotter.mtx.Unlock()
	require.NoError(t, <-done)
	require.Zero(t, db.snapshotter.urgent.Load())
}

// Segments are small enough for the file system, also without a limit.
func TestSegmentsFitTheDisk(t *testing.T) {
	for _, mib := range []int64{6, 64, 100, 300, 1 << 20} {
		env := still()
		// File systems take some of it for themselves, in blocks of 1 KiB.
		env.diskSpace = func(string) (int64, int64, error) { return mib << 20 * 9 / 10, mib<<20 - 11<<10, nil }
		db := openTest(t, t.TempDir(), nil, nil, env)
		limit := room.Share(0, mib<<20*9/10)
		require.LessOrEqual(t, int64(db.opts.WALSegmentSize), max(limit/4, 256<<10), "%d MiB", mib)
		require.NoError(t, db.Close())
	}
	require.Equal(t, int64(wlog.DefaultSegmentSize), min(wlog.DefaultSegmentSize, fittingSegment(2<<30)))
}

// A snapshot that is larger than the limit is no reason to forfeit everything.
func TestSnapshotBeyondTheLimit(t *testing.T) {
	const mib = 1 << 20
	var sealed []segmentFile
	for i := range 6 {
		sealed = append(sealed, segmentFile{number: i, size: mib})
	}
	floor := gate.Floor{State: gate.Held}
	got := decide(sealed, 6, mib, 100*mib, floor, 0, limits{maxSize: 20 * mib}, time.Now())
	require.Empty(t, got.forced)
	got = decide(sealed, 6, mib, 100*mib, floor, 0, limits{maxSize: 10 * mib}, time.Now())
	require.Equal(t, 2, got.first, "half of it is for the log")
}

// A clock that is set ahead makes nothing older than it is.
func TestClockIsSetAhead(t *testing.T) {
	var c steadyClock
	boot := time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC)
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	c.look(boot, 0)
	c.look(boot.Add(10*time.Minute), 10*time.Minute)
	early := boot.Add(5 * time.Minute)
	require.Equal(t, early, c.written(early))
	c.look(now, 12*time.Minute)
	require.InDelta(t, 7*time.Minute, now.Sub(c.written(early)), float64(maxDrift))
	late := now.Add(time.Minute)
	c.look(now.Add(2*time.Minute), 14*time.Minute)
	require.Equal(t, late, c.written(late))
	require.InDelta(t, 9*time.Minute, now.Add(2*time.Minute).Sub(c.written(early)), float64(maxDrift))
	// What an earlier run wrote is as old as it says.
	before := boot.Add(-time.Hour)
	require.Equal(t, before, c.written(before))
}

// The reserve is room that only removing may use: the log is not recovered before it
// is there again.
func TestReserve(t *testing.T) {
	w := newWorld(t)
	sender := &fakeSender{}
	db := openTest(t, w.dir, sender, w.opts, w.env())
	db.reserve.init(w.fs, w.dir, 64<<20)
	sender.Gate.Set(holder("a", cursor.Position{}))
	sender.Gate.Open()
	require.NoError(t, db.reserve.keep())
	path := filepath.Join(w.dir, ReserveName)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), info.Size())

	appendFloats(t, db, 0, 10, 1)
	_, err = db.journal.cutIfOlder(0)
	require.NoError(t, err)
	db.journal.mtx.Lock()
	require.Error(t, db.journal.fail(errDisk))
	db.journal.mtx.Unlock()
	require.NoError(t, db.makeRoom(t.Context()))
	require.FileExists(t, path, "nothing can go, so nothing needs it")

	sender.Gate.Set(holder("a", cursor.Position{Segment: 1}))
	w.fs.Inject(faultfs.Fault{Err: faultfs.NoSpace, Stays: true, Match: func(op faultfs.Op) bool {
		return op.Changes && op.Name != "remove" && op.Path == path
	}})
	require.ErrorIs(t, db.makeRoom(t.Context()), faultfs.NoSpace)
	require.Equal(t, []int{1}, segmentNumbers(t, w.dir), "it has done its work")
	require.NoFileExists(t, path)
	require.ErrorIs(t, db.recoverNow(), faultfs.NoSpace)
	w.fs.Count(nil)
	require.NoError(t, db.recoverNow())
	require.FileExists(t, path)
	appendFloats(t, db, 0, 10, 2)
}

// A segment that cannot be read does not keep the storage from starting, what
// others have is known, and no ref is given again that it may have.
func TestStartWithUnreadableSegment(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	fill(t, db, dir, 3)
	require.NoError(t, db.journal.close())
	db.snapshotter.rebuild = true // A crash: no snapshot has these segments.
	opts := small()
	opts.FS = &fullFS{FS: vfs.OS, refuse: string(filepath.Separator) + "00000001"}
	img := t.TempDir()
	require.NoError(t, os.CopyFS(img, os.DirFS(dir)))
	require.NoError(t, os.RemoveAll(filepath.Join(img, "lock")))
	again, err := open(promslog.NewNopLogger(), prometheus.NewRegistry(), nil, img, opts, still())
	require.NoError(t, err)
	defer again.Close()
	require.Equal(t, 1.0, testutil.ToFloat64(again.metrics.damages.WithLabelValues(repair.Unreadable)))
	active, _ := again.table.Len()
	require.Equal(t, 1000, active)
	appendFloats(t, again, 0, 10, 1<<40)

	// The reading itself passes over what the disk refuses.
	wal := filepath.Join(img, "wal")
	path := wlog.SegmentName(wal, 1)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o777)) // Reading from it is an error.
	unreadable, err := eachRecord(wal, 1, func([]byte, int64) bool { return true })
	require.Error(t, err)
	require.NotErrorIs(t, err, fs.ErrNotExist)
	require.Positive(t, unreadable)
}

// A segment that is a link to nowhere keeps the storage neither from starting nor
// from keeping its limits.
func TestSegmentThatLeadsNowhere(t *testing.T) {
	for name, to := range map[string]string{"to itself": "00000001", "to nothing": "no-such-file"} {
		for _, newest := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, newest %t", name, newest), func(t *testing.T) {
				dir := t.TempDir()
				db := openTest(t, dir, nil, small(), still())
				fill(t, db, dir, 4)
				require.NoError(t, db.Close())
				all := segmentNumbers(t, dir)
				segment := 1
				if newest {
					segment = all[len(all)-1]
				}
				path := wlog.SegmentName(filepath.Join(dir, "wal"), segment)
				require.NoError(t, os.Remove(path))
				if to != "no-such-file" {
					to = filepath.Base(path)
				}
				require.NoError(t, os.Symlink(to, path))

				again, err := open(promslog.NewNopLogger(), prometheus.NewRegistry(), nil, dir, small(), still())
				require.NoError(t, err)
				defer again.Close()
				appendFloats(t, again, 0, 10, 1<<40)
				require.NoError(t, again.capture(t.Context(), false))
				again.now = func() time.Time { return time.Now().Add(24 * time.Hour) }
				require.NoError(t, again.truncate(t.Context()))
				require.Greater(t, firstSegment(dir), 1)
			})
		}
	}
}
