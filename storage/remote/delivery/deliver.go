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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// delivery is a request, or a part of one, on its way to the endpoint. Attempts are made
// with it until each of its items is settled: delivered, dropped, or on trial.
//
//	   ┌────────────────────────────────────────────────────────────┐ again
//	   ▼                                                            │
//	 pack ─────────▶ nothing is to be sent: settled                 │
//	   │                                                            │
//	   ▼                                                            │
//	 turn ─────────▶ settings were replaced meanwhile ─────────────▶┤
//	   │                                                            │
//	   ▼                                                            │
//	attempt ──┬────▶ taken: settled                                 │
//	   │      ├────▶ refused: dropped, or on trial: settled         │
//	   │      ├────▶ refused, or too large: halved                  │
//	   │      ├────▶ refused, but a part was taken by itself ──────▶┤
//	   │      └────▶ refused, and nothing else is taken: as failed, │
//	   ▼             at first                                       │
//	failed                                                          │
//	   │                                                            │
//	   ▼                                                            │
//	 pause ───┬────▶ no doubt yet, or settings were replaced ──────▶┤
//	   │      └────▶ too many at once: shrunk ─────────────────────▶┤
//	   ▼ doubt                                                      │
//	 probe ────────▶ another request is taken, and what is left of  │
//	   │             this is on trial: settled                      │
//	   ▼ none is                                                    │
//	 pause ────────────────────────────────────────────────────────▶┘
//
// From pack, turn, failed and both pauses it also comes to stopped, if the stream stops.
// What is still to be delivered then is noted as undone.
type delivery struct {
	sender   *sender
	work     work
	replayed bool             // Some of it may have reached the receiver before.
	rest     []queue.ItemView // What did not fit into the request, and is delivered after it,
	restSent bool             // and whether some of that may have reached the receiver.

	request  *encodedRequest // Nil if it has to be packed.
	packed   *settings       // Those it was packed under last.
	attempt  int             // How many there were before,
	refusals int             // and of those with an item that is left alone, that were refused.
	backoff  time.Duration   // After the next failure.
	doubt    doubt
}

// step is how an attempt with a delivery ends.
type step int

const (
	again   step = iota // Another one is to be made.
	settled             // There is nothing more to do but for the rest.
	halved              // It is to be delivered in two requests.
	stopped             // The stream stops.
)

// deliver sends what it is given until each item is settled or isolated, and reports
// whether it got there before the endpoint had to stop.
//
// replayed says that some of the items may have reached the receiver before. A
// receiver that refuses a whole request for one sample it has already would
// then make us lose the others, so such requests are split until what is
// refused is refused on its own (I2).
func (s *sender) deliver(w work, replayed bool) bool {
	defer s.stream.turn.give(s)
	d := delivery{sender: s, work: w, replayed: replayed}
	for ; ; d.attempt++ {
		switch d.tryOnce() {
		case settled:
			return s.goOn(d.rest, d.restSent)
		case halved:
			return s.halves(&d)
		case stopped:
			return false
		}
	}
}

// tryOnce makes one attempt, when it is the turn of the sender, and learns from the answer.
func (d *delivery) tryOnce() step {
	s, st := d.sender, d.sender.stream
	set := st.endpoint.settings.Load()
	if !d.packIfNeeded(set) {
		return d.onStop()
	}
	if d.request.sent.Total() == 0 {
		return settled
	}
	st.awaitTurn(s, set)
	if set != st.endpoint.settings.Load() {
		return again // They were replaced meanwhile.
	}
	if d.attempt > 0 && st.endpoint.stopping() {
		return d.onStop()
	}
	began, sent := time.Now(), d.request.sent
	res := st.attempt(set, d.request.payload, d.attempt, sent)
	took := time.Since(began)
	if res.Outcome != client.Retry {
		s.state.worked += took
	}
	if res.Outcome != client.Retry || !scarce(res) {
		st.turn.give(s)
	}
	switch res.Outcome {
	case client.Delivered:
		return d.onTaken(set, res)
	case client.TooLarge:
		s.list(set, &d.work)
		switch {
		case d.halvesMayFit():
			return d.halve(set, res)
		case !maybeLater(res.Status): // Else what it says of the size cannot be meant.
			return d.onItemTooLarge(set, res)
		}
	case client.Denied, client.Refused:
		return d.onRefused(set, res)
	}
	return d.onFailed(set, res, sent, took >= set.timeout || res.RetryAfter > 0)
}

// packIfNeeded makes a request of what is to be delivered, unless there is one that the
// settings still make so. It returns false if the stream stops.
func (d *delivery) packIfNeeded(set *settings) bool {
	if d.request != nil && set == d.packed && set.queue.SampleAgeLimit == 0 {
		return true
	}
	s := d.sender
	if d.request != nil {
		// What was left out is counted, and stays out.
		s.list(d.packed, &d.work)
	}
	if d.packed != nil && set != d.packed && !s.stream.reserve(s.req.End) {
		return false
	}
	var n int
	d.request, n = s.pack(set, &d.work)
	d.packed = set
	s.countDrops(d.request)
	if items := d.work.items; n < len(items) {
		d.work.items, d.rest = items[:n:n], append(items[n:], d.rest...)
		d.restSent = d.restSent || d.replayed
	}
	return true
}

// onTaken accounts for a request that the endpoint took.
func (d *delivery) onTaken(set *settings, res client.Result) step {
	st := d.sender.stream
	d.sender.countDelivered(set, d.request, res, d.replayed)
	if d.doubt.showsLimit() && st.limit.foundInnocent() {
		st.tellLimit()
	}
	return d.settlePart()
}

// settlePart notes that a part of what the sender took from the queue is settled.
func (d *delivery) settlePart() step {
	d.sender.state.partly = true
	return settled
}

// leastSplit is the size of a request in bytes, before compression, below which
// it is not cut in two because a receiver finds it too large: something else is
// at fault then, and the rest of what was taken is not cut either.
const leastSplit = 2 << 10

// halvesMayFit reports whether halves of a request that is too large may be taken.
func (d *delivery) halvesMayFit() bool {
	s := d.sender
	return d.request.raw > leastSplit && middle(d.work.items) > 0 && !s.state.pointless && s.stream.refusals.Load() == 0
}

// halve has a request that is too large delivered in two. If the endpoint has taken
// nothing yet, some of its series are tried alone first: the size may be a pretext.
func (d *delivery) halve(set *settings, res client.Result) step {
	s := d.sender
	d.replayed = d.replayed || res.Ambiguous
	if s.stream.delivered.Load() == 0 && !s.state.sounded {
		s.state.sounded = true
		var alive bool
		d.work.items, alive = s.sound(set, d.work.items, soundings)
		s.state.partly = s.state.partly || alive
		d.replayed = d.replayed || s.state.unsure
	}
	return halved
}

// onItemTooLarge has it found out which sample the receiver finds too large, since it is
// not the request, or gives up all of it.
func (d *delivery) onItemTooLarge(set *settings, res client.Result) step {
	s := d.sender
	s.state.pointless = s.state.pointless || d.request.raw <= leastSplit
	d.divideOrDrop(set, res)
	return d.settlePart()
}

// onRefused decides what becomes of a request that the endpoint refused for good: it holds
// it if nothing else is taken either, since an operator may be about to correct that.
func (d *delivery) onRefused(set *settings, res client.Result) step {
	s, st, sent := d.sender, d.sender.stream, d.request.sent
	s.list(set, &d.work)
	switch {
	case d.replayed && s.refusedAgain(set, res):
		return d.onRefusedAgain(sent, res)
	case !st.mendable(set, res):
		d.divideOrDrop(set, res)
	case !d.tryOthers(set):
		st.noteFails()
		return d.onFailed(set, res, sent, false)
	default:
		st.failing.Store(false)
		s.park(d.work.items, d.replayed)
	}
	return d.settlePart()
}

// onRefusedAgain is onRefused of what the receiver most likely has, and refuses for that.
// Each item has to be refused by itself (I2), and several times where the answer does not say
// that it is for that: of two receivers behind one URL, one may refuse everything.
func (d *delivery) onRefusedAgain(sent queue.Counts, res client.Result) step {
	s, st := d.sender, d.sender.stream
	s.req.Refused = true
	if middle(d.work.items) > 0 {
		return halved
	}
	d.refusals++
	if d.refusals < sureAfter && !res.Late {
		return again
	}
	it := d.work.items[0]
	st.endpoint.countRefusedAgain(sent, it, res)
	return d.settlePart()
}

// tryOthers reports whether the endpoint takes something else than what it refused.
func (d *delivery) tryOthers(set *settings) (taken bool) {
	s := d.sender
	d.work.items, taken = s.takesOthers(set, d.work.items, &d.doubt)
	d.replayed = d.replayed || s.state.unsure
	d.request = nil // Its memory was used.
	s.state.partly = s.state.partly || taken
	return taken
}

// divideOrDrop puts a refused request on trial or, if all of it is meant, drops it.
func (d *delivery) divideOrDrop(set *settings, res client.Result) {
	sent := d.request.sent // Its memory is used for what is tried of it.
	if !d.sender.divideRefused(set, d.work.items, d.replayed, res) {
		d.sender.stream.endpoint.countRefused(set, sent, spanOf(d.work.items), res)
	}
}

// onFailed waits after an attempt that is to be made again, and decides with what: with the
// same request, with less of it, or, once there is a doubt, with others in its place. hung
// says that the endpoint was given, or asked for, more time than others need.
func (d *delivery) onFailed(set *settings, res client.Result, sent queue.Counts, hung bool) step {
	s, st := d.sender, d.sender.stream
	toDoubt := set.timeToDoubt()
	d.replayed = d.replayed || res.Ambiguous
	if st.endpoint.stopping() {
		return d.onStop()
	}
	d.doubt.noteFailure(st, hung, res)
	if d.doubt.scarce && !d.doubt.turned && st.turn.take(s, toDoubt) {
		d.doubt.turned, d.doubt.began = true, time.Now()
	}
	if !d.backOff(set, res, sent) {
		return d.onStop()
	}
	switch {
	case d.shrink(set, toDoubt):
		return again
	case !d.doubt.isDue(toDoubt) || set != st.endpoint.settings.Load():
		return again // New settings are tried with all of it first.
	}
	st.turn.give(s)
	s.list(set, &d.work)
	return d.onDoubt(set, res)
}

// backOff waits before the next attempt. It returns false if the endpoint stops.
func (d *delivery) backOff(set *settings, res client.Result, sent queue.Counts) bool {
	st := d.sender.stream
	d.backoff = st.pause(set, d.backoff, res, sent)
	return !st.endpoint.stopping()
}

// shrink makes the next request smaller, if it failed because the endpoint takes no more
// items at once, as packing it does by then.
func (d *delivery) shrink(set *settings, toDoubt time.Duration) bool {
	s := d.sender
	if !d.doubt.scarce || !s.stream.mustShrink(d.request.items, d.doubt.hadTurn(toDoubt)) {
		return false
	}
	s.list(set, &d.work)
	if middle(d.work.items) == 0 {
		return false
	}
	s.stream.turn.give(s)
	d.request = nil
	d.doubt = doubt{}
	return true
}

// onDoubt makes another request in the place of this one, which is in doubt. If the
// endpoint takes something, what is left of this goes on trial; else it is tried again.
func (d *delivery) onDoubt(set *settings, res client.Result) step {
	s := d.sender
	s.state.asked = 0
	left, alive := s.probe(set, d.work.items, &d.doubt)
	some := len(left) < len(d.work.items)
	s.state.partly = s.state.partly || alive || some
	if alive {
		d.putOnTrial(left, set.timeToDoubt())
		return settled
	}
	d.replayed = d.replayed || s.state.unsure
	d.request = nil // Its memory was used.
	if some {
		d.backoff = 0 // The endpoint takes something.
	}
	d.work.items = left
	res.RetryAfter = max(res.RetryAfter, s.state.asked)
	if !d.backOff(set, res, queue.Counts{}) {
		return d.onStop()
	}
	return again
}

// putOnTrial leaves items to the isolator. If the endpoint may limit the rate of
// requests, they are tried as a whole, and in their turn, since they are most of what
// there is to send.
func (d *delivery) putOnTrial(items []queue.ItemView, lasts time.Duration) {
	if len(items) == 0 {
		return
	}
	s := d.sender
	whole := d.doubt.scarce && d.doubt.tries > 1
	s.stream.isolation.park(&s.req, items, &trial{replayed: d.replayed || s.state.unsure, alive: true, whole: whole})
	if whole {
		s.stream.turn.hand(s.stream, lasts)
	}
}

// onStop notes what is not delivered as the stream stops.
func (d *delivery) onStop() step {
	if d.sender.state.partly {
		d.sender.list(d.packed, &d.work)
	}
	d.sender.undone(d.work.items, d.rest)
	return stopped
}

// goOn delivers what did not fit into a request.
func (s *sender) goOn(rest []queue.ItemView, replayed bool) bool {
	return len(rest) == 0 || s.deliverItems(rest, replayed)
}

// halves has what is to be delivered sent in two requests, and then the rest.
func (s *sender) halves(d *delivery) bool {
	items := d.work.items
	half := middle(items)
	if !s.deliverItems(items[:half:half], d.replayed) {
		return s.undone(items[half:], d.rest)
	}
	if !s.deliverItems(items[half:], d.replayed) {
		return s.undone(d.rest)
	}
	return s.goOn(d.rest, d.restSent)
}
