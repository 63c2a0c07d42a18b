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
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"time"

	"go.uber.org/atomic"
)

// attempt is what one call of Store needs besides the request itself: a context
// that ends with the caller's or when the time is over, the loan of the body,
// and the note that there was a connection. Making these anew was half of what a
// request allocates, so an attempt serves again if nothing of it can still be in
// use, see [attempt.end].
//
// One goroutine owns it. As a context it is used by the transport as well.
type attempt struct {
	until atomic.Duration // From made to the deadline. First, so that 32-bit platforms can use it as an atomic.

	context.Context // Of the caller, with cancel and the hook.

	caller    context.Context
	cancel    context.CancelCauseFunc
	timer     *time.Timer
	made      time.Time
	connected atomic.Bool // The hook may run in one of the transport's goroutines.
	lent      loan
	again     func() (io.ReadCloser, error) // The loan's.
}

// newAttempt returns an attempt without a body, whose time is running.
func newAttempt(caller context.Context, timeout time.Duration) *attempt {
	a := &attempt{caller: caller, made: time.Now()}
	inner, cancel := context.WithCancelCause(caller)
	a.cancel, a.again = cancel, a.lent.again
	a.Context = httptrace.WithClientTrace(inner, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { a.connected.Store(true) },
	})
	a.until.Store(timeout)
	a.timer = time.AfterFunc(timeout, func() { cancel(context.DeadlineExceeded) })
	return a
}

// renew starts the time of a settled attempt again.
func (a *attempt) renew(timeout time.Duration) {
	a.connected.Store(false)
	a.until.Store(time.Since(a.made) + timeout)
	a.timer.Reset(timeout)
}

// Deadline implements context.Context.
func (a *attempt) Deadline() (time.Time, bool) {
	own := a.made.Add(a.until.Load())
	if t, ok := a.Context.Deadline(); ok && t.Before(own) {
		return t, true
	}
	return own, true
}

// Err implements context.Context. It tells the end of the time from a
// cancellation, as a context with a deadline does.
func (a *attempt) Err() error {
	err := a.Context.Err()
	if err != nil && errors.Is(context.Cause(a.Context), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

// stop ends what is still going on.
func (a *attempt) stop() { a.cancel(context.Canceled) }

// end stops the clock. It reports whether the attempt may serve again: it ended
// in time and with an answer that was complete, as answered says, and the only
// reader of the body has read all of it. Then the transport has nothing left to
// wait for or to send. What it may still look at is not changed: each attempt has
// a request and a reader of its own, see [outgoing].
func (a *attempt) end(answered bool) (reusable bool) {
	inTime := a.timer.Stop()
	if answered && inTime && a.lent.settled() {
		return true
	}
	a.stop()
	return false
}

// outgoing is a request and the reader of its body in one piece.
type outgoing struct {
	http.Request
	body loanReader
}

// request returns a request like sample with the body on loan. It shares the URL
// and, in a first try, the header with sample.
func (a *attempt) request(ctx context.Context, sample *http.Request, tries int) *http.Request {
	out := &outgoing{Request: *sample.WithContext(ctx)}
	if tries > 0 {
		out.Header = sample.Header.Clone()
		out.Header.Set("Retry-Attempt", strconv.Itoa(tries))
	}
	if n := a.lent.size(); n > 0 {
		a.lent.open(&out.body)
		out.ContentLength, out.Body, out.GetBody = int64(n), &out.body, a.again
	}
	return &out.Request
}

// own gives a request a URL and a header that may be written to.
func own(request *http.Request) *http.Request {
	u := *request.URL
	request.URL, request.Header = &u, request.Header.Clone()
	return request
}

// answered is a round tripper that has the answer to the first request already.
type answered struct {
	response *http.Response
	err      error
	next     http.RoundTripper
	done     bool
}

// RoundTrip implements http.RoundTripper.
func (t *answered) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.done {
		return t.next.RoundTrip(request)
	}
	t.done = true
	return t.response, t.err
}
