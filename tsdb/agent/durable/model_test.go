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
	"flag"
	"fmt"
	"strconv"
	"testing"
	"time"

	"go.uber.org/atomic"
)

var (
	modelSeed  = flag.Int64("model.seed", 0, "run only the schedule of this seed")
	modelSteps = flag.Int("model.steps", 60, "steps of each schedule")
	modelRuns  = flag.Int("model.runs", 10, "how many schedules are run, or how often the one of -model.seed")
	modelTime  = flag.Duration("model.time", 0, "run schedules of new seeds for so long")
	modelLog   = flag.Bool("model.log", false, "show the end of what the storage logs, also if nothing fails")

	modelStuckAfter = flag.Duration("model.stuck-after", 30*time.Second, "how long nothing may change before that counts as stuck")
)

// modelParallel is how many schedules are run at a time. They mostly wait.
const modelParallel = 4

// TestModel runs the storage and the delivery together, on a real directory,
// against receivers that fail in every way, through random schedules of
// appends, churn, truncation, reloads, restarts and crashes. What the receivers
// got, and what each stop and each crash left on the disk, is compared with
// what was committed:
//
//   - I1: no segment is gone that an endpoint's savepoint needs, also if only
//     what was synced of it is left, and no sample that it does not have.
//   - I2: no savepoint is past a sample that was not delivered, and everything
//     arrives in the end, but for what was refused or dropped, and counted.
//   - I3: every sample in the log, and every one that arrives, has its labels.
//   - I4: samples of a series arrive in order, and no partition is in two
//     requests at once.
//   - I7: stock accepts the directory.
//   - I8: nothing is sent that lies beyond the dispatch watermark, and nothing
//     is sent again that the last savepoint covers, or without a crash.
//
// A schedule that fails is printed. Its seed repeats it, apart from the timing
// of goroutines:
//
//	go test ./tsdb/agent/durable -run TestModel -model.seed=N -model.runs=20
func TestModel(t *testing.T) {
	var (
		next     = atomic.NewInt64(0)
		deadline = time.Now().Add(*modelTime)
		done     atomic.Int64
		kills    atomic.Int64
		samples  atomic.Int64
		repeated atomic.Int64
		failed   atomic.Bool
	)
	seeds := func() (int64, bool) {
		n := next.Inc()
		switch {
		case *modelTime > 0:
			// The seeds of a long run are new ones each time.
			return deadline.UnixNano()/1000 + n, time.Now().Before(deadline)
		case *modelSeed != 0:
			return *modelSeed, n <= int64(*modelRuns)
		default:
			return n, n <= int64(*modelRuns)
		}
	}
	begin := time.Now()
	t.Run("schedules", func(t *testing.T) {
		for w := range modelParallel {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				t.Parallel()
				for seed, ok := seeds(); ok && !failed.Load(); seed, ok = seeds() {
					t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
						s := newSchedule(seed, *modelSteps)
						m := newModelRun(t, s)
						defer func() {
							if t.Failed() || *modelLog {
								t.Logf("the storage logged:\n%s", &m.logged)
								t.Logf("this is the schedule:\n%s", s)
							}
							if t.Failed() {
								failed.Store(true)
							}
						}()
						if found := m.run(); found != "" {
							t.Error(found)
						}
						done.Inc()
						kills.Add(int64(m.kills))
						samples.Add(int64(len(m.samples)))
						repeated.Add(int64(m.repeated))
					})
				}
			})
		}
	})
	t.Logf("MODEL schedules=%d steps=%d samples=%d crashes=%d repeated=%d duration=%s",
		done.Load(), *modelSteps, samples.Load(), kills.Load(), repeated.Load(), time.Since(begin).Round(time.Millisecond))
}
