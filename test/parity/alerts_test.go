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
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
)

// of is the value of an endpoint's metric without further labels.
func of(families map[string]*dto.MetricFamily, endpoint, name string) float64 {
	for _, m := range families["prometheus_remote_storage_"+name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "remote_name" && l.GetValue() == endpoint {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// TestAlertsStayQuiet evaluates the alerts on remote write of upstream's mixin
// for endpoints that are well: one that takes everything, and one whose rules
// leave nothing to send, which must not look like one that hangs.
func TestAlertsStayQuiet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", plainText)
		fmt.Fprint(w, "some 1\nmore 2\n")
	})
	mux.Handle("/write", newRecording(false))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	config := fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs: [{job_name: self, static_configs: [{targets: [%q]}]}]
remote_write:
- {name: all, url: "%[2]s/write", queue_config: {batch_send_deadline: 100ms}}
- {name: nothing, url: "%[2]s/write", write_relabel_configs: [{action: drop, regex: .*}]}
`, strings.TrimPrefix(server.URL, "http://"), server.URL)

	stock, ours := engines(t)
	for _, e := range []engine{stock, ours} {
		t.Run(e.name, func(t *testing.T) {
			a := e.start(t, config)
			var families map[string]*dto.MetricFamily
			require.Eventually(t, func() bool {
				var err error
				families, err = a.metrics()
				return err == nil && of(families, "all", "samples_total") > 50 && of(families, "nothing", "samples_dropped_total") > 50
			}, timeout, 50*time.Millisecond, "samples to be sent and dropped")
			for _, endpoint := range []string{"all", "nothing"} {
				behind := of(families, endpoint, "queue_highest_timestamp_seconds") - of(families, endpoint, "queue_highest_sent_timestamp_seconds")
				require.Less(t, behind, 120., "PrometheusRemoteWriteBehind for the endpoint that gets %s", endpoint)
				require.LessOrEqual(t, of(families, endpoint, "shards_desired"), of(families, endpoint, "shards_max"),
					"PrometheusRemoteWriteDesiredShards for the endpoint that gets %s", endpoint)
				require.Zero(t, of(families, endpoint, "samples_failed_total"), "PrometheusRemoteStorageFailures for the endpoint that gets %s", endpoint)
			}
		})
	}
}

// TestAlertOnDeadEndpoint demands that PrometheusRemoteWriteBehind still fires
// where it does with stock: when more than two minutes of samples fit into the
// queue of an endpoint that takes nothing any more. The target's own times
// make minutes of seconds.
func TestAlertOnDeadEndpoint(t *testing.T) {
	stock, ours := engines(t)
	for _, e := range []engine{stock, ours} {
		t.Run(e.name, func(t *testing.T) {
			start := time.Now()
			scrapes, taken := atomic.NewInt64(0), atomic.NewInt64(0)
			mux := http.NewServeMux()
			mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
				// An agent takes nothing that is more than ten minutes ahead.
				at := start.Add(time.Duration(min(scrapes.Inc(), 18)) * 30 * time.Second)
				w.Header().Set("Content-Type", openMetrics)
				fmt.Fprintf(w, "# TYPE some gauge\nsome 1 %s\n# EOF\n", clock(at))
			})
			mux.HandleFunc("/write", func(w http.ResponseWriter, _ *http.Request) {
				if taken.Inc() > 1 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			server := httptest.NewServer(mux)
			t.Cleanup(server.Close)
			a := e.start(t, fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs: [{job_name: self, static_configs: [{targets: [%q]}]}]
remote_write: [{name: one, url: "%s/write", metadata_config: {send: false}, queue_config: {batch_send_deadline: 100ms}}]
`, strings.TrimPrefix(server.URL, "http://"), server.URL))
			behind := func() float64 {
				families, err := a.metrics()
				if err != nil || of(families, "one", "queue_highest_sent_timestamp_seconds") == 0 {
					return 0
				}
				return of(families, "one", "queue_highest_timestamp_seconds") - of(families, "one", "queue_highest_sent_timestamp_seconds")
			}
			for scrapes.Load() < 40 && behind() <= 120 {
				time.Sleep(100 * time.Millisecond)
			}
			require.Greater(t, behind(), 120., "PrometheusRemoteWriteBehind stays quiet")
		})
	}
}
