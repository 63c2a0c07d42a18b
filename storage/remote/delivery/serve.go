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

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// run delivers until the stream stops or has more senders than it wants.
func (s *sender) run() {
	st := s.stream
	for st.queue.Take(&s.req, st.wanted) {
		began := time.Now()
		s.state = s.state.renewed()
		done := st.reserve(s.req.End) && s.serve()
		st.rates.busy(time.Since(began), s.state.waited)
		content := s.req.Content()
		if !done {
			st.close() // The first failure of a stop ends it.
		}
		if !done && !s.state.partly {
			st.queue.Release(&s.req)
			return
		}
		// What is left of a request that was delivered in part waits apart, so that the
		// rest is not sent again (I8).
		s.park(s.state.left, true)
		s.judgedBy(st.endpoint.settings.Load())
		st.queue.Ack(&s.req)
		st.endpoint.countSettled(content)
		if !st.throttle(s.state.worked) {
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

// divert takes items out that wait apart.
func (s *sender) divert(items []queue.ItemView) (left []queue.ItemView) {
	left = s.stream.isolation.divert(&s.req, items)
	s.state.partly = s.state.partly || len(left) < len(items)
	return left
}

// undone notes what of the request is not delivered as the stream stops, in order.
// Nothing needs to be listed of a request that no part was delivered of.
func (s *sender) undone(parts ...[]queue.ItemView) bool {
	for _, items := range parts {
		s.state.left = append(s.state.left, items...)
	}
	return false
}
