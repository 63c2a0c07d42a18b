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

package security

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
)

// repeater is an endpoint that fails in many ways and answers with all it was
// sent, in the status line's neighbourhood and in the body.
type repeater struct{ requests atomic.Int64 }

func (e *repeater) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body := []byte{}
	if !strings.HasSuffix(q.URL.Path, "/write") {
		// A token server is sent secrets in the body.
		body, _ = io.ReadAll(q.Body)
	}
	user, password, _ := q.BasicAuth()
	n := e.requests.Inc()
	status := []int{400, 503, 401, 302, 500, 403, 413, 422}[n%8]
	w.Header().Set("Location", "http://someone:"+password+"@127.0.0.1:1/?was="+q.Header.Get("X-Secret"))
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s:%s is not known; sent to %s: %v %s", user, password, q.URL, q.Header, body)
}

// secrets are found nowhere else than in the configuration, so that any
// occurrence is a leak.
var secrets = map[string]string{
	"user info":        "aaSecretUserInfo",
	"basic auth":       "bbSecretBasic",
	"authorization":    "ccSecretCredentials",
	"bearer":           "ddSecretBearer",
	"http_headers":     "eeSecretHeader",
	"headers":          "ffSecretPlainHeader",
	"sigv4":            "ggSecretSigV4",
	"oauth2":           "hhSecretClient",
	"parameters":       "iiSecretParameter",
	"password file":    "jjSecretPasswordFile",
	"rotated":          "kkSecretRotated",
	"proxy":            "llSecretProxy",
	"basic, colliding": "mmSecretColliding",
}

func secretConfig(t *testing.T, dir, endpoint, self, basic string) string {
	t.Helper()
	file := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(file, []byte(secrets["password file"]), 0o600))
	host := strings.TrimPrefix(endpoint, "http://")
	common := "  remote_timeout: 2s\n  failed_request_logging: true\n  protobuf_message: io.prometheus.write.v2.Request\n" +
		"  queue_config: {batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 100ms, max_shards: 2}\n"
	out := strings.Builder{}
	fmt.Fprintf(&out, "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: self\n  static_configs: [{targets: ['%s']}]\nremote_write:\n", self)
	add := func(format string, args ...any) { fmt.Fprintf(&out, format+common, args...) }
	add("- url: http://someone:%s@%s/one/write\n", secrets["user info"], host)
	add("- url: %s/two/write\n  basic_auth: {username: someone, password: %s}\n", endpoint, basic)
	add("- url: %s/two/write\n  basic_auth: {username: another, password: %s}\n", endpoint, secrets["basic, colliding"])
	add("- url: %s/three/write\n  authorization: {credentials: %s}\n", endpoint, secrets["authorization"])
	add("- url: %s/four/write\n  bearer_token: %s\n", endpoint, secrets["bearer"])
	add("- url: %s/five/write\n  http_headers: {X-Secret: {secrets: [%s]}}\n", endpoint, secrets["http_headers"])
	add("- url: %s/six/write\n  headers: {X-Secret: %s}\n", endpoint, secrets["headers"])
	add("- url: %s/seven/write\n  sigv4: {region: x, access_key: AKIA, secret_key: %s}\n", endpoint, secrets["sigv4"])
	add("- url: %s/eight/write\n  oauth2: {client_id: me, client_secret: %s, token_url: '%s/token'}\n", endpoint, secrets["oauth2"], endpoint)
	add("- url: %s/nine/write?db=x&p=%s&api_token=%s\n", endpoint, secrets["parameters"], secrets["parameters"])
	add("- url: %s/ten/write\n  basic_auth: {username: someone, password_file: '%s'}\n", endpoint, file)
	add("- url: http://somewhere.invalid/write\n  proxy_url: http://someone:%s@%s\n", secrets["proxy"], host)
	return out.String()
}

// TestSecretsStayInside: no secret of the configuration appears in the names or
// contents of files, in the log at debug level, in metrics or on status pages,
// whatever the endpoints answer, across a reload, a crash and a stop.
func TestSecretsStayInside(t *testing.T) {
	endpoint := &repeater{}
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	own := atomic.NewString("")
	// The agent scrapes itself, so that its metrics get into the log too.
	self := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		response, err := http.Get(own.Load() + "/metrics")
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(self.Close)
	dir := t.TempDir()
	host := strings.TrimPrefix(self.URL, "http://")

	seen := map[string]string{}
	note := func(a *agent, run string) {
		for _, path := range []string{"/metrics", "/api/v1/status/config", "/api/v1/status/flags", "/api/v1/targets", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline"} {
			status, text := a.get(path)
			require.Equal(t, http.StatusOK, status, path)
			require.NotEmpty(t, text)
			seen[run+" "+path] = text
		}
	}
	busy := func(a *agent) {
		own.Store(a.base)
		due := endpoint.requests.Load() + 200
		a.until("200 requests were refused", func() bool { return endpoint.requests.Load() >= due })
	}

	config := secretConfig(t, dir, server.URL, host, secrets["basic auth"])
	a := start(t, dir, "durable", config)
	busy(a)
	note(a, "first")
	a.reload(secretConfig(t, dir, server.URL, host, secrets["rotated"]))
	busy(a)
	a.Kill()
	a = start(t, dir, "durable", config)
	busy(a)
	note(a, "second")
	_, err := a.Terminate()
	require.NoError(t, err)

	maps.Copy(seen, a.everything())
	require.Contains(t, seen["log"], "returned HTTP status", "the answers have to be in the log, or this shows nothing")
	require.Contains(t, seen["log"], "Failed to send remote write request")
	require.Contains(t, seen["first /metrics"], "/nine/write?db=x")
	for where, text := range seen {
		for kind, secret := range secrets {
			if strings.HasSuffix(where, "/status/config") && (kind == "headers" || kind == "parameters") {
				continue // Stock's page shows what stock does not take for a secret.
			}
			for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("someone:" + secret))} {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("the secret of %q is in %s: …%q…", kind, where, text[max(0, i-150):min(len(text), i+60)])
				}
				require.NotContains(t, filepath.Base(where), form)
			}
		}
	}
}

// TestFileModes: files are as closed as stock's, and those that stock does not
// have are for the owner alone.
func TestFileModes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "x 1\nchanging{at=\"%d\"} 1\n", time.Now().UnixNano())
	}))
	t.Cleanup(server.Close)
	config := fmt.Sprintf("global: {scrape_interval: 100ms, scrape_timeout: 100ms}\nscrape_configs:\n- job_name: x\n  static_configs: [{targets: ['%s']}]\nremote_write: [{url: '%s/write'}]\n",
		strings.TrimPrefix(server.URL, "http://"), server.URL)

	modes := func(engine string) map[string]os.FileMode {
		a := start(t, t.TempDir(), engine, config)
		a.until("there is a checkpoint", func() bool {
			found, err := filepath.Glob(filepath.Join(a.dataDir(), "wal", "checkpoint.*", "0*"))
			require.NoError(t, err)
			return len(found) > 0
		})
		_, err := a.Terminate()
		require.NoError(t, err)
		found := map[string]os.FileMode{}
		require.NoError(t, filepath.WalkDir(a.dataDir(), func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			name, err := filepath.Rel(a.dataDir(), path)
			// Numbers differ, kinds do not.
			found[digits.ReplaceAllString(filepath.ToSlash(name), "N")] |= info.Mode()
			return err
		}))
		return found
	}
	stock, ours := modes("best-effort"), modes("durable")
	for name, mode := range ours {
		if theirs, ok := stock[name]; ok {
			require.Equal(t, theirs, mode, name)
			continue
		}
		switch {
		case mode.IsDir():
			require.Equal(t, stock["wal"], mode, name)
		case strings.HasPrefix(name, "delivery"):
			require.Equal(t, os.FileMode(0o600), mode, name)
		default:
			require.Equal(t, stock["wal/N"], mode, "%s holds what the log holds", name)
		}
	}
	require.Contains(t, ours, "delivery.json")
	require.Contains(t, stock, "wal/checkpoint.N/N")
	require.Contains(t, ours, "wal/N")
}
