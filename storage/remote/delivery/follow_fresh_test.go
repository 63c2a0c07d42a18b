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
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
)

// TestFollowFreshFirst defends I1, I2 and I4 for two streams on a followed log: a
// writer that truncates where Floor says takes nothing of the backlog, and after
// a restart of both, from which on refs mean other series, both streams go on
// where they were.
func TestFollowFreshFirst(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart=", restart), func(t *testing.T) {
			e, rc := newEmbedder(t), newLateReceiver()
			opts := freshOptions()
			opts.newClient = func(client.Config) (storer, error) { return rc, nil }
			open := func() *freshRig {
				r := &freshRig{rig: newRig(t, &journal{t: t, dir: e.dir}, nil, opts), rc: rc}
				require.NoError(t, r.Follow(FollowOptions{WALDir: filepath.Join(e.dir, "wal")}))
				r.apply(remoteWrite("a"))
				return r
			}
			r := open()
			all := names("m", 50)
			write := func(commits int) {
				for range commits {
					e.commit(all...)
				}
				r.Notify()
			}
			arrived := func(from int64, n int) {
				t.Helper()
				require.Eventually(t, func() bool { return rc.has(from, e.time) == n }, time.Minute, time.Millisecond, "%s", stringer(func() string {
					return fmt.Sprintf("%d of %d samples from %d on arrived; %s", rc.has(from, e.time), n, from, r.state())
				}))
			}
			write(1)
			arrived(0, 50)
			r.fail(func() { write(1) })
			for range 6 {
				write(30)
				e.cut()
			}
			// The follower sees later what is written. The backlog is to end at the
			// end of the log.
			write(1)
			require.Eventually(t, func() bool { return r.src.Head().Segment == 6 && r.src.Head().Offset > 0 }, time.Minute, time.Millisecond)
			r.until = e.time
			release := r.blockOld(3)
			r.divided()
			for range 3 {
				from := e.time
				write(20)
				arrived(from, 20*50)
				e.cut()
				require.NoError(t, r.Persist(t.Context()))
				floor := r.Floor()
				require.Equal(t, gate.Held, floor.State)
				require.True(t, floor.Position.Before(r.saved().Fresh.From.Position), "the backlog is not held")
				e.truncate(floor.Position.Segment, all...)
			}
			if restart {
				e.close()
				require.NoError(t, r.Close())
				e.open()
				slices.Reverse(all)
				until := r.until
				r = open()
				r.until = until
				r.divided()
				from := e.time
				write(20)
				arrived(from, 20*50)
			}
			release()
			arrived(0, e.count)
			r.merged()
			_, again := rc.counts()
			require.Zero(t, again)
			rc.requireOrdered(t, r.until)
			e.close()
			require.NoError(t, r.Close())
		})
	}
}
