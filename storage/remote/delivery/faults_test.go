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
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"
)

// requireHeld checks that a loss of power at this moment leaves a savepoint that
// the gate is not ahead of, whatever part of what was not synced survives.
func requireHeld(t *testing.T, fsys *faultfs.FS, j *journal, what string) {
	t.Helper()
	for seed := range int64(4) {
		floor := j.gate.Floor()
		require.Equal(t, gate.Held, floor.State, what)
		clone := filepath.Join(t.TempDir(), "clone")
		require.NoError(t, fsys.Clone(clone, seed))
		f, _, err := savepoint.NewStore(clone, savepoint.WithFS(faultfs.NoSync)).Load()
		require.NoError(t, err, what)
		require.Len(t, f.Endpoints, 1, what)
		saved := f.Endpoints[0].Floor.Position
		require.False(t, saved.Before(floor.Position), "%s: the gate is at %s, the savepoint at %s", what, floor.Position, saved)
	}
}

// Each operation on the files of the savepoints fails in turn, from then on or
// once: the gate never moves ahead of what a loss of power would leave (I1), the
// error is returned, delivery goes on meanwhile, and when the disk works again
// the gate follows.
func TestSavepointsOnFailingDisk(t *testing.T) {
	for _, stays := range []bool{true, false} {
		failed := 0
		for at := 0; ; at++ {
			what := fmt.Sprintf("operation %d, stays %t", at, stays)
			dir := filepath.Join(t.TempDir(), "data")
			fsys, err := faultfs.New(dir)
			require.NoError(t, err)
			j := openJournal(t, dir, nil)
			rc := newReceiver()
			r := newRig(t, j, map[string]*receiver{"a": rc}, Options{FS: fsys})
			r.attach(remoteWrite("a"))
			requireHeld(t, fsys, j, what)
			r.commit(5)
			j.cut()
			r.commit(5)
			r.complete("a", 10)

			fsys.Inject(faultfs.Fault{At: at, Err: faultfs.Broken, Stays: stays})
			err = r.Persist(context.Background())
			hits := fsys.Hits()
			if err != nil {
				require.ErrorIs(t, err, faultfs.Broken, what)
				failed++
			}
			requireHeld(t, fsys, j, what)
			r.commit(5)
			r.complete("a", 15)
			requireHeld(t, fsys, j, what)

			fsys.Count(nil)
			head := *j.head.Load()
			require.Eventually(t, func() bool {
				return r.Persist(context.Background()) == nil && j.gate.Floor().Position == head
			}, time.Minute, 5*time.Millisecond, what)
			requireHeld(t, fsys, j, what)
			require.NoError(t, r.Close())
			// A graceful stop leaves all of it on the disk.
			requireHeld(t, fsys, j, what)
			require.NotEqual(t, cursor.Position{}, j.gate.Floor().Position)
			require.NoError(t, j.wal.Close())
			if hits == 0 {
				break
			}
		}
		require.Positive(t, failed)
	}
}
