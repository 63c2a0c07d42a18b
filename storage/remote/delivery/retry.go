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

// How long is waited after an attempt that failed is decided in this file. Two things
// count: the back-off, which begins at min_backoff and doubles with each failure, and
// what the answer asks for with Retry-After.
//
//	after a failed attempt with        back-off, at most        Retry-After
//	a request of the queue             max_backoff              instead of it, see hurried
//	metadata                           max_backoff              instead of it
//	a trial, while nothing is taken    max_backoff, or 4 times  if it is longer
//	                                   that while senders fail
//	                                   as well
//	a part of a trial                  8 times min_backoff      no
//	the same, with the rate limited    max_backoff              see askedApart
//	a suspect                          6 times max_backoff      see askedApart
//	all suspects in one request        max_backoff              see askedApart
//	a suspect, refused 16 times        min_backoff              no
//
// Beside that, a suspect waits nine times as long as its attempt took, and all suspects
// wait, up to max_backoff, while nothing else is taken. A request that is answered as if
// there were too many is repeated as it is for timeToDoubt (doubt.go).

const (
	// mostAskedLive is how long is waited for an endpoint that takes things, whatever it
	// asks for.
	mostAskedLive = time.Minute
	// suspectPace is how many times max_backoff a suspect waits at the most.
	suspectPace = 6
	// A request that was answered as if there were too many is repeated as it is for
	// backoffsToDoubt times max_backoff before there is a doubt, maxTimeToDoubt at the most.
	backoffsToDoubt = 3
	maxTimeToDoubt  = 15 * time.Second
)

// leastBackoff is the wait after the first failure.
func (s *settings) leastBackoff() time.Duration { return time.Duration(s.queue.MinBackoff) }

// backoff returns the wait after another failure: twice the last one, between
// min_backoff and so many times max_backoff.
func (s *settings) backoff(last time.Duration, most int) time.Duration {
	return doubled(last, s.leastBackoff(), time.Duration(most)*time.Duration(s.queue.MaxBackoff))
}

// retry returns how long is waited before a request is tried again, which is what the
// answer asked for if it did, and what the wait is next time if it does not then.
func (s *settings) retry(planned, asked time.Duration) (wait, next time.Duration) {
	wait = max(planned, s.leastBackoff())
	if asked > 0 {
		wait = asked
	}
	return wait, s.backoff(wait, 1)
}

// timeToDoubt is how long a request is repeated as it is that is answered as if there
// were too many.
func (s *settings) timeToDoubt() time.Duration {
	return min(backoffsToDoubt*time.Duration(s.queue.MaxBackoff), maxTimeToDoubt)
}

// pause waits before a request of the queue is tried again, and returns what the wait
// is next time. It ends early if the settings are replaced or the stream stops.
func (s *stream) pause(set *settings, planned time.Duration, res client.Result, sent queue.Counts) (next time.Duration) {
	wait, next := set.retry(planned, s.hurried(res.RetryAfter))
	s.pauses.Inc()
	m := s.endpoint.metrics.Load()
	for c, n := range sent {
		m.retried[c].Add(float64(n))
	}
	s.endpoint.logger.Warn("Failed to send batch, retrying", "err", res.Err, "wait", wait)
	s.rates.recoverable(time.Now().Add(2 * wait))
	if s.endpoint.wait(wait, set, s.ctx.Done()) == settingsReplaced {
		return 0
	}
	return next
}

// waitEnd is why a wait is over.
type waitEnd int

const (
	waited waitEnd = iota // It has lasted as long as it was to.
	settingsReplaced
	endpointStops
	waiterEnded
)

// wait waits for a time, or until the settings are replaced, the endpoint stops, or ended
// is closed.
func (e *endpoint) wait(d time.Duration, set *settings, ended <-chan struct{}) waitEnd {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return waited
	case <-set.replaced:
		return settingsReplaced
	case <-e.stop:
		return endpointStops
	case <-ended:
		return waiterEnded
	}
}

// hurried returns how much of the time that an answer asks for is waited. Retry-After
// may be meant for a part of the request only: a few attempts are made at once.
func (s *stream) hurried(asked time.Duration) time.Duration {
	switch {
	case asked == 0:
	case !s.limit.known() && s.prompts.take():
		return 0
	case s.takes():
		return min(asked, mostAskedLive)
	}
	return asked
}

// takes reports whether the endpoint took something a moment ago.
func (s *stream) takes() bool { return time.Since(s.endpoint.lastTaken.Load()) < mostAskedLive }

// askedApart is how much of the time that an endpoint asks for it gets for what is tried
// apart: what it does not take alone is asked for by itself, unless it limits the rate.
// Also then it may be, if it took something a moment ago.
func (s *stream) askedApart(set *settings, asked time.Duration) time.Duration {
	switch {
	case !s.limit.known():
		return 0
	case s.takes():
		return min(asked, time.Duration(set.queue.MaxBackoff))
	}
	return min(asked, mostAskedLive)
}

// untilTaken returns the wait before a trial is tried again of which nothing is taken,
// and the back-off that it is made of. If senders fail too, they ask as well.
func (s *stream) untilTaken(set *settings, last, asked time.Duration) (wait, backoff time.Duration) {
	most := 1
	if s.failing.Load() {
		most = 4
	}
	backoff = set.backoff(last, most)
	return max(backoff, asked), backoff
}

// betweenParts returns the wait between attempts of a trial, and the back-off that it is
// made of. As long as the endpoint takes other parts, that is for moments only, whatever
// it asks for: it is not meant for those that are innocent. An endpoint of which requests
// may be too many gets more of a pause.
func (s *stream) betweenParts(set *settings, last time.Duration, res client.Result) (wait, backoff time.Duration) {
	least := set.leastBackoff()
	most, asked := 8*least, time.Duration(0)
	if scarce(res) && s.limit.known() {
		most, asked = max(most, time.Duration(set.queue.MaxBackoff)), s.askedApart(set, res.RetryAfter)
	}
	backoff = doubled(last, least, most)
	return max(backoff, asked), backoff
}

// betweenSuspects returns the wait before a suspect is tried again, or all of them in one
// request, after an attempt that took a time. One that hangs takes no more than a tenth
// of the isolator's time.
func (s *stream) betweenSuspects(set *settings, backoff, asked, took time.Duration) time.Duration {
	return max(backoff, s.askedApart(set, asked), 9*min(took, set.timeout))
}
