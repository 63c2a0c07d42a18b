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
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

// agent is a running agent with one target that is up and an endpoint that
// takes everything.
type agent struct {
	base   string // Of its URLs.
	target string // Host and port.
}

var listening = regexp.MustCompile(`msg="Listening on" .*address=(\S+)`)

// startAgent runs the binary named by an environment variable until the test
// ends.
func startAgent(t *testing.T, variable string, flags ...string) agent {
	t.Helper()
	binary := os.Getenv(variable)
	if binary == "" {
		t.Skipf("LEFT OUT: %s names no binary; `make ui-test` builds it and sets it", variable)
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "pages_sample 1")
	}))
	t.Cleanup(target.Close)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(receiver.Close)

	a := agent{target: strings.TrimPrefix(target.URL, "http://")}
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 1s, external_labels: {cluster: pages}}
scrape_configs:
  - job_name: looked-at
    static_configs: [{targets: [%q], labels: {site: harbour}}]
remote_write:
  - {name: elsewhere, url: %q}
`, a.target, receiver.URL), 0o600))

	cmd := exec.CommandContext(t.Context(), binary, append([]string{
		"--agent", "--config.file=" + config, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0",
	}, flags...)...)
	// Not where a directory with pages might lie by chance.
	cmd.Dir = dir
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var lines []string
	found := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(log); s.Scan(); {
			lines = append(lines, s.Text())
			if m := listening.FindStringSubmatch(s.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		// The test's context has ended the process.
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(strings.Join(lines, "\n"))
		}
	})
	select {
	case address := <-found:
		a.base = "http://" + address
	case <-ended:
		require.Fail(t, "the agent has ended")
	case <-time.After(timeout):
		require.Fail(t, "the agent does not listen")
	}
	require.Eventually(t, func() bool { return a.targetUp(t) }, timeout, 50*time.Millisecond, "the target is not scraped")
	return a
}

// get returns status, type and body of a page, redirections followed.
func (a agent) get(t *testing.T, page string) (int, string, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.base+page, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header.Get("Content-Type"), body
}

func (a agent) targetUp(t *testing.T) bool {
	var answer struct {
		Data struct {
			ActiveTargets []struct{ Health string }
		}
	}
	_, _, body := a.get(t, "/api/v1/targets")
	if json.Unmarshal(body, &answer) != nil || len(answer.Data.ActiveTargets) != 1 {
		return false
	}
	return answer.Data.ActiveTargets[0].Health == "up"
}
