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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/storage/remote"
)

// TestStatus defends invariants 1 and 2 of the package (I2) for each status.
func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		status    int
		outcome   Outcome
		ambiguous bool
	}{
		{200, Delivered, false},
		{202, Delivered, false},
		{204, Delivered, false},
		{299, Delivered, false},
		{300, Retry, false},
		{304, Retry, false},
		{400, Refused, false},
		{401, Denied, false},
		{402, Refused, false},
		{403, Denied, false},
		{404, Refused, false},
		{409, Refused, false},
		{413, TooLarge, false},
		{415, Refused, false},
		{422, Refused, false},
		{429, Retry, false},
		{499, Refused, false},
		{500, Retry, true},
		{502, Retry, true},
		{503, Retry, true},
		{504, Retry, true},
		{599, Retry, true},
		{600, Retry, false},
		{999, Retry, false},
	} {
		t.Run(strconv.Itoa(tc.status), func(t *testing.T) {
			body := "because of \xff reasons\n"
			if tc.status == 204 || tc.status == 304 {
				body = ""
			}
			c := dialled(t, serve(t, answer(tc.status, body)).URL)
			r := store(t, c)
			require.Equal(t, tc.status, r.Status)
			require.Equal(t, tc.outcome, r.Outcome)
			require.Equal(t, tc.ambiguous, r.Ambiguous)
			require.Zero(t, r.RetryAfter)
			require.Equal(t, remote.WriteResponseStats{}, r.Written)
			require.NoError(t, r.StatsErr)
			if tc.outcome == Delivered {
				require.NoError(t, r.Err)
				return
			}
			require.ErrorContains(t, r.Err, fmt.Sprintf("returned HTTP status %d", tc.status))
			require.ErrorContains(t, r.Err, c.Endpoint())
			if body != "" {
				require.ErrorContains(t, r.Err, "because of \uFFFD reasons")
			}
		})
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
		want      remote.WriteResponseStats
		malformed bool
		ambiguous bool
	}{
		"none":                         {status: 200},
		"all":                          {status: 204, headers: map[string]string{samples: "3", histograms: "2", exemplars: "1"}, want: remote.WriteResponseStats{Samples: 3, Histograms: 2, Exemplars: 1, Confirmed: true}},
		"one is enough":                {status: 200, headers: map[string]string{samples: "3"}, want: remote.WriteResponseStats{Samples: 3, Confirmed: true}},
		"zeros":                        {status: 200, headers: map[string]string{samples: "0", histograms: "0", exemplars: "0"}, want: remote.WriteResponseStats{Confirmed: true}},
		"malformed":                    {status: 200, headers: map[string]string{samples: "many", histograms: "2"}, malformed: true},
		"fraction":                     {status: 200, headers: map[string]string{samples: "1.5"}, malformed: true},
		"too many":                     {status: 200, headers: map[string]string{exemplars: strings.Repeat("9", 40)}, malformed: true},
		"negative":                     {status: 200, headers: map[string]string{samples: "-3"}, malformed: true},
		"part refused":                 {status: 400, headers: map[string]string{samples: "3"}, want: remote.WriteResponseStats{Samples: 3, Confirmed: true}, ambiguous: true},
		"all refused":                  {status: 400, headers: map[string]string{samples: "0"}, want: remote.WriteResponseStats{Confirmed: true}},
		"part taken before the limit":  {status: 429, headers: map[string]string{histograms: "1"}, want: remote.WriteResponseStats{Histograms: 1, Confirmed: true}, ambiguous: true},
		"malformed in a refusal":       {status: 400, headers: map[string]string{samples: "x"}, malformed: true},
		"confirmed zero but a failure": {status: 500, headers: map[string]string{samples: "0"}, want: remote.WriteResponseStats{Confirmed: true}, ambiguous: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialled(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for k, v := range tc.headers {
					w.Header().Set(k, v)
				}
				w.WriteHeader(tc.status)
			}).URL)
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
