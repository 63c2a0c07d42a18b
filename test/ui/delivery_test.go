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

package ui

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/agent/statuspage"
)

// state is a situation in which somebody opens the page.
type state struct {
	name  string
	since func(s *statuspage.Status, e *statuspage.Endpoint) // What is different, with the second endpoint.
	// answers are the beginnings of the five, after the questions; shows is what else must be read.
	answers [5]string
	shows   []string
}

var states = []state{
	{
		"delivering", func(*statuspage.Status, *statuspage.Endpoint) {},
		[5]string{"Yes", "0.4 s", "Nothing", "Not foreseen", "Nothing"},
		[]string{"delivering", "Nothing was lost, and nothing left out."},
	},
	{
		"catching-up", func(_ *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateCatchingUp, "catching up", 754)
			e.CatchUp, e.Acked, e.Sent = to(48.0), to(2.1e6), to(410e3)
		},
		[5]string{"Catching up", "12 min 34 s archive", "Nothing", "Not foreseen", "Nothing"},
		[]string{"catching up", "caught up in 48 s", "2.0 MiB/s"},
	},
	{
		"retrying", func(s *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateRetrying, "retrying: no answer", 4000)
			e.LastError = failure(0, "dial tcp 192.0.2.17:443: connect: connection refused")
			pinned(s, e, 20*3600, "max_size")
		},
		[5]string{"Not quite 1 of 2 endpoints keep up, 1 retrying", "66 min 40 s archive", "archive", "In 20 h 0 min archive", "Nothing"},
		[]string{"no answer", "connection refused", "by max-size"},
	},
	{
		"held", func(s *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateHeld, "held until mended: 401 Unauthorized", 600)
			e.RefusedStatus = http.StatusUnauthorized
			e.LastError = failure(http.StatusUnauthorized, "server returned HTTP status 401 Unauthorized: "+strings.Repeat("no-token-in-this-header.", 12))
			pinned(s, e, 3*3600, "max_size")
		},
		[5]string{"No 1 of 2 endpoints keep up, 1 held", "10 min 0 s archive", "archive", "In 3 h 0 min archive", "Nothing"},
		[]string{"held until mended", "401 Unauthorized"},
	},
	{
		"refusing", func(_ *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateRefusing, "refusing everything: 400 Bad Request", 3)
			e.LastError = failure(http.StatusBadRequest, "server returned HTTP status 400 Bad Request: unknown tenant")
			e.Drops = []delivery.Drop{{Kind: delivery.DropRefused, Reason: "400", Samples: 48_211, Last: before(2 * time.Second)}}
		},
		[5]string{"No 1 of 2 endpoints keep up, 1 refusing, archive loses samples", "3.0 s archive", "archive", "Now archive, refused by the receiver", "48,211 samples refused by the receiver"},
		[]string{"refusing everything", "status 400"},
	},
	{
		"over-its-limit", func(s *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateOverLimit, "over its limit", 90_000)
			e.LastError = failure(http.StatusServiceUnavailable, "server returned HTTP status 503 Service Unavailable")
			e.Drops = []delivery.Drop{
				{Kind: delivery.DropExpired, Reason: "endpoint_max_size", Samples: 1_234_567, Histograms: 20_000, Exemplars: 512, Bytes: 40 << 20, Last: before(3 * time.Second)},
				{Kind: delivery.DropLeftOut, Reason: "dropped_series", Samples: 5, Last: before(time.Second)},
			}
			pinned(s, e, 0, "endpoint_max_size")
		},
		[5]string{"No 1 of 2 endpoints keep up, 1 over limit", "25 h 0 min archive", "archive", "Now archive, by endpoint-max-size", "1.3 M samples taken by a limit"},
		[]string{"over its limit", "now by endpoint-max-size", "left out", "503 Service Unavailable"},
	},
	{
		"blocked", func(_ *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateBlocked, "blocked by 3 series", 120)
			e.IsolatedSeries = 3
			e.LastError = failure(http.StatusInternalServerError, "server returned HTTP status 500 Internal Server Error: label set too long")
		},
		[5]string{"Not quite 1 of 2 endpoints keep up, 1 blocked", "2 min 0 s archive", "archive", "Not foreseen", "Nothing"},
		[]string{"blocked by 3 series", "label set too long"},
	},
	{
		"removed", func(s *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateRemoved, "removed from the configuration", 0)
			until := s.Time.Add(7 * time.Minute)
			e.EndpointStatus.URL, e.Protocol, e.Behind, e.Until = "", "", nil, &until
			pinned(s, e, 420, delivery.ReasonRemoved)
		},
		[5]string{"Not quite 1 of 2 endpoints keep up, 1 removed", "0.4 s", "archive", "In 7 min 0 s archive, by its removal", "Nothing"},
		[]string{"removed from the configuration", "kept until"},
	},
	{
		"full-disk", func(s *statuspage.Status, _ *statuspage.Endpoint) {
			s.Log.Broken = "write /var/lib/prometheus/agent/wal/00000017: no space left on device"
			s.Log.Refused, s.Disk.Free, s.Disk.Low = 31_400, 0, true
		},
		[5]string{"No The log cannot be written to: write /var/lib/prometheus/agent/wal/00000017: no space", "0.4 s", "Nothing", "Now", "31,400 samples never written"},
		[]string{"0 B free of 100 GiB", "Cannot be written to"},
	},
	{
		"long-names", func(s *statuspage.Status, e *statuspage.Endpoint) {
			set(e, delivery.StateRetrying, "retrying: no answer", 4000)
			e.EndpointStatus.Name = "remote-write-" + strings.Repeat("of-a-generated-name-", 5)
			e.EndpointStatus.URL = "https://" + strings.Repeat("a-rather-long-domain.", 9) + "example.com/api/v1/push"
			e.Protocol = "io.prometheus.write.v2.Request"
			pinned(s, e, 900, "endpoint_max_time")
		},
		[5]string{"Not quite", "66 min 40 s remote-write-of", "remote-write-of-a", "In 15 min 0 s remote-write-of", "Nothing"},
		[]string{"a-rather-long-domain.example.com"},
	},
}

func to[T any](v T) *T { return &v }

func before(d time.Duration) time.Time { return time.Now().UTC().Add(-d) }

func failure(status int, message string) *delivery.Failure {
	return &delivery.Failure{Time: before(4 * time.Second), Status: status, Message: "sending to https://archive.example.com/api/v1/push: " + message}
}

// set puts an endpoint in a state, behind by so many seconds.
func set(e *statuspage.Endpoint, st delivery.State, description string, seconds float64) {
	e.State, e.Description, e.Since, e.Behind = st, description, to(before(5*time.Minute)), &seconds
	e.UnackedBytes, e.UnackedSamples, e.Acked, e.Sent = 37<<20, 6_480_000, to(0.0), to(0.0)
}

// pinned has an endpoint keep the log until a limit takes it.
func pinned(s *statuspage.Status, e *statuspage.Endpoint, seconds float64, limit string) {
	e.Bytes, e.Alone, e.UntilLoss, e.LossLimit = 41<<20, 38<<20, &seconds, limit
	s.Removal = durable.RemovalStatus{WaitsFor: durable.WaitsForEndpoints, Endpoints: []string{e.EndpointStatus.Name}}
}

// status returns that of an agent with two endpoints that are well.
func status() *statuspage.Status {
	s := &statuspage.Status{
		Time: time.Now().UTC(),
		Log: statuspage.Log{
			LogStatus:    durable.LogStatus{Bytes: 52 << 20, Segments: 4, First: 14, Last: 17, Checkpoint: 13, Growth: 51_000, Series: 118_204, OldestSample: to(before(26 * time.Hour))},
			NewestSample: to(before(time.Second)),
		},
		Removal:  durable.RemovalStatus{WaitsFor: durable.WaitsForTruncation},
		Limits:   durable.LimitsStatus{MaxBytes: 48 << 30, BySpace: true, EndpointBytes: 4 << 30},
		Disk:     &durable.DiskStatus{Free: 58 << 30, Total: 100 << 30},
		Snapshot: durable.SnapshotStatus{Present: true, Covered: 16, Bytes: 9 << 20, Series: 118_204},
		Start:    statuspage.Start{StartStatus: durable.StartStatus{Time: before(31 * time.Hour), Took: 1.4}, Resumed: map[string]int64{"exact": 2}},
	}
	for _, name := range []string{"central", "archive"} {
		s.Endpoints = append(s.Endpoints, statuspage.Endpoint{
			EndpointStatus: delivery.EndpointStatus{
				Name: name, URL: "https://" + name + ".example.com/api/v1/push", Protocol: "prometheus.WriteRequest",
				State: delivery.StateDelivering, Description: "delivering", Since: to(before(30 * time.Hour)), Behind: to(0.4), NewestDelivered: to(before(time.Second)),
				UnackedBytes: 21_000, UnackedSamples: 4012, Written: to(51_000.0), Acked: to(51_000.0), Sent: to(9800.0), Senders: 2, MostSenders: 50,
			},
			Holding: &durable.Holding{Bytes: 9 << 20, Segments: 1},
		})
	}
	return s
}

var questions = [5]string{"Is it healthy?", "How far behind?", "What pins the disk?", "When is something lost?", "What was lost?"}

// TestDeliveryPage looks at the page of delivery in each state, as large and small windows of
// light and dark screens show it. What an operator asks is answered on one screen, readable,
// and without a script.
func TestDeliveryPage(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	p := b.newTab(t)
	for _, st := range states {
		t.Run(st.name, func(t *testing.T) {
			s := status()
			st.since(s, &s.Endpoints[1])
			page := statuspage.Page(func() (*statuspage.Status, error) { return s, nil }, statuspage.Options{Title: "Prometheus", App: "Prometheus Agent", Agent: true})
			server := httptest.NewServer(page)
			defer server.Close()
			p.t = t
			p.requireReadable(b, "delivery-"+st.name, server.URL+"/delivery", st)
		})
	}
}

// requireReadable fails unless a page has in all windows what it must, and shows it well.
func (p *tab) requireReadable(b browser, name, url string, st state) {
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 400} {
			height := map[int]int{1280: 720, 400: 860}[width] // Of a laptop, of a phone.
			window := fmt.Sprintf("%s-%s-%d", name, scheme, width)
			seen, complaints := p.view(url, b.picture(window), width, height, scheme)
			require.Empty(p.t, complaints, "%s: the console", window)
			require.Zero(p.t, seen.Overflow, "%s: pixels that are wider than the window", window)
			require.Len(p.t, seen.Answers, len(questions), window)
			for i, a := range seen.Answers {
				require.Empty(p.t, a.Hidden, "%s: %s", window, a.Text)
				require.True(p.t, strings.HasPrefix(a.Text, questions[i]+" "+st.answers[i]), "%s: %s, and not %s", window, a.Text, st.answers[i])
			}
			for _, want := range st.shows {
				require.Contains(p.t, seen.Text, want, window)
			}
			require.Empty(p.t, seen.Faint, "%s: text of too little contrast", window)
			require.Empty(p.t, seen.ClippedCells, "%s: cells outside of the window", window)
			require.Equal(p.t, scheme == "light", seen.Background > 0.5, "%s: luminance %v", window, seen.Background)
			requireDrawn(p.t, b.picture(window))
		}
	}
}

var headLink = regexp.MustCompile(`<(?:a|link)[^>]* href="(/[^"]*)"`)

// TestDeliveryPageOfAgent looks at the page as an agent serves it; what it links to is there.
func TestDeliveryPageOfAgent(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	a := startAgent(t, "ACKWAL_PROMETHEUS_WITHOUT_PAGES")
	var page []byte
	require.Eventually(t, func() bool {
		_, _, page = a.get(t, "/delivery")
		return strings.Contains(string(page), "keeps up")
	}, timeout, 50*time.Millisecond, "it does not deliver")
	links := headLink.FindAllSubmatch(page, -1)
	require.GreaterOrEqual(t, len(links), 6)
	for _, l := range links {
		code, _, _ := a.get(t, string(l[1]))
		require.Equal(t, http.StatusOK, code, "%s", l[1])
	}
	b.newTab(t).requireReadable(b, "delivery-of-agent", a.base+"/delivery", state{
		answers: [5]string{"Yes", "", "Nothing", "", "Nothing"}, shows: []string{"elsewhere", "remote write 1.0", "delivering"},
	})
}
