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
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// TestSuspectsArriveInParts defends that series that travel alone are delivered to an
// endpoint that answers 429 to more samples of one than it gives out at once, however few
// they are, which is too few to tell that it has such a limit.
func TestSuspectsArriveInParts(t *testing.T) {
	const burst, waiting = 10, 40
	for _, c := range []struct{ suspects, others int }{{1, 20}, {2, 20}, {20, 20}, {1, 0}} {
		t.Run(fmt.Sprintf("%d beside %d", c.suspects, c.others), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			for i := range c.suspects {
				rc.bad[strconv.Itoa(i)] = refusals["429"]
			}
			r := newPickyRig(t, j, rc, 1)
			for range waiting {
				r.commit(c.suspects + c.others)
			}
			iso := r.running[0].streams()[0].isolation
			require.Eventually(t, func() bool {
				iso.mtx.Lock()
				defer iso.mtx.Unlock()
				all := 0
				for _, is := range iso.series {
					all += len(is.items)
				}
				return len(iso.series) == c.suspects && all == c.suspects*waiting
			}, time.Minute, time.Millisecond, "they wait apart")
			rc.do(func() { rc.bad, rc.burst = nil, burst })
			r.arrives("all", (c.suspects+c.others)*waiting, but())
			require.NoError(t, r.Close())
			rc.do(func() {
				require.Zero(t, rc.again)
				require.Zero(t, rc.early, "I4")
			})
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestFewerOfSuspect defends when a suspect has fewer samples in its next request: soon if
// so many were never taken of one, and then others have no more either; late if they were,
// or if the answer says nothing of how many there were.
func TestFewerOfSuspect(t *testing.T) {
	asked := client.Result{Status: 429, Outcome: client.Retry}
	failing := client.Result{Status: 500, Outcome: client.Retry}
	of := func(n int, res client.Result) answer { return answer{res: res, sent: queue.Counts{queue.Samples: n}} }
	// until returns how many such answers it takes until there are fewer.
	until := func(w *isolator, is *isolated, a answer) (n int) {
		for was := is.alone; is.alone == was && n < 2*limitedFailures; n++ {
			w.fewer(is, a)
		}
		return n
	}
	var w isolator
	require.Equal(t, 2*limitedFailures, until(&w, &isolated{alone: 1}, of(1, asked)), "there is nothing less")
	require.Equal(t, 16, w.alone(16))

	is := &isolated{alone: 16}
	require.Equal(t, limitedFailures, until(&w, is, of(16, failing)))
	require.Equal(t, 8, is.alone)
	require.Equal(t, 16, w.alone(16), "others are not concerned")

	w.sizes.noteTaken(8, 500)
	is.alone = 16
	require.Equal(t, leastInTurn, until(&w, is, of(16, asked)))
	require.Equal(t, 8, is.alone)
	require.Equal(t, 8, w.alone(16))
	require.Equal(t, 8, w.alone(0))
	require.Equal(t, 4, w.alone(4))

	require.Equal(t, limitedFailures, until(&w, is, of(8, asked)), "so many were taken before")
	require.Equal(t, 4, is.alone)
	require.Equal(t, 8, w.alone(16), "of others they may be taken still")
	w.sizes.until = time.Time{}
	w.sizes.noteTaken(8, 500)
	require.Equal(t, 16, w.alone(16), "after a while more are tried")
}
