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
	"net/http"
	"strconv"
	"time"
)

// Outcome says what an attempt means for the samples in the request.
type Outcome uint8

const (
	// Retry means that the samples have still to be delivered: no answer, 5xx,
	// 408, 425, 429, 499, and answers that are none to a remote write request
	// (1xx, 3xx).
	Retry Outcome = iota
	// Delivered means that the receiver took the request (2xx).
	Delivered
	// TooLarge means that the same samples may be taken in smaller requests: 413,
	// or any 4xx or 5xx whose message says so.
	TooLarge
	// Denied means that the credentials or the URL are at fault, most likely, not the
	// samples (401, 403, 404, and 407 of a proxy).
	Denied
	// Refused means that the receiver does not want these samples (other 4xx).
	Refused
)

// String returns the outcome in the form used for metric labels.
func (o Outcome) String() string {
	switch o {
	case Delivered:
		return "delivered"
	case TooLarge:
		return "too_large"
	case Denied:
		return "denied"
	case Refused:
		return "refused"
	}
	return "retry"
}

// MaxRetryAfter bounds what a receiver may ask for. One attempt an hour does
// not hurt a receiver that asked for more, while a mistaken date in the far
// future would stop delivery for ever (I9).
const MaxRetryAfter = time.Hour

// Result is what became of one attempt.
type Result struct {
	// Status is the HTTP status, and 0 if there was no response.
	Status int
	// Outcome follows from the status, and from the message if that says that the
	// request is too large.
	Outcome Outcome
	// Late says that samples were refused because others were before them.
	Late bool
	// Ambiguous says that the receiver may have applied all or part of the
	// request although it is not Delivered.
	Ambiguous bool
	// RetryAfter is how long the receiver asks to wait before the next attempt,
	// between 0 (nothing said) and MaxRetryAfter. Only set for Retry.
	RetryAfter time.Duration
	// Written are the statistics from the response's headers. They are all zero
	// and not confirmed if a number in them is malformed, see StatsErr, and with
	// remote write 1.0, which has none.
	Written Written
	// StatsErr says that the statistics were present and could not be used.
	StatsErr error
	// Err is nil only for Delivered. It holds the start of the response's body.
	Err error
}

// Written is what a receiver of remote write 2.0 says that it stored. Confirmed
// says that it said something: no header means 0, unless there is none at all.
type Written struct {
	Samples, Histograms, Exemplars int
	Confirmed                      bool
}

// Nothing reports whether all numbers are 0, as they are too if it said nothing.
func (w Written) Nothing() bool { return w.Samples+w.Histograms+w.Exemplars == 0 }

// retryAfter reads the header of that name: seconds or a date. Anything else
// counts as absent. A date is measured against the receiver's own clock if it
// tells the time.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(MaxRetryAfter/time.Second))) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(until.Sub(now), 0), MaxRetryAfter)
}
