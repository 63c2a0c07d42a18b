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

package bench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// checkpointed is what a checkpoint wrote.
type checkpointed struct {
	bytes float64 // In all.
	peak  float64 // In the busiest second.
}

// writeCheckpoint measures the second checkpoint: one in a hundred series is
// new since the first. Everything the process writes in between counts, with
// the savepoints of the durable engine; nothing is committed meanwhile.
func writeCheckpoint(b *testing.B, e engine) checkpointed {
	return once(b, "checkpoint/"+e.name, func(b *testing.B) checkpointed {
		n := size(manySeries)
		segment := max(16<<20*n/manySeries/cursor.PageSize, 4) * cursor.PageSize
		// Long enough for the commits in between.
		every := time.Duration(shorter(40, 4)) * time.Second
		r := openRig(b, e, plan{endpoints: 1, segmentSize: segment, truncate: every})
		defer r.Close()
		commit := func(series int) {
			r.create(series)
			r.round(nil)
			r.wait(50 * time.Millisecond)
		}
		commit(n)
		last := nextCheckpoint(b, r.dir, -1, func() {})
		commit(n / 100)
		require.Equal(b, last, checkpointNumber(r.dir), "the time between checkpoints is too short for this machine")
		type point struct {
			at    time.Time
			bytes int64
		}
		var points []point
		note := func() { points = append(points, point{time.Now(), bytesWritten(b)}) }
		note()
		nextCheckpoint(b, r.dir, last, note)
		note()
		c := checkpointed{bytes: float64(points[len(points)-1].bytes - points[0].bytes)}
		from := 0
		for _, p := range points {
			for p.at.Sub(points[from].at) > time.Second {
				from++
			}
			c.peak = max(c.peak, float64(p.bytes-points[from].bytes))
		}
		return c
	})
}

func checkpointNumber(dir string) int {
	_, n, err := wlog.LastCheckpoint(filepath.Join(dir, "wal"))
	if err != nil {
		return -1
	}
	return n
}

// nextCheckpoint waits until there is one after last, and until what it
// replaces is gone.
func nextCheckpoint(b *testing.B, dir string, last int, tick func()) int {
	b.Helper()
	for range 3000 {
		tick()
		time.Sleep(50 * time.Millisecond)
		n := checkpointNumber(dir)
		if n <= last {
			continue
		}
		first, _, err := wlog.Segments(filepath.Join(dir, "wal"))
		require.NoError(b, err)
		if first > n {
			return n
		}
	}
	b.Fatal("no checkpoint was written")
	return 0
}

// bytesWritten is what the process has written to files so far.
func bytesWritten(b *testing.B) (n int64) {
	f, err := os.Open("/proc/self/io")
	if err != nil {
		b.Skipf("the bytes written cannot be told: %v", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if _, err := fmt.Sscanf(lines.Text(), "wchar: %d", &n); err == nil {
			return n
		}
	}
	b.Skip("/proc/self/io does not tell the bytes written")
	return 0
}

func checkpoint(value func(checkpointed) float64, unit string) func(b *testing.B) {
	return func(b *testing.B) {
		compare(b, unit, func(b *testing.B, e engine) float64 { return value(writeCheckpoint(b, e)) })
	}
}
