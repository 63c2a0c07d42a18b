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

package parity

import (
	"fmt"
	"maps"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// variant is a configuration both engines get.
type variant struct {
	name     string
	features string
	global   string // YAML, indented for the global section.
	storage  string // YAML, the storage section.
	flag     string
	outage   time.Duration // Of all receivers.
	// synthetic says that the agent makes samples of start times. Those lie
	// before the start of the agent; stock's endpoints never send such.
	synthetic bool
}

var variants = []variant{
	{
		name:     "start timestamps",
		features: "exemplar-storage,metadata-wal-records,st-storage",
		flag:     "--storage.agent.wal-compression",
	},
	{
		name:      "external labels",
		features:  "exemplar-storage,metadata-wal-records,created-timestamp-zero-ingestion,type-and-unit-labels,extra-scrape-metrics",
		global:    "external_labels: {cluster: eu, noise: external, zone: global}\n  metric_name_validation_scheme: utf8",
		flag:      "--storage.agent.wal-compression-type=zstd",
		synthetic: true,
	},
	{
		name:     "out-of-order window",
		features: "exemplar-storage",
		storage:  "storage: {tsdb: {out_of_order_time_window: 3s}}",
		flag:     "--no-storage.agent.wal-compression",
		global:   "external_labels: {cluster: eu}",
	},
	{
		// Long enough for queues to be full, so that there is catching up, and
		// short enough for stock to lose nothing.
		name:     "outage",
		features: "exemplar-storage,st-storage",
		flag:     "--storage.agent.wal-segment-size=10MB",
		outage:   8 * time.Second,
	},
}

// endpoints are what each agent writes to, at paths of these names.
var endpoints = map[string]string{
	"v1":           everything + "\n  protobuf_message: " + messageV1,
	"v2":           everything + "\n  protobuf_message: " + messageV2,
	"v1-relabeled": everything + "\n  protobuf_message: " + messageV1 + relabeling,
	"v2-relabeled": everything + "\n  protobuf_message: " + messageV2 + relabeling,
	"v1-samples":   "protobuf_message: " + messageV1, // Without histograms and exemplars.
	"v1-classic":   "send_exemplars: true\n  convert_nhcb_to_classic: true\n  protobuf_message: " + messageV1 + relabeling,
	"v2-classic":   everything + "\n  convert_nhcb_to_classic: true\n  protobuf_message: " + messageV2,
}

const everything = "send_exemplars: true\n  send_native_histograms: true"

const relabeling = `
  headers: {X-Own: mine}
  write_relabel_configs:
  - {source_labels: [__name__], regex: took_seconds_bucket|scrape_series_added, action: drop}
  - {source_labels: [idx], regex: (.), target_label: digit, replacement: d$1}
  - {source_labels: [cluster, of], regex: eu;a.*, target_label: joined, replacement: yes}
  - {regex: noise, action: labeldrop}`

const differentialConfig = `
%s
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  %s
scrape_configs:
%sremote_write:
%s`

const differentialJob = `- job_name: %[1]s
  metrics_path: /%[2]s/%[1]s
  static_configs: [{targets: [%[3]q]}]
  convert_classic_histograms_to_nhcb: %[4]v
  scrape_native_histograms: %[5]v
`

const differentialEndpoint = `- name: %[1]s
  url: %[2]s/%[1]s
  queue_config: {capacity: 500, max_shards: 3, max_samples_per_send: 90, batch_send_deadline: 300ms, min_backoff: 10ms, max_backoff: 100ms, retry_on_http_429: true}
  metadata_config: {send_interval: 2s}
  %[3]s
`

// TestDifferential shows the same pages to both engines, and expects of each
// receiver that it has been sent the same: per series the same samples,
// histograms, start times, metadata and exemplars in the same order. Receivers
// refuse some requests, so that some are sent again.
func TestDifferential(t *testing.T) {
	seed := time.Now().UnixNano()
	if s := os.Getenv("ACKWAL_PARITY_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseInt(s, 10, 64)
		require.NoError(t, err, "ACKWAL_PARITY_SEED")
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Logf("repeat with ACKWAL_PARITY_SEED=%d", seed)
			v.compare(t, seed)
		})
	}
}

const pages = 14

func (v variant) compare(t *testing.T, seed int64) {
	stock, ours := engines(t)
	base := time.Now().Truncate(time.Second)
	target := newScript(t, rand.New(rand.NewSource(seed)), base, pages)

	run := func(e engine) map[string]*recording {
		received := map[string]*recording{}
		mux := http.NewServeMux()
		mux.Handle("/"+e.name+"/", target)
		for name := range endpoints {
			received[name] = newRecording(true)
			received[name].outage = v.outage
			mux.Handle("/"+name, received[name])
		}
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)
		var jobs, writes strings.Builder
		for _, job := range slices.Sorted(maps.Keys(target.jobs)) {
			fmt.Fprintf(&jobs, differentialJob, job, e.name, strings.TrimPrefix(server.URL, "http://"), job == jobCustom, job == jobNative)
		}
		for name, settings := range endpoints {
			fmt.Fprintf(&writes, differentialEndpoint, name, server.URL, settings)
		}
		e.start(t, fmt.Sprintf(differentialConfig, v.storage, v.global, jobs.String(), writes.String()), "--enable-feature="+v.features, v.flag)
		return received
	}
	want, got := run(stock), run(ours)

	for _, received := range []map[string]*recording{want, got} {
		for name, r := range received {
			require.Eventually(t, func() bool { return r.scrapes(target) > pages }, timeout, 100*time.Millisecond, "%s has not received all scrapes", name)
		}
	}
	for name, r := range map[string]*recording{stock.name: want["v2"], ours.name: got["v2"]} {
		r.covers(t, name, v)
	}
	require.Empty(t, target.late, "scrapes took longer than a second, so the agents have not seen the same; the machine is too busy")

	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		t.Run(name, func(t *testing.T) {
			var expected, actual streams
			// The last ones may still be on their way.
			settled := func() bool {
				expected, actual = want[name].streams(base), got[name].streams(base)
				return len(expected.differences(actual)) == 0 && slices.Equal(expected.families, actual.families)
			}
			for deadline := time.Now().Add(15 * time.Second); !settled() && time.Now().Before(deadline); {
				time.Sleep(200 * time.Millisecond)
			}
			require.Greater(t, len(expected.series), 100, "too few series to show anything")
			differences := expected.differences(actual)
			if len(differences) > 0 {
				t.Errorf("%d of %d series differ:\n%s", len(differences), len(expected.series), strings.Join(differences[:min(len(differences), 6)], "\n"))
			}
			require.Equal(t, expected.headers, actual.headers, "headers of requests")
			require.Equal(t, expected.families, actual.families, "metadata messages")
			require.Zero(t, expected.older, "stock's endpoints send nothing that is older than they are")
			require.Equal(t, v.synthetic, actual.older > 0, "samples made of start times: %d", actual.older)
		})
	}
}

// covers fails the test if the pages or the network were too tame.
func (r *recording) covers(t *testing.T, name string, v variant) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	require.Empty(t, r.errs, "requests that %s delivery got wrong", name)
	require.Positive(t, r.requests[http.StatusServiceUnavailable], "requests answered 503")
	require.Positive(t, r.requests[http.StatusTooManyRequests], "requests answered 429")
	require.Equal(t, strings.Contains(v.features, "metadata-wal-records"), r.described > 0, "metadata of the log")
	var all strings.Builder
	for _, events := range r.samples {
		for _, e := range events {
			all.WriteString(e.content)
			all.WriteByte('\n')
		}
	}
	for content, feature := range map[string]string{
		fmt.Sprintf("%x since", value.StaleNaN): "", // A series that went stale.
		"custom_values":                         "",
		"count_float":                           "",
		"reset_hint:RESET_HINT_GAUGE":           "",
		"negative_deltas":                       "",
		"since 1":                               "st-storage",
		`counter "`:                             "metadata-wal-records",
		`counter`:                               "type-and-unit-labels",
		`"seconds"`:                             "type-and-unit-labels",
	} {
		if strings.Contains(v.features, feature) && !strings.Contains(all.String(), content) {
			// Not with package require, which would print all of it.
			t.Fatalf("no %q in what %s delivery has sent", content, name)
		}
	}
}

// scrapes is how many scrapes of every job have arrived.
func (r *recording) scrapes(s *script) int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	ups := r.ups()
	least := len(ups[jobText])
	for job := range s.jobs {
		least = min(least, len(ups[job]))
	}
	return least
}

// ups numbers the scrapes of each job by their times.
func (r *recording) ups() map[string]map[int64]int {
	numbers := map[string]map[int64]int{}
	for key, lset := range r.lsets {
		if lset.Get(labels.MetricName) != "up" {
			continue
		}
		job := map[int64]int{}
		for i, e := range r.samples[key] {
			job[e.time] = i
		}
		numbers[lset.Get("job")] = job
	}
	return numbers
}

// streams are what a receiver got, made comparable with another one's: a time
// that was a scrape's is replaced by the number of the scrape.
type streams struct {
	series             map[string][]string
	families, headers  []string
	samples, exemplars int
	older              int // Samples from before base.
}

var changingHelp = regexp.MustCompile(`At first\.|Since page \d+\.`)

func (r *recording) streams(base time.Time) streams {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	s := streams{series: map[string][]string{}}
	ups := r.ups()
	add := func(kind string, from map[string][]event, n *int) {
		for key, events := range from {
			lset := r.lsets[key]
			scrapes := ups[lset.Get("job")]
			name := kind + " " + withoutPort(lset)
			for _, e := range events {
				number, ok := scrapes[e.time]
				when := fmt.Sprintf("scrape %d", number)
				if !ok {
					when = fmt.Sprintf("%+dms", e.time-base.UnixMilli())
				}
				if ok && number >= pages {
					continue
				}
				if kind == "samples" && !ok && e.time < base.UnixMilli() {
					s.older++
					continue
				}
				if lset.Get(labels.MetricName) == "scrape_duration_seconds" {
					_, e.content, _ = strings.Cut(e.content, " ")
				}
				s.series[name] = append(s.series[name], when+": "+e.content)
				*n++
			}
		}
	}
	add("samples", r.samples, &s.samples)
	add("exemplars", r.exemplars, &s.exemplars)
	for name, about := range r.families {
		// It is sent now and then, so that which help text was last is chance.
		s.families = append(s.families, name+": "+changingHelp.ReplaceAllString(about, "changing"))
	}
	for h := range r.agents {
		s.headers = append(s.headers, h)
	}
	slices.Sort(s.families)
	slices.Sort(s.headers)
	return s
}

// withoutPort names a series without what differs between the agents.
func withoutPort(lset labels.Labels) string {
	return labels.NewBuilder(lset).Del("instance").Labels().String()
}

// differences describes the series that are not the same.
func (s streams) differences(other streams) (found []string) {
	names := map[string]struct{}{}
	for _, m := range []map[string][]string{s.series, other.series} {
		for name := range m {
			names[name] = struct{}{}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		want, got := s.series[name], other.series[name]
		if slices.Equal(want, got) {
			continue
		}
		at := 0
		for at < min(len(want), len(got)) && want[at] == got[at] {
			at++
		}
		show := func(events []string) string {
			if at >= len(events) {
				return "nothing"
			}
			return events[at]
		}
		found = append(found, fmt.Sprintf("%s: %d and %d events, at %d\n  stock:   %s\n  durable: %s", name, len(want), len(got), at, show(want), show(got)))
	}
	return found
}
