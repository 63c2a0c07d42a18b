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
	"math/rand/v2"
	"time"
)

// run works until the stream stops.
func (w *isolator) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.stream.isolation.notify:
		case <-timer.C:
		case <-w.stream.endpoint.settings.Load().replaced:
			w.hasten()
		case <-w.stream.endpoint.stop:
			return
		case <-w.stream.reading.Done():
			return
		}
		for w.attemptDue(time.Now()) && w.stream.reading.Err() == nil && !w.stream.endpoint.stopping() {
		}
		timer.Reset(w.untilDue(time.Now()))
	}
}

// attemptDue makes one attempt, if one is due.
func (w *isolator) attemptDue(now time.Time) bool {
	w.begin()
	if w.division != nil && w.stepDivision(now) {
		return true
	}
	return w.trySuspect(now)
}

// hasten lets everything be tried at once: settings have changed.
func (w *isolator) hasten() {
	if w.division != nil {
		w.division.due, w.division.backoff = time.Time{}, 0
	}
	w.until, w.backoff = time.Time{}, 0
	iso := w.stream.isolation
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, is := range iso.series {
		is.due, is.wait = time.Time{}, 0
	}
}

// begin takes up a request that was put on trial.
func (w *isolator) begin() {
	iso := w.stream.isolation
	if w.division == nil {
		iso.mergeInherited()
	}
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	if t := iso.trial; t != nil && w.division == nil {
		w.division = &division{alive: t.alive, whole: wholeTry{on: t.whole}, asking: asking{series: t.series}}
		// Series that are alike are neighbours: what is not taken would come in a
		// row. Their order among each other does not matter.
		rand.Shuffle(len(t.series), func(i, j int) { t.series[i], t.series[j] = t.series[j], t.series[i] })
		if t.alive {
			w.division.parts = []part{{series: t.series}}
		}
	}
}

// untilDue returns how long nothing is due.
func (w *isolator) untilDue(now time.Time) time.Duration {
	wait := watchFor
	if w.division != nil {
		wait = min(wait, w.division.due.Sub(now))
		if !w.division.alive {
			wait = min(wait, pollInterval) // To see whether something was delivered.
		}
	}
	iso := w.stream.isolation
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, is := range iso.series {
		if _, waits := is.mark(); is.suspect && waits {
			if is.refusals > 0 {
				wait = min(wait, is.due.Sub(now))
				continue
			}
			wait = min(wait, max(is.due.Sub(now), w.until.Sub(now)))
		}
	}
	if len(iso.alike()) > 1 {
		wait = min(wait, max(w.together.Sub(now), w.until.Sub(now)))
	}
	return max(wait, time.Millisecond)
}
