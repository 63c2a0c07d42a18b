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
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// sweepStride makes sweeps quick enough for every run of the tests. Each kind of
// fault begins with another operation, so that nearly all of them have a turn.
var sweepStride = flag.Int("durable.sweep-stride", 37, "Take every n-th operation only in the sweeps over all operations; 1 takes minutes.")

// Each operation on the disk in a full cycle of the storage fails in turn, until
// a cycle comes to its end without reaching it. Whatever fails, and whether it
// works again the next time or not before a restart: no commit that succeeded is
// lost (I8), no segment that the saved position is not past (I1), every sample
// can be resolved (I3), upstream opens the directory (I7), and storage and
// truncation go on working when the disk does.
func TestErrorSweepOfDisk(t *testing.T) {
	all := func(faultfs.Op) bool { return true }
	for i, tc := range []struct {
		name string
		faultfs.Fault
	}{
		{"full once", faultfs.Fault{Err: faultfs.NoSpace, Match: faultfs.Changes}},
		{"full", faultfs.Fault{Err: faultfs.NoSpace, Match: faultfs.Changes, Stays: true}},
		{"read-only", faultfs.Fault{Err: faultfs.ReadOnly, Match: faultfs.Changes, Stays: true}},
		{"broken once", faultfs.Fault{Err: faultfs.Broken, Match: faultfs.Changes}},
		{"broken", faultfs.Fault{Err: faultfs.Broken, Match: all, Stays: true}},
		{"unreadable once", faultfs.Fault{Err: faultfs.Broken, Match: faultfs.Reads}},
		{"unreadable", faultfs.Fault{Err: faultfs.Broken, Match: faultfs.Reads, Stays: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			covered, commits := 0, 0
			for at := i % *sweepStride; ; at += *sweepStride {
				w := newWorld(t)
				fault := tc.Fault
				fault.At = at
				w.fs.Inject(fault)
				w.cycle(2)
				hits := w.fs.Hits()
				w.fs.Count(nil)
				w.close()
				what := fmt.Sprintf("operation %d, errors %v", at, w.errs)
				for _, err := range w.errs {
					require.NotZero(t, hits, what)
					require.ErrorIs(t, err, tc.Err, what)
				}
				got := requireAcked(t, w.dir, w.acked, what)
				require.Zero(t, got.orphans, what)
				requireUsable(t, w.dir, what)
				commits += len(w.acked)
				if hits == 0 {
					break
				}
				covered++
			}
			require.Positive(t, covered)
			require.Positive(t, commits)
		})
	}
}

// mustSurvive returns the commits that a loss of power at this moment must not
// touch: those of which every byte, and everything before, has been synced.
func (w *world) mustSurvive() []acked {
	w.t.Helper()
	wal := filepath.Join(w.dir, "wal")
	first, last, err := wlog.Segments(wal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(w.t, err)
	safe := cursor.Position{Segment: max(first, 0)}
	for k := safe.Segment; k <= last; k++ {
		path := wlog.SegmentName(wal, k)
		durable, err := w.fs.Durable(path)
		require.NoError(w.t, err)
		if durable < 0 {
			break
		}
		safe = cursor.Position{Segment: k, Offset: durable}
		info, err := os.Stat(path)
		require.NoError(w.t, err)
		if durable < info.Size() {
			break
		}
	}
	var out []acked
	for _, c := range w.acked {
		if !safe.Before(c.end) {
			out = append(out, c)
		}
	}
	return out
}

// The process dies, or the power is lost, before each operation in a full cycle.
// The death of the process loses no commit that succeeded; a loss of power none
// that was synced, and what else it leaves is a directory that opens, truncates
// and suits upstream (I1, I3, I7, I8).
func TestCrashSweepOfDisk(t *testing.T) {
	const seeds = 2
	t.Parallel()
	w := newWorld(t)
	var n, clones, must int
	w.fs.Count(nil)
	w.fs.Before(func(op faultfs.Op) {
		if !op.Changes {
			return
		}
		n++
		if n%*sweepStride != 0 {
			return
		}
		what := fmt.Sprintf("operation %d (%s)", n, op)
		clone := filepath.Join(t.TempDir(), "copy")
		require.NoError(t, w.fs.Copy(clone), what)
		clones++
		got := requireCrashed(t, clone, w.acked, "killed before "+what)
		require.Zero(t, got.orphans, what)

		survivors := w.mustSurvive()
		must += len(survivors)
		for seed := range int64(seeds) {
			if seed != faultfs.Least {
				seed += int64(n * seeds)
			}
			clone := filepath.Join(t.TempDir(), "clone")
			require.NoError(t, w.fs.Clone(clone, seed), what)
			clones++
			requireCrashed(t, clone, survivors, fmt.Sprintf("power lost before %s, seed %d", what, seed))
		}
	})
	w.cycle(2)
	w.fs.Before(nil)
	require.Empty(t, w.errs)
	require.NotZero(t, must)
}

// requireCrashed opens what a crash left and checks it.
func requireCrashed(t testing.TB, dir string, commits []acked, what string) logged {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "lock")))
	sender := newSavingSender(dir, savepoint.WithFS(faultfs.NoSync))
	db, err := open(nil, nil, sender, dir, lazy(), still())
	require.NoError(t, err, what)
	require.NoError(t, db.Close(), what)
	require.NoError(t, sender.Release(), what)
	got := requireAcked(t, dir, commits, what)
	requireUsable(t, dir, what)
	require.NoError(t, os.RemoveAll(dir))
	return got
}
