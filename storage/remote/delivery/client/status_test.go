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
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/stretchr/testify/require"
)

// TestStatus defends invariants 1 and 2 of the package (I2) for each status. It
// has a row for each of docs/parity.md.
func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		from, to  int // Both included.
		outcome   Outcome
		ambiguous bool
	}{
		{200, 299, Delivered, false},
		{300, 306, Retry, false}, // Redirects that are not followed: TestRedirects.
		{307, 308, Retry, false}, // Without a place to go to.
		{309, 399, Retry, false},
		{400, 400, Refused, false},
		{401, 401, Denied, false},
		{402, 402, Refused, false},
		{403, 403, Denied, false},
		{404, 404, Denied, false},
		{405, 406, Refused, false},
		{407, 407, Denied, false},
		{408, 408, Retry, true},
		{409, 412, Refused, false},
		{413, 413, TooLarge, false},
		{414, 424, Refused, false},
		{425, 425, Retry, false},
		{426, 428, Refused, false},
		{429, 429, Retry, false},
		{430, 498, Refused, false},
		{499, 499, Retry, true},
		{500, 599, Retry, true},
		{600, 999, Retry, false},
	} {
		t.Run(fmt.Sprintf("%d-%d", tc.from, tc.to), func(t *testing.T) {
			for status := tc.from; status <= tc.to; status++ {
				require.Equal(t, tc.outcome, outcomeOf(status, "because of reasons"), "status %d", status)
				require.Equal(t, tc.ambiguous, perhapsApplied(status), "status %d", status)
			}
			// The first and the last over a connection.
			for _, status := range []int{tc.from, tc.to} {
				body := "because of \xff reasons\n"
				if status == 204 || status == 304 {
					body = ""
				}
				c := dialled(t, serve(t, answer(status, body)).URL)
				r := store(t, c)
				require.Equal(t, status, r.Status)
				require.Equal(t, tc.outcome, r.Outcome)
				require.Equal(t, tc.ambiguous, r.Ambiguous)
				require.Zero(t, r.RetryAfter)
				require.Equal(t, Written{}, r.Written)
				require.NoError(t, r.StatsErr)
				if tc.outcome == Delivered {
					require.NoError(t, r.Err)
					continue
				}
				require.ErrorContains(t, r.Err, fmt.Sprintf("returned HTTP status %d", status))
				require.ErrorContains(t, r.Err, c.Endpoint())
				if body != "" {
					require.ErrorContains(t, r.Err, "because of \uFFFD reasons")
				}
			}
		})
	}
}

// TestTooLarge: a receiver that finds a request too large says so in words, whatever
// the status. A complaint about a label, a series or a rate is something else.
func TestTooLarge(t *testing.T) {
	const thanos = "2 errors: replicate write request for endpoint receive-1:10901: quorum not reached: forwarding request to endpoint receive-2:10901: rpc error: code = ResourceExhausted desc = grpc: received message larger than max (6319597 vs. 4194304)"
	for _, tc := range []struct {
		status  int
		message string
		want    Outcome
	}{
		{400, "decoded size exceeds the 33554432 bytes limit", TooLarge},               // Prometheus.
		{400, "snappy: decoded length 40000000 exceeds limit 33554432", TooLarge},      // Prometheus.
		{400, "decoded length too large: 1073741824 bytes exceeds 10485760", TooLarge}, // Metricbeat.
		{400, "request body exceeds the 33554432 bytes limit", TooLarge},               // client_golang.
		{400, "http: request body too large", TooLarge},                                // net/http.
		{500, "failed to read the body: http: request body too large", TooLarge},       // Behind a handler.
		{400, "received message larger than max (1697477 vs 104857)", TooLarge},        // Cortex.
		{500, "rpc error: code = ResourceExhausted desc = grpc: trying to send message larger than max (5 vs. 4)", TooLarge},
		{429, "grpc: received message after decompression larger than max (5 vs. 4)", TooLarge},
		{500, thanos, TooLarge},
		{413, "write request too large", TooLarge}, // Thanos.
		{422, "write request too large", TooLarge},
		{400, "the incoming push request has been rejected because its message size of 100 bytes (uncompressed) is larger than the allowed limit of 50 bytes (err-mimir-distributor-max-write-message-size). To adjust the related limit, configure -distributor.max-recv-msg-size", TooLarge},
		{400, "request exceeds max recv msg size of 100", TooLarge},
		{400, "error parsing remote write request: too big packed request; mustn't exceed `-maxInsertRequestSize=33554432` bytes", TooLarge}, // VictoriaMetrics.
		{400, "too big unpacked request; mustn't exceed 33554432 bytes", TooLarge},
		{400, "cannot read data: too big data size exceeding -maxInsertRequestSize=33554432 bytes", TooLarge},
		{400, "Maximum request body size 1048576 exceeded, actual body size 2000000", TooLarge},
		{500, "MESSAGE_TOO_LARGE: the request included a message larger than the max message size the server will accept", TooLarge}, // Kafka.
		{503, "<h1>Payload Too Large</h1>", TooLarge},
		{413, "", TooLarge},

		{400, "received a series whose label value length of 3000 exceeds the limit of 2048", Refused},
		{400, "received a series whose number of labels exceeds the limit (actual: 41, limit: 40)", Refused},
		{400, "per-user series limit of 150000 exceeded", Refused},
		{400, "label name too long: 1025 > 1024", Refused},
		{400, "timestamp too far in the future, larger than the allowed 10m", Refused},
		{400, "out of order sample", Refused},
		{429, "the request has been rejected because the tenant exceeded the ingestion rate limit, set to 10000 items/s with a maximum allowed burst of 200000", Retry},
		{429, "the request exceeds the ingestion rate limit (25000)", Retry},
		{500, "upstream sent too big header while reading response header from upstream", Retry},
		{401, "request body too large", Denied},
		{302, "request body too large", Retry},
		{200, "request body too large", Delivered},
	} {
		require.Equal(t, tc.want, outcomeOf(tc.status, tc.message), "%d: %s", tc.status, tc.message)
	}

	// Over a connection, and however much comes before it.
	for status, ambiguous := range map[int]bool{400: false, 429: false, 500: true} {
		r := store(t, dialled(t, serve(t, answer(status, strings.Repeat("much said ", 1000)+thanos)).URL))
		require.Equal(t, TooLarge, r.Outcome)
		require.Equal(t, ambiguous, r.Ambiguous, "a part of the receivers may have it")
		require.Zero(t, r.RetryAfter)
	}
}

func TestOutcomeNames(t *testing.T) {
	require.Equal(t, Retry, Outcome(0), "forgetting to decide must not lose samples")
	for o, name := range map[Outcome]string{
		Retry: "retry", Delivered: "delivered", TooLarge: "too_large", Denied: "denied", Refused: "refused", 99: "retry",
	} {
		require.Equal(t, name, o.String())
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, tc := range map[string]struct {
		value, date string
		want        time.Duration
	}{
		"absent":                       {"", "", 0},
		"seconds":                      {"17", "", 17 * time.Second},
		"zero":                         {"0", "", 0},
		"negative":                     {"-5", "", 0},
		"plus":                         {"+5", "", 5 * time.Second},
		"fraction is garbage":          {"1.5", "", 0},
		"unit is garbage":              {"5s", "", 0},
		"word":                         {"soon", "", 0},
		"most":                         {"3600", "", MaxRetryAfter},
		"a year":                       {"31536000", "", MaxRetryAfter},
		"more than a duration holds":   {"9223372036854775807", "", MaxRetryAfter},
		"more than an integer holds":   {"9223372036854775808", "", 0},
		"least":                        {"-9223372036854775808", "", 0},
		"date":                         {in(90 * time.Second), "", 90 * time.Second},
		"date in the past":             {in(-90 * time.Second), "", 0},
		"date now":                     {in(0), "", 0},
		"date in a year":               {in(365 * 24 * time.Hour), "", MaxRetryAfter},
		"first date ever":              {"Mon, 01 Jan 0001 00:00:00 GMT", "", 0},
		"last date ever":               {"Fri, 31 Dec 9999 23:59:59 GMT", "", MaxRetryAfter},
		"older form of date":           {now.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 MST"), "", time.Minute},
		"receiver's clock is ahead":    {in(10*time.Minute + 30*time.Second), in(10 * time.Minute), 30 * time.Second},
		"receiver's clock is behind":   {in(-10*time.Minute + 30*time.Second), in(-10 * time.Minute), 30 * time.Second},
		"receiver's clock is nonsense": {in(time.Minute), "noon", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tc.value != "" {
				h.Set("Retry-After", tc.value)
			}
			if tc.date != "" {
				h.Set("Date", tc.date)
			}
			require.Equal(t, tc.want, retryAfter(h, now))
		})
	}
}

// TestRetryAfterIsOnlyForRetries makes sure that the header is passed on where
// it counts and nowhere else.
func TestRetryAfterIsOnlyForRetries(t *testing.T) {
	for status, want := range map[int]time.Duration{
		200: 0, 400: 0, 403: 0, 413: 0, 429: 7 * time.Second, 500: 7 * time.Second, 503: 7 * time.Second,
	} {
		c := dialled(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}).URL)
		require.Equal(t, want, store(t, c).RetryAfter, "status %d", status)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"", "1", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999", "0x10", " 5"} {
		f.Add(v, "")
		f.Add(v, "Fri, 31 Dec 1999 23:59:59 GMT")
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, date string) {
		d := retryAfter(http.Header{"Retry-After": {value}, "Date": {date}}, now)
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, MaxRetryAfter)
	})
}

func TestWrittenStats(t *testing.T) {
	const samples, histograms, exemplars = "X-Prometheus-Remote-Write-Samples-Written", "X-Prometheus-Remote-Write-Histograms-Written", "X-Prometheus-Remote-Write-Exemplars-Written"
	for name, tc := range map[string]struct {
		status    int
		headers   map[string]string
		want      Written
		malformed bool
		ambiguous bool
	}{
		"none":                         {status: 200},
		"all":                          {status: 204, headers: map[string]string{samples: "3", histograms: "2", exemplars: "1"}, want: Written{Samples: 3, Histograms: 2, Exemplars: 1, Confirmed: true}},
		"one is enough":                {status: 200, headers: map[string]string{samples: "3"}, want: Written{Samples: 3, Confirmed: true}},
		"zeros":                        {status: 200, headers: map[string]string{samples: "0", histograms: "0", exemplars: "0"}, want: Written{Confirmed: true}},
		"malformed":                    {status: 200, headers: map[string]string{samples: "many", histograms: "2"}, malformed: true},
		"fraction":                     {status: 200, headers: map[string]string{samples: "1.5"}, malformed: true},
		"too many":                     {status: 200, headers: map[string]string{exemplars: strings.Repeat("9", 40)}, malformed: true},
		"negative":                     {status: 200, headers: map[string]string{samples: "-3"}, malformed: true},
		"part refused":                 {status: 400, headers: map[string]string{samples: "3"}, want: Written{Samples: 3, Confirmed: true}, ambiguous: true},
		"all refused":                  {status: 400, headers: map[string]string{samples: "0"}, want: Written{Confirmed: true}},
		"part taken before the limit":  {status: 429, headers: map[string]string{histograms: "1"}, want: Written{Histograms: 1, Confirmed: true}, ambiguous: true},
		"malformed in a refusal":       {status: 400, headers: map[string]string{samples: "x"}, malformed: true},
		"confirmed zero but a failure": {status: 500, headers: map[string]string{samples: "0"}, want: Written{Confirmed: true}, ambiguous: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialled(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for k, v := range tc.headers {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
			}).URL, func(c *Config) { c.Protocol = remoteapi.WriteV2MessageType })
			r := store(t, c)
			require.Equal(t, tc.want, r.Written)
			require.Equal(t, tc.ambiguous, r.Ambiguous)
			if tc.malformed {
				require.ErrorContains(t, r.StatsErr, "statistics in the response's headers")
			} else {
				require.NoError(t, r.StatsErr)
			}
		})
	}
}

// TestLate: receivers say in words that a sample comes too late, whatever the status of
// the refusal. Where they do not refuse, it does not matter.
func TestLate(t *testing.T) {
	for message, late := range map[string]bool{
		"out of order sample":            true, // Prometheus.
		"out of bounds":                  true,
		"too old sample":                 true,
		"duplicate sample for timestamp": true,
		"the sample has been rejected because another sample with a more recent timestamp has already been ingested and out-of-order samples are not allowed (err-mimir-sample-out-of-order)": true,
		"the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old)":                                                                                  true,
		"label name too long":                 false,
		"no such tenant":                      false,
		"per-user series limit of 5 exceeded": false,
	} {
		for status, refused := range map[int]bool{400: true, 409: true, 422: true, 429: false, 500: false, 401: false} {
			r := store(t, dialled(t, serve(t, answer(status, message)).URL))
			require.Equal(t, late && refused, r.Late, "%d: %s", status, message)
		}
	}
}

// TestNoStatsWithV1: what is answered to remote write 1.0 says nothing by these
// headers, whether it is nonsense, too little or too much.
func TestNoStatsWithV1(t *testing.T) {
	for _, status := range []int{200, 204, 400, 429, 500} {
		for _, value := range []string{"0", "7", "many"} {
			r := store(t, dialled(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", value)
				w.WriteHeader(status)
			}).URL))
			require.Equal(t, outcomeOf(status, ""), r.Outcome)
			require.Equal(t, Written{}, r.Written)
			require.NoError(t, r.StatsErr)
			require.Equal(t, status == 500, r.Ambiguous)
		}
	}
}
