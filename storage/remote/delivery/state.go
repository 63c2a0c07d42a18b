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
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// This file has what an endpoint does at present, in a word, and since when. The pacer looks
// once a second and notes it; the status of the endpoint looks when it is asked for.

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
// the log, and of what it does. It returns how many it has acknowledged since some time.
func (e *endpoint) note(now time.Time, unacked int64) (acked int64) {
	expired, _ := e.noted.tallies.limited(e.settings.Load().name)
	e.pending.mtx.Lock()
	settled := e.pending.settled
	e.pending.mtx.Unlock()
	acked = e.noted.goOn(stage{at: now, head: e.src.Head(), unacked: unacked, expired: expired, settled: settled}, e.src.bytes)
	e.noted.become(e.doing(now))
	return acked
}

// doing returns what the endpoint does. To look changes nothing of it.
func (e *endpoint) doing(now time.Time) (a activity) {
	a.at = now
	var (
		set   = e.settings.Load()
		apart = 0
	)
	for _, st := range e.streams() {
		a.failing = a.failing || st.failing.Load()
		apart += st.isolation.size()
	}
	if apart > 0 {
		a.apart = e.noted.apartSince(now)
	}
	a.refusesAll = e.refusesAll(a.apart)
	keepsUp, sure := e.keepsUp(now)
	late := !keepsUp
	a.turned = e.noted.turnedAt(a.failing, !late, now)
	_, limited := e.noted.tallies.limited(set.name)
	v, _ := e.noted.speed()
	gains := !a.failing && v.out > v.in
	switch {
	case (a.failing || late) && !gains && limited.After(a.turned):
		a.state = StateOverLimit
	case a.failing && a.refusesAll && e.refusal.lasts() > 0:
		a.state = StateHeld
	case !a.failing && a.refusesAll && e.noted.refusedLately(now):
		a.state = StateRefusing
	case !a.failing && !sure && e.waitsForFirst(now):
		a.state = StateStarting
	case a.failing, late && !e.tookLately():
		a.state = StateRetrying // Or an attempt has lasted for long.
	case apart > 0 && (!late || !gains):
		a.state = StateBlocked // Else what is apart is a part of what it comes on with.
	case late:
		a.state = StateCatchingUp
	default:
		a.state = StateDelivering
	}
	a.since = e.noted.sinceOf(a.state, now)
	return a
}

// dropsIn returns how long it is until what is refused is dropped, if all is.
func (e *endpoint) dropsIn(now time.Time) *time.Duration {
	_, until := e.refusal.present(e.settings.Load().refusedHold)
	if until == nil {
		return nil // As it mostly is: nothing more has to be looked at.
	}
	if state := e.doing(now).state; state != StateHeld && state != StateRefusing {
		return nil
	}
	left := max(until.Sub(now), 0)
	return &left
}

// refusesAll reports whether the last refusal, if there is one, is of everything: it is about
// who asks, or the endpoint has taken nothing for a while, and not for want of anything but
// isolated series, which it has refused since before it took other things.
func (e *endpoint) refusesAll(apart time.Time) bool {
	switch {
	case e.refusal.denies():
		return true
	case e.tookLately():
		return false
	}
	if apart.IsZero() || !apart.Before(e.lastTaken.Load()) {
		return true
	}
	streams := e.streams() // What is isolated has left the queue.
	return streams[len(streams)-1].queue.Marks(make([]savepoint.Mark, queue.Partitions)).Before(e.src.Head())
}

// keepsUp reports whether it has acknowledged what was written more than a moment ago, and
// whether it is sure how far behind it is.
func (e *endpoint) keepsUp(now time.Time) (keepsUp, sure bool) {
	behind, sure := e.behind(now)
	return sure && behind < max(keepsUpWithin, 2*time.Duration(e.settings.Load().queue.BatchSendDeadline)), sure
}

// waitsForFirst reports whether it was put to work a moment ago, and has answered nothing yet.
func (e *endpoint) waitsForFirst(now time.Time) bool {
	return e.taken.Load() == 0 && e.noted.lastFailure() == nil && e.noted.began(now) < keepsUpWithin
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
