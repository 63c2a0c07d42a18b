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
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
)

// An endpoint that refuses everything has a wrong password, a wrong URL or a proxy
// without a receiver behind it, rather than samples that it does not want: an operator
// is about to correct it. So a refusal counts only if the endpoint takes other things. As
// long as it does not, what it refuses is held, and repeated as in any outage:
//
//   - 401 and 407 always: they are never about samples
//   - 403 and 404 until something else is taken. Then what is refused alone is dropped
//   - other 4xx too, but no longer than Options.RefusedHold, which begins with the
//     first of them that none of the above has followed
//
// What a receiver refuses for its age or its order is not held: it would only grow older.
// Nor is what it may have already if it takes a request with nothing in it. A receiver
// that has all of it, which it need not say in a way that we know, takes nothing else
// before it has refused that; but it has no reason to refuse an empty request, which may be
// one with parts that it does not know (thanos#5269). What refuses everything does.

const (
	// tellRefusalAfter is how long an endpoint refuses everything before a line says so.
	tellRefusalAfter = 10 * time.Second
	// takesFor is how long an endpoint that has taken something counts as one that does
	// not refuse everything.
	takesFor = 10 * time.Second
	// sureAfter is how often something is refused alone before that counts: of two
	// receivers behind one URL, one may refuse everything.
	sureAfter = 3
	// emptyCounts is how long the answer to an empty request counts.
	emptyCounts = time.Second
)

// refusal is the answer to all that an endpoint was sent since it took something last,
// over all streams:
//
//	          refused: since begins                   RefusedHold after clock,
//	          and, with a 4xx that may be meant,      if the last status may be
//	          clock                                   meant
//	none ─────────────────────────────▶ held ─────────────────────────▶ over
//	 ▲ ▲                                │  ▲ │ another that may be        │
//	 │ │                                │  │ └─┐ meant: nothing new       │
//	 │ └──────── something is taken ────┘  └───┘                          │
//	 │                                     ▲                              │
//	 │                                     └──── one that is always held: │
//	 │                                           clock is void until the  │
//	 │                                           next that may be meant ──┤
//	 └───────────────── something is taken ───────────────────────────────┘
//
// In held, what is refused waits; a line says so after tellRefusalAfter. In over, it is
// dropped; another line says that. Two statuses by turns, as of two proxies behind one URL,
// are one refusal. It is safe for concurrent use. The zero value is none.
type refusal struct {
	mtx   sync.Mutex
	last  client.Result // The last answer; its status is 0 for none.
	since time.Time     // When the first was,
	clock time.Time     // and the first since one that is always held.
	told  told
	empty emptyRequest
}

// emptyRequest is what became of a request with nothing in it.
type emptyRequest struct {
	taken bool
	at    time.Time
}

// told is what lines have said of a refusal.
type told int

const (
	toldNothing told = iota
	toldHeld         // Everything is refused, and held.
	toldOver         // The time for that is over.
)

// held reports whether the last answer is one that is held without end.
func (r *refusal) held() bool { return r.last.Outcome == client.Denied }

// denies reports whether the last answer is about who asks, whatever is asked for.
func (r *refusal) denies() bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return credentials(r.last.Status)
}

// noteRefused takes note of a refusal.
func (r *refusal) noteRefused(res client.Result) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	now := time.Now()
	first, held := r.last.Status == 0, r.held()
	if r.last = res; first {
		r.since = now
	}
	if first || held {
		r.clock = now
	}
	if r.held() {
		r.told = min(r.told, toldHeld)
	}
}

// noteTaken takes note that something was taken.
func (r *refusal) noteTaken() {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.last, r.told = client.Result{}, toldNothing
}

// noteEmpty takes note of the answer to an empty request.
func (r *refusal) noteEmpty(taken bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.empty = emptyRequest{taken, time.Now()}
}

// takesEmpty reports whether an empty request was taken, and whether that is known.
func (r *refusal) takesEmpty() (taken, known bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.empty.taken, time.Since(r.empty.at) < emptyCounts
}

// over reports whether the hold is over of what may be meant.
func (r *refusal) over(hold time.Duration) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return hold <= 0 || (r.last.Status != 0 && !r.held() && time.Since(r.clock) >= hold)
}

// lasts returns for how long everything was refused.
func (r *refusal) lasts() time.Duration {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.last.Status == 0 {
		return 0
	}
	return time.Since(r.since)
}

// present returns the status with which everything is refused, 0 for none, and when that
// leads to drops, nil for never.
func (r *refusal) present(hold time.Duration) (status int, until *time.Time) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.last.Status != 0 && !r.held() {
		end := r.clock.Add(hold).UTC()
		until = &end
	}
	return r.last.Status, until
}

// tell says, once each, that everything is refused and that the hold is over.
func (r *refusal) tell(l *slog.Logger, set *settings) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	lasts := time.Since(r.since)
	if r.last.Status == 0 || lasts < tellRefusalAfter {
		return
	}
	about := []any{"status", r.last.Status, "for", lasts, "err", r.last.Err}
	switch {
	case !r.held() && time.Since(r.clock) >= set.refusedHold:
		if r.told < toldOver {
			r.told = toldOver
			l.Error("The endpoint still refuses everything; what it refuses is dropped from now on, and counted", about...)
		}
	case r.told > toldNothing:
	case r.held():
		r.told = toldHeld
		l.Error("The endpoint refuses everything; the samples are kept and the requests repeated until the credentials or the URL are corrected", about...)
	default:
		r.told = toldHeld
		l.Error("The endpoint refuses everything; the samples are kept and the requests repeated for a while, and dropped then", append(about, "hold", set.refusedHold)...)
	}
}

// What answers mean beyond their outcome is said here, of refusals and others.

// credentials reports whether a status is about who asks, whatever is asked for.
func credentials(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired
}

// refusesData reports whether a status is one that receivers use for samples
// they have already or that are out of order, rather than for the sender.
func refusesData(status int) bool {
	return status == 400 || status == 409 || status == 422
}

// maybeLater reports whether a status says nothing final of a request.
func maybeLater(status int) bool { return status/100 == 5 || status == 429 }

// scarce reports whether an answer may be about the rate of requests, as that of
// any limiter. Then it says nothing of what was sent: some requests fail, and
// others are taken.
func scarce(res client.Result) bool { return res.Status == 429 || res.Status == 503 }

// final reports whether an answer is the last word on what was sent.
func final(res client.Result) bool {
	if res.Outcome == client.TooLarge && maybeLater(res.Status) {
		return false
	}
	return res.Outcome == client.Refused || res.Outcome == client.TooLarge || res.Outcome == client.Denied
}
