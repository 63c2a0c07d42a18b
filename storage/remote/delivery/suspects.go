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
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
)

// trySuspect makes an attempt with the suspect that has been due for longest, and with
// others beside it if what came of it last was a refusal. Those need not wait with the
// others: an endpoint that refuses is up.
func (w *isolator) trySuspect(now time.Time) bool {
	wait := now.Before(w.until)
	iso := w.stream.isolation
	iso.mtx.Lock()
	var due []*isolated
	for _, is := range iso.series {
		_, waits := is.mark()
		switch {
		case !is.suspect:
		case !waits && now.Sub(is.due) > watchFor:
			iso.release(is)
		case waits && !now.Before(is.due) && (!wait || is.refusals > 0):
			due = append(due, is)
		}
	}
	iso.mtx.Unlock()
	// By turns, or those that are not taken together would never be tried alone.
	if !wait && (len(due) == 0 || !w.nowAlone) && w.tryTogether(now) {
		w.nowAlone = true
		return true
	}
	if len(due) == 0 {
		return false
	}
	w.nowAlone = false
	slices.SortFunc(due, func(a, b *isolated) int { return a.due.Compare(b.due) })
	n := 1
	if due[0].refusals > 0 {
		due = slices.DeleteFunc(due, func(is *isolated) bool { return is.refusals == 0 })
		n = min(len(due), w.atOnce())
	}
	due = due[:n]
	if !w.loadFromLog(due...) {
		for _, is := range due {
			is.due = now.Add(retryInterval)
		}
		return true
	}
	for _, is := range due {
		is.alone = w.alone(is.alone)
	}
	answers := w.attemptSeveral(n, func(i int) []*isolated { return due[i : i+1] })
	for i, is := range due {
		w.tried(is, answers[i])
	}
	return true
}

// tried learns from an attempt with a suspect alone.
func (w *isolator) tried(is *isolated, a answer) {
	set := w.stream.endpoint.settings.Load()
	is.due = a.began
	switch {
	case a.nothing():
		w.settleAnswer(a, true)
	case a.res.Outcome == client.Delivered:
		w.learnRate(is, a)
		w.sizes.noteTaken(a.samples(), set.queue.MaxSamplesPerSend)
		is.wait, is.timeout, is.refusals, is.unsureRefusals, is.unanswered = 0, 0, 0, 0, 0
		w.backoff /= 2
		is.alone = min(max(2*is.alone, 1), max(set.queue.MaxSamplesPerSend, 1))
		w.settleAnswer(a, true)
	case final(a.res) && !a.divisible():
		if !w.sure(is, a) {
			is.wait = set.backoff(is.wait, suspectPace)
			is.due = time.Now().Add(is.wait)
			return
		}
		w.dropSample(a)
		is.refusals, is.unanswered, is.wait = is.refusals+1, 0, 0
		if is.refusals > freeRefusals {
			is.due = time.Now().Add(set.leastBackoff())
		}
	case final(a.res):
		is.alone = 1 // It goes on sample by sample, at once.
	default:
		is.refusals = 0
		w.learnRate(is, a)
		w.fewer(is, a)
		w.slow(set, scarce(a.res))
		is.wait = set.backoff(is.wait, suspectPace)
		is.due = time.Now().Add(w.stream.betweenSuspects(set, is.wait, a.res.RetryAfter, time.Since(a.began)))
		if a.res.Status == 0 {
			is.timeout = 2 * max(is.timeout, w.stream.shortTimeout(set))
		}
	}
}

// alone returns how many samples of a suspect that has so many in its next request, 0 for
// any number, are sent of it.
func (w *isolator) alone(n int) int {
	if most := int(w.sizes.most.Load()); most > 0 && (n == 0 || n > most) {
		return most
	}
	return n
}

// fewer lets the next request of a suspect have half as many samples, if it got no good
// answer again and again: so many may be what is not taken at once, and while it grows
// with each request that is taken, it would come to that. What was taken of a suspect
// before is repeated for longer.
func (w *isolator) fewer(is *isolated, a answer) {
	n, most := a.samples(), limitedFailures
	unproven := scarce(a.res) && w.sizes.unproven(n, true)
	if unproven {
		most = leastInTurn
	}
	is.unanswered++
	if n < 2 || is.unanswered < most {
		return
	}
	is.alone, is.unanswered = n/2, 0
	if unproven {
		w.sizes.tooMany(n, n/2)
	}
}

// tryTogether makes an attempt with all suspects in memory that got no good answer
// alone, from time to time: what was wrong may be over, or was never about them.
func (w *isolator) tryTogether(now time.Time) bool {
	if now.Before(w.together) {
		return false
	}
	set := w.stream.endpoint.settings.Load()
	iso := w.stream.isolation
	iso.mtx.Lock()
	all := iso.alike()
	iso.mtx.Unlock()
	if len(all) < 2 {
		return false
	}
	a := w.attempt(all)
	if a.nothing() {
		w.settleAnswer(a, true)
		return true
	}
	if a.res.Outcome != client.Delivered {
		w.apart = set.backoff(w.apart, 1)
		w.together = time.Now().Add(w.stream.betweenSuspects(set, w.apart, a.res.RetryAfter, time.Since(a.began)))
		w.slow(set, scarce(a.res))
		return true
	}
	w.together, w.apart, w.backoff = time.Time{}, 0, 0
	for _, is := range a.of {
		w.learnRate(is, a)
		is.wait, is.timeout, is.refusals, is.unanswered, is.due = 0, 0, 0, 0, now
	}
	w.settleAnswer(a, true)
	return true
}

// learnRate learns from what became of a suspect that was tried whether the endpoint
// limits the rate of requests.
func (w *isolator) learnRate(is *isolated, a answer) {
	if !is.scarce {
		return
	}
	if a.res.Outcome != client.Delivered {
		is.failures++
		if is.failures == guiltyAfter {
			w.stream.limit.foundGuilty()
			w.stream.prompts.giveBack()
		}
		return
	}
	if is.failures < 2 && w.stream.limit.foundInnocent() {
		w.stream.tellLimit()
	}
	is.scarce = false
}

// slow makes all suspects wait if the stream has delivered nothing since one of them
// failed: the endpoint is down, and is not to be asked by each of them.
// So it is if requests may be too many for it.
func (w *isolator) slow(set *settings, scarce bool) {
	at := w.stream.delivered.Load()
	if at != w.seen && !scarce {
		w.seen, w.backoff = at, 0
		return
	}
	w.backoff = set.backoff(w.backoff, 1)
	w.until = time.Now().Add(w.backoff)
}
