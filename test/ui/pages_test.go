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
	"net/http"
	"testing"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

var asset = regexp.MustCompile(`(?:src|href)="\.?/?(assets/[^"]+|favicon[^"]+)"`)

// TestPages has a browser draw every page that an agent has.
func TestPages(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	a := startAgent(t, "ACKWAL_PROMETHEUS")
	pages := []struct {
		name, path string
		shows      []string
		not        []string
	}{
		{"agent", "/", []string{"Prometheus Agent", "running in agent mode", "remote write endpoints"}, nil},
		{"targets", "/targets", []string{
			"Target health", "looked-at", "1 / 1 up", "http://" + a.target + "/metrics", `site="harbour"`, `job="looked-at"`,
		}, []string{"Error"}},
		{"service-discovery", "/service-discovery", []string{
			"Service discovery", "looked-at", "1 / 1", `__address__="` + a.target + `"`, `__metrics_path__="/metrics"`, `site="harbour"`,
		}, []string{"Error"}},
		{"config", "/config", []string{
			"Configuration", "job_name: looked-at", "cluster: pages", "site: harbour", "name: elsewhere", "remote_timeout: 30s",
		}, []string{"Error"}},
		{"flags", "/flags", []string{
			"Command-line flags", "--agent true", "--storage.agent.delivery durable", "--storage.agent.retention.max-size",
		}, []string{"Error"}},
		{"status", "/status", []string{"Runtime & build information", "+ackwal.", "revision", "Configuration reload Successful"}, []string{"Error"}},
	}
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			text := b.open(t, p.name, a.base+p.path)
			for _, want := range p.shows {
				require.Contains(t, text, want)
			}
			for _, unwanted := range p.not {
				require.NotContains(t, text, unwanted)
			}
		})
	}
}

// TestAssets fetches what the page refers to, which all is in the binary.
func TestAssets(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "ACKWAL_PROMETHEUS")
	status, kind, page := a.get(t, "/")
	require.Equal(t, http.StatusOK, status, "%s", page)
	require.Contains(t, kind, "text/html")
	found := asset.FindAllSubmatch(page, -1)
	require.GreaterOrEqual(t, len(found), 3, "%s", page)
	for _, f := range found {
		status, kind, content := a.get(t, "/"+string(f[1]))
		require.Equal(t, http.StatusOK, status, "%s", f[1])
		require.NotEmpty(t, content, "%s", f[1])
		require.NotContains(t, kind, "text/html", "%s", f[1])
	}
}

// TestWithoutPages looks at a binary that was built without them.
func TestWithoutPages(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "ACKWAL_PROMETHEUS_WITHOUT_PAGES")
	for _, page := range []string{"/", "/delivery"} {
		status, kind, text := a.get(t, page)
		require.Equal(t, http.StatusOK, status, page)
		require.Contains(t, kind, "text/html", page)
		require.Contains(t, string(text), "Is it healthy?", page)
	}
	for _, page := range []string{"/agent", "/targets", "/service-discovery", "/config", "/flags", "/status"} {
		status, kind, text := a.get(t, page)
		require.Equal(t, http.StatusInternalServerError, status, page)
		require.Contains(t, kind, "text/plain", page)
		require.Contains(t, string(text), "`make ui` builds one that has them", page)
	}
	for _, page := range []string{"/metrics", "/-/healthy", "/-/ready", "/api/v1/targets", "/api/v1/status/config"} {
		status, _, text := a.get(t, page)
		require.Equal(t, http.StatusOK, status, page)
		require.NotEmpty(t, text, page)
	}
}
