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

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
)

const (
	v1 = remoteapi.WriteV1MessageType
	v2 = remoteapi.WriteV2MessageType
)

// work is what it took to deliver samples, per sample committed or delivered.
type work struct {
	cpuPerMillion float64 // Seconds per million samples committed.
	allocs        float64 // Per sample delivered.
}

// liveRate is how many samples a second are committed on the live path: a load
// of which neither engine is nearly out of breath.
const liveRate = 50_000

// scrapeEvery is the time between two commits.
const scrapeEvery = time.Second * scrapeSize / liveRate

// pacingCost measures the CPU time that waiting for the next commit takes,
// without an engine: the process is woken for each, which is the benchmark's
// doing, and costs as much as a good part of a delivery.
func pacingCost() time.Duration {
	const n = 250
	ticks := time.NewTicker(scrapeEvery)
	defer ticks.Stop()
	<-ticks.C
	before := processTime()
	for range n {
		<-ticks.C
	}
	return (processTime() - before) / n
}

// settle is longer than batch_send_deadline, of which the default is 5 s.
const settle = 5500 * time.Millisecond

// liveRounds is how often the live path is measured: the CPU time of bursts that
// last a millisecond differs by a tenth between equal runs.
const liveRounds = 3

func liveWork(b *testing.B, e engine, endpoints int, protocol remoteapi.WriteMessageType, round int) work {
	return once(b, fmt.Sprintf("live/%s/%d/%s/%d", e.name, endpoints, protocol, round), func(b *testing.B) work {
		pacing := pacingCost()
		r := openRig(b, e, plan{endpoints: endpoints, protocol: protocol})
		defer r.Close()
		r.create(size(liveSeries))
		r.wait(50 * time.Millisecond)
		scrapes := time.NewTicker(scrapeEvery)
		defer scrapes.Stop()
		r.round(scrapes.C)
		r.wait(50 * time.Millisecond)

		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		from, cpuBefore, appendingBefore := r.committed, processTime(), r.appending
		stop := profileCPU(b)
		for r.committed-from < shorter(1_000_000, 4) {
			r.round(scrapes.C)
		}
		// Reading metrics would cost more than what is waited for: the rest of
		// what was committed leaves within batch_send_deadline.
		time.Sleep(settle)
		spent := processTime() - cpuBefore - (r.appending - appendingBefore)
		runtime.ReadMemStats(&after)
		stop()
		r.wait(50 * time.Millisecond)
		samples := float64(r.committed - from)
		paced := time.Duration(samples / scrapeSize * float64(pacing))
		b.ReportMetric((spent-paced).Seconds()/samples*1e6, "net-cpu-s/Msample")
		b.ReportMetric(spent.Seconds()/samples*1e6, "gross-cpu-s/Msample")
		return work{
			cpuPerMillion: (spent - paced).Seconds() / samples * 1e6,
			allocs:        float64(after.Mallocs-before.Mallocs) / samples / float64(endpoints),
		}
	})
}

func cpu(endpoints int, protocol remoteapi.WriteMessageType) func(b *testing.B) {
	return func(b *testing.B) {
		rounds := liveRounds
		if *small {
			rounds = 1
		}
		compareRounds(b, rounds, "cpu-s/Msample", func(b *testing.B, e engine, round int) float64 {
			return liveWork(b, e, endpoints, protocol, round).cpuPerMillion
		})
	}
}

func allocs(protocol remoteapi.WriteMessageType) func(b *testing.B) {
	return func(b *testing.B) {
		compare(b, "allocs/sample", func(b *testing.B, e engine) float64 {
			return liveWork(b, e, 1, protocol, 0).allocs
		})
	}
}
