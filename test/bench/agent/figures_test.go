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

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		require.InDelta(t, c.want, median(c.values), 1e-12, "%v", c.values)
	}
	values := []float64{3, 1, 2}
	median(values)
	require.Equal(t, []float64{3, 1, 2}, values, "the values stay as they are")
}

// measured is a result with so many CPU seconds for a million samples.
func measured(sender string, cpu float64, invalid ...string) result {
	return result{Case: "x", Sender: sender, Series: 1000, Steady: phase{CPU: cpu, Scraped: 1e6}, Invalid: invalid}
}

func cpuLine(t *testing.T, all []result) string {
	of := lines("x", all)
	require.NotEmpty(t, of)
	require.Equal(t, "agent-x-cpu-per-Msample", of[0].name)
	return of[0].String()
}

func TestLinesHaveMediansAndRatios(t *testing.T) {
	all := []result{
		measured("durable", 2), measured("stock", 9), measured("vmagent", 5),
		measured("durable", 3), measured("stock", 4), measured("vmagent", 1),
		measured("durable", 9), measured("stock", 6), measured("vmagent", 4),
		{Case: "y", Sender: "stock", Series: 1, Steady: phase{CPU: 99, Scraped: 1}},
	}
	require.Equal(t, "BENCH agent-x-cpu-per-Msample stock=6.0000 durable=3.0000 ratio=0.500 vmagent=4.0000 ratio-vmagent=0.750", cpuLine(t, all))
	require.Empty(t, lines("z", all))
}

// Nothing is compared with an agent that was not measured.
func TestLinesOfSomeAgents(t *testing.T) {
	require.Equal(t, "BENCH agent-x-cpu-per-Msample durable=3.0000", cpuLine(t, []result{measured("durable", 3)}))
	require.Equal(t, "BENCH agent-x-cpu-per-Msample stock=3.0000 upstream=2.0000", cpuLine(t, []result{measured("stock", 3), measured("upstream", 2)}))
	require.Equal(t, "BENCH agent-x-cpu-per-Msample durable=3.0000 upstream=2.0000 ratio-upstream=1.500", cpuLine(t, []result{measured("durable", 3), measured("upstream", 2)}))
}

func TestRunsThatDoNotCountAreLeftOut(t *testing.T) {
	all := []result{measured("durable", 3), measured("stock", 6), measured("stock", 99, "late"), measured("stock", 6)}
	require.Equal(t, "BENCH agent-x-cpu-per-Msample stock=6.0000 durable=3.0000 ratio=0.500 runs=stock:2/3", cpuLine(t, all))

	// With half of them there is no figure.
	all = append(all, measured("stock", 99, "late"))
	require.Equal(t, "INVALID agent-x-cpu-per-Msample durable=3.0000 no-valid-runs=stock", cpuLine(t, all))

	// A case of which nothing counts has one line that says so.
	of := lines("x", []result{measured("durable", 3, "late"), measured("stock", 6, "late")})
	require.Len(t, of, 1)
	require.Equal(t, "INVALID agent-x-cpu-per-Msample no-valid-runs=stock,durable", of[0].String())
}

func TestFiguresOfARun(t *testing.T) {
	r := result{
		Series: 1000, Ready: 0.5, HeapLive: 500_000, ReadyAgain: 0.75,
		Steady:  phase{CPU: 10, Scraped: 2e6, RSS: 2e6, PeakRSS: 3e6, HeapInUse: 800_000, Written: 16e6, Sent: 4e6, Wire: 6e6},
		Outage:  &phase{PeakRSS: 4e6, Scraped: 1e6, Written: 9e6},
		CatchUp: &phase{PeakRSS: 5e6, Seconds: 7, CaughtUp: true},
		Again:   &phase{PeakRSS: 1e6},
		Resumed: &phase{PeakRSS: 6e6, Seconds: 20},
		Scraped: 4e6, Missing: []int64{-5, 1e6, 0},
	}
	known := map[string]float64{}
	for _, f := range figures {
		if v, ok := f.of(r); ok {
			known[f.name] = v
		}
	}
	require.Equal(t, map[string]float64{
		"cpu-per-Msample": 5, "heap-in-use-per-series": 800, "live-heap-per-series": 500, "rss-per-series": 2000,
		"peak-over-steady": 1.5, "written-per-sample": 8, "wire-per-sample": 1.5, "ready": 0.5, "outage-written-per-sample": 9,
		"outage-peak-over-steady": 2, "catch-up-peak-over-steady": 2.5, "restart-peak-over-steady": 0.5, "restart-catch-up-peak-over-steady": 3,
		"catch-up-seconds": 7, "restart-ready": 0.75, "missing-share": 0.25,
		// It never caught up after the restart, so that took no time that could be told.
	}, known)

	// Without an outage, and with nothing written, the others are left.
	r = result{Series: 1000, Ready: 0.5, Steady: phase{CPU: 10, Scraped: 2e6}, Scraped: 4e6, Missing: []int64{0}}
	known = map[string]float64{}
	for _, f := range figures {
		if v, ok := f.of(r); ok {
			known[f.name] = v
		}
	}
	require.Equal(t, map[string]float64{"cpu-per-Msample": 5, "ready": 0.5}, known)
}
