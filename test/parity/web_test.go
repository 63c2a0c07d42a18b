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
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// outline lists the keys of a JSON value with the types of what is there.
func outline(path string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		var all []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, outline(path+"."+key, v[key])...)
		}
		return all
	case []any:
		if len(v) == 0 {
			return []string{path + "[]"}
		}
		return outline(path+"[]", v[0])
	}
	return []string{fmt.Sprintf("%s %T", path, v)}
}

// answer is the status of a page, and its outline or text.
func (a *agent) answer(t *testing.T, method, page string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, a.base+page, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var content any
	if json.Unmarshal(text, &content) == nil {
		text = []byte(strings.Join(outline("", content), "\n"))
	}
	return response.Status + "\n" + string(text)
}

// TestPages compares the answers of the web interface: the same pages are
// there, with the same fields, and the same are refused.
func TestPages(t *testing.T) {
	stock, ours := engines(t)
	const config = `
scrape_configs: [{job_name: self, static_configs: [{targets: ["127.0.0.1:1"]}]}]
remote_write: [{name: one, url: "http://127.0.0.1:1/write"}]
`
	a, b := stock.start(t, config, "--web.enable-lifecycle"), ours.start(t, config, "--web.enable-lifecycle")
	for _, e := range []*agent{a, b} {
		require.Eventually(t, func() bool {
			return strings.Contains(e.answer(t, http.MethodGet, "/api/v1/targets"), "lastError string")
		}, timeout, 50*time.Millisecond, "the target to be known")
	}
	for _, page := range []string{
		"/-/healthy", "/-/ready",
		"/api/v1/targets", "/api/v1/targets/metadata", "/api/v1/scrape_pools", "/api/v1/metadata",
		"/api/v1/status/config", "/api/v1/status/runtimeinfo", "/api/v1/status/buildinfo", // TestFlagDefaults has the flags.
		"/api/v1/status/tsdb", "/api/v1/status/tsdb/blocks", "/api/v1/status/walreplay", "/api/v1/status/self_metrics",
		"/api/v1/notifications", "/api/v1/features", "/api/v1/alertmanagers", "/api/v1/rules", "/api/v1/alerts",
		"/api/v1/query?query=up", "/api/v1/query_range", "/api/v1/series", "/api/v1/labels", "/api/v1/read", "/api/v1/write",
		"/federate", "/graph", "/no-such-page",
	} {
		require.Equal(t, a.answer(t, http.MethodGet, page), b.answer(t, http.MethodGet, page), page)
	}
	for _, page := range []string{"/-/reload", "/api/v1/write", "/api/v1/admin/tsdb/snapshot", "/api/v1/admin/tsdb/delete_series"} {
		require.Equal(t, a.answer(t, http.MethodPost, page), b.answer(t, http.MethodPost, page), page)
	}
}

// TestRefusedConfigurations demands that what stock refuses is refused, at the
// start and by a reload, and that the running endpoints then stay.
func TestRefusedConfigurations(t *testing.T) {
	stock, ours := engines(t)
	const good = "remote_write: [{name: one, url: \"http://127.0.0.1:1/write\"}]\n"
	configs := map[string]string{
		"unknown field":    "remote_write: [{url: \"http://x/\", no_such: 1}]\n",
		"no url":           "remote_write: [{name: one}]\n",
		"name twice":       "remote_write: [{name: one, url: \"http://x/\"}, {name: one, url: \"http://y/\"}]\n",
		"endpoint twice":   "remote_write: [{url: \"http://x/\"}, {url: \"http://x/\"}]\n",
		"protocol":         "remote_write: [{url: \"http://x/\", protobuf_message: third}]\n",
		"reserved header":  "remote_write: [{url: \"http://x/\", headers: {Content-Type: text}}]\n",
		"two credentials":  "remote_write: [{url: \"http://x/\", basic_auth: {username: u}, sigv4: {region: r}}]\n",
		"bad rule":         "remote_write: [{url: \"http://x/\", write_relabel_configs: [{action: no}]}]\n",
		"absent authority": "remote_write: [{url: \"https://x/\", tls_config: {ca_file: absent.pem}}]\n",
		"rules":            "rule_files: [a.yml]\n",
	}
	for _, e := range []engine{stock, ours} {
		t.Run(e.name, func(t *testing.T) {
			a := e.start(t, good, "--web.enable-lifecycle")
			path := filepath.Join(a.dir, "agent.yml")
			for _, name := range slices.Sorted(maps.Keys(configs)) {
				require.NoError(t, os.WriteFile(path, []byte(configs[name]), 0o600))
				status, _, _ := strings.Cut(a.answer(t, http.MethodPost, "/-/reload"), "\n")
				require.Equal(t, "500 Internal Server Error", status, "reload with: %s", name)

				cmd := exec.CommandContext(t.Context(), e.binary, append([]string{
					"--agent", "--config.file=" + path, "--storage.agent.path=" + filepath.Join(t.TempDir(), "data"), "--web.listen-address=127.0.0.1:0",
				}, e.flags...)...)
				cmd.Dir = t.TempDir()
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				require.ErrorAs(t, err, &exit, "start with: %s", name)
				require.Contains(t, []int{1, 2}, exit.ExitCode(), "start with: %s\n%s", name, out)
			}
			families, err := a.metrics()
			require.NoError(t, err)
			require.Positive(t, of(families, "one", "shards_max"), "the endpoint of the good configuration is gone")
		})
	}
}
