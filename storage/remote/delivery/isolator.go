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
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
)

// run works until the lane stops.
func (z *isolator) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-z.l.queue.isolation.notify:
		case <-timer.C:
		case <-z.l.settings.Load().replaced:
			z.hasten()
		case <-z.l.stop:
			return
		case <-z.l.reading.Done():
			return
		}
		for z.step(time.Now()) && z.l.reading.Err() == nil && !z.l.stopping() {
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
		z.d.due, z.d.wait = time.Time{}, 0
	}
	z.until, z.backoff = time.Time{}, 0
	q := z.l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, is := range q.isolation.series {
		is.due, is.wait = time.Time{}, 0
	}
}

// begin takes up a request that was put on trial.
func (z *isolator) begin() {
	q := z.l.queue
	if z.d == nil {
		q.inherit()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.isolation.trial; t != nil && z.d == nil {
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
	q := z.l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, is := range q.isolation.series {
		if _, waits := is.mark(); is.suspect && waits {
			if is.refusals > 0 {
				wait = min(wait, is.due.Sub(now))
				continue
			}
			wait = min(wait, max(is.due.Sub(now), z.until.Sub(now)))
		}
	}
	if len(q.isolation.alike()) > 1 {
		wait = min(wait, max(z.together.Sub(now), z.until.Sub(now)))
	}
	return max(wait, time.Millisecond)
}

// divide makes an attempt with a part of the request on trial, and returns false
// if none is due.
func (z *isolator) divide(now time.Time) bool {
	d := z.d
	if !d.alive && (z.l.delivered.Load() > d.delivered || z.l.queue.parking()) {
		z.revive()
	}
	if now.Before(d.due) {
		return false
	}
	if !d.joined && z.l.limit.known() {
		d.join()
	}
	n := len(d.parts)
	switch {
	case !d.alive && !z.load(d.series...):
		d.due = now.Add(retryInterval)
	case !d.alive:
		z.probe()
	case n == 0:
		z.finish()
	case !z.load(d.parts[n-1].series...):
		d.due = now.Add(retryInterval)
	default:
		part := d.parts[n-1]
		d.parts = d.parts[:n-1]
		z.part(part)
	}
	return true
}

// revive goes on with dividing: the endpoint answers again.
func (z *isolator) revive() {
	d := z.d
	d.alive, d.refused, d.failed, d.wait, d.due = true, 0, 0, 0, time.Time{}
	d.found = z.l.delivered.Load() - 1
	d.parts = append(d.parts, part{series: d.series})
}

// finish ends a trial, or has it wait for a sign that the endpoint takes
// something.
func (z *isolator) finish() {
	d, q := z.d, z.l.queue
	if len(d.left) > 0 {
		d.series, d.left = d.left, nil
		d.alive, d.tries, d.delivered = false, 0, z.l.delivered.Load()
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.isolation.trial, z.d = nil, nil
	z.l.turn.give(z.l)
	q.cond.Broadcast() // A sender may wait to have its turn.
}

// probe finds out whether the endpoint is up: alternately with all that is on
// trial, as in any outage, and with a series of it.
func (z *isolator) probe() {
	d := z.d
	set := z.l.settings.Load()
	part := d.series
	if d.tries%2 == 1 {
		i := rand.IntN(len(part))
		part = part[i : i+1]
	}
	d.tries++
	a := z.attempt(part)
	switch {
	case a.res.Outcome == client.Delivered:
		z.settle(a, true)
		if d.series = remaining(d.series); !a.nothing() || len(d.series) == 0 {
			z.revive()
		}
	case final(a.res):
		z.revive()
	default:
		if a.gaveUp {
			z.l.lengthen()
		}
		most := time.Duration(set.queue.MaxBackoff)
		if z.l.failing.Load() {
			most *= 4 // Senders try too.
		}
		d.wait = min(max(2*d.wait, time.Duration(set.queue.MinBackoff)), most)
		d.due = time.Now().Add(max(d.wait, a.res.RetryAfter))
	}
}

// part makes an attempt with series that are on trial, of an endpoint that takes
// something.
func (z *isolator) part(p part) {
	d := z.d
	set := z.l.settings.Load()
	a := z.attempt(p.series)
	if rest := p.series[len(a.of):]; len(rest) > 0 {
		// What becomes of a half of it shows nothing of the other.
		d.parts = append(d.parts, part{series: rest})
		p.failures, p.of = 0, nil
	}
	of := p.series[:len(a.of)]
	if !scarce(a.res) || !d.whole {
		z.l.turn.give(z.l)
	}
	switch {
	case a.nothing():
		z.settle(a, true)
		if left := remaining(of); len(left) > 0 {
			d.parts = append(d.parts, part{series: left})
		}
		return
	case a.res.Outcome == client.Delivered:
		d.until = time.Time{} // As long for what is left.
		d.wait, d.refused, d.failed, d.refusedOnes = 0, 0, 0, nil
		z.settle(a, true)
		z.acquit(p.of, a)
		if left := remaining(of); len(left) > 0 {
			d.parts = append(d.parts, part{series: left}) // What came meanwhile.
		}
		return
	case final(a.res) && !z.divisible(a):
		d.refused++
		z.refused(a)
		d.refusedOnes = append(d.refusedOnes, of[0])
		if left := remaining(of); len(left) > 0 {
			d.parts = append(d.parts, part{series: left})
		}
	case final(a.res):
		d.parts = append(d.parts, halves(of)...)
	case a.items > 1 && z.again(set, a):
		d.parts = append(d.parts, part{series: of})
		z.pause(set, a.res)
		d.failed = 0
	case z.mayBeInnocent(&p, a.res):
		// Others come first, and show what to think of it.
		d.parts = slices.Insert(d.parts, 0, part{series: of, failures: p.failures})
		z.pause(set, a.res)
	case len(of) > 1:
		both := halves(of)
		if scarce(a.res) {
			parent := &divided{of: p.of}
			both[0].of, both[1].of = parent, parent
		}
		d.parts = append(d.parts, both...)
		z.pause(set, a.res)
	case z.maySuspect() && z.suspect(of[0], a.res):
		d.free--
		z.pause(set, a.res)
	default:
		d.left = append(d.left, of[0])
		z.pause(set, a.res)
	}
	if d.refused > mostRefusals {
		// It refuses everything; no series is at fault.
		all := d.refusedOnes
		for _, p := range d.parts {
			all = append(all, p.series...)
		}
		d.parts, d.refusedOnes = nil, nil
		z.refuse(all, a.res)
	}
}

// pause puts the next attempt of a trial off. As long as the endpoint takes other
// parts, that is for moments only, whatever it asks for: it is not meant for those
// that are innocent. If it takes none any more, the trial waits for a sign that it
// does. An endpoint of which requests may be too many gets more of a pause.
func (z *isolator) pause(set *settings, res client.Result) {
	d := z.d
	least := time.Duration(set.queue.MinBackoff)
	most, asked := 8*least, time.Duration(0)
	if scarce(res) && z.l.limit.known() {
		most, asked = max(most, time.Duration(set.queue.MaxBackoff)), z.l.hurried(res).RetryAfter
	}
	d.wait = min(max(2*d.wait, least), most)
	d.due = time.Now().Add(max(d.wait, asked))
	d.failed++
	if d.failed > mostFailures {
		for _, p := range d.parts {
			d.left = append(d.left, p.series...)
		}
		d.parts = nil
	}
}

// maySuspect reports whether a series that got no good answer alone is at fault,
// rather than the endpoint: it has taken something, and not many were found since.
func (z *isolator) maySuspect() bool {
	d := z.d
	if at := z.l.delivered.Load(); at > d.found {
		d.found, d.free = at, suspectsEach
	}
	return d.free > 0
}

// again reports whether a trial is to be tried again as a whole: it is the turn of that
// for as long as a sender's would be.
func (z *isolator) again(set *settings, a answer) bool {
	d := z.d
	if !d.whole || !scarce(a.res) {
		return false
	}
	if d.until.IsZero() {
		patience := patienceOf(set)
		if !z.l.turn.take(z.l, patience) {
			return true // After whoever's it is.
		}
		d.until, d.inTurn = time.Now().Add(patience), 0
	}
	d.inTurn++
	if d.inTurn < leastInTurn || time.Now().Before(d.until) {
		return true
	}
	d.until, d.tooMany = time.Time{}, a.items
	d.whole = z.smaller()
	return d.whole
}

// smaller makes requests smaller if that is what the endpoint asks for: what was too
// many in its turn is taken in halves, or so many were never taken.
func (z *isolator) smaller() (smaller bool) {
	d := z.d
	switch {
	case d.tooMany > d.half && d.half > 0:
		smaller = z.l.sizes.tooMany(d.tooMany, d.half)
	case z.l.sizes.unproven(d.tooMany, z.l.limit.known()):
		smaller = z.l.sizes.tooMany(d.tooMany, d.tooMany/2)
	}
	if smaller {
		d.tooMany, d.half = 0, 0
	}
	return smaller
}

// mayBeInnocent reports whether a part may have failed for no fault of its own.
func (z *isolator) mayBeInnocent(p *part, res client.Result) bool {
	if !scarce(res) || !z.l.limit.known() {
		return false
	}
	p.failures++
	return p.failures < guiltyAfter
}

// acquit notes that a half was taken. What was divided for the rate of requests is put
// together again once that is known; if all of it was tried in vain for long, it may be
// of samples, and as many as the half had are taken at once.
func (z *isolator) acquit(of *divided, a answer) {
	d, items := z.d, a.items
	for ; of != nil; of = of.of {
		of.taken, of.items = of.taken+1, max(of.items, items)
		if of.taken < 2 {
			return
		}
		items = of.items
		shown := z.l.limit.shown()
		if shown {
			z.l.tellLimit()
		}
		if d.half = max(d.half, items); z.smaller() || shown {
			d.join()
		}
	}
}

// join makes what is left to try one part again: the endpoint limits the rate of
// requests, so that they failed says nothing, and each takes as much of it.
func (d *division) join() {
	var all []*isolated
	for _, p := range d.parts {
		all = append(all, remaining(p.series)...)
	}
	d.parts = nil
	if len(all) > 0 {
		d.parts = []part{{series: all}}
	}
	d.joined, d.whole, d.until = true, true, time.Time{}
}

// trySuspect makes an attempt with the suspect that has been due for longest, and with
// others beside it if what came of it last was a refusal. Those need not wait with the
// others: an endpoint that refuses is up.
func (z *isolator) trySuspect(now time.Time) bool {
	wait := now.Before(z.until)
	q := z.l.queue
	q.mu.Lock()
	var due []*isolated
	for _, is := range q.isolation.series {
		_, waits := is.mark()
		switch {
		case !is.suspect:
		case !waits && now.Sub(is.due) > watchFor:
			q.isolation.release(is)
		case waits && !now.Before(is.due) && (!wait || is.refusals > 0):
			due = append(due, is)
		}
	}
	q.mu.Unlock()
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
		set := z.l.settings.Load()
		due = slices.DeleteFunc(due, func(is *isolated) bool { return is.refusals == 0 })
		n = min(len(due), refusalsAtOnce, max(set.queue.MaxShards, 1))
	}
	due = due[:n]
	if !z.load(due...) {
		for _, is := range due {
			is.due = now.Add(retryInterval)
		}
		return true
	}
	var (
		answers [refusalsAtOnce]answer
		wg      sync.WaitGroup
	)
	for i, is := range due {
		wg.Go(func() { answers[i] = z.attemptBy(&z.s[i], []*isolated{is}) })
	}
	wg.Wait()
	for i, is := range due {
		z.tried(is, answers[i])
	}
	return true
}

// tried learns from an attempt with a suspect alone.
func (z *isolator) tried(is *isolated, a answer) {
	set := z.l.settings.Load()
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
			is.due = time.Now().Add(time.Duration(set.queue.MinBackoff))
		}
	case final(a.res):
		// It goes on sample by sample, at once.
	default:
		is.refusals = 0
		z.judge(is, a)
		z.slow(set, scarce(a.res))
		is.wait = min(max(2*is.wait, time.Duration(set.queue.MinBackoff)), suspectPace*time.Duration(set.queue.MaxBackoff))
		// One that hangs takes no more than a tenth of the isolator's time.
		took := time.Since(a.began)
		is.due = time.Now().Add(max(is.wait, z.asked(a.res), 9*min(took, set.timeout)))
		if a.res.Status == 0 {
			is.timeout = 2 * max(is.timeout, z.l.shortTimeout(set))
		}
	}
}

// tryTogether makes an attempt with all suspects in memory that got no good answer
// alone, from time to time: what was wrong may be over, or was never about them.
func (z *isolator) tryTogether(now time.Time) bool {
	if now.Before(z.together) {
		return false
	}
	set := z.l.settings.Load()
	q := z.l.queue
	q.mu.Lock()
	all := q.isolation.alike()
	q.mu.Unlock()
	if len(all) < 2 {
		return false
	}
	a := z.attempt(all)
	if a.nothing() {
		z.settle(a, true)
		return true
	}
	if a.res.Outcome != client.Delivered {
		z.apart = min(max(2*z.apart, time.Duration(set.queue.MinBackoff)), time.Duration(set.queue.MaxBackoff))
		z.together = time.Now().Add(max(z.apart, 9*time.Since(a.began), z.asked(a.res)))
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
			z.l.limit.found(true)
			z.l.prompts.giveBack()
		}
		return
	}
	if is.failures < 2 && z.l.limit.found(false) {
		z.l.tellLimit()
	}
	is.scarce = false
}

// slow makes all suspects wait if the lane has delivered nothing since one of them
// failed: the endpoint is down, and is not to be asked by each of them.
// So it is if requests may be too many for it.
func (z *isolator) slow(set *settings, scarce bool) {
	at := z.l.delivered.Load()
	if at != z.seen && !scarce {
		z.seen, z.backoff = at, 0
		return
	}
	z.backoff = min(max(2*z.backoff, time.Duration(set.queue.MinBackoff)), time.Duration(set.queue.MaxBackoff))
	z.until = time.Now().Add(z.backoff)
}
