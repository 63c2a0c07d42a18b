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
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
)

// The same with a real file system that is full.
func TestRealDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no file system of a few megabytes can be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	data, ballast := filepath.Join(dir, "data"), filepath.Join(dir, "ballast")
	require.NoError(t, os.Mkdir(data, 0o777))
	opts := small()
	opts.MaxSize = 1 << 30
	x := newTroubled(t, data, opts, realEnvironment, delivery.Options{})
	x.refuseForAWhile(
		func() { cram(t, ballast) },
		func() { require.NoError(t, os.Remove(ballast)) },
		syscall.ENOSPC,
	)
	requireStockOpens(t, data, "after a full disk")
}

// A real small volume with default settings is filled by another program in an
// outage. The storage stops and starts without room, delivers everything it has, and
// is emptied by that.
func TestRealVolumeFilledByOthers(t *testing.T) {
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "volume")
			require.NoError(t, os.Mkdir(dir, 0o777))
			commands := [][]string{{"mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir}}
			if kind == "ext4" {
				image := filepath.Join(filepath.Dir(dir), "image")
				f, err := os.Create(image)
				require.NoError(t, err)
				require.NoError(t, f.Truncate(6<<20))
				require.NoError(t, f.Close())
				commands = [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, dir}}
			}
			for _, c := range commands {
				if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
					t.Skipf("LEFT OUT: no %s can be mounted here: %v: %s", kind, err, out)
				}
			}
			t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
			data, crammed := filepath.Join(dir, "data"), filepath.Join(dir, "crammed")
			require.NoError(t, os.Mkdir(data, 0o777))
			opts := DefaultOptions()
			x := newTroubled(t, data, opts, realEnvironment, delivery.Options{})
			require.NoError(t, x.commit())
			x.delivered()
			require.Less(t, x.db.opts.WALSegmentSize, 1<<20)
			x.remote.set(true)
			// Several segments, which take up more than the reserve.
			for range 4 {
				for range 120 {
					require.NoError(t, x.commit())
				}
				_, err := x.db.journal.cutIfOlder(0)
				require.NoError(t, err)
			}
			cram(t, crammed)
			var err error
			require.Eventually(t, func() bool {
				err = x.commit()
				return err != nil
			}, time.Minute, time.Millisecond)
			require.ErrorIs(t, err, syscall.ENOSPC)
			x.close()
			segments := segmentNumbers(t, data)

			x.open(data, opts, realEnvironment, delivery.Options{})
			require.Eventually(t, func() bool { return x.commit() != nil }, time.Minute, time.Millisecond, "there is no room")
			require.LessOrEqual(t, len(segmentNumbers(t, data)), len(segments)+1, "one if there was room for its marker")
			x.remote.set(false)
			x.delivered()
			require.Eventually(t, func() bool { return x.commit() == nil }, time.Minute, 10*time.Millisecond, "what was delivered makes room")
			x.delivered()
			require.NoError(t, os.Remove(crammed))
			for range 5 {
				require.NoError(t, x.commit())
			}
			x.delivered()
			require.Equal(t, x.want, x.remote.count(), "nothing is lost, and nothing comes twice")
			require.Zero(t, testutil.ToFloat64(x.db.metrics.forfeits.WithLabelValues(reasonMaxSize)), "nothing is forfeited")
			x.close()
			requireStockOpens(t, data, "after a full volume")
		})
	}
}
