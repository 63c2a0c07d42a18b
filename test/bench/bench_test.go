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
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"testing"
)

var (
	small   = flag.Bool("small", false, "a tenth of the series, and shorter runs")
	series  = flag.Int("series", 0, "number of series, instead of each benchmark's own")
	profile = flag.String("profiles", "", "directory for CPU and heap profiles of what is measured")
)

// size is the number of series of a benchmark.
func size(full int) int {
	switch {
	case *series > 0:
		return *series
	case *small:
		return full / 10
	}
	return full
}

// shorter is n, or a part of it in a small run.
func shorter(n, part int) int {
	if *small {
		return n / part
	}
	return n
}

const (
	manySeries = 1_000_000 // Where costs grow with series.
	liveSeries = 100_000   // Where they grow with samples.
)

// names are the benchmarks, in the order in which all of them run.
var names = []struct {
	name string
	run  func(b *testing.B)
}{
	{"heap-1-endpoint", heap(1, false)},
	{"heap-3-endpoints", heap(3, false)},
	{"heap-per-added-endpoint", heapPerAdded},
	{"heap-3-endpoints-external-labels", heap(3, true)},
	{"append", commitScrape},
	{"cpu-1-endpoint-v1", cpu(1, v1)},
	{"cpu-1-endpoint-v2", cpu(1, v2)},
	{"cpu-3-endpoints-v1", cpu(3, v1)},
	{"cpu-3-endpoints-v2", cpu(3, v2)},
	{"allocs-per-sample", allocs(v1)},
	{"allocs-per-sample-v2", allocs(v2)},
	{"catchup-bytes", catchup(v1, outage, drainBytes, "B/sample")},
	{"catchup-bytes-v2", catchup(v2, outage, drainBytes, "B/sample")},
	{"catchup-v1", catchup(v1, outage, drainRate, "samples/s")},
	{"catchup-v2", catchup(v2, outage, drainRate, "samples/s")},
	{"catchup-cpu-v1", catchup(v1, outage, drainCPU, "cpu-s/Msample")},
	{"catchup-cpu-v2", catchup(v2, outage, drainCPU, "cpu-s/Msample")},
	{"throughput-v2", catchup(v2, written, drainRate, "samples/s")},
	{"throughput-cpu-v2", catchup(v2, written, drainCPU, "cpu-s/Msample")},
	{"startup-ready", startup(func(s started) float64 { return s.ready.Seconds() }, "s")},
	{"startup-ready-cpu", startup(func(s started) float64 { return s.cpu.Seconds() }, "cpu-s")},
	{"startup-first-send", startup(func(s started) float64 { return s.sending.Seconds() }, "s")},
	{"startup-peak-heap", startup(func(s started) float64 { return s.peak / s.steady }, "peak/steady")},
	{"checkpoint-bytes", checkpoint(func(c checkpointed) float64 { return c.bytes }, "B")},
	{"checkpoint-peak", checkpoint(func(c checkpointed) float64 { return c.peak }, "B/s")},
	{"checkpoint-stall", checkpointStall},
	{"isolation", isolation},
}

// Benchmark has a sub-benchmark for each name, and below it one for each engine.
func Benchmark(b *testing.B) {
	for _, n := range names {
		b.Run(n.name, n.run)
	}
}

// TestMain gives the process the binary's settings of the garbage collector.
func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(75)
	os.Exit(m.Run())
}

// results keeps what was measured, for benchmarks that look at the same run in
// another way: they do not repeat it.
var results = map[string]any{}

// once measures, unless that was done.
func once[T any](b *testing.B, key string, measure func(b *testing.B) T) T {
	if have, ok := results[key]; ok {
		return have.(T)
	}
	v := measure(b)
	results[key] = v
	return v
}

// compare runs both engines and prints the line of the benchmark.
func compare(b *testing.B, unit string, measure func(b *testing.B, e engine) float64) {
	compareRounds(b, 1, unit, func(b *testing.B, e engine, _ int) float64 { return measure(b, e) })
}

// compareRounds does so several times, one engine after the other so that the
// machine's moods meet both, and prints the medians.
func compareRounds(b *testing.B, rounds int, unit string, measure func(b *testing.B, e engine, round int) float64) {
	values := map[string][]float64{}
	for round := range rounds {
		for _, e := range engines {
			b.Run(e.name, func(b *testing.B) {
				v := measure(b, e, round)
				b.ReportMetric(0, "ns/op") // Says nothing here.
				b.ReportMetric(v, unit)
				values[e.name] = append(values[e.name], v)
			})
		}
	}
	s, d := values["stock"], values["durable"]
	if len(s) > 0 && len(d) > 0 {
		fmt.Printf("\nBENCH %s stock=%.4f durable=%.4f ratio=%.3f\n", nameOf(b), median(s), median(d), median(d)/median(s))
	}
}

// median returns the middle of an odd number of values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// nameOf is the last part of a benchmark's name.
func nameOf(b *testing.B) string {
	for i := len(b.Name()) - 1; i >= 0; i-- {
		if b.Name()[i] == '/' {
			return b.Name()[i+1:]
		}
	}
	return b.Name()
}
