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

package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// ruin is a log with damage of every kind.
func ruin(t testing.TB) files {
	f := plainLog(t, 1, 2, 3, 5, 6)
	checkpoint := func(index int) string { return filepath.Base(wlog.CheckpointDir("", index)) + "/" }
	part := plainLog(t, 0, 1)
	for k := range 2 {
		f[checkpoint(0)+segment(k)] = part[segment(k)]
	}
	f[checkpoint(0)+segment(0)][frame.PageSize+100] ^= 1
	f[checkpoint(1)+"00000000"] = []byte("nothing that can be read")
	f[checkpoint(1)[:len(checkpoint(1))-1]+wlog.CheckpointTempFileSuffix+"/00000000"] = []byte("left")
	f["checkpoint.1"] = []byte("a file where a directory belongs")
	f["1"] = []byte("a number that is none")
	f["00000003.repair"] = f[segment(3)]
	f[segment(3)] = f[segment(3)][:2*frame.PageSize]
	f["00000002.unfinished"] = []byte("left too")
	f[segment(2)][frame.PageSize+500] ^= 1
	f[segment(6)] = f[segment(6)][:len(f[segment(6)])-11]
	return f
}

// onFaultFS puts the files into a directory behind faults.
func onFaultFS(t testing.TB, f files) (*faultfs.FS, string) {
	dir := f.write(t)
	fsys, err := faultfs.New(filepath.Dir(dir))
	require.NoError(t, err)
	return fsys, dir
}

// Each operation on the disk fails in turn, every other time with all after it:
// that is told and never taken for damage, and the next call comes to the result that an undisturbed one
// comes to (I8, I9).
func TestFailingDisk(t *testing.T) {
	f := ruin(t)
	dir := f.write(t)
	requireRepaired(t, dir)
	want := read(t, dir)
	for name, tc := range map[string]struct {
		err   error
		match func(faultfs.Op) bool
	}{
		"full":       {err: faultfs.NoSpace, match: faultfs.Changes},
		"unreadable": {err: faultfs.Broken, match: faultfs.Reads},
	} {
		t.Run(name, func(t *testing.T) {
			at := 0
			for ; ; at++ {
				fsys, dir := onFaultFS(t, f)
				fsys.Inject(faultfs.Fault{At: at, Err: tc.err, Match: tc.match, Stays: at%2 == 1})
				report, err := Directory(dir, Options{FS: fsys})
				if fsys.Hits() == 0 {
					require.NoError(t, err)
					break
				}
				for _, d := range report.Damages {
					// One file does not stop the others.
					if d.Kind == Unreadable {
						err = errors.Join(err, d.Err)
					}
				}
				require.ErrorIs(t, err, tc.err, "operation %d", at)
				fsys.Count(nil)
				_, err = Directory(dir, Options{FS: fsys})
				require.NoError(t, err)
				requireSame(t, want, read(t, dir))
			}
			require.Greater(t, at, 20)
		})
	}
}

// The power fails before each operation: what is left of the work is repaired to the
// result that an undisturbed call comes to (invariant 5, I7, I8).
func TestPowerLoss(t *testing.T) {
	const seeds = 3
	f := ruin(t)
	dir := f.write(t)
	requireRepaired(t, dir)
	want := read(t, dir)

	fsys, dir := onFaultFS(t, f)
	var mtx sync.Mutex // Segments are repaired side by side.
	clones := 0
	check := func(op faultfs.Op) {
		if !op.Changes {
			return
		}
		mtx.Lock()
		defer mtx.Unlock()
		for seed := range int64(seeds) {
			clone := filepath.Join(t.TempDir(), fmt.Sprint("clone", seed))
			require.NoError(t, fsys.Clone(clone, seed))
			clones++
			wal := filepath.Join(clone, "wal")
			_, err := Directory(wal, Options{FS: faultfs.NoSync})
			require.NoError(t, err, "before %s, seed %d", op, seed)
			requireSame(t, want, read(t, wal))
		}
	}
	fsys.Count(nil)
	fsys.Before(check)
	_, err := Directory(dir, Options{FS: fsys})
	fsys.Before(nil)
	require.NoError(t, err)
	check(faultfs.Op{Name: "end", Changes: true})
	requireReadable(t, dir)
	require.Greater(t, clones, seeds*20)
}
