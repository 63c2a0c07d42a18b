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
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// TestOutputsAreCurrent makes anew what is checked in.
func TestOutputsAreCurrent(t *testing.T) {
	dir := t.TempDir()
	output, err := exec.Command("../../scripts/mixin.sh", dir).CombinedOutput()
	require.NoError(t, err, "%s", output)
	made := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		made++
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		expected, err := os.ReadFile(path)
		require.NoError(t, err)
		actual, err := os.ReadFile("../../" + name)
		require.NoError(t, err)
		require.Equal(t, string(expected), string(actual), "%s is not what mixin/ makes: run `make mixin`", name)
		return nil
	}))
	checkedIn, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Equal(t, len(checkedIn)+1, made, "files in %s that nothing makes, or the other way round", out)
}

// TestWhatIsAskedForIsShown compares alerts, dashboards and pages with the metrics of an agent.
func TestWhatIsAskedForIsShown(t *testing.T) {
	shown := shown(t)
	for _, r := range rules(t) {
		asksFor(t, shown, r.Expr)
	}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				asksFor(t, shown, plain(target.Expr))
			}
		}
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				asksFor(t, shown, plain(labelValues.FindStringSubmatch(v.Query)[1]))
			}
		}
	}
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, name := range metricName.FindAllString(string(text), -1) {
			require.NotNil(t, shown[name], "%s: %s is no metric of the agent", page, name)
		}
	}
}

var (
	labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	metricName  = regexp.MustCompile(`prometheus_(?:agent|remote_storage)_[a-z]+_[a-z_]+`)
)

// TestRunbooks demands a section on each alert, with what an operator who was woken asks, and
// none on alerts that are not there.
func TestRunbooks(t *testing.T) {
	text, err := os.ReadFile("../../docs/runbooks.md")
	require.NoError(t, err)
	sections := map[string]string{}
	for _, s := range strings.Split(string(text), "\n### ")[1:] {
		name, body, _ := strings.Cut(s, "\n")
		body, _, _ = strings.Cut(body, "\n## ")
		sections[name] = body
	}
	var names []string
	for _, r := range rules(t) {
		names = append(names, r.Alert)
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
		require.Equal(t, "https://github.com/ackwal/ackwal/blob/main/docs/runbooks.md#"+strings.ToLower(r.Alert), r.Annotations["runbook_url"])
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
		require.NotContains(t, r.Expr, "unacked_seconds", "%s: it is 0 of an endpoint that is stuck with nothing in memory", r.Alert)
		for _, question := range []string{"**It means**", "**Look at", "**Do**", "**Waiting costs**"} {
			body := strings.ReplaceAll(sections[r.Alert], "**Look at, do**", "**Look at** **Do**")
			require.Contains(t, body, question, r.Alert)
		}
	}
	for name := range sections {
		require.Contains(t, names, name, "a runbook for no alert")
	}
}

// TestDashboards demands what Grafana's linter does of dashboards, and that panels do not
// lie upon each other.
func TestDashboards(t *testing.T) {
	uids := map[string]bool{}
	for file, d := range dashboards(t) {
		require.NotEmpty(t, d.Title, file)
		require.NotEmpty(t, d.Description, file)
		require.False(t, d.Editable, file)
		require.False(t, uids[d.UID], "%s: its uid is another's", file)
		uids[d.UID] = true

		variables := map[string]variable{}
		for _, v := range d.Templating.List {
			variables[v.Name] = v
			if v.Type != "query" {
				continue
			}
			require.True(t, v.Multi && v.AllValue == ".+" && v.Refresh == 2, "%s: variable %s", file, v.Name)
			require.Equal(t, source{"prometheus", "$datasource"}, v.Datasource, "%s: variable %s", file, v.Name)
			require.Equal(t, v.Name, labelValues.FindStringSubmatch(v.Query)[2], file)
		}
		require.Equal(t, "datasource", variables["datasource"].Type, file)
		require.Equal(t, "Data source", variables["datasource"].Label, file)
		require.Equal(t, "prometheus", variables["datasource"].Query, file)
		require.Equal(t, "Job", variables["job"].Label, file)
		require.Equal(t, "Instance", variables["instance"].Label, file)

		taken := map[[2]int]string{}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			require.False(t, ids[p.ID], "%s: %s", file, p.Title)
			ids[p.ID] = true
			require.NotEmpty(t, p.Title, file)
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				require.Less(t, x, 24, "%s: %s", file, p.Title)
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					require.Empty(t, taken[[2]int{x, y}], "%s: %s", file, p.Title)
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type != "row" {
				checkPanel(t, file, p, slices.Sorted(maps.Keys(variables)))
			}
		}
	}
}

// units are those of Grafana's that the dashboards use.
var units = []string{"none", "short", "s", "bytes", "Bps", "cps", "percentunit"}

func checkPanel(t *testing.T, file string, p panel, variables []string) {
	t.Helper()
	where := file + ": " + p.Title
	require.NotEmpty(t, p.Description, where)
	require.Equal(t, source{"prometheus", "$datasource"}, p.Datasource, where)
	require.Contains(t, units, p.FieldConfig.Defaults.Unit, where)
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			if property.ID == "unit" {
				require.Contains(t, units, property.Value, where)
			}
		}
	}
	require.NotEmpty(t, p.Targets, where)
	refs := map[string]bool{}
	for _, target := range p.Targets {
		require.False(t, refs[target.RefID], where)
		refs[target.RefID] = true
		require.Equal(t, source{"prometheus", "$datasource"}, target.Datasource, where)
		require.NotRegexp(t, `rate\([^[]*\[\d`, target.Expr, "%s: $__rate_interval", where)
		expr, err := promQL.ParseExpr(strings.NewReplacer("$__rate_interval", "4m", "$__range", "1h").Replace(target.Expr))
		require.NoError(t, err, where)
		for _, matchers := range parser.ExtractSelectors(expr) {
			for _, label := range []string{"job", "instance"} {
				require.True(t, slices.ContainsFunc(matchers, func(m *labels.Matcher) bool {
					return m.Name == label && m.Value == "$"+label
				}), "%s: %s does not go by $%s", where, matchers, label)
			}
		}
		parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
			selector, is := node.(*parser.VectorSelector)
			if !is || !strings.HasSuffix(selector.Name, "_total") {
				return nil
			}
			require.GreaterOrEqual(t, len(path), 2, "%s: %s is a counter", where, selector)
			call, is := path[len(path)-2].(*parser.Call)
			require.True(t, is && (call.Func.Name == "rate" || call.Func.Name == "increase"), "%s: %s is a counter", where, selector)
			return nil
		})
		for _, used := range regexp.MustCompile(`"\$(\w+)"`).FindAllStringSubmatch(target.Expr, -1) {
			require.Contains(t, variables, used[1], where)
		}
	}
}
