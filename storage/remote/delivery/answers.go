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
	"errors"
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
)

// This file has what a stream learns from the answers of its receiver.

// leastTimeout is the least that an attempt with what is in doubt may take.
const leastTimeout = 250 * time.Millisecond

// noteTaken notes that the endpoint takes something.
func (s *stream) noteTaken() {
	s.failing.Store(false)
	s.delivers.Store(true)
	s.delivered.Inc()
	s.endpoint.lastTaken.Store(time.Now())
	s.endpoint.taken.Inc()
	s.refusals.Store(0)
	s.tooShort.Store(0)
	s.endpoint.refusal.noteTaken()
}

// tookLately reports whether the endpoint has taken something within takesFor, of any
// stream.
func (e *endpoint) tookLately() bool { return time.Since(e.lastTaken.Load()) < takesFor }

// shortTimeout is how long an attempt with what is in doubt may take: much longer
// than others do, but not as long as others may. If it was too short, be it that
// nothing is known of others or that they take longer now, the next one has twice as
// long, until the endpoint takes something.
func (s *stream) shortTimeout(set *settings) time.Duration {
	return min(max(leastTimeout, 8*s.latency.Load())<<s.tooShort.Load(), set.timeout)
}

// lengthen makes attempts take longer: one was given up that should have shown whether
// the endpoint takes anything. One of the parts of a request may hang while others are
// taken, and says nothing.
func (s *stream) lengthen() {
	const most = 10 // The least is more than four minutes then.
	if s.tooShort.Load() < most {
		s.tooShort.Inc()
	}
}

// mendable reports whether an answer is a refusal that holds what was sent, unless the
// endpoint takes other things.
func (s *stream) mendable(set *settings, res client.Result) bool {
	switch {
	case !res.Written.Nothing():
		return false // It took a part.
	case res.Outcome == client.Denied:
		return !set.dropDenied
	case res.Outcome == client.Refused:
		return !res.Late && !s.endpoint.refusal.over(set.refusedHold)
	}
	return false
}

// errNotStored is a refusal that does not look like one.
var errNotStored = errors.New("the receiver took a request and does not say that it stored anything of it: it may not know remote write 2.0 and ignore the content type")

// weigh takes note of an answer. One that is about credentials is a failure like another
// in all that follows. What a receiver of 2.0 does not say that it stored, it did not store.
func (s *stream) weigh(set *settings, res client.Result, sent queue.Counts) client.Result {
	if set.protocol == encoder.V2 && res.Outcome == client.Delivered && res.Written.Nothing() && res.StatsErr == nil && sent.Total() > 0 {
		res.Outcome, res.Err = client.Refused, errNotStored
	}
	if s.mendable(set, res) {
		s.endpoint.refusal.noteRefused(res)
		if credentials(res.Status) {
			res.Outcome = client.Retry
		}
	}
	return res
}

// noteFails takes note that the endpoint takes nothing, for all it is known.
func (s *stream) noteFails() {
	s.failing.Store(true)
	s.delivers.Store(false)
}

// tellLimit takes note of a limit on the rate that was not known.
func (s *stream) tellLimit() {
	s.sizes.forgetTaken()
	s.endpoint.logger.Warn("The endpoint limits the rate of requests; what it answers so is repeated as it is")
}

// mustShrink reports whether a request of so many items is to be cut: less are sent by now,
// or it had its turn and so many were never taken.
func (s *stream) mustShrink(n int, hadTurn bool) bool {
	return s.sizes.below(n) || (hadTurn && s.sizes.unproven(n, s.limit.known()) && s.sizes.tooMany(n, n/2))
}

// fails reports whether the last attempt of each stream failed.
func (e *endpoint) fails() bool {
	return !slices.ContainsFunc(e.streams(), func(s *stream) bool { return s.working() && !s.failing.Load() })
}
