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
// attempt is over. Nobody sees it: the connection has been given up.
var errEnded = errors.New("the attempt to send this request is over")

// loan lends a buffer to the transport for the time of one attempt. net/http
// may read a request's body after Do has returned an error, while the caller
// wants to build the next request in the same buffer. Readers copy under the
// lock, and never hold it while they wait for the network, so that ending the
// loan does not wait either.
//
// A loan also knows whether the transport has taken the last byte. That happens
// before the byte is sent, so a receiver cannot have a whole request of which
// the loan does not know.
//
// A loan may be lent again when it is settled. Readers of before then have
// nothing more to do with what is in it: one that has read everything never
// looks at the data again.
type loan struct {
	mtx     sync.Mutex
	data    []byte // Nil after end.
	readers int
	taken   bool
	over    bool
}

// lend puts a buffer in. The loan is new, or settled.
func (l *loan) lend(data []byte) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.data, l.readers, l.taken, l.over = data, 0, false, false
}

// size is the number of bytes on loan.
func (l *loan) size() int {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return len(l.data)
}

// end takes the buffer back. It reports whether all of it had been read.
func (l *loan) end() (taken bool) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	taken = l.taken || len(l.data) == 0
	l.data, l.over = nil, true
	return taken
}

// settled reports whether the loan is over and its only reader has read all of
// it. If there were several, one may not be through.
func (l *loan) settled() bool {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return l.over && l.taken && l.readers == 1
}

// open makes r a reader of what is on loan.
func (l *loan) open(r *loanReader) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.readers++
	*r = loanReader{loan: l}
}

// again serves transports and redirects that send the request a second time.
func (l *loan) again() (io.ReadCloser, error) {
	r := &loanReader{}
	l.open(r)
	return r, nil
}

// loanReader reads a loan once from start to end. It has Read only: io.Copy
// would otherwise hand the buffer itself to the connection.
type loanReader struct {
	loan *loan
	next int
	done bool
}

func (r *loanReader) Read(p []byte) (int, error) {
	r.loan.mtx.Lock()
	defer r.loan.mtx.Unlock()
	switch {
	case r.done:
		// Also after the loan has ended: the transport looks for the end when it
		// has sent everything, perhaps after the response has arrived, and an
		// error would cost the connection.
		return 0, io.EOF
	case r.loan.over:
		return 0, errEnded
	}
	n := copy(p, r.loan.data[r.next:])
	r.next += n
	if r.next == len(r.loan.data) {
		r.done, r.loan.taken = true, true
	}
	return n, nil
}

func (*loanReader) Close() error { return nil }
