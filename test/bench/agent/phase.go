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
	"os"
	"slices"
	"time"
)

// phase is what was measured of an agent between two moments.
type phase struct {
	Seconds    float64
	CPU        float64 // Seconds.
	RSS        float64 // Bytes, the median of samples.
	PeakRSS    float64
	Written    float64 // Bytes.
	HeapInUse  float64 // Bytes, the median of samples; 0 if none were taken.
	Goroutines float64

	Scraped  int64   // Samples.
	Sent     int64   // Samples that arrived, at all endpoints, with those that agents add.
	Wire     float64 // Bytes of the requests that were taken.
	Arrived  []int64 // By endpoint.
	Stale    int64   // Markers, at all endpoints.
	Behind   int64   // The most that an endpoint was behind, in samples.
	CaughtUp bool    // At the end an endpoint was no further behind than usual.
	Failed   int64   // Scrapes that the agent broke off.
	Refused  int64   // Requests that receivers refused, as they were told to.
	Unwanted int64   // Requests that no receiver would take.

	// CPU seconds of other processes: those of the benchmark and all others.
	Targets, Receivers, Benchmark, Others float64
}

// sampling is the time between looks at memory and progress.
const sampling = 250 * time.Millisecond

// looks say what a phase looks at.
type looks struct {
	// heaps is the time between looks at the heap, which cost the agent
	// something; 0 means none.
	heaps time.Duration
	// start has the peak since the start of the agent count.
	start bool
}

// watch measures until done, which is asked at every look.
func (r *rig) watch(at looks, done func(elapsed time.Duration, now progress) bool) (ph phase, err error) {
	// Where the peak cannot be reset the highest sample has to do.
	peakKnown := at.start || resetPeak(r.agent.ID()) == nil
	before, err := r.read()
	if err != nil {
		return ph, err
	}
	var rss, inUse, goroutines []float64
	nextHeap := at.heaps
	began := time.Now()
	for {
		time.Sleep(sampling)
		if err := r.alive(); err != nil {
			return ph, err
		}
		u, err := readUsage(r.agent.ID())
		if err != nil {
			return ph, err
		}
		rss = append(rss, float64(u.RSS))
		now, err := r.progress()
		if err != nil {
			return ph, err
		}
		ph.Behind = max(ph.Behind, now.behind())
		elapsed := time.Since(began)
		if at.heaps > 0 && elapsed >= nextHeap {
			h, err := r.readHeap()
			if err != nil {
				return ph, err
			}
			inUse, goroutines = append(inUse, h.InUse), append(goroutines, h.Goroutines)
			nextHeap += at.heaps
		}
		if done(elapsed, now) {
			break
		}
	}
	after, err := r.read()
	if err != nil {
		return ph, err
	}
	ph.Seconds = after.at.Sub(before.at).Seconds()
	ph.RSS, ph.PeakRSS = median(rss), slices.Max(rss)
	if peakKnown {
		ph.PeakRSS = float64(after.agent.Peak)
	}
	ph.HeapInUse, ph.Goroutines = median(inUse), median(goroutines)
	ph.add(before, after)
	return ph, nil
}

// reading is all running numbers at one moment.
type reading struct {
	at                                   time.Time
	agent, targets, receivers, benchmark usage
	burner                               usage
	busy                                 time.Duration
	progress                             progress
}

func (r *rig) read() (s reading, err error) {
	if s.progress, err = r.progress(); err != nil {
		return s, err
	}
	s.at = time.Now()
	if s.busy, err = busyTime(); err != nil {
		return s, err
	}
	pids := map[*usage]int{&s.agent: r.agent.ID(), &s.targets: r.targets.ID(), &s.receivers: r.receivers.ID(), &s.benchmark: os.Getpid()}
	if r.burner != nil {
		pids[&s.burner] = r.burner.ID()
	}
	for to, pid := range pids {
		if *to, err = readUsage(pid); err != nil {
			return s, err
		}
	}
	return s, nil
}

// add adds what happened between two moments.
func (ph *phase) add(before, after reading) {
	cpu := func(a, b usage) float64 { return (b.CPU - a.CPU).Seconds() }
	ph.CPU = cpu(before.agent, after.agent)
	ph.Written = float64(after.agent.Written - before.agent.Written)
	ph.Targets, ph.Receivers, ph.Benchmark = cpu(before.targets, after.targets), cpu(before.receivers, after.receivers), cpu(before.benchmark, after.benchmark)
	ph.Others = max(0, (after.busy-before.busy).Seconds()-ph.CPU-ph.Targets-ph.Receivers-ph.Benchmark-cpu(before.burner, after.burner))
	ph.Scraped = after.progress.scraped - before.progress.scraped
	for i, n := range after.progress.arrived {
		ph.Arrived = append(ph.Arrived, n-before.progress.arrived[i])
	}
	ph.Sent = after.progress.sent - before.progress.sent
	ph.Wire = float64(after.progress.bytes - before.progress.bytes)
	ph.Stale = after.progress.stale - before.progress.stale
	ph.Failed = after.progress.failed - before.progress.failed
	ph.Refused = after.progress.refused - before.progress.refused
	ph.Unwanted = after.progress.protested - before.progress.protested
}
