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
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
)

// run works until the stream stops.
func (z *isolator) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-z.stream.isolation.notify:
		case <-timer.C:
		case <-z.stream.endpoint.settings.Load().replaced:
			z.hasten()
		case <-z.stream.endpoint.stop:
			return
		case <-z.stream.reading.Done():
			return
		}
		for z.step(time.Now()) && z.stream.reading.Err() == nil && !z.stream.endpoint.stopping() {
		}
		timer.Reset(z.next(time.Now()))
	}
}

// step makes one attempt, if one is due.
func (z *isolator) step(now time.Time) bool {
	z.begin()
	if z.d != nil && z.divide(now) {
		return true
	}
	return z.trySuspect(now)
}

// hasten lets everything be tried at once: settings have changed.
func (z *isolator) hasten() {
	if z.d != nil {
		z.d.due, z.d.backoff = time.Time{}, 0
	}
	z.until, z.backoff = time.Time{}, 0
	x := z.stream.isolation
	x.mtx.Lock()
	defer x.mtx.Unlock()
	for _, is := range x.series {
		is.due, is.wait = time.Time{}, 0
	}
}

// begin takes up a request that was put on trial.
func (z *isolator) begin() {
	x := z.stream.isolation
	if z.d == nil {
		x.inherit()
	}
	x.mtx.Lock()
	defer x.mtx.Unlock()
	if t := x.trial; t != nil && z.d == nil {
		z.d = &division{trial: t}
		// Series that are alike are neighbours: what is not taken would come in a
		// row. Their order among each other does not matter.
		rand.Shuffle(len(t.series), func(i, j int) { t.series[i], t.series[j] = t.series[j], t.series[i] })
		if t.alive {
			z.d.parts = append(z.d.parts, part{series: t.series})
		}
	}
}

// next returns how long nothing is due.
func (z *isolator) next(now time.Time) time.Duration {
	wait := watchFor
	if z.d != nil {
		wait = min(wait, z.d.due.Sub(now))
		if !z.d.alive {
			wait = min(wait, pollInterval) // To see whether something was delivered.
		}
	}
	x := z.stream.isolation
	x.mtx.Lock()
	defer x.mtx.Unlock()
	for _, is := range x.series {
		if _, waits := is.mark(); is.suspect && waits {
			if is.refusals > 0 {
				wait = min(wait, is.due.Sub(now))
				continue
			}
			wait = min(wait, max(is.due.Sub(now), z.until.Sub(now)))
		}
	}
	if len(x.alike()) > 1 {
		wait = min(wait, max(z.together.Sub(now), z.until.Sub(now)))
	}
	return max(wait, time.Millisecond)
}

// trySuspect makes an attempt with the suspect that has been due for longest, and with
// others beside it if what came of it last was a refusal. Those need not wait with the
// others: an endpoint that refuses is up.
func (z *isolator) trySuspect(now time.Time) bool {
	wait := now.Before(z.until)
	x := z.stream.isolation
	x.mtx.Lock()
	var due []*isolated
	for _, is := range x.series {
		_, waits := is.mark()
		switch {
		case !is.suspect:
		case !waits && now.Sub(is.due) > watchFor:
			x.release(is)
		case waits && !now.Before(is.due) && (!wait || is.refusals > 0):
			due = append(due, is)
		}
	}
	x.mtx.Unlock()
	// By turns, or those that are not taken together would never be tried alone.
	if !wait && (len(due) == 0 || !z.nowAlone) && z.tryTogether(now) {
		z.nowAlone = true
		return true
	}
	if len(due) == 0 {
		return false
	}
	z.nowAlone = false
	slices.SortFunc(due, func(a, b *isolated) int { return a.due.Compare(b.due) })
	n := 1
	if due[0].refusals > 0 {
		due = slices.DeleteFunc(due, func(is *isolated) bool { return is.refusals == 0 })
		n = min(len(due), z.atOnce())
	}
	due = due[:n]
	if !z.load(due...) {
		for _, is := range due {
			is.due = now.Add(retryInterval)
		}
		return true
	}
	answers := z.attempts(n, func(i int) []*isolated { return due[i : i+1] })
	for i, is := range due {
		z.tried(is, answers[i])
	}
	return true
}

// tried learns from an attempt with a suspect alone.
func (z *isolator) tried(is *isolated, a answer) {
	set := z.stream.endpoint.settings.Load()
	is.due = a.began
	switch {
	case a.nothing():
		z.settle(a, true)
	case a.res.Outcome == client.Delivered:
		z.judge(is, a)
		is.wait, is.timeout, is.refusals = 0, 0, 0
		z.backoff /= 2
		is.alone = min(max(2*is.alone, 1), max(set.queue.MaxSamplesPerSend, 1))
		z.settle(a, true)
	case final(a.res) && !z.divisible(a):
		z.refused(a)
		is.refusals, is.wait = is.refusals+1, 0
		if is.refusals > freeRefusals {
			is.due = time.Now().Add(set.leastBackoff())
		}
	case final(a.res):
		// It goes on sample by sample, at once.
	default:
		is.refusals = 0
		z.judge(is, a)
		z.slow(set, scarce(a.res))
		is.wait = set.backoff(is.wait, suspectPace)
		is.due = time.Now().Add(z.stream.betweenSuspects(set, is.wait, a.res.RetryAfter, time.Since(a.began)))
		if a.res.Status == 0 {
			is.timeout = 2 * max(is.timeout, z.stream.shortTimeout(set))
		}
	}
}

// tryTogether makes an attempt with all suspects in memory that got no good answer
// alone, from time to time: what was wrong may be over, or was never about them.
func (z *isolator) tryTogether(now time.Time) bool {
	if now.Before(z.together) {
		return false
	}
	set := z.stream.endpoint.settings.Load()
	x := z.stream.isolation
	x.mtx.Lock()
	all := x.alike()
	x.mtx.Unlock()
	if len(all) < 2 {
		return false
	}
	a := z.attempt(all)
	if a.nothing() {
		z.settle(a, true)
		return true
	}
	if a.res.Outcome != client.Delivered {
		z.apart = set.backoff(z.apart, 1)
		z.together = time.Now().Add(z.stream.betweenSuspects(set, z.apart, a.res.RetryAfter, time.Since(a.began)))
		z.slow(set, scarce(a.res))
		return true
	}
	z.together, z.apart, z.backoff = time.Time{}, 0, 0
	for _, is := range a.of {
		z.judge(is, a)
		is.wait, is.timeout, is.refusals, is.due = 0, 0, 0, now
	}
	z.settle(a, true)
	return true
}

// judge learns from what became of a suspect that was tried whether the endpoint
// limits the rate of requests.
func (z *isolator) judge(is *isolated, a answer) {
	if !is.scarce {
		return
	}
	if a.res.Outcome != client.Delivered {
		is.failures++
		if is.failures == guiltyAfter {
			z.stream.limit.found(true)
			z.stream.prompts.giveBack()
		}
		return
	}
	if is.failures < 2 && z.stream.limit.found(false) {
		z.stream.tellLimit()
	}
	is.scarce = false
}

// slow makes all suspects wait if the stream has delivered nothing since one of them
// failed: the endpoint is down, and is not to be asked by each of them.
// So it is if requests may be too many for it.
func (z *isolator) slow(set *settings, scarce bool) {
	at := z.stream.delivered.Load()
	if at != z.seen && !scarce {
		z.seen, z.backoff = at, 0
		return
	}
	z.backoff = set.backoff(z.backoff, 1)
	z.until = time.Now().Add(z.backoff)
}
