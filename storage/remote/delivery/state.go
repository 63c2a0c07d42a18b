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
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// This file has what an endpoint does at present, in a word, and since when. The pacer looks
// at it once a second, and the status of the endpoint when it is asked for.

// keepsUpWithin is how long after it was written an endpoint has acknowledged the log, at
// most, if it keeps up, or twice batch_send_deadline if that is longer.
const keepsUpWithin = 10 * time.Second

// reasonGone is the reason for drops of what cannot be read, which is counted without one
// in metrics.
const reasonGone = "damaged_or_gone"

// tally counts what the endpoint is not sent.
func (e *endpoint) tally(kind, reason string, t queue.Counts, bytes int64) {
	e.noted.tallies.add(e.settings.Load().name, kind, reason, t, bytes)
}

// note takes note of how far the endpoint is, which has not acknowledged so many bytes of
// the log, and of what it does.
func (e *endpoint) note(now time.Time, unacked int64) {
	expired, _ := e.noted.tallies.limited(e.settings.Load().name)
	e.pending.mtx.Lock()
	settled := e.pending.settled
	e.pending.mtx.Unlock()
	e.noted.goOn(stage{at: now, head: e.src.Head(), unacked: unacked, expired: expired, settled: settled}, e.src.bytes)
	e.doing(now)
}

// doing returns what the endpoint does, and since when.
func (e *endpoint) doing(now time.Time) (s State, since time.Time) {
	var (
		set     = e.settings.Load()
		failing = false
		taken   = false
		apart   = 0
	)
	for _, st := range e.streams() {
		failing = failing || st.failing.Load()
		taken = taken || st.tookLately()
		apart += st.isolation.size()
	}
	behind, _ := e.behind(now)
	late := behind >= max(keepsUpWithin, 2*time.Duration(set.queue.BatchSendDeadline))
	turned := e.noted.turn(failing, !late, now)
	_, limited := e.noted.tallies.limited(set.name)
	switch {
	case (failing || late) && limited.After(turned):
		s = StateOverLimit
	case failing && e.refusal.lasts() > 0:
		s = StateHeld
	case failing, late && !taken:
		s = StateRetrying // Or an attempt has lasted for long.
	case apart > 0:
		s = StateBlocked
	case late:
		s = StateCatchingUp
	default:
		s = StateDelivering
	}
	return s, e.noted.become(s, now)
}

// behind returns how long ago the log was written that is the oldest not acknowledged, as
// the course of the log tells, whatever timestamps there are in it. If it was written before
// the endpoint was put to work, it is not sure: longer ago than that.
func (e *endpoint) behind(now time.Time) (t time.Duration, sure bool) {
	floor := e.floor()
	if !floor.Before(e.src.Head()) {
		return 0, true
	}
	written, sure := e.noted.passed(floor, now)
	return now.Sub(written), sure
}

// floor returns up to where everything is acknowledged.
func (e *endpoint) floor() cursor.Position { return e.streams()[0].floor() }
