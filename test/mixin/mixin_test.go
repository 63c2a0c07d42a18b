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
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/regexp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/conformance/process"

	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const out = "../../mixin/out"

var promQL = parser.NewParser(parser.Options{})

// rules returns the alerts that are checked in.
func rules(t *testing.T) (all []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(out, "alerts.yaml"), false, model.UTF8Validation, promQL, slog.Default())
	require.Empty(t, errs)
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// program returns the path of the agent's binary, or of one beside it.
func program(t *testing.T, name string) string {
	t.Helper()
	binary := os.Getenv("ACKWAL_PROMETHEUS")
	if binary == "" {
		binary = "../../bin/prometheus"
	}
	path, err := filepath.Abs(filepath.Join(filepath.Dir(binary), name))
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, "there is no %s: build it with `make build`, or name the agent's binary with ACKWAL_PROMETHEUS", name)
	return path
}

// seldom are the metrics that begin with the first time something happens, with their labels.
var seldom = map[string][]string{
	"prometheus_agent_wal_repairs_total":                 {"kind"},
	"prometheus_tsdb_wal_reader_corruption_errors_total": {"error"},
	"prometheus_remote_storage_samples_dropped_total":    {"remote_name", "url", "reason"},
	"prometheus_remote_storage_histograms_dropped_total": {"remote_name", "url", "reason"},
	"prometheus_remote_storage_exemplars_dropped_total":  {"remote_name", "url", "reason"},
	"prometheus_remote_storage_resumed_positions_total":  {"verdict"},
	"prometheus_agent_wal_segments_removed_total":        {"reason"},
	"prometheus_agent_series_snapshot_problems_total":    {"kind"},
	"prometheus_agent_wal_forfeits_total":                {"reason"},
}

// shown are the labels of each series that an agent has, by the name of the metric. Those of
// the target that it is when it is scraped are among them.
func shown(t *testing.T) map[string]map[string]bool {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yml")
	require.NoError(t, os.WriteFile(config, []byte(`remote_write: [{name: one, url: "http://127.0.0.1:1/write"}]`), 0o600))
	agent, err := process.Start("agent", program(t, "prometheus"), filepath.Join(dir, "log"),
		"--agent", "--config.file="+config, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { agent.Kill() })
	found, err := agent.WaitOutput(regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:\d+)`))
	require.NoError(t, err)
	_, err = agent.WaitOutput(regexp.MustCompile(`Server is ready`))
	require.NoError(t, err)

	response, err := http.Get("http://" + found[1] + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text := expfmt.NewTextParser(model.UTF8Validation)
	families, err := text.TextToMetricFamilies(response.Body)
	require.NoError(t, err)

	all := map[string]map[string]bool{}
	add := func(name string, labels ...string) {
		if all[name] == nil {
			all[name] = map[string]bool{"__name__": true, "job": true, "instance": true}
		}
		for _, l := range labels {
			all[name][l] = true
		}
	}
	for name, labels := range seldom {
		add(name, labels...)
	}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				add(name+"_bucket", append(labels, "le")...)
				fallthrough
			case dto.MetricType_SUMMARY:
				add(name+"_sum", labels...)
				add(name+"_count", labels...)
			default:
				add(name, labels...)
			}
		}
	}
	return all
}

// asksFor demands that what an expression selects is something the agent shows.
func asksFor(t *testing.T, shown map[string]map[string]bool, expr string) {
	t.Helper()
	parsed, err := promQL.ParseExpr(expr)
	require.NoError(t, err, expr)
	for _, matchers := range parser.ExtractSelectors(parsed) {
		var labels map[string]bool
		for _, m := range matchers {
			if m.Name == model.MetricNameLabel {
				labels = shown[m.Value]
				require.NotNil(t, labels, "%s is no metric of the agent", m.Value)
			}
		}
		for _, m := range matchers {
			require.True(t, labels[m.Name], "%s has no label %s", matchers, m.Name)
		}
	}
}

// dashboard is what the tests look at of Grafana's format.
type dashboard struct {
	Title, UID, Description string
	Editable                bool
	Panels                  []panel
	Templating              struct{ List []variable }
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               source
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct {
		Defaults struct {
			Unit, NoValue string
			Thresholds    struct {
				Steps []struct {
					Value *float64
					Color string
				}
			}
		}
		Overrides []struct {
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
	Targets []struct {
		Expr, LegendFormat, RefID string
		Datasource                source
	}
}

type source struct{ Type, UID string }

type variable struct {
	Type, Name, Label, Query, AllValue string
	Datasource                         source
	Multi                              bool
	Refresh                            int
}

// dashboards returns those that are checked in, by file.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	all := map[string]dashboard{}
	files, err := filepath.Glob(filepath.Join(out, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(text, &d), f)
		all[filepath.Base(f)] = d
	}
	return all
}

// plain puts values in the place of Grafana's variables.
func plain(expr string) string {
	return strings.NewReplacer("$__rate_interval", "4m", "$__range", "1h",
		"$job", ".+", "$instance", ".+", "$remote_name", ".+").Replace(expr)
}
