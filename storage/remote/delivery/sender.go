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
	"context"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
)

// run delivers until the stream stops or has more senders than it wants.
func (s *sender) run() {
	l := s.stream
	for l.queue.Take(&s.req, l.wanted) {
		began := time.Now()
		s.worked, s.pointless, s.sounded, s.unsure, s.partly, s.judged = 0, false, false, false, false, nil
		s.left = s.left[:0]
		settled := l.reserve(s.req.End) && s.serve()
		l.rates.busy(time.Since(began))
		content := s.req.Content()
		if !settled {
			l.close() // The first failure of a stop ends it.
		}
		if !settled && !s.partly {
			l.queue.Release(&s.req)
			return
		}
		// What is left of a request that was delivered in part waits apart, so that the
		// rest is not sent again (I8).
		s.park(s.left, true)
		s.judgedBy(l.endpoint.settings.Load())
		l.queue.Ack(&s.req)
		l.endpoint.settled(content)
		if !l.rest(s.worked) {
			return
		}
	}
}

// serve delivers what was taken, in several requests if it is too much for one.
func (s *sender) serve() bool {
	defer s.forget()
	defer s.giveBack()
	if s.req.InOrder() && s.stream.isolation.size() == 0 {
		return s.deliver(work{whole: true}, false)
	}
	s.collect()
	rest := s.items
	for len(rest) > 0 {
		rest = s.divert(rest)
		n := len(rest)
		if most := s.stream.endpoint.settings.Load().queue.MaxSamplesPerSend; s.groups() && n > most {
			n = cutBefore(rest, most)
		}
		began := time.Now()
		if !s.deliverItems(rest[:n:n], s.req.Replay) {
			return s.undone(rest[n:])
		}
		rest = rest[n:]
		if s.groups() {
			s.stream.queue.SetWindow(windowFor(time.Since(began)))
		}
	}
	return true
}

// windowFor returns how many requests a window may have that take so long each: it is
// acknowledged as a whole, and may take no longer than the interval of savepoints (I8).
func windowFor(took time.Duration) int { return int(saveInterval / max(took, 1)) }

// deliverItems delivers items of the request, of which another part may be on trial by
// now.
func (s *sender) deliverItems(items []queue.ItemView, replayed bool) bool {
	return s.deliver(work{items: s.divert(items)}, replayed)
}

// deliver sends what it is given until each item is settled or isolated, and reports
// whether it got there before the endpoint had to stop.
//
// replayed says that some of the items may have reached the receiver before. A
// receiver that refuses a whole request for one sample it has already would
// then make us lose the others, so such requests are split until what is
// refused is refused on its own (I2).
func (s *sender) deliver(w work, replayed bool) bool {
	l := s.stream
	defer l.turn.give(s)
	var (
		backoff time.Duration
		p       *encodedRequest
		packed  *settings
		rest    []queue.ItemView // What did not fit into the request.
		doubt   doubt
	)
	stop := func() bool {
		if s.partly {
			s.list(packed, &w)
		}
		return s.undone(w.items, rest)
	}
	for attempt := 0; ; attempt++ {
		set := l.endpoint.settings.Load()
		if p == nil || set != packed || set.queue.SampleAgeLimit != 0 {
			if p != nil {
				// What was left out is counted, and stays out.
				s.list(packed, &w)
			}
			if packed != nil && set != packed && !l.reserve(s.req.End) {
				return stop()
			}
			var n int
			p, n = s.pack(set, &w)
			packed = set
			s.countDrops(p)
			if n < len(w.items) {
				w.items, rest = w.items[:n:n], append(w.items[n:], rest...)
			}
		}
		if p.sent.Total() == 0 {
			return s.goOn(rest, replayed)
		}
		turn := timeToDoubt(set)
		l.awaitTurn(s, set)
		if set != l.endpoint.settings.Load() {
			continue // They were replaced meanwhile.
		}
		if attempt > 0 && l.endpoint.stopping() {
			return stop()
		}
		began := time.Now()
		res := l.attempt(set, p.payload, attempt, p.sent)
		took := time.Since(began)
		if res.Outcome != client.Retry {
			s.worked += took
		}
		if res.Outcome != client.Retry || !scarce(res) {
			l.turn.give(s)
		}
		settled, sent := false, p.sent // p is used again below.
		switch res.Outcome {
		case client.Delivered:
			s.delivered(set, p, res, replayed)
			if doubt.limits() && l.limit.found(false) {
				l.tellLimit()
			}
			settled = true
		case client.TooLarge:
			s.list(set, &w)
			if p.raw > leastSplit && middle(w.items) > 0 && !s.pointless && l.refusals.Load() == 0 {
				replayed = replayed || res.Ambiguous
				if l.delivered.Load() == 0 && !s.sounded {
					s.sounded = true
					var alive bool
					w.items, alive = s.sound(set, w.items, soundings)
					s.partly = s.partly || alive
					replayed = replayed || s.unsure
				}
				return s.halves(w.items, rest, replayed)
			}
			if maybeLater(res.Status) {
				break // What it says of the size cannot be meant.
			}
			s.pointless = s.pointless || p.raw <= leastSplit
			// A sample it finds too large, not the request.
			if !s.divided(set, w.items, replayed, res) {
				l.endpoint.refused(set, sent, res)
			}
			settled = true
		case client.Denied, client.Refused:
			s.list(set, &w)
			switch {
			case replayed && refusesData(res.Status) && middle(w.items) > 0:
				s.req.Refused = true
				return s.halves(w.items, rest, replayed)
			case replayed && refusesData(res.Status):
				s.req.Refused = true
				l.endpoint.refusedOnReplay(p.sent, w.items[0], res)
			case !s.divided(set, w.items, replayed, res):
				l.endpoint.refused(set, sent, res)
			}
			settled = true
		}
		if settled {
			s.partly = true
			return s.goOn(rest, replayed)
		}
		replayed = replayed || res.Ambiguous
		if l.endpoint.stopping() {
			return stop()
		}
		doubt.failed(l, took >= set.timeout || res.RetryAfter > 0, res)
		if doubt.scarce && !doubt.turned && l.turn.take(s, turn) {
			doubt.turned, doubt.began = true, time.Now()
		}
		backoff = l.pause(set, backoff, l.hurried(res), p.sent)
		if l.endpoint.stopping() {
			return stop()
		}
		if doubt.scarce && l.smaller(p.items, doubt.hadTurn(turn)) {
			s.list(set, &w)
			if middle(w.items) > 0 {
				l.turn.give(s)
				p = nil // It is cut when it is packed.
				doubt.restart()
				continue
			}
		}
		if !doubt.due(turn) || set != l.endpoint.settings.Load() {
			continue // New settings are tried with all of it first.
		}
		l.turn.give(s)
		s.list(set, &w)
		s.asked = 0
		left, alive := s.probe(set, w.items, &doubt)
		s.partly = s.partly || alive || len(left) < len(w.items)
		if alive {
			whole := doubt.scarce && doubt.tries > 1
			if len(left) > 0 {
				l.isolation.park(&s.req, left, &trial{replayed: replayed || s.unsure, alive: true, whole: whole})
			}
			if whole && len(left) > 0 {
				l.turn.hand(l, turn) // It has most of what there is to send.
			}
			return s.goOn(rest, replayed)
		}
		replayed = replayed || s.unsure
		p = nil // Its memory was used.
		if len(left) < len(w.items) {
			backoff = 0 // The endpoint takes something.
		}
		w.items = left
		res.RetryAfter = max(res.RetryAfter, s.asked)
		backoff = l.pause(set, backoff, l.hurried(res), queue.Counts{})
		if l.endpoint.stopping() {
			return stop()
		}
	}
}

// goOn delivers what did not fit into a request.
func (s *sender) goOn(rest []queue.ItemView, replayed bool) bool {
	return len(rest) == 0 || s.deliverItems(rest, replayed)
}

// leastSplit is the size of a request in bytes, before compression, below which
// it is not cut in two because a receiver finds it too large: something else is
// at fault then, and the rest of what was taken is not cut either.
const leastSplit = 2 << 10

// halves delivers items in two requests, and then the rest.
func (s *sender) halves(items, rest []queue.ItemView, replayed bool) bool {
	half := middle(items)
	if !s.deliverItems(items[:half:half], replayed) {
		return s.undone(items[half:], rest)
	}
	if !s.deliverItems(items[half:], replayed) {
		return s.undone(rest)
	}
	return s.goOn(rest, replayed)
}

// divert takes items out that wait apart.
func (s *sender) divert(items []queue.ItemView) (left []queue.ItemView) {
	left = s.stream.isolation.divert(&s.req, items)
	s.partly = s.partly || len(left) < len(items)
	return left
}

// undone notes what of the request is not delivered as the stream stops, in order.
// Nothing needs to be listed of a request that no part was delivered of.
func (s *sender) undone(parts ...[]queue.ItemView) bool {
	for _, items := range parts {
		s.left = append(s.left, items...)
	}
	return false
}

// attempt sends a payload of the queue once.
func (l *stream) attempt(set *settings, payload []byte, attempt int, sent queue.Counts) client.Result {
	res := l.send(l.ctx, set, payload, attempt, sent)
	switch res.Outcome {
	case client.Delivered:
		l.took()
	case client.Retry:
		l.failing.Store(true)
		l.proven.Store(false)
	default:
		l.failing.Store(false)
	}
	return res
}

// took notes that the endpoint takes something.
func (l *stream) took() {
	l.failing.Store(false)
	l.proven.Store(true)
	l.lastTaken.Store(time.Now())
	l.delivered.Inc()
	l.refusals.Store(0)
	l.tooShort.Store(0)
}

// send sends a payload once.
func (l *stream) send(ctx context.Context, set *settings, payload []byte, attempt int, sent queue.Counts) client.Result {
	m := l.endpoint.metrics.Load()
	for c, n := range sent {
		m.attempted[c].Add(float64(n))
	}
	began := time.Now()
	res := set.client.Store(ctx, payload, attempt)
	took := time.Since(began)
	m.latency.Observe(took.Seconds())
	if res.Outcome == client.Denied && set.holdDenied {
		res.Outcome = client.Retry // In all that follows it is one failure like another.
	}
	switch known := l.latency.Load(); {
	case res.Outcome == client.Delivered:
		l.latency.Store((7*known + took) / 8)
	case res.Status != 0 && took > known && took < slowAnswer:
		// One that is not taken tells too how long an answer takes, unless that was
		// what was wrong with it.
		l.latency.Store(took)
	}
	if set.logFailed && (res.Err != nil || (set.protocol == encoder.V2 && res.Written.Nothing())) {
		l.endpoint.logFailed(set, payload, res)
	}
	return res
}
