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

package client

import (
	"context"
	"sync"
	"time"
)

// keptAttempts is how many attempts wait to serve again. More are under way at
// the same time only while a backlog is sent, where requests are large.
const keptAttempts = 8

// usage tells when connections may be dropped: only while no attempt is under
// way. net/http counts a connection as idle a moment before it hands over the
// response that came on it, and a request whose connection is dropped in that
// moment counts as failed, although it was answered. What it held would be sent
// again.
//
// It also hands out attempts, and keeps some that can serve again.
type usage struct {
	mtx    sync.Mutex
	active int
	closed bool
	spare  []*attempt
}

// begin returns an attempt that starts now.
func (u *usage) begin(caller context.Context, timeout time.Duration) *attempt {
	u.mtx.Lock()
	u.active++
	var a *attempt
	if n := len(u.spare); n > 0 {
		a, u.spare[n-1] = u.spare[n-1], nil
		u.spare = u.spare[:n-1]
	}
	u.mtx.Unlock()
	switch {
	case a == nil:
	case a.caller == caller:
		a.renew(timeout)
		return a
	default:
		a.stop()
	}
	return newAttempt(caller, timeout)
}

// end is called after an attempt, and reports whether it is the caller's turn to
// drop connections. answered says that there was an answer and all of it has
// been read.
func (u *usage) end(a *attempt, answered bool) bool {
	reusable := a.end(answered)
	u.mtx.Lock()
	defer u.mtx.Unlock()
	u.active--
	switch {
	case !reusable:
	case u.closed || len(u.spare) == keptAttempts:
		a.stop() // Its context is known to the caller's until then.
	default:
		u.spare = append(u.spare, a)
	}
	return u.closed && u.active == 0
}

// close asks for connections to be dropped from now on whenever they are not
// needed, and reports whether they are not needed now.
func (u *usage) close() bool {
	u.mtx.Lock()
	defer u.mtx.Unlock()
	u.closed = true
	for _, a := range u.spare {
		a.stop()
	}
	u.spare = nil
	return u.active == 0
}
