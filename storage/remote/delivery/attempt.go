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
	"errors"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
)

// attempt sends a payload of the queue once.
func (s *stream) attempt(set *settings, payload []byte, attempt int, sent queue.Counts) client.Result {
	res := s.send(s.ctx, set, payload, attempt, sent)
	switch res.Outcome {
	case client.Delivered:
		s.noteTaken()
	case client.Retry:
		s.noteFails()
	default:
		if !s.mendable(set, res) {
			s.failing.Store(false)
		}
	}
	return res
}

// attemptApart sends a request that is not the queue's once, in so much time. gaveUp
// reports whether it got no answer in that.
func (s *stream) attemptApart(set *settings, p *encodedRequest, timeout time.Duration) (res client.Result, gaveUp bool) {
	res, gaveUp = s.within(timeout, func(ctx context.Context) client.Result { return s.send(ctx, set, p.payload, 0, p.sent) })
	if res.Outcome == client.Delivered {
		s.noteTaken()
	}
	return res, gaveUp
}

// within sends what is not the queue's, in so much time.
func (s *stream) within(timeout time.Duration, send func(context.Context) client.Result) (res client.Result, gaveUp bool) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	s.endpoint.metrics.Load().isolationRequests.Inc()
	res = send(ctx)
	return res, res.Status == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// send sends a payload once.
func (s *stream) send(ctx context.Context, set *settings, payload []byte, attempt int, sent queue.Counts) client.Result {
	m := s.endpoint.metrics.Load()
	for c, n := range sent {
		m.attempted[c].Add(float64(n))
	}
	began := time.Now()
	res := set.client.Store(ctx, payload, attempt)
	took := time.Since(began)
	m.latency.Observe(took.Seconds())
	res = s.weigh(set, res, sent)
	if res.Outcome != client.Delivered {
		s.endpoint.noted.fail(res, time.Now())
	}
	switch known := s.latency.Load(); {
	case res.Outcome == client.Delivered:
		s.latency.Store((7*known + took) / 8)
	case res.Status != 0 && took > known && took < slowAnswer:
		// One that is not taken tells too how long an answer takes, unless that was
		// what was wrong with it.
		s.latency.Store(took)
	}
	if set.logFailed && (res.Err != nil || (set.protocol == encoder.V2 && res.Written.Nothing())) {
		s.endpoint.logFailed(set, payload, res)
	}
	return res
}

// refusedAgain reports whether a refusal of what the receiver may have is most likely for
// that: it says so, or it takes a request with nothing in it.
func (s *sender) refusedAgain(set *settings, res client.Result) bool {
	if !refusesData(res.Status) {
		return false
	}
	return res.Late || !res.Written.Nothing() || s.takesEmpty(set)
}

// takesEmpty reports whether the endpoint takes a request with nothing in it. What it answers
// to that is about nothing else.
func (s *sender) takesEmpty(set *settings) bool {
	st := s.stream
	if taken, known := st.endpoint.refusal.takesEmpty(); known {
		return taken
	}
	var p encodedRequest // What the sender encoded itself may be needed again.
	s.encode(&p, set, s.screen(&p, set, nil))
	res, gaveUp := st.within(st.shortTimeout(set), func(ctx context.Context) client.Result { return set.client.Store(ctx, p.payload, 0) })
	if gaveUp {
		st.lengthen()
	}
	taken := res.Outcome == client.Delivered
	st.endpoint.refusal.noteEmpty(taken)
	return taken
}

// try sends items once, in a time in which others are answered.
func (s *sender) try(set *settings, items []queue.ItemView) client.Result {
	p := &s.own
	s.state.gaveUp, s.state.asked = false, 0
	items = s.screen(p, set, append([]queue.ItemView(nil), items...))
	if n := s.encode(p, set, items); n < len(items) || n == 0 {
		return client.Result{}
	}
	var res client.Result
	if res, s.state.gaveUp = s.stream.attemptApart(set, p, s.stream.shortTimeout(set)); s.state.gaveUp {
		s.stream.lengthen()
	}
	if res.Outcome == client.Delivered {
		s.countDrops(p)
		s.countDelivered(set, p, res, false)
	}
	s.state.unsure, s.state.asked = s.state.unsure || res.Ambiguous, res.RetryAfter
	return res
}
