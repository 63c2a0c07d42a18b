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

	"github.com/prometheus/prometheus/config"
)

// drained is how a backlog was delivered.
type drained struct {
	// rate is samples a second of the first 95%: what comes last waits for
	// batch_send_deadline.
	rate          float64
	bytes         float64 // On the wire per sample.
	cpuPerMillion float64 // Seconds per million samples.
}

// backlog is a number of rounds that accumulate while the receiver is down.
type backlog struct {
	rounds   int
	latency  time.Duration
	queue    func(*config.QueueConfig)
	measured int // How often, once if 0.
}

// outage has the receiver down for half an hour of samples every 15 s.
var outage = backlog{rounds: 120, latency: 20 * time.Millisecond}

// written has an unlimited receiver and a fixed number of shards, and is long
// enough that the first retry after the outage is no great part, but less than a
// segment, since stock pauses at the end of one for as much as 15 s. Stock sends
// nothing that was written before it started, so the log is written while it
// cannot send. That takes two seconds, of which rates differ by a tenth from run
// to run.
var written = backlog{rounds: 130, measured: 3, queue: func(q *config.QueueConfig) { q.MinShards, q.MaxShards = 8, 8 }}

// drain delivers a backlog. Before it there are two rounds of live samples, at
// the live rate, so that caches are warm and the engines have sent something.
func drain(b *testing.B, e engine, protocol remoteapi.WriteMessageType, back backlog, nth int) drained {
	return once(b, fmt.Sprintf("drain/%s/%s/%d/%d", e.name, protocol, back.rounds, nth), func(b *testing.B) drained {
		r := openRig(b, e, plan{endpoints: 1, protocol: protocol, queue: back.queue})
		defer r.Close()
		rc := r.receivers[0]
		rc.latency.Store(back.latency)
		r.create(size(liveSeries))
		scrapes := time.NewTicker(time.Second * scrapeSize / liveRate)
		defer scrapes.Stop()
		r.round(scrapes.C)
		r.round(scrapes.C)
		r.wait(50 * time.Millisecond)

		r.setDown(true)
		from := r.committed
		for range back.rounds {
			r.round(nil)
		}
		runtime.GC()
		time.Sleep(100 * time.Millisecond)
		cpuBefore, bytesBefore := processTime(), rc.bytes.Load()
		stop := profileCPU(b)
		began := time.Now()
		r.setDown(false)
		most := (r.committed - from) * 19 / 20
		r.waitFor(from+most, 10*time.Millisecond)
		took := time.Since(began)
		r.wait(50 * time.Millisecond)
		spent := processTime() - cpuBefore
		stop()
		samples := float64(r.committed - from)
		d := drained{
			rate:          float64(most) / took.Seconds(),
			bytes:         float64(rc.bytes.Load()-bytesBefore) / samples,
			cpuPerMillion: spent.Seconds() / samples * 1e6,
		}
		b.ReportMetric(d.bytes, "wire-B/sample")
		b.ReportMetric(d.cpuPerMillion, "cpu-s/Msample")
		b.ReportMetric(r.sum("prometheus_remote_storage_shards"), "shards-at-end")
		return d
	})
}

func drainRate(d drained) float64  { return d.rate }
func drainBytes(d drained) float64 { return d.bytes }
func drainCPU(d drained) float64   { return d.cpuPerMillion }

func catchup(protocol remoteapi.WriteMessageType, back backlog, value func(drained) float64, unit string) func(b *testing.B) {
	return func(b *testing.B) {
		times := max(back.measured, 1)
		if *small {
			times = 1
		}
		compareRounds(b, times, unit, func(b *testing.B, e engine, nth int) float64 {
			return value(drain(b, e, protocol, back, nth))
		})
	}
}
