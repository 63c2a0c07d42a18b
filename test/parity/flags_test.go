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
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

// given are values for the flags of agent mode that are not the default ones.
// An empty value is a flag without one. A flag of stock that is missing here
// fails the test.
var given = map[string]string{
	"auto-gomaxprocs":                                      "",
	"auto-gomemlimit":                                      "",
	"auto-gomemlimit.ratio":                                "0.8",
	"auto-gomemlimit.refresh-interval":                     "1m",
	"config.auto-reload":                                   "",
	"config.auto-reload-interval":                          "45s",
	"log.format":                                           "logfmt", // What start reads.
	"log.level":                                            "debug",
	"scrape.adjust-timestamps":                             "",
	"scrape.timestamp-tolerance":                           "3ms",
	"storage.agent.checkpoint-batch-size":                  "500",
	"storage.agent.checkpoint-from-in-memory-series":       "",
	"storage.agent.no-lockfile":                            "",
	"storage.agent.retention.max-time":                     "3h",
	"storage.agent.retention.min-time":                     "2m",
	"storage.agent.wal-compression":                        "",
	"storage.agent.wal-compression-type":                   "zstd",
	"storage.agent.wal-segment-size":                       "16MiB",
	"storage.agent.wal-truncate-frequency":                 "1h",
	"web.console.libraries":                                "libs",
	"web.console.templates":                                "templates",
	"web.cors.origin":                                      "https?://example\\.org",
	"web.enable-admin-api":                                 "",
	"web.enable-lifecycle":                                 "",
	"web.enable-otlp-receiver":                             "",
	"web.enable-remote-write-receiver":                     "",
	"web.external-url":                                     "http://localhost/",
	"web.max-connections":                                  "99",
	"web.max-notifications-subscribers":                    "5",
	"web.page-title":                                       "parity",
	"web.read-timeout":                                     "4m",
	"web.remote-write-receiver.accepted-protobuf-messages": "io.prometheus.write.v2.Request",
	"web.route-prefix":                                     "/",
	"web.user-assets":                                      "assets",

	// These start gives itself.
	"agent": "", "config.file": "", "scrape.discovery-reload-interval": "", "storage.agent.path": "",
	"storage.remote.flush-deadline": "", "web.listen-address": "",
	// Every feature is tried, see features.
	"enable-feature": "",
	// A file that turns on TLS would need certificates; it is none of the
	// engine's business.
	"web.config.file": "",
	// They end the program.
	"help": "", "version": "", "write-documentation": "",
}

// fromStart are the flags that appear above for completeness only.
var fromStart = []string{
	"agent", "config.file", "enable-feature", "help", "scrape.discovery-reload-interval", "storage.agent.path",
	"storage.remote.flush-deadline", "version", "web.config.file", "web.listen-address", "write-documentation",
}

// stockFlags reads the flags of upstream's main package from its source, those
// for agent mode, hidden ones too, and its feature flags.
func stockFlags(t *testing.T) (forAgent, features []string) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	require.NoError(t, err, "where upstream's module is")
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "cmd", "prometheus", "main.go"), nil, 0)
	require.NoError(t, err)
	text := func(e ast.Expr) string {
		literal, ok := e.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return ""
		}
		s, err := strconv.Unquote(literal.Value)
		require.NoError(t, err)
		return s
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.SelectorExpr:
			if f.Sel.Name != "Flag" || len(call.Args) != 2 || text(call.Args[0]) == "" {
				break
			}
			forAgent = append(forAgent, text(call.Args[0]))
			if _, list, ok := strings.Cut(text(call.Args[1]), "Valid options: "); ok && text(call.Args[0]) == "enable-feature" {
				list, _, _ = strings.Cut(list, ". ")
				features = strings.Split(list, ", ")
			}
		case *ast.Ident:
			if f.Name == "agentOnlyFlag" {
				forAgent = append(forAgent, text(call.Args[1]))
			}
		}
		return true
	})
	// Package promslog adds these, and kingpin two more.
	forAgent = append(forAgent, "log.level", "log.format", "help", "version")
	return forAgent, features
}

const emptyConfig = "global: {}\n"

// TestFlags starts the durable agent with every flag stock's agent mode has,
// set to something else than its default where there is a choice.
func TestFlags(t *testing.T) {
	_, ours := engines(t)
	forAgent, features := stockFlags(t)
	require.Greater(t, len(forAgent), 40, "upstream has more flags than that, so its source was not understood")
	require.Greater(t, len(features), 20, "upstream has more features than that, so its source was not understood")
	require.ElementsMatch(t, forAgent, slices.Collect(maps.Keys(given)), "upstream's flags for agent mode and the ones that are tried")

	var args []string
	want := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(fromStart, name) {
			continue
		}
		value := given[name]
		if value == "" {
			args, want[name] = append(args, "--"+name), "true"
			continue
		}
		args, want[name] = append(args, "--"+name+"="+value), value
	}
	// These two exclude each other.
	for _, without := range []string{"otlp-deltatocumulative", "otlp-native-delta-ingestion"} {
		require.Contains(t, features, without)
		t.Run("all features but "+without, func(t *testing.T) {
			chosen := slices.DeleteFunc(slices.Clone(features), func(f string) bool { return f == without })
			got := ours.start(t, emptyConfig, append(args, "--enable-feature="+strings.Join(chosen, ","))...).flagValues(t)
			for name, value := range want {
				require.Equal(t, value, got[name], "value of --%s", name)
			}
			require.Equal(t, "durable", got["storage.agent.delivery"])
		})
	}
}

// TestFlagDefaults compares the flags and values the web page shows.
func TestFlagDefaults(t *testing.T) {
	stock, ours := engines(t)
	want := stock.start(t, emptyConfig).flagValues(t)
	got := ours.start(t, emptyConfig).flagValues(t)
	for name, value := range want {
		switch name {
		case "config.file", "storage.agent.path", "storage.agent.delivery":
			require.Contains(t, got, name)
		default:
			require.Equal(t, value, got[name], "value of --%s", name)
		}
	}
	require.Equal(t, "durable", got["storage.agent.delivery"])
}

// TestNoFlagsNeeded starts the binary as a stock one is started, and must get
// durable delivery.
func TestNoFlagsNeeded(t *testing.T) {
	_, ours := engines(t)
	ours.flags = nil
	require.Equal(t, "durable", ours.start(t, emptyConfig).flagValues(t)["storage.agent.delivery"])
}

// whenAndWhere is what differs between two runs of a log line.
var whenAndWhere = regexp.MustCompile(`time=\S+ | source=\S+`)

// TestServerFlags demands that agent mode refuses the flags of server mode as
// stock does: with the same words and exit status.
func TestServerFlags(t *testing.T) {
	stock, ours := engines(t)
	dir := t.TempDir()
	refusal := func(e engine, args ...string) string {
		cmd := exec.CommandContext(t.Context(), e.binary, append(args, e.flags...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s with %q", e.name, args)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return err.Error() + ": " + whenAndWhere.ReplaceAllString(lines[len(lines)-1], "")
	}
	for _, args := range [][]string{
		{"--agent", "--storage.tsdb.path=data"},
		{"--agent", "--query.timeout=1m", "--rules.alert.resend-delay=1m"},
		{"--agent", "--no-such-flag"},
		{"--agent", "--config.file=absent.yml"},
		{"--agent", "--storage.agent.retention.min-time=soon"},
		{"--agent", "--storage.agent.wal-segment-size=1"},
	} {
		require.Equal(t, refusal(stock, args...), refusal(ours, args...), "%q", args)
	}
}

// flagValues are the flags as /flags shows them.
func (a *agent) flagValues(t *testing.T) map[string]string {
	t.Helper()
	var answer struct{ Data map[string]string }
	require.NoError(t, a.fetch("/api/v1/status/flags", func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&answer)
	}))
	return answer.Data
}
