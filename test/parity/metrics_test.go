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
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// excused lists what durable delivery need not show, with the reason. An entry
// that has become superfluous fails the test.
var excused = map[string]string{}

// variable are labels whose values depend on the process, not on the engine: a
// slow start answers readiness probes with 503.
var variable = []string{"version", "goversion", "revision", "branch", "tags", "le", "quantile", "address", "endpoint", "handler", "code"}

// shape is a metric as a dashboard refers to it: name, type and labels, with
// the values of labels that mean something.
func shapes(families map[string]*dto.MetricFamily) []string {
	found := map[string]struct{}{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var pairs []string
			for _, l := range m.GetLabel() {
				value := l.GetValue()
				if slices.Contains(variable, l.GetName()) {
					value = "*"
				}
				pairs = append(pairs, fmt.Sprintf("%s=%q", l.GetName(), value))
			}
			slices.Sort(pairs)
			found[fmt.Sprintf("%s %s{%s}", strings.ToLower(family.GetType().String()), name, strings.Join(pairs, ","))] = struct{}{}
		}
	}
	var sorted []string
	for s := range found {
		sorted = append(sorted, s)
	}
	slices.Sort(sorted)
	return sorted
}

func (a *agent) metrics() (families map[string]*dto.MetricFamily, err error) {
	err = a.fetch("/metrics", func(body io.Reader) (err error) {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err = parser.TextToMetricFamilies(bufio.NewReader(body))
		return err
	})
	return families, err
}

// total is the sum of a metric over all its labels.
func total(families map[string]*dto.MetricFamily, name string) (sum float64) {
	for _, m := range families[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
	}
	return sum
}

const metricsPage = `# TYPE requests counter
requests_total 17 # {trace="a"} 1
# TYPE latency histogram
latency_bucket{le="1"} 1
latency_bucket{le="+Inf"} 2
latency_count 2
latency_sum 3
# TYPE unwanted gauge
unwanted 1
# EOF
`

// TestMetrics demands of durable delivery every metric that best-effort
// delivery shows for an endpoint of each protocol, of the same type and with
// the same labels, so that dashboards and alerts go on working.
func TestMetrics(t *testing.T) {
	stock, ours := engines(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0")
		fmt.Fprint(w, metricsPage)
	})
	mux.Handle("/v1", newRecording(false))
	mux.Handle("/v2", newRecording(false))
	mux.Handle("/aged", newRecording(false))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
- job_name: self
  convert_classic_histograms_to_nhcb: true
  always_scrape_classic_histograms: true
  static_configs: [{targets: [%q]}]
remote_write:
- url: %s/v1
  send_exemplars: true
  send_native_histograms: true
  metadata_config: {send_interval: 500ms}
- name: second
  url: %s/v2
  protobuf_message: io.prometheus.write.v2.Request
  send_exemplars: true
  send_native_histograms: true
  write_relabel_configs: [{source_labels: [__name__], regex: unwanted, action: drop}]
- name: aged
  url: %s/aged
  queue_config: {sample_age_limit: 1ms}
`, strings.TrimPrefix(server.URL, "http://"), server.URL, server.URL, server.URL)

	// Metrics with labels appear with their first event.
	awaited := []string{
		"prometheus_remote_storage_exemplars_total",
		"prometheus_remote_storage_histograms_total",
		"prometheus_remote_storage_histograms_dropped_total", // With custom buckets, by v1.
		"prometheus_remote_storage_metadata_total",
		"prometheus_remote_storage_samples_dropped_total", // By relabelling, and by age.
	}
	// settled returns the shapes that an agent shows when everything was sent and
	// dropped, and all that are expected are there.
	settled := func(e engine, expected []string) (got []string) {
		a := e.start(t, config, "--enable-feature=exemplar-storage,metadata-wal-records", "--storage.agent.wal-truncate-frequency=1s")
		require.Eventually(t, func() bool {
			families, err := a.metrics()
			if err != nil {
				return false
			}
			got = shapes(families)
			var missing []string
			for _, shape := range expected {
				_, there := slices.BinarySearch(got, shape)
				if _, ok := excused[shape]; !there && !ok {
					missing = append(missing, shape)
				}
			}
			seen := total(families, "prometheus_remote_storage_samples_total") > 20
			for _, name := range awaited {
				seen = seen && total(families, name) > 0
			}
			if seen && len(missing) > 0 {
				t.Logf("%s delivery does not show %v yet", e.name, missing)
			}
			return seen && len(missing) == 0 && len(families["prometheus_remote_storage_samples_dropped_total"].GetMetric()) == 2
		}, timeout, 100*time.Millisecond, "the agent with %s delivery has not sent everything there is", e.name)
		return got
	}
	want := settled(stock, nil)
	require.Greater(t, len(want), 100, "an agent has more metrics than that, so nothing was compared")
	got := settled(ours, want)
	for shape, reason := range excused {
		require.Contains(t, want, shape, "excused without need, because stock has it no longer: %s", reason)
		require.NotContains(t, got, shape, "excused without need, because durable has it: %s", reason)
	}
}
