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

// stepDivision makes an attempt with a part of the request on trial, and returns false
// if none is due.
func (w *isolator) stepDivision(now time.Time) bool {
	d := w.division
	if !d.alive && (w.stream.delivered.Load() > d.asking.delivered || w.stream.isolation.timesParked() > d.asking.parked) {
		w.revive()
	}
	if now.Before(d.due) {
		return false
	}
	if !d.whole.joined && w.stream.limit.known() {
		d.join()
	}
	switch {
	case !d.alive && !w.loadFromLog(d.asking.series...):
		d.due = now.Add(retryInterval)
	case !d.alive:
		w.tryIfUp()
	case len(d.parts) == 0:
		w.endTrial()
	case !w.tryParts():
		d.due = now.Add(retryInterval)
	}
	return true
}

// atOnce is how many attempts are made at a time with what is refused: an endpoint that
// refuses is up, and its answers may take long.
func (w *isolator) atOnce() int {
	return min(refusalsAtOnce, max(w.stream.endpoint.settings.Load().queue.MaxShards, 1))
}

// tryParts makes attempts with the last parts: several at a time of what is refused, one
// of what gets no good answer. It returns false if they cannot be read.
func (w *isolator) tryParts() bool {
	d, n := w.division, 1
	if d.final {
		n = min(len(d.parts), w.atOnce())
	}
	parts := slices.Clone(d.parts[len(d.parts)-n:])
	slices.Reverse(parts)
	var all []*isolated
	for _, p := range parts {
		all = append(all, p.series...)
	}
	if !w.loadFromLog(all...) {
		return false
	}
	d.parts = d.parts[:len(d.parts)-n]
	answers := w.attemptSeveral(n, func(i int) []*isolated { return parts[i].series })
	for i, p := range parts {
		w.part(p, answers[i])
	}
	w.dropIfRefusesAll(answers[n-1]) // No answer is left then that is about one of those.
	return true
}

// attemptSeveral makes n attempts at a time.
func (w *isolator) attemptSeveral(n int, series func(i int) []*isolated) (answers [refusalsAtOnce]answer) {
	var wg sync.WaitGroup
	for i := range n {
		of := series(i)
		wg.Go(func() { answers[i] = w.attemptBy(&w.senders[i], of) })
	}
	wg.Wait()
	return answers
}

// revive goes on with dividing: the endpoint answers again.
func (w *isolator) revive() {
	d := w.division
	d.alive, d.backoff, d.due = true, 0, time.Time{}
	d.inVain.refused, d.inVain.failed = 0, 0
	d.suspects.at = w.stream.delivered.Load() - 1
	d.parts = append(d.parts, part{series: d.asking.series})
}

// endTrial ends a trial, or has it wait for a sign that the endpoint takes
// something.
func (w *isolator) endTrial() {
	d, iso := w.division, w.stream.isolation
	if len(d.left) > 0 {
		d.alive, d.asking = false, asking{series: d.left, delivered: w.stream.delivered.Load(), parked: iso.timesParked()}
		d.left = nil
		return
	}
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	iso.trial, w.division = nil, nil
	w.stream.turn.give(w.stream)
	iso.cond.Broadcast() // A sender may wait to have its turn.
}

// tryIfUp finds out whether the endpoint is up: alternately with all that is on
// trial, as in any outage, and with the oldest sample of a series of it.
func (w *isolator) tryIfUp() {
	d := w.division
	set := w.stream.endpoint.settings.Load()
	var a answer
	if d.asking.tries%2 == 0 {
		a = w.attempt(d.asking.series)
	} else {
		a = w.attemptFirst(d.asking.series[rand.IntN(len(d.asking.series))])
	}
	d.asking.tries++
	switch {
	case a.res.Outcome == client.Delivered:
		w.settleAnswer(a, true)
		if d.asking.series = remaining(d.asking.series); !a.nothing() || len(d.asking.series) == 0 {
			w.revive()
		}
	case final(a.res):
		w.revive()
	default:
		if a.gaveUp {
			w.stream.lengthen()
		}
		wait, backoff := w.stream.untilTaken(set, d.backoff, a.res.RetryAfter)
		d.due, d.backoff = time.Now().Add(wait), backoff
	}
}

// attemptFirst sends the oldest sample of a series once: it may be that the endpoint takes
// no more at once.
func (w *isolator) attemptFirst(is *isolated) answer {
	alone := is.alone
	is.alone = 1
	a := w.attempt([]*isolated{is})
	is.alone = alone
	return a
}

// part learns from an attempt with series that are on trial, of an endpoint that takes
// something: they are taken, refused for good, or get no good answer.
func (w *isolator) part(p part, a answer) {
	d := w.division
	if a.res.Outcome != client.Delivered {
		d.final = final(a.res)
	}
	if rest := p.series[len(a.of):]; len(rest) > 0 {
		// What becomes of a half of it shows nothing of the other.
		d.parts = append(d.parts, part{series: rest})
		p = part{series: p.series[:len(a.of)]}
	}
	if !scarce(a.res) || !d.whole.on {
		w.stream.turn.give(w.stream)
	}
	switch {
	case a.res.Outcome == client.Delivered:
		w.partTaken(p, a)
		return
	case final(a.res):
		w.partRefused(p, a)
	default:
		w.partUnanswered(p, a)
	}
}

// dropIfRefusesAll drops all that is on trial if it was refused, with the last answer too, and
// no series of it is at fault.
func (w *isolator) dropIfRefusesAll(last answer) {
	d := w.division
	if !final(last.res) || last.mendable || d.inVain.refused <= mostRefusals || !w.refusesAll() {
		return
	}
	all := d.inVain.refusedOnes
	for _, p := range d.parts {
		all = append(all, p.series...)
	}
	d.parts, d.inVain.refusedOnes = nil, nil
	w.dropSeries(all, last.res)
}

// partTaken lets the series of a part go, as far as nothing more of them waits.
func (w *isolator) partTaken(p part, a answer) {
	d := w.division
	w.settleAnswer(a, true)
	if !a.nothing() {
		d.whole.until, d.took = time.Time{}, true // As long for what is left.
		d.backoff, d.inVain = 0, streak{}
		w.acquit(p.of, a)
	}
	d.putBack(p.series) // What came meanwhile.
}

// putBack has what is still isolated of a part tried again.
func (d *division) putBack(of []*isolated) {
	if left := remaining(of); len(left) > 0 {
		d.parts = append(d.parts, part{series: left})
	}
}

// partRefused divides a part that was refused or, if that is one sample, drops it once
// the refusal counts.
func (w *isolator) partRefused(p part, a answer) {
	d, set := w.division, w.stream.endpoint.settings.Load()
	if a.divisible() {
		if len(a.of) == 1 {
			a.of[0].alone = 1 // It goes on sample by sample.
		}
		d.parts = append(d.parts, halves(p.series)...)
		return
	}
	if !w.sure(p.series[0], a) {
		d.parts = slices.Insert(d.parts, 0, part{series: p.series}) // Others come first.
		if p.series[0].unsureRefusals >= sureAfter {
			w.putOff(set, a.res)
		}
		return
	}
	if !a.again { // Else it has it.
		d.inVain.refused++
	}
	w.dropSample(a)
	d.inVain.refusedOnes = append(d.inVain.refusedOnes, p.series[0])
	d.putBack(p.series)
}

// partUnanswered divides a part that got no good answer, unless it may be none of its
// fault. A single series becomes a suspect, or is left until it is known whether the
// endpoint takes anything.
func (w *isolator) partUnanswered(p part, a answer) {
	d, of := w.division, p.series
	d.inVain.refused, d.inVain.refusedOnes = 0, nil // It refused that before it went away.
	set := w.stream.endpoint.settings.Load()
	switch {
	case a.items > 1 && w.repeatsWhole(set, a):
		d.parts = append(d.parts, part{series: of})
		w.putOff(set, a.res)
		d.inVain.failed = 0
		return
	case w.mayBeInnocent(&p, a.res):
		// Others come first, and show what to think of it.
		d.parts = slices.Insert(d.parts, 0, part{series: of, failures: p.failures})
	case len(of) > 1:
		both := halves(of)
		if scarce(a.res) {
			parent := &dividedPart{of: p.of}
			both[0].of, both[1].of = parent, parent
		}
		d.parts = append(d.parts, both...)
	case w.maySuspect() && w.suspect(of[0], a.res):
		d.suspects.left--
	default:
		d.left = append(d.left, of[0])
	}
	w.putOff(set, a.res)
}

// refusesAll reports whether an endpoint that refused many series in a row refuses
// everything: it has taken nothing for a while. One that took a part of the trial has
// most likely the rest of what it refuses already, because an answer was lost.
func (w *isolator) refusesAll() bool {
	took := takesFor
	if w.division.took {
		took = tookFor
	}
	return time.Since(w.stream.endpoint.lastTaken.Load()) > took
}

// putOff puts the next attempt of a trial off. If the endpoint takes none any more, the
// trial waits for a sign that it does.
func (w *isolator) putOff(set *settings, res client.Result) {
	d := w.division
	wait, backoff := w.stream.betweenParts(set, d.backoff, res)
	d.due, d.backoff = time.Now().Add(wait), backoff
	d.inVain.failed++
	if d.inVain.failed > mostFailures {
		for _, p := range d.parts {
			d.left = append(d.left, p.series...)
		}
		d.parts = nil
	}
}

// maySuspect reports whether a series that got no good answer alone is at fault,
// rather than the endpoint: it has taken something, and not many were found since.
func (w *isolator) maySuspect() bool {
	d := w.division
	d.suspects.renew(w.stream.delivered.Load())
	return d.suspects.left > 0
}

// repeatsWhole reports whether a trial is to be repeated as a whole, which has the turn for as
// long as a sender's request would.
func (w *isolator) repeatsWhole(set *settings, a answer) bool {
	whole := &w.division.whole
	if !whole.on || !scarce(a.res) {
		return false
	}
	if whole.until.IsZero() {
		lasts := set.timeToDoubt()
		if !w.stream.turn.take(w.stream, lasts) {
			return true // After the owner of the turn.
		}
		whole.until, whole.inTurn = time.Now().Add(lasts), 0
	}
	whole.inTurn++
	if whole.inTurn < leastInTurn || time.Now().Before(whole.until) {
		return true
	}
	whole.until, whole.tooMany = time.Time{}, a.items
	whole.on = w.shrinkRequests()
	return whole.on
}

// shrinkRequests makes requests smaller if that is what the endpoint asks for: what was too
// many in its turn is taken in halves, or so many were never taken.
func (w *isolator) shrinkRequests() (smaller bool) {
	whole, sizes := &w.division.whole, &w.stream.sizes
	switch {
	case whole.tooMany > whole.half && whole.half > 0:
		smaller = sizes.tooMany(whole.tooMany, whole.half)
	case sizes.unproven(whole.tooMany, w.stream.limit.known()):
		smaller = sizes.tooMany(whole.tooMany, whole.tooMany/2)
	}
	if smaller {
		whole.tooMany, whole.half = 0, 0
	}
	return smaller
}

// mayBeInnocent reports whether a part may have failed for no fault of its own.
func (w *isolator) mayBeInnocent(p *part, res client.Result) bool {
	if !scarce(res) || !w.stream.limit.known() {
		return false
	}
	p.failures++
	return p.failures < guiltyAfter
}

// acquit notes that a half was taken. What was divided for the rate of requests is put
// together again once that is known; if all of it was tried in vain for long, it may be
// of samples, and as many as the half had are taken at once.
func (w *isolator) acquit(of *dividedPart, a answer) {
	d, items := w.division, a.items
	for ; of != nil; of = of.of {
		of.taken, of.items = of.taken+1, max(of.items, items)
		if of.taken < 2 {
			return
		}
		items = of.items
		shown := w.stream.limit.noteProof()
		if shown {
			w.stream.tellLimit()
		}
		if d.whole.half = max(d.whole.half, items); w.shrinkRequests() || shown {
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
	d.whole.joined, d.whole.on, d.whole.until = true, true, time.Time{}
}

func halves(of []*isolated) []part {
	if len(of) < 2 {
		return []part{{series: of}}
	}
	half := len(of) / 2
	return []part{{series: of[half:]}, {series: of[:half:half]}}
}

// remaining returns those that are still isolated.
func remaining(part []*isolated) (left []*isolated) {
	for _, is := range part {
		if !is.gone && !is.suspect {
			left = append(left, is)
		}
	}
	return left
}
