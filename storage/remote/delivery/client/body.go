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
	"errors"
	"io"
	"sync"
)

// errEnded is what the transport gets if it goes on reading a request whose
// attempt is over. No caller sees it: the connection is closed.
var errEnded = errors.New("the attempt to send this request is over")

// attemptBody is the body of one attempt. net/http may read a request's body after
// Do has returned, while the caller wants to build the next request in the same
// buffer. Readers copy under the lock, and never hold it while they wait for the
// network, so that end does not wait either.
//
// It also knows whether the transport has taken the last byte. That happens
// before the byte is sent, so a receiver cannot have a whole request of which
// the body does not know.
type attemptBody struct {
	mtx   sync.Mutex
	data  []byte // Nil after end.
	taken bool
	over  bool
}

// open returns a reader of the body. Redirects and transports that send the
// request a second time open it again.
func (b *attemptBody) open() (io.ReadCloser, error) { return &bodyReader{body: b}, nil }

// end gives the buffer back to its owner. It reports whether all of it had been
// read.
func (b *attemptBody) end() (taken bool) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	taken = b.taken || len(b.data) == 0
	b.data, b.over = nil, true
	return taken
}

// bodyReader reads a body once from start to end. It has Read only: io.Copy
// would otherwise hand the buffer itself to the connection.
type bodyReader struct {
	body *attemptBody
	next int
	done bool
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.body.mtx.Lock()
	defer r.body.mtx.Unlock()
	switch {
	case r.done:
		// Also after the end: the transport looks for it when it has sent
		// everything, perhaps after the response has arrived, and an error would
		// cost the connection.
		return 0, io.EOF
	case r.body.over:
		return 0, errEnded
	}
	n := copy(p, r.body.data[r.next:])
	r.next += n
	if r.next == len(r.body.data) {
		r.done, r.body.taken = true, true
	}
	return n, nil
}

func (*bodyReader) Close() error { return nil }
