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
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
)

const (
	// maxMessage is how much of a response's body goes into an error, in bytes.
	maxMessage = 1024
	// maxSecret is the longest credential that is looked for in it, in bytes.
	maxSecret = 16 * 1024
	// maxStatus is the same of the status line.
	maxStatus = 128
	// maxDrain is how much of a body is read so that the connection can be used
	// again, in bytes. Reading more costs more than a new connection.
	maxDrain = 64 * 1024
	// drainTime bounds the same in time: the status is known by then, and a
	// sender must not be held up by a body that trickles in.
	drainTime = time.Second
)

// read turns the response of an attempt into a result. stop ends the attempt.
func (c *Client) read(response *http.Response, stop func()) Result {
	defer response.Body.Close()
	r := Result{Status: response.StatusCode}
	// Receivers of remote write 1.0 do not know what the numbers count: some
	// answer 0 to what they have stored.
	if c.protocol == encoder.V2 {
		r.Written, r.StatsErr = writtenStats(response.Header)
	}
	if r.Status/100 == 2 && response.ContentLength == 0 {
		r.Outcome = Delivered
		return r
	}
	defer time.AfterFunc(drainTime, stop).Stop()
	body := io.LimitReader(response.Body, maxDrain)
	if r.Status/100 == 2 {
		r.Outcome = Delivered
	} else {
		// A body that breaks off says less, but the status is known.
		// More is read than is shown, so that no secret is cut in two and missed.
		message, _ := io.ReadAll(io.LimitReader(body, maxMessage+maxSecret))
		r.Outcome = outcomeOf(r.Status, string(message))
		r.Late = r.Outcome == Refused && late.MatchString(string(message))
		r.Err = c.refusal(response, string(message))
		if r.Outcome == Retry {
			r.RetryAfter = retryAfter(response.Header, time.Now())
		}
		// A receiver that has confirmed samples beside a refusal has applied a part.
		r.Ambiguous = perhapsApplied(r.Status) || !r.Written.Nothing()
	}
	_, _ = io.Copy(io.Discard, body)
	return r
}

// refusal describes a response that is not 2xx.
func (c *Client) refusal(response *http.Response, message string) error {
	secrets := append(sentSecrets(response.Request), c.secrets...)
	text := clip(strings.TrimSpace(mask(message, secrets)), maxMessage)
	status := clip(mask(response.Status, secrets), maxStatus)
	if response.StatusCode/100 == 3 {
		text = fmt.Sprintf("a redirect to %q that cannot be followed with samples, set url to the final address (%s)", clip(mask(response.Header.Get("Location"), secrets), maxMessage), text)
	}
	return safe(fmt.Errorf("server at %s returned HTTP status %s: %s", c.endpoint, status, text), nil)
}

// writtenStats reads the statistics of remote write 2.0. Half of them would be
// worse than none: a sample count of zero that was not understood looks like a
// receiver that wrote nothing.
func writtenStats(h http.Header) (Written, error) {
	var w Written
	for name, n := range map[string]*int{"Samples": &w.Samples, "Histograms": &w.Histograms, "Exemplars": &w.Exemplars} {
		value := h.Get("X-Prometheus-Remote-Write-" + name + "-Written")
		if value == "" {
			continue
		}
		w.Confirmed = true
		var err error
		if *n, err = strconv.Atoi(value); err == nil && *n < 0 {
			err = errors.New("a number is negative")
		}
		if err != nil {
			return Written{}, safe(fmt.Errorf("statistics in the response's headers: %w", err), nil)
		}
	}
	return w, nil
}
