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

import "sync"

// usage tells when connections may be dropped: only while no attempt is under
// way. net/http counts a connection as idle a moment before it hands over the
// response that came on it, and a request whose connection is dropped in that
// moment counts as failed, although it was answered. What it held would be sent
// again.
type usage struct {
	mtx    sync.Mutex
	active int
	closed bool
}

// begin is called before an attempt.
func (u *usage) begin() {
	u.mtx.Lock()
	defer u.mtx.Unlock()
	u.active++
}

// end is called after an attempt, and reports whether it is the caller's turn to
// drop connections.
func (u *usage) end() bool {
	u.mtx.Lock()
	defer u.mtx.Unlock()
	u.active--
	return u.closed && u.active == 0
}

// close asks for connections to be dropped from now on whenever they are not
// needed, and reports whether they are not needed now.
func (u *usage) close() bool {
	u.mtx.Lock()
	defer u.mtx.Unlock()
	u.closed = true
	return u.active == 0
}
