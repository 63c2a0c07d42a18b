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

// mostAskedLive is how long is waited for an endpoint that takes things, whatever it
// asks for.
const mostAskedLive = time.Minute

// pause waits before a request of the queue is tried again, and returns what the wait
// is next time. It ends early if the settings are replaced or the stream stops.
func (l *stream) pause(set *settings, planned time.Duration, res client.Result, sent queue.Counts) (next time.Duration) {
	l.pauses.Inc()
	m := l.endpoint.metrics.Load()
	for c, n := range sent {
		m.retried[c].Add(float64(n))
	}
	wait, next := set.retry(planned, res.RetryAfter)
	l.endpoint.logger.Warn("Failed to send batch, retrying", "err", res.Err, "wait", wait)
	l.rates.recoverable(time.Now().Add(2 * wait))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-set.replaced:
		return 0
	case <-l.endpoint.stop:
	case <-l.ctx.Done():
	}
	return next
}

// hurried returns the answer with what of the time that it asks for is waited. Retry-After
// may be meant for a part of the request only: a few attempts are made at once.
func (l *stream) hurried(res client.Result) client.Result {
	switch {
	case res.RetryAfter == 0:
	case !l.limit.known() && l.prompts.take():
		res.RetryAfter = 0
	case time.Since(l.lastTaken.Load()) < mostAskedLive:
		res.RetryAfter = min(res.RetryAfter, mostAskedLive)
	}
	return res
}

// askedApart is how much of the time that an endpoint asks for it gets for what is tried
// apart: what it does not take alone is asked for by itself, unless it limits the rate.
// Also then it may be, if it took something a moment ago.
func (l *stream) askedApart(set *settings, res client.Result) time.Duration {
	switch {
	case !l.limit.known():
		return 0
	case time.Since(l.lastTaken.Load()) < mostAskedLive:
		return min(res.RetryAfter, time.Duration(set.queue.MaxBackoff))
	}
	return min(res.RetryAfter, mostAskedLive)
}
