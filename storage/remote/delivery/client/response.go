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
	"strings"
	"time"

	"github.com/prometheus/prometheus/storage/remote"
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

// read turns the response of an attempt into a result.
func (c *Client) read(response *http.Response, a *attempt) Result {
	defer response.Body.Close()
	if response.Body != http.NoBody {
		defer time.AfterFunc(drainTime, a.stop).Stop()
	}
	r := Result{Status: response.StatusCode, Outcome: outcomeOf(response.StatusCode)}
	r.Written, r.StatsErr = writtenStats(response)

	if r.Outcome == Delivered && response.Body == http.NoBody {
		return r
	}
	body := io.LimitReader(response.Body, maxDrain)
	if r.Outcome != Delivered {
		r.Err = c.refusal(response, body)
		if r.Outcome == Retry {
			r.RetryAfter = retryAfter(response.Header, time.Now())
		}
		// A receiver that has confirmed samples beside a refusal has applied a part.
		r.Ambiguous = r.Status/100 == 5 || (r.Written.Confirmed && !r.Written.NoDataWritten())
	}
	_, _ = io.Copy(io.Discard, body)
	return r
}

// refusal describes a response that is not 2xx.
func (c *Client) refusal(response *http.Response, body io.Reader) error {
	// A body that breaks off says less, but the status stands.
	// More is read than is shown, so that no secret is cut in two and missed.
	message, _ := io.ReadAll(io.LimitReader(body, maxMessage+maxSecret))
	secrets := append(sentSecrets(response.Request), c.secrets...)
	text := clip(strings.TrimSpace(mask(string(message), secrets)), maxMessage)
	status := clip(mask(response.Status, secrets), maxStatus)
	if response.StatusCode/100 == 3 {
		text = fmt.Sprintf("a redirect to %q that cannot be followed with samples, set url to the final address (%s)", clip(mask(response.Header.Get("Location"), secrets), maxMessage), text)
	}
	return safe(fmt.Errorf("server at %s returned HTTP status %s: %s", c.endpoint, status, text), nil)
}

// writtenStats reads the statistics of remote write 2.0. Half of them would be
// worse than none: a sample count of zero that was not understood looks like a
// receiver that wrote nothing.
func writtenStats(response *http.Response) (remote.WriteResponseStats, error) {
	stats, err := remote.ParseWriteResponseStats(response)
	if err == nil && min(stats.Samples, stats.Histograms, stats.Exemplars) < 0 {
		err = errors.New("a number is negative")
	}
	if err != nil {
		return remote.WriteResponseStats{}, safe(fmt.Errorf("statistics in the response's headers: %w", err), nil)
	}
	return stats, nil
}
