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
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// resolve finds a ref as the delivery does.
func resolve(t testing.TB, db *DB, ref chunks.HeadSeriesRef) labels.Labels {
	t.Helper()
	if s := db.table.Resolve(ref); s != nil {
		return s.Labels()
	}
	lset, ok, err := db.snapshotter.Resolve(ref)
	require.NoError(t, err)
	require.True(t, ok, "ref %d resolves to nothing", ref)
	return lset
}

// A start reads the snapshot and not the finished segments, and knows as much
// as before: refs, last timestamps, and which refs were handed out.
func TestStartFromSnapshot(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	appendFloats(t, db, 0, 1000, 10)
	fill(t, db, dir, 8)
	appendFloats(t, db, 500, 1500, 1_000_000)
	refs := map[int]chunks.HeadSeriesRef{}
	for i := range 1500 {
		refs[i] = db.table.Find(metric(i)).Ref()
	}
	last := db.nextRef.Load()
	require.NoError(t, db.Close())

	db = openTest(t, dir, nil, small(), still())
	require.Len(t, db.unread, len(segmentNumbers(t, dir))-1, "all but the new one were left alone")
	active, retired := db.table.Len()
	require.Zero(t, retired)
	require.GreaterOrEqual(t, active, 1500)
	for i := range 1500 {
		require.Equal(t, refs[i], db.table.Find(metric(i)).Ref())
	}
	require.ErrorIs(t, tryFloats(db, 600, 601, 999_999), storage.ErrOutOfOrderSample)
	ref, err := db.Appender(context.Background()).Append(0, metric(-1), 1, 1)
	require.NoError(t, err)
	require.Equal(t, storage.SeriesRef(last+1), ref)

	// In the background the segments are read after all.
	damaged := wlog.SegmentName(filepath.Join(dir, "wal"), db.unread[1])
	info, err := os.Stat(damaged)
	require.NoError(t, err)
	b, err := os.ReadFile(damaged)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(damaged, b, 0o666))
	require.NoError(t, os.Chtimes(damaged, info.ModTime(), info.ModTime()))
	for range len(db.unread) + 1 {
		db.checkNext(t.Context())
	}
	require.Equal(t, 1.0, testutil.ToFloat64(db.metrics.corruptions))
	require.NoError(t, db.Close())
	readLogged(t, dir) // With stock's reader, which accepts all of it.

	// What was touched is read at once.
	db = openTest(t, dir, nil, small(), still())
	require.NotContains(t, db.unread, filepath.Base(damaged))
	require.NoError(t, db.Close())
}

// After a crash only what was finished since the last snapshot is read, and
// nothing is missing.
func TestStartAfterCrash(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	appendFloats(t, db, 0, 1000, 10)
	fill(t, db, dir, 6)
	require.NoError(t, db.capture(context.Background(), false))
	covered := db.snapshotter.covered()
	appendFloats(t, db, 1000, 2000, 20)
	clone := t.TempDir()
	require.NoError(t, os.CopyFS(clone, os.DirFS(dir)))
	require.NoError(t, db.Close())

	// A copy has other times, which is what a restored backup looks like.
	db = openTest(t, clone, nil, small(), still())
	require.Empty(t, db.unread)
	require.Equal(t, covered, db.snapshotter.covered())
	for i := range 2000 {
		s := db.table.Find(metric(i))
		require.NotNil(t, s)
		require.Equal(t, i >= 1000, s.HasTimestamp(), "known for what was read")
	}
	// The next snapshot has what was read.
	require.NoError(t, db.capture(context.Background(), false))
	require.NoError(t, db.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(clone, "wal", "checkpoint.00000000")))
	db = openTest(t, clone, nil, small(), still())
	active, _ := db.table.Len()
	require.GreaterOrEqual(t, active, 2000)
}

// A snapshot is used only with the log it belongs to; otherwise the log is read,
// and a new one is made.
func TestSnapshotThatDoesNotFit(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"no snapshot":      func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, SeriesDir))) },
		"manifest damaged": func(t *testing.T, dir string) { flipByte(t, filepath.Join(dir, SeriesDir, "manifest.json"), 100) },
		"manifest gone": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, SeriesDir, "manifest.json")))
		},
		"chunk damaged": func(t *testing.T, dir string) { flipByte(t, oneOf(t, dir, "chunk-*[0-9]"), 1000) },
		"chunk gone":    func(t *testing.T, dir string) { require.NoError(t, os.Remove(oneOf(t, dir, "chunk-*[0-9]"))) },
		"stock wrote":   func(t *testing.T, dir string) { stockAppends(t, dir) },
		"last segment gone": func(t *testing.T, dir string) {
			n := segmentNumbers(t, dir)
			require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(dir, "wal"), n[len(n)-1])))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := small()
			// A clock that does not move lets no series go out of use.
			clock, env := newTestClock(), still()
			clock.add(time.Hour)
			env.now = clock.now
			db := openTest(t, dir, nil, opts, env)
			appendFloats(t, db, 0, 1000, 10)
			fill(t, db, dir, 6)
			db.opts.MinWALTime = 0
			require.NoError(t, db.truncate(context.Background()))
			appendFloats(t, db, 0, 1000, 30)
			require.NoError(t, db.Close())
			require.FileExists(t, filepath.Join(dir, "wal", "checkpoint.0000000"+strconv.Itoa(firstSegment(dir)-1), "00000000"))

			change(t, dir)
			db = openTest(t, dir, nil, opts, still())
			require.True(t, db.snapshotter.rebuild)
			require.Empty(t, db.unread)
			missing := 0
			for i := range 1000 {
				if db.table.Find(metric(i)) == nil {
					missing++
				}
			}
			if name == "chunk damaged" {
				// It is the checkpoint's file too, so a block is lost, and the
				// samples that need it are counted (I9).
				require.Positive(t, missing)
				require.LessOrEqual(t, missing, snapshot.MaxBlockSeries)
				require.Positive(t, testutil.ToFloat64(db.metrics.unknownRefs))
			} else {
				require.Zero(t, missing)
				require.Zero(t, testutil.ToFloat64(db.metrics.unknownRefs))
			}
			orphans := testutil.ToFloat64(db.metrics.unknownRefs)
			appendFloats(t, db, 0, 2000, 40)
			require.NoError(t, db.Close())
			require.Equal(t, orphans, float64(readLogged(t, dir).orphans))

			db = openTest(t, dir, nil, opts, still())
			require.False(t, db.snapshotter.rebuild)
			active, _ := db.table.Len()
			require.GreaterOrEqual(t, active, 2000)
		})
	}
}

// A segment that is gone costs its samples, not the series that were defined in it:
// the snapshot has those, and still fits (I3, I9).
func TestSnapshotWithoutASegment(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path, last string){
		"removed": func(t *testing.T, path, _ string) { require.NoError(t, os.Remove(path)) },
		"a link to nowhere": func(t *testing.T, path, _ string) {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Symlink("nowhere", path))
		},
		"emptied":      func(t *testing.T, path, _ string) { require.NoError(t, os.Truncate(path, 0)) },
		"last emptied": func(t *testing.T, _, last string) { require.NoError(t, os.Truncate(last, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openTest(t, dir, nil, small(), still())
			fill(t, db, dir, 4)
			appendFloats(t, db, 0, 100, 20)
			defining := db.journal.Head().Segment
			fill(t, db, dir, 7)
			appendFloats(t, db, 0, 100, 30)
			require.NoError(t, db.Close())
			wal := filepath.Join(dir, "wal")
			damage(t, wlog.SegmentName(wal, defining), wlog.SegmentName(wal, db.journal.Head().Segment))

			db = openTest(t, dir, nil, small(), still())
			require.False(t, db.snapshotter.rebuild)
			for i := range 100 {
				require.NotNil(t, db.table.Find(metric(i)))
			}
			require.Zero(t, testutil.ToFloat64(db.metrics.unknownRefs))
			_, _, err := wlog.Segments(wal)
			require.NoError(t, err)
			missing, cut := 0.0, 1.0
			if name == "removed" || name == "a link to nowhere" {
				missing, cut = 1, 0
			}
			counted := func(db *DB, missing, cut float64) {
				t.Helper()
				require.Equal(t, missing, testutil.ToFloat64(db.metrics.damages.WithLabelValues(repair.MissingSegments)))
				require.Equal(t, cut, testutil.ToFloat64(db.metrics.damages.WithLabelValues(repair.CorruptSegment)))
			}
			counted(db, missing, cut)
			appendFloats(t, db, 0, 100, 40)
			require.NoError(t, db.Close())
			for range 2 {
				db = openTest(t, dir, nil, small(), still())
				counted(db, 0, 0)
				require.NoError(t, db.Close())
			}
		})
	}
}

func flipByte(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[min(at, len(b)-1)] ^= 0x10
	require.NoError(t, os.WriteFile(path, b, 0o666))
}

func oneOf(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, SeriesDir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found[0]
}

func stockAppends(t *testing.T, dir string) {
	t.Helper()
	stock := openStock(t, nil, dir, agent.Options{WALSegmentSize: 4 * cursor.PageSize})
	appendFloats(t, stock, 0, 20, 35)
	require.NoError(t, stock.Close())
}

func TestFits(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	fill(t, db, dir, 5)
	require.NoError(t, db.Close())
	wal := filepath.Join(dir, "wal")
	last := db.journal.Head().Segment
	fingerprint := func(segment int) uint32 {
		fp, err := cursor.Fingerprint(wal, segment)
		require.NoError(t, err)
		return fp
	}
	known, err := os.Stat(wlog.SegmentName(wal, 2))
	require.NoError(t, err)
	good := snapshot.State{
		Covered: 3, Fingerprint: fingerprint(3), Run: ulid.Make(),
		Segments: []snapshot.SegmentInfo{{Index: 2, Size: known.Size(), ModTime: known.ModTime().UnixNano()}},
	}
	for misfit, change := range map[string]func(*snapshot.State){
		"":                             func(*snapshot.State) {},
		"it covers nothing":            func(s *snapshot.State) { s.Covered = -1 },
		"the log ends before it":       func(s *snapshot.State) { s.Covered = last + 1 },
		"its last segment has changed": func(s *snapshot.State) { s.Fingerprint++ },
	} {
		state := good
		change(&state)
		require.Equal(t, misfit, Misfit(wal, state))
	}
	require.NoError(t, os.Truncate(wlog.SegmentName(wal, 3), 0))
	require.Empty(t, Misfit(wal, good), "what it ends with is empty, another is as it was")
	require.NoError(t, os.Truncate(wlog.SegmentName(wal, 2), 0))
	require.NotEmpty(t, Misfit(wal, good), "no segment is as it was")
	require.NoError(t, os.Remove(wlog.SegmentName(wal, 1)))
	require.Contains(t, Misfit(wal, good), "not sequential", "the repair deals with it")
	for _, k := range []int{0, 2} {
		require.NoError(t, os.Remove(wlog.SegmentName(wal, k)))
	}
	require.Empty(t, Misfit(wal, snapshot.State{Covered: 2}), "what it ends with was removed, all after it is there")
	require.Equal(t, "segments after it are missing", Misfit(wal, snapshot.State{Covered: 1}))
	require.Equal(t, "the log is empty", Misfit(t.TempDir(), good))
}

// With nothing acknowledged, series come and go for ten times as many as there
// are at a time: memory keeps what is in use, and every ref of the log resolves
// to its labels, before and after a restart (I3, I6). When all is acknowledged,
// what is on the disk shrinks too.
func TestChurnInOutage(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	clock := newTestClock()
	env := still()
	env.now = clock.now
	sender := &fakeSender{}
	db := openTest(t, dir, sender, small(), env)
	sender.Gate.Set(holder("dead", cursor.Position{}))
	sender.Gate.Open()

	const at, rounds = 500, 20
	want := map[chunks.HeadSeriesRef]string{}
	for round := range rounds {
		appendFloats(t, db, round*at, (round+1)*at, int64(round))
		for i := round * at; i < (round+1)*at; i++ {
			want[db.table.Find(metric(i)).Ref()] = metric(i).String()
		}
		clock.add(10 * time.Minute)
		require.NoError(t, db.truncate(ctx))
		active, retired := db.table.Len()
		require.LessOrEqual(t, active+retired, 3*at, "round %d", round)
	}
	require.Zero(t, firstSegment(dir))
	check := func() {
		t.Helper()
		for ref, lset := range want {
			require.Equal(t, lset, resolve(t, db, ref).String())
		}
	}
	check()
	require.NoError(t, errors.Join(db.Close(), sender.Release()))
	db = openTest(t, dir, sender, small(), env)
	active, retired := db.table.Len()
	require.LessOrEqual(t, active+retired, 3*at)
	check()
	require.Zero(t, readLogged(t, dir).orphans)

	sender.Gate.Set(holder("dead", cursor.Position{Segment: db.journal.Head().Segment}))
	sender.Gate.Open()
	before := db.snapshotter.store.Bytes()
	for range 40 {
		clock.add(10 * time.Minute)
		appendFloats(t, db, 0, 10, clock.now().UnixMilli())
		sender.Gate.Set(holder("dead", cursor.Position{Segment: db.journal.Head().Segment}))
		require.NoError(t, db.truncate(ctx))
	}
	require.Less(t, db.snapshotter.store.Bytes(), before/2)
	require.NoError(t, db.Close())
	require.Zero(t, readLogged(t, dir).orphans)
}

// Series that come and go at random, truncation, snapshots and crashes in
// between: whatever is in the log resolves to its labels, by the engine and by
// stock's reader (I3, I7).
func TestSnapshotsAtRandom(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	ctx := context.Background()
	for range 4 {
		dir := t.TempDir()
		clock := newTestClock()
		env := still()
		env.now = clock.now
		sender := &fakeSender{}
		reopen := func() *DB {
			db := openTest(t, dir, sender, small(), env)
			sender.Gate.Set(holder("e", cursor.Position{Segment: max(firstSegment(dir), 0)}))
			sender.Gate.Open()
			return db
		}
		db := reopen()
		ts := int64(0)
		for range 40 {
			switch n := rnd.Intn(20); {
			case n < 10:
				ts++
				from := rnd.Intn(300)
				appendFloats(t, db, from, from+1+rnd.Intn(300), ts)
			case n < 13:
				clock.add(time.Duration(rnd.Intn(8)) * time.Minute)
			case n < 14:
				fill(t, db, dir, len(segmentNumbers(t, dir))+2)
				ts = max(ts, 1_000_000)
			case n < 15:
				require.NoError(t, db.capture(ctx, rnd.Intn(2) == 0))
			case n < 17:
				sender.Gate.Set(holder("e", cursor.Position{Segment: max(0, db.journal.Head().Segment-rnd.Intn(3))}))
				require.NoError(t, db.truncate(ctx))
			case n < 18:
				require.NoError(t, errors.Join(db.Close(), sender.Release()))
				db = reopen()
			default:
				clone := t.TempDir()
				require.NoError(t, os.CopyFS(clone, os.DirFS(dir)))
				require.NoError(t, errors.Join(db.Close(), sender.Release()))
				dir = clone
				db = reopen()
			}
			got := readLogged(t, dir)
			require.Zero(t, got.orphans)
			for lset, ref := range got.refs {
				if s := db.table.Resolve(ref); s != nil {
					require.Equal(t, lset, s.Labels().String())
				} else if l, ok, _ := db.snapshotter.Resolve(ref); ok {
					require.Equal(t, lset, l.String())
				}
			}
			resolved := map[chunks.HeadSeriesRef]bool{}
			for _, p := range got.pending {
				if !resolved[p.ref] {
					resolved[p.ref] = true
					resolve(t, db, p.ref)
				}
			}
		}
		require.NoError(t, db.Close())
	}
}
