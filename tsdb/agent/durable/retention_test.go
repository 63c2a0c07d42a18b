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
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// fill commits to 1000 series of its own until there are n segments, and returns
// their numbers.
func fill(t *testing.T, db *DB, dir string, n int) []int {
	t.Helper()
	const from = 5000
	for len(segmentNumbers(t, dir)) < n {
		ts := int64(1)
		if s := db.table.Find(metric(from)); s != nil {
			ts = s.LastSampleTimestamp() + 1
		}
		appendFloats(t, db, from, from+1000, ts)
	}
	return segmentNumbers(t, dir)
}

// A segment goes only if every endpoint's durable position is past it (I1), and
// the positions are saved before that is asked.
func TestTruncateHonoursTheGate(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	sender := &fakeSender{}
	db := openTest(t, dir, sender, small(), still())
	g := sender.Gate
	all := fill(t, db, dir, 8)

	require.NoError(t, db.truncate(ctx), "closed")
	all = append(all, db.journal.Head().Segment)
	require.Equal(t, all, segmentNumbers(t, dir))

	g.Set(holder("a", cursor.Position{Segment: 3, Offset: 50}))
	g.Set(holder("b", cursor.Position{Segment: 5}))
	g.Open()
	require.NoError(t, db.truncate(ctx))
	require.Equal(t, all[3:], segmentNumbers(t, dir))
	_, number, err := wlog.LastCheckpoint(filepath.Join(dir, "wal"))
	require.NoError(t, err)
	require.Equal(t, 2, number)
	require.Equal(t, 3.0, testutil.ToFloat64(db.metrics.segmentsRemoved.WithLabelValues(reasonSent)))
	require.Equal(t, 5, heldBy(t, db, "a").segments)
	require.Equal(t, 3, heldBy(t, db, "b").segments)

	// Saving moves the gate in time for this very truncation.
	sender.persist = func() error {
		g.Set(holder("a", cursor.Position{Segment: 99}))
		return nil
	}
	require.NoError(t, db.truncate(ctx))
	require.Equal(t, all[5:], segmentNumbers(t, dir))
	checkpoints, err := filepath.Glob(filepath.Join(dir, "wal", "checkpoint.*"))
	require.NoError(t, err)
	require.Equal(t, []string{wlog.CheckpointDir(filepath.Join(dir, "wal"), 4)}, checkpoints)

	// If it fails, what is durable all the same may go.
	sender.persist = func() error { return errDisk }
	g.Set(holder("b", cursor.Position{Segment: 6}))
	require.ErrorIs(t, db.truncate(ctx), errDisk)
	require.Equal(t, all[6:], segmentNumbers(t, dir))

	// The active segment never goes.
	sender.persist = nil
	g.Remove("b")
	require.NoError(t, db.truncate(ctx))
	require.Equal(t, []int{db.journal.Head().Segment}, segmentNumbers(t, dir))

	require.NoError(t, db.Close())
	require.NoError(t, sender.Release())
	again := openTest(t, dir, nil, small(), still())
	active, _ := again.table.Len()
	require.Equal(t, 1000, active, "all series are in the checkpoint (I3)")
}

// A limit takes what an endpoint needs only after the delivery was told, says
// so, and keeps its hands off if that failed (I1).
func TestLimits(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	type call struct {
		before cursor.Position
		reason string
		kept   []int
	}
	var calls []call
	sender := &fakeSender{}
	sender.forfeit = func(before cursor.Position, reason string) error {
		calls = append(calls, call{before, reason, segmentNumbers(t, dir)})
		return nil
	}
	db := openTest(t, dir, sender, small(), still())
	sender.Gate.Set(holder("dead", cursor.Position{}))
	sender.Gate.Open()
	all := fill(t, db, dir, 8)
	require.NoError(t, db.enforceLimits(ctx))
	require.Empty(t, calls, "no limit is exceeded")
	require.NoError(t, db.truncate(ctx))
	require.Subset(t, segmentNumbers(t, dir), all, "the endpoint holds all of it")
	all = segmentNumbers(t, dir)

	db.opts.MaxSize = int64(4 * db.opts.WALSegmentSize)
	refuse := sender.forfeit
	sender.forfeit = func(cursor.Position, string) error { return errors.New("refused") }
	require.ErrorContains(t, db.enforceLimits(ctx), "refused")
	require.Equal(t, all, segmentNumbers(t, dir))

	sender.forfeit = refuse
	require.NoError(t, db.enforceLimits(ctx))
	first := segmentNumbers(t, dir)[0]
	require.Equal(t, []call{{cursor.Position{Segment: first}, reasonMaxSize, all}}, calls, "told before")
	require.Equal(t, float64(first), testutil.ToFloat64(db.metrics.segmentsRemoved.WithLabelValues(reasonMaxSize)))
	require.Equal(t, 2.0, testutil.ToFloat64(db.metrics.forfeits.WithLabelValues(reasonMaxSize)), "one was refused")
	u, err := measure(filepath.Join(dir, "wal"), nil)
	require.NoError(t, err)
	require.LessOrEqual(t, u.segments(), db.opts.MaxSize)
	require.Greater(t, u.segments()+int64(db.opts.WALSegmentSize), db.opts.MaxSize, "not more than necessary")

	calls = nil
	db.opts.MaxSize, db.opts.MaxTime = 0, time.Hour
	old := time.Now().Add(-2 * time.Hour)
	require.NoError(t, os.Chtimes(wlog.SegmentName(filepath.Join(dir, "wal"), first), old, old))
	require.NoError(t, db.enforceLimits(ctx))
	require.Len(t, calls, 1)
	require.Equal(t, reasonMaxTime, calls[0].reason)
	require.Equal(t, first+1, segmentNumbers(t, dir)[0])

	// Without a limit of its own, the log leaves a reserve on the disk, and others
	// do not make it forfeit samples: it has to grow itself.
	calls = nil
	db.opts.MaxTime = 0
	u, err = db.measure()
	require.NoError(t, err)
	free := u.segments() + u.other + 200<<10 // Half of it all is the reserve.
	db.diskSpace = func(string) (int64, int64, error) { return free, 1 << 41, nil }
	require.NoError(t, db.enforceLimits(ctx))
	free = 0
	require.NoError(t, db.enforceLimits(ctx))
	require.Empty(t, calls)
	for ts := range int64(100) {
		appendFloats(t, db, 0, 1000, 1_000_000+ts)
	}
	require.NoError(t, db.enforceLimits(ctx))
	require.Len(t, calls, 1)
	require.Equal(t, reasonMaxSize, calls[0].reason)
}

// The directory of the log may be a link to one on another disk: what is there is
// measured and removed like anything else.
func TestLimitsOfALinkedDirectory(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "wal")); err != nil {
		t.Skip(err) // Not every user may on Windows.
	}
	sender := &fakeSender{}
	db := openTest(t, dir, sender, small(), still())
	all := fill(t, db, dir, 8)
	u, err := db.measure()
	require.NoError(t, err)
	require.Len(t, u.sealed, len(all)-1)
	require.Greater(t, u.segments(), int64(len(all)-2)*int64(db.opts.WALSegmentSize))

	sender.Gate.Set(holder("a", cursor.Position{Segment: 5}))
	sender.Gate.Open()
	require.NoError(t, db.truncate(context.Background()))
	require.Equal(t, 5, segmentNumbers(t, dir)[0])
}

// A new limit, or little room, must not be overlooked until the next
// truncation: it is looked at whenever a segment is finished.
func TestLimitsAreWatched(t *testing.T) {
	dir := t.TempDir()
	opts := small()
	opts.MaxSize = int64(8 * opts.WALSegmentSize)
	env := realEnvironment
	sender := &fakeSender{forfeit: func(cursor.Position, string) error { return nil }}
	db := openTest(t, dir, sender, opts, env)
	sender.Gate.Set(holder("dead", cursor.Position{}))
	sender.Gate.Open()
	for ts := range int64(200) {
		appendFloats(t, db, 0, 1000, ts)
	}
	require.Eventually(t, func() bool {
		u, err := measure(filepath.Join(dir, "wal"), nil)
		return err == nil && len(u.sealed) > 1 && u.segments() <= opts.MaxSize
	}, time.Minute, 10*time.Millisecond)
}

// Without endpoints segments go by age, and series by the time of their last
// append, whatever the timestamps of their samples.
func TestSeriesLife(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	clock := newTestClock()
	env := still()
	env.now = clock.now
	reg := prometheus.NewRegistry()
	db, err := open(nil, reg, nil, dir, small(), env)
	require.NoError(t, err)
	old := time.Now().Add(-1000 * time.Hour).UnixMilli()
	appendFloats(t, db, 0, 10, old)
	pending := db.Appender(ctx)
	_, err = pending.Append(0, metric(99), 1, 1)
	require.NoError(t, err)
	require.NoError(t, db.truncate(ctx))
	active, retired := db.table.Len()
	require.Equal(t, []int{11, 0}, []int{active, retired}, "samples are old, appends are not")

	clock.add(10 * time.Minute)
	appendFloats(t, db, 5, 10, old+1)
	ref := db.table.Find(metric(3)).Ref()
	require.NoError(t, db.truncate(ctx))
	active, retired = db.table.Len()
	require.Equal(t, []int{6, 5}, []int{active, retired})
	require.Equal(t, 6.0, valueOf(t, reg, "prometheus_agent_active_series"))
	require.Equal(t, 5.0, valueOf(t, reg, "prometheus_agent_deleted_series"))
	require.NoError(t, pending.Commit())

	// One returns, under its old ref.
	appendFloats(t, db, 3, 4, old+2)
	require.Equal(t, ref, db.table.Find(metric(3)).Ref())

	// The others go with the last segment that can mention them.
	fill(t, db, dir, 12)
	clock.add(time.Hour)
	appendFloats(t, db, 3, 4, old+1000)
	require.NoError(t, db.truncate(ctx))
	require.Greater(t, segmentNumbers(t, dir)[0], 2)
	require.NotNil(t, db.table.Find(metric(3)))
	require.NoError(t, db.Close())
	got := readLogged(t, dir)
	require.Zero(t, got.orphans)
	require.Equal(t, ref, got.refs[metric(3).String()])
}

// Each segment starts with the marker, whichever way it was started; one with
// nothing but a marker is never finished.
func TestSegments(t *testing.T) {
	dir := t.TempDir()
	clock := newTestClock()
	env := still()
	env.now = clock.now
	opts := small()
	opts.SegmentMaxAge = time.Minute
	db := openTest(t, dir, nil, opts, env)
	clock.add(time.Hour)
	cut, err := db.journal.cutIfOlder(opts.SegmentMaxAge)
	require.NoError(t, err)
	require.False(t, cut, "it is empty")
	appendFloats(t, db, 0, 10, 1)
	cut, err = db.journal.cutIfOlder(opts.SegmentMaxAge)
	require.NoError(t, err)
	require.True(t, cut)
	appendFloats(t, db, 0, 10, 2)
	cut, err = db.journal.cutIfOlder(opts.SegmentMaxAge)
	require.NoError(t, err)
	require.False(t, cut, "it is young")
	fill(t, db, dir, 6)
	// More than a segment holds in one commit.
	appendFloats(t, db, 10_000, 28_000, 1)
	require.NoError(t, db.Close())

	db = openTest(t, dir, nil, opts, env)
	require.NoError(t, db.Close())
	got := readLogged(t, dir)
	require.Zero(t, got.orphans)
	require.LessOrEqual(t, got.largest, opts.WALSegmentSize/4)
	for _, n := range segmentNumbers(t, dir) {
		require.Equal(t, 1, got.markers[n], "segment %d", n)
		require.Equal(t, "tombstones", got.first[n], "segment %d", n)
		info, err := os.Stat(wlog.SegmentName(filepath.Join(dir, "wal"), n))
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(opts.WALSegmentSize))
	}
}
