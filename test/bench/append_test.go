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
	"fmt"
	"runtime"
	"testing"
	"time"
)

// commitScrape commits scrapes of known series with one endpoint attached whose
// receiver is down, so that next to nothing else happens, and prints two lines:
// CPU time of Append and Commit, and their allocations.
func commitScrape(b *testing.B) {
	type cost struct{ time, allocs float64 }
	costs := map[string]cost{}
	compare(b, "cpu-µs/commit", func(b *testing.B, e engine) float64 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r := openRig(b, e, plan{endpoints: 1, down: true})
		defer r.Close()
		r.create(scrapeSize)
		for range 1000 {
			r.round(nil)
		}
		// Now the queue is full and the receiver is asked ten times a second.
		time.Sleep(time.Second)
		runtime.GC()
		const rounds = 5000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stop := profileCPU(b)
		began := threadTime()
		for range rounds {
			r.round(nil)
		}
		spent := threadTime() - began
		runtime.ReadMemStats(&after)
		stop()
		costs[e.name] = cost{spent.Seconds() * 1e6 / rounds, float64(after.Mallocs-before.Mallocs) / rounds}
		b.ReportMetric(costs[e.name].allocs, "allocs/commit")
		return costs[e.name].time
	})
	s, d := costs["stock"].allocs, costs["durable"].allocs
	fmt.Printf("\nBENCH %s-allocs stock=%.4f durable=%.4f ratio=%.3f\n", nameOf(b), s, d, d/s)
}
