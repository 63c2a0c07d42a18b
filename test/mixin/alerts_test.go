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

package mixin

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// evaluate has promtool evaluate the alerts on series, one value a minute, and demands that
// those and no others have fired by a minute or fire then, see [query].
func evaluate(t *testing.T, series map[string]string, expected ...expectation) {
	t.Helper()
	var test strings.Builder
	alerts, err := filepath.Abs(filepath.Join(out, "alerts.yaml"))
	require.NoError(t, err)
	fmt.Fprintf(&test, "rule_files: [%s]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n", strconv.Quote(alerts))
	for s, values := range series {
		fmt.Fprintf(&test, "  - {series: %s, values: %s}\n", strconv.Quote(s), strconv.Quote(values))
	}
	test.WriteString("  promql_expr_test:\n")
	for _, e := range expected {
		var firing []string
		for _, alert := range e.alerts {
			name, endpoint, is := strings.Cut(alert, " ")
			labels := fmt.Sprintf("alertname=%q", name)
			if is {
				labels += fmt.Sprintf(", remote_name=%q", endpoint)
			}
			firing = append(firing, fmt.Sprintf("{labels: '{%s}', value: 1}", labels))
		}
		fmt.Fprintf(&test, "  - expr: group by(alertname, remote_name) (%s)\n    eval_time: %dm\n    exp_samples: [%s]\n", e.query, e.minute, strings.Join(firing, ", "))
	}
	path := filepath.Join(t.TempDir(), "test.yml")
	require.NoError(t, os.WriteFile(path, []byte(test.String()), 0o600))
	output, err := exec.Command(program(t, "promtool"), "test", "rules", path).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// expectation says which alerts there are, each with its endpoint behind a space if it has
// one.
type expectation struct {
	query  string
	minute int
	alerts []string
}

const (
	firing   = `ALERTS{alertstate="firing"}`
	hasFired = `last_over_time(ALERTS{alertstate="firing"}[1d])`
)

const (
	agent    = `job="a", instance="b"`
	endpoint = agent + `, remote_name="c", url="d"`
)

func remote(name, labels string) string {
	return "prometheus_remote_storage_" + name + "{" + labels + "}"
}
func wal(name, labels string) string { return "prometheus_agent_wal_" + name + "{" + labels + "}" }

// well are series of an agent that is well: what it keeps of its log is little, though the
// log, most of which is delivered, is nearly as large as it may be.
func well() map[string]string {
	return map[string]string{
		`process_start_time_seconds{` + agent + `}`:                                      "-90000x120",
		remote("samples_failed_total", endpoint):                                         "0x120",
		remote("histograms_failed_total", endpoint):                                      "0x120",
		remote("exemplars_failed_total", endpoint):                                       "0x120",
		remote("segments_missing_total", endpoint):                                       "0x120",
		remote("unreadable_bytes_total", endpoint):                                       "0x120",
		remote("refusing_seconds", endpoint):                                             "0x120",
		remote("isolated_series", endpoint):                                              "0x120",
		remote("highest_timestamp_in_seconds", agent):                                    "0+60x120",
		remote("queue_highest_sent_timestamp_seconds", endpoint):                         "-5+60x120",
		remote("samples_expired_total", agent+`, remote_name="c", reason="max_size"`):    "0x120",
		remote("histograms_expired_total", agent+`, remote_name="c", reason="max_size"`): "0x120",
		remote("exemplars_expired_total", agent+`, remote_name="c", reason="max_size"`):  "0x120",
		remote("savepoint_age_seconds", agent):                                           "0.2x120",
		remote("savepoint_write_failures_total", agent):                                  "0x120",
		`prometheus_agent_series_snapshot_failures_total{` + agent + `}`:                 "0x120",
		`prometheus_agent_checkpoint_creations_failed_total{` + agent + `}`:              "0x120",

		wal("broken", agent):                "0x120",
		wal("refused_commits_total", agent): "0x120",
		wal("sync_failures_total", agent):   "0x120",
		wal("max_bytes", agent):             "1000x120",
		wal("retained_bytes", agent):        "950x120",
		wal("held_bytes", endpoint):         "10x120",
		wal("held_seconds", endpoint):       "0x120",
		wal("seconds_until_loss", endpoint): strings.TrimSpace(strings.Repeat("Inf ", 121)),
	}
}

// TestAlertsFire evaluates the alerts on invented numbers: each loss is told, be it a burst
// within one scrape interval, and an agent that is well is quiet.
func TestAlertsFire(t *testing.T) {
	const (
		burst  = "0x60 902515x60"
		once   = "0x60 1x60"
		absent = "_x61 5x60"
	)
	fired := map[string]bool{}
	for name, tc := range map[string]struct {
		changed map[string]string // What is not as it is when all is well.
		fires   []string
	}{
		"nothing":                    {},
		"a burst of refusals":        {map[string]string{remote("samples_failed_total", endpoint): burst}, []string{"AgentSamplesRefused c"}},
		"a histogram is refused":     {map[string]string{remote("histograms_failed_total", endpoint): once}, []string{"AgentSamplesRefused c"}},
		"an exemplar is refused":     {map[string]string{remote("exemplars_failed_total", endpoint): once}, []string{"AgentSamplesRefused c"}},
		"a burst that a limit takes": {map[string]string{remote("samples_expired_total", agent+`, remote_name="c", reason="max_size"`): burst}, []string{"AgentGaveUpSamples c"}},
		"a limit takes a histogram":  {map[string]string{remote("histograms_expired_total", agent+`, remote_name="c", reason="max_size"`): once}, []string{"AgentGaveUpSamples c"}},
		"a limit takes an exemplar":  {map[string]string{remote("exemplars_expired_total", agent+`, remote_name="c", reason="max_size"`): once}, []string{"AgentGaveUpSamples c"}},
		"a segment is missing":       {map[string]string{remote("segments_missing_total", endpoint): once}, []string{"AgentGaveUpSamples c"}},
		"damage":                     {map[string]string{remote("unreadable_bytes_total", endpoint): "0x60 77x60"}, []string{"AgentGaveUpSamples c", "AgentLogDamaged c"}},
		"labels cannot be read": {
			map[string]string{remote("samples_dropped_total", endpoint+`, reason="unintentionally_dropped_series"`): absent}, []string{"AgentGaveUpSamples c"},
		},
		"samples are dropped on purpose": {map[string]string{remote("samples_dropped_total", endpoint+`, reason="dropped_series"`): absent}, nil},
		"damage while reading":           {map[string]string{`prometheus_tsdb_wal_reader_corruption_errors_total{` + agent + `, error="corrupt"}`: absent}, []string{"AgentLogDamaged"}},
		"a commit is refused":            {map[string]string{wal("refused_commits_total", agent): once}, []string{"AgentCommitsRefused"}},
		"the log is broken":              {map[string]string{wal("broken", agent): once}, []string{"AgentLogBroken"}},
		"everything is refused":          {map[string]string{remote("refusing_seconds", endpoint): "0x60 60+60x60"}, []string{"AgentEndpointRefuses c"}},
		"nearly full":                    {map[string]string{wal("held_bytes", endpoint): "10x60 900x60"}, []string{"AgentLogNearlyFull c"}},
		"loss within eight hours":        {map[string]string{wal("seconds_until_loss", endpoint): "40000x51 28000x69"}, []string{"AgentLogFillsUp c"}},
		"loss within an hour": {
			map[string]string{wal("seconds_until_loss", endpoint): "40000x51 28000x10 3000x59"}, []string{"AgentLogFillsUp c", "AgentLossNear c"},
		},
		"behind": {
			map[string]string{
				remote("queue_highest_sent_timestamp_seconds", endpoint): "-5+60x50 2995x70",
				wal("held_seconds", endpoint):                            "0x60 60+60x60",
			},
			[]string{"AgentEndpointBehind c"},
		},
		"a series is not taken":          {map[string]string{remote("isolated_series", endpoint): "0x50 1x70"}, []string{"AgentSeriesNotTaken c"}},
		"a series is not taken at first": {map[string]string{remote("isolated_series", endpoint): "0x58 1x2 0x60"}, nil},
		// One whose rules leave nothing to send, too.
		"behind with nothing kept": {map[string]string{remote("queue_highest_sent_timestamp_seconds", endpoint): "0x120"}, nil},
		"no savepoints":            {map[string]string{remote("savepoint_age_seconds", agent): "0x60 60+60x60"}, []string{"AgentSavepointOld"}},
		"a savepoint fails once":   {map[string]string{remote("savepoint_write_failures_total", agent): once}, nil},
		"savepoints fail":          {map[string]string{remote("savepoint_write_failures_total", agent): "0x60 1+60x60"}, []string{"AgentSavepointNotWritten"}},
		"a snapshot fails":         {map[string]string{`prometheus_agent_series_snapshot_failures_total{` + agent + `}`: once}, []string{"AgentSnapshotNotWritten"}},
		"a checkpoint fails":       {map[string]string{`prometheus_agent_checkpoint_creations_failed_total{` + agent + `}`: once}, []string{"AgentSnapshotNotWritten"}},
		"a sync fails":             {map[string]string{wal("sync_failures_total", agent): once}, []string{"AgentSyncFailed"}},
	} {
		for _, alert := range tc.fires {
			fired[strings.Fields(alert)[0]] = true
		}
		t.Run(name, func(t *testing.T) {
			series := well()
			maps.Copy(series, tc.changed)
			evaluate(t, series, expectation{firing, 50, nil}, expectation{firing, 72, tc.fires})
		})
	}
	for _, r := range rules(t) {
		require.True(t, fired[r.Alert], "there is no case in which %s fires", r.Alert)
	}
}

// TestAlertsAfterStart demands that what a start finds lost is told, which is counted before
// the first scrape.
func TestAlertsAfterStart(t *testing.T) {
	series := well()
	series[`process_start_time_seconds{`+agent+`}`] = "_x60 3600x60"
	series[remote("unreadable_bytes_total", endpoint)] = "_x61 77x60"
	series[`prometheus_agent_wal_repairs_total{`+agent+`, kind="corrupt_segment"}`] = "_x61 1x60"
	evaluate(t, series,
		expectation{firing, 50, nil},
		expectation{firing, 70, []string{"AgentGaveUpSamples c", "AgentLogDamaged"}})
}
