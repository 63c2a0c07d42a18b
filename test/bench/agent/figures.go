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
	"fmt"
	"slices"
	"strings"
)

// figure is a number that a run shows, if it does: some agents have no such
// thing, and some cases do not go there.
type figure struct {
	name string
	of   func(result) (value float64, known bool)
}

// figures are what the benchmark prints of each case, in this order.
var figures = []figure{
	{"cpu-per-Msample", func(r result) (float64, bool) { return ratio(r.Steady.CPU, float64(r.Steady.Scraped)/1e6) }},
	{"heap-in-use-per-series", func(r result) (float64, bool) { return ratio(r.Steady.HeapInUse, float64(r.Series)) }},
	{"live-heap-per-series", func(r result) (float64, bool) { return ratio(r.HeapLive, float64(r.Series)) }},
	{"rss-per-series", func(r result) (float64, bool) { return ratio(r.Steady.RSS, float64(r.Series)) }},
	{"peak-over-steady", func(r result) (float64, bool) { return r.overSteady(&r.Steady) }},
	{"written-per-sample", func(r result) (float64, bool) { return ratio(r.Steady.Written, float64(r.Steady.Scraped)) }},
	{"wire-per-sample", func(r result) (float64, bool) { return ratio(r.Steady.Wire, float64(r.Steady.Sent)) }},
	{"ready", func(r result) (float64, bool) { return r.Ready, true }},
	{"outage-written-per-sample", func(r result) (float64, bool) { return writtenPer(r.Outage) }},
	{"outage-peak-over-steady", func(r result) (float64, bool) { return r.overSteady(r.Outage) }},
	{"catch-up-peak-over-steady", func(r result) (float64, bool) { return r.overSteady(r.CatchUp) }},
	{"restart-peak-over-steady", func(r result) (float64, bool) { return r.overSteady(r.Again) }},
	{"restart-catch-up-peak-over-steady", func(r result) (float64, bool) { return r.overSteady(r.Resumed) }},
	{"catch-up-seconds", func(r result) (float64, bool) { return lasted(r.CatchUp) }},
	{"restart-catch-up-seconds", func(r result) (float64, bool) { return lasted(r.Resumed) }},
	{"restart-ready", func(r result) (float64, bool) { return r.ReadyAgain, r.ReadyAgain > 0 }},
	{"missing-share", missing},
}

// ratio is unknown if one of the two is: nothing that is measured is 0.
func ratio(a, b float64) (float64, bool) {
	if a <= 0 || b <= 0 {
		return 0, false
	}
	return a / b, true
}

func (r result) overSteady(ph *phase) (float64, bool) {
	if ph == nil {
		return 0, false
	}
	return ratio(ph.PeakRSS, r.Steady.RSS)
}

// writtenPer is what was written in a phase for each sample that was scraped.
func writtenPer(ph *phase) (float64, bool) {
	if ph == nil {
		return 0, false
	}
	return ratio(ph.Written, float64(ph.Scraped))
}

// lasted is how long a catch-up took; an agent that never catches up has no such time.
func lasted(ph *phase) (float64, bool) {
	if ph == nil || !ph.CaughtUp {
		return 0, false
	}
	return ph.Seconds, true
}

// missing is the share of all samples that never arrived at the endpoint that
// got least, in cases with outages. What came twice hides what is missing.
func missing(r result) (float64, bool) {
	if r.Outage == nil || len(r.Missing) == 0 || r.Scraped == 0 {
		return 0, false
	}
	return float64(max(0, slices.Max(r.Missing))) / float64(r.Scraped), true
}

// median returns the middle of some values, 0 of none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// line is a figure of one case with the medians of all agents.
type line struct {
	name    string
	medians map[string]float64 // By agent, of those whose runs count.
	invalid []string           // Agents most of whose runs do not.
	fewer   []string           // Agents some of whose runs do not.
}

// lines returns the figures of a case. An agent whose runs mostly do not count
// has no figures.
func lines(name string, all []result) (of []line) {
	runs, valid := map[string]int{}, map[string][]result{}
	for _, r := range all {
		if r.Case != name {
			continue
		}
		runs[r.Sender]++
		if len(r.Invalid) == 0 {
			valid[r.Sender] = append(valid[r.Sender], r)
		}
	}
	for _, f := range figures {
		l := line{name: "agent-" + name + "-" + f.name, medians: map[string]float64{}}
		for _, sender := range senderOrder {
			if runs[sender] == 0 {
				continue
			}
			if 2*len(valid[sender]) <= runs[sender] {
				l.invalid = append(l.invalid, sender)
				continue
			}
			if len(valid[sender]) < runs[sender] {
				l.fewer = append(l.fewer, fmt.Sprintf("%s:%d/%d", sender, len(valid[sender]), runs[sender]))
			}
			var values []float64
			for _, r := range valid[sender] {
				if v, known := f.of(r); known {
					values = append(values, v)
				}
			}
			if len(values) > 0 {
				l.medians[sender] = median(values)
			}
		}
		if len(l.medians) > 0 || len(l.invalid) > 0 && f.name == figures[0].name {
			of = append(of, l)
		}
	}
	return of
}

// senderOrder is that of the results on a line.
var senderOrder = []string{"stock", ours, "upstream", "vmagent", "otel-wal", "otel-otlp"}

// String returns the line as it is printed.
func (l line) String() string {
	var b strings.Builder
	word := "BENCH"
	if len(l.invalid) > 0 {
		word = "INVALID"
	}
	fmt.Fprintf(&b, "%s %s", word, l.name)
	durable, have := l.medians[ours]
	for _, sender := range senderOrder {
		v, ok := l.medians[sender]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, " %s=%.4f", sender, v)
		switch {
		case !have || v == 0:
		case sender == ours:
			if stock := l.medians["stock"]; stock > 0 {
				fmt.Fprintf(&b, " ratio=%.3f", durable/stock)
			}
		case sender != "stock":
			fmt.Fprintf(&b, " ratio-%s=%.3f", sender, durable/v)
		}
	}
	if len(l.fewer) > 0 {
		fmt.Fprintf(&b, " runs=%s", strings.Join(l.fewer, ","))
	}
	if len(l.invalid) > 0 {
		fmt.Fprintf(&b, " no-valid-runs=%s", strings.Join(l.invalid, ","))
	}
	return b.String()
}
