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
//     first of several equal ones
//
// What a receiver refuses for its age or its order is not held: it would only grow older.

// tellRefusalAfter is how long an endpoint refuses everything before a line says so.
const tellRefusalAfter = 10 * time.Second

// refusal is the answer to all that an endpoint was sent since it took something last.
// It is safe for concurrent use. The zero value is none.
type refusal struct {
	mtx    sync.Mutex
	status int // 0 for none.
	since  time.Time
	denied bool // There is no end to it.
	told   int  // 1 if a line said that it is so, 2 if one said that the time is over.
}

// noteRefused takes note of a refusal.
func (r *refusal) noteRefused(res client.Result) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.status != res.Status {
		r.status, r.since, r.told = res.Status, time.Now(), 0
		r.denied = res.Outcome == client.Denied
	}
}

// noteTaken takes note that something was taken.
func (r *refusal) noteTaken() {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.status, r.told = 0, 0
}

// over reports whether a status was the answer to everything for so long.
func (r *refusal) over(status int, hold time.Duration) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	lasted := time.Duration(0)
	if r.status == status {
		lasted = time.Since(r.since)
	}
	return lasted >= hold
}

// lasts returns for how long everything was refused.
func (r *refusal) lasts() time.Duration {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.status == 0 {
		return 0
	}
	return time.Since(r.since)
}

// tell says, once each, that everything is refused and that the time for it is over.
func (r *refusal) tell(l *slog.Logger, set *settings) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.status == 0 {
		return
	}
	lasts := time.Since(r.since)
	switch {
	case !r.denied && r.told < 2 && lasts >= max(set.refusedHold, tellRefusalAfter):
		r.told = 2
		l.Error("The endpoint still refuses everything; what it refuses is dropped from now on", "status", r.status, "for", lasts)
	case r.told > 0, lasts < tellRefusalAfter:
	case r.denied:
		r.told = 1
		l.Error("The endpoint refuses everything; it is held until the credentials or the URL are corrected", "status", r.status, "for", lasts)
	default:
		r.told = 1
		l.Error("The endpoint refuses everything; it is held for a while and dropped then", "status", r.status, "for", lasts, "hold", set.refusedHold)
	}
}
