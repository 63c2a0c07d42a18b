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
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/regexp"
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

// TestAlertsOfDurable reads the alerts that the documentation has: what they ask for is
// there under that name, and those on what cannot be written look at numbers, which are
// low, of an agent that is well.
func TestAlertsOfDurable(t *testing.T) {
	rules := documentedRules(t)
	_, ours := engines(t)
	server := httptest.NewServer(newRecording(false))
	t.Cleanup(server.Close)
	a := ours.start(t, fmt.Sprintf(`remote_write: [{name: one, url: "%s/write"}]`, server.URL))
	families, err := a.metrics()
	require.NoError(t, err)
	// Those that begin with the first time something happens.
	seldom := []string{"prometheus_agent_wal_repairs_total", "prometheus_tsdb_wal_reader_corruption_errors_total"}
	asked := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(?:prometheus|process)_\w+`).FindAllString(rules, -1) {
		asked[name] = true
		require.True(t, families[name] != nil || slices.Contains(seldom, name), name)
	}
	for name, bound := range map[string]float64{
		"prometheus_remote_storage_savepoint_age_seconds":          60,
		"prometheus_remote_storage_savepoint_write_failures_total": 1,
		"prometheus_agent_series_snapshot_failures_total":          1,
	} {
		require.True(t, asked[name], name)
		m := families[name].GetMetric()[0]
		require.Less(t, m.GetCounter().GetValue()+m.GetGauge().GetValue(), bound, name)
	}
}

// documentedRules returns the alerts that the documentation has.
func documentedRules(t *testing.T) string {
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "## Alerts\n\n```yaml\n")
	require.True(t, found)
	rules, _, _ := strings.Cut(rest, "```")
	return rules
}

// TestAlertsFire evaluates the alerts that the documentation has with promtool: each loss
// is told, be it a burst within one scrape interval, and an agent that is well is quiet.
func TestAlertsFire(t *testing.T) {
	_, ours := engines(t)
	promtool := filepath.Join(filepath.Dir(ours.binary), "promtool")
	rules := documentedRules(t)
	names := regexp.MustCompile(`(?m)- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	const (
		agent    = `job="a", instance="b"`
		endpoint = agent + `, remote_name="c", url="d"`
	)
	well := map[string]string{
		`process_start_time_seconds{` + agent + `}`:                                                          "-90000x120",
		`prometheus_remote_storage_samples_failed_total{` + endpoint + `}`:                                   "0x120",
		`prometheus_remote_storage_histograms_failed_total{` + endpoint + `}`:                                "0x120",
		`prometheus_remote_storage_exemplars_failed_total{` + endpoint + `}`:                                 "0x120",
		`prometheus_remote_storage_segments_missing_total{` + endpoint + `}`:                                 "0x120",
		`prometheus_remote_storage_unreadable_bytes_total{` + endpoint + `}`:                                 "0x120",
		`prometheus_remote_storage_refusing_seconds{` + endpoint + `}`:                                       "0x120",
		`prometheus_remote_storage_isolated_series{` + endpoint + `}`:                                        "0x120",
		`prometheus_remote_storage_unacked_seconds{` + endpoint + `}`:                                        "5x120",
		`prometheus_remote_storage_highest_timestamp_in_seconds{` + agent + `}`:                              "0+60x120",
		`prometheus_remote_storage_queue_highest_sent_timestamp_seconds{` + endpoint + `}`:                   "-5+60x120",
		`prometheus_remote_storage_samples_expired_total{` + agent + `, remote_name="c", reason="max_size"}`: "0x120",
		`prometheus_remote_storage_savepoint_age_seconds{` + agent + `}`:                                     "0.2x120",
		`prometheus_remote_storage_savepoint_write_failures_total{` + agent + `}`:                            "0x120",
		`prometheus_agent_series_snapshot_failures_total{` + agent + `}`:                                     "0x120",
		`prometheus_agent_wal_broken{` + agent + `}`:                                                         "0x120",
		`prometheus_agent_wal_max_bytes{` + agent + `}`:                                                      "1000x120",
		`prometheus_agent_wal_retained_bytes{` + agent + `}`:                                                 "950x120", // Delivered, and not yet removed.
		`prometheus_agent_wal_held_bytes{` + endpoint + `}`:                                                  "10x120",
	}
	const burst = "0x60 902515x60"
	for name, tc := range map[string]struct {
		series, values string
		fires          []string
	}{
		"nothing": {},
		"a burst of refusals": {
			`prometheus_remote_storage_samples_failed_total{` + endpoint + `}`, burst, []string{"AgentSamplesRefused"},
		},
		"a burst that a limit takes": {
			`prometheus_remote_storage_samples_expired_total{` + agent + `, remote_name="c", reason="max_size"}`, burst, []string{"AgentGaveUpSamples"},
		},
		"a segment is missing": {
			`prometheus_remote_storage_segments_missing_total{` + endpoint + `}`, "0x60 1x60", []string{"AgentGaveUpSamples"},
		},
		"damage": {
			`prometheus_remote_storage_unreadable_bytes_total{` + endpoint + `}`, "0x60 77x60", []string{"AgentGaveUpSamples", "AgentLogDamaged"},
		},
		"everything is refused": {
			`prometheus_remote_storage_refusing_seconds{` + endpoint + `}`, "0x60 60+60x60", []string{"AgentEndpointRefuses"},
		},
		"nearly full": {
			`prometheus_agent_wal_held_bytes{` + endpoint + `}`, "10x60 900x60", []string{"AgentLogNearlyFull"},
		},
		"no savepoints": {
			`prometheus_remote_storage_savepoint_age_seconds{` + agent + `}`, "0x60 60+60x60", []string{"AgentSavepointOld"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var test strings.Builder
			test.WriteString("rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n")
			for series, values := range well {
				if series == tc.series {
					values = tc.values
				}
				fmt.Fprintf(&test, "  - {series: %s, values: %s}\n", strconv.Quote(series), strconv.Quote(values))
			}
			test.WriteString("  promql_expr_test:\n")
			for minute, expected := range map[int][]string{50: nil, 72: tc.fires} {
				var firing []string
				for _, n := range expected {
					firing = append(firing, fmt.Sprintf("{labels: '{alertname=%q}', value: 1}", n))
				}
				fmt.Fprintf(&test, "  - expr: count by(alertname) (ALERTS{alertstate=\"firing\"})\n    eval_time: %dm\n    exp_samples: [%s]\n", minute, strings.Join(firing, ", "))
			}
			require.NotEmpty(t, names)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "test.yml"), []byte(test.String()), 0o600))
			out, err := exec.Command(promtool, "test", "rules", filepath.Join(dir, "test.yml")).CombinedOutput()
			require.NoError(t, err, "%s", out)
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
