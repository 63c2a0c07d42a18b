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
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/conformance/process"
)

const envBinary = "ACKWAL_PROMETHEUS"

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	path := os.Getenv(envBinary)
	if path == "" {
		path = "../../bin/prometheus"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExistsf(t, path, "there is no Prometheus binary: build it with `make build`, or name one with %s", envBinary)
	return path
}

// agent is a running agent.
type agent struct {
	t    *testing.T
	dir  string
	base string
	*process.Process
}

var listening = regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:\d+)`)

// digits are numbers of segments.
var digits = regexp.MustCompile(`\d+`)

// start runs the agent with an engine in a directory that may have been used
// before.
func start(t *testing.T, dir, engine, config string, args ...string) *agent {
	t.Helper()
	a := &agent{t: t, dir: dir}
	a.configure(config)
	args = append([]string{
		"--agent", "--config.file=" + a.configPath(), "--storage.agent.path=" + a.dataDir(), "--storage.agent.delivery=" + engine,
		"--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle", "--log.level=debug",
		"--storage.agent.wal-truncate-frequency=1s", "--storage.agent.retention.min-time=4s",
		"--scrape.discovery-reload-interval=500ms", "--storage.remote.flush-deadline=1s",
	}, args...)
	var err error
	a.Process, err = process.Start("the agent", binary(t), filepath.Join(dir, "log"), args...)
	require.NoError(t, err)
	t.Cleanup(func() {
		a.Kill()
		if t.Failed() {
			t.Logf("last output:\n%s", a.Tail(30))
		}
	})
	found, err := a.WaitOutput(listening)
	require.NoError(t, err)
	a.base = "http://" + found[1]
	a.until("it is ready", func() bool {
		status, _ := a.get("/-/ready")
		return status == http.StatusOK
	})
	return a
}

func (a *agent) configPath() string { return filepath.Join(a.dir, "agent.yml") }
func (a *agent) dataDir() string    { return filepath.Join(a.dir, "data") }

func (a *agent) configure(text string) {
	a.t.Helper()
	require.NoError(a.t, os.MkdirAll(a.dir, 0o777))
	require.NoError(a.t, os.WriteFile(a.configPath(), []byte(text), 0o600))
}

func (a *agent) reload(text string) {
	a.t.Helper()
	a.configure(text)
	response, err := http.Post(a.base+"/-/reload", "", nil)
	require.NoError(a.t, err)
	defer response.Body.Close()
	require.Equal(a.t, http.StatusOK, response.StatusCode)
}

func (a *agent) get(path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), process.HangLimit)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, http.NoBody)
	if err != nil {
		return 0, ""
	}
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(text)
}

func (a *agent) until(what string, happened func() bool) {
	a.t.Helper()
	deadline := time.Now().Add(process.HangLimit)
	for !happened() {
		require.True(a.t, a.Running(), "the agent ended before this: %s", what)
		require.True(a.t, time.Now().Before(deadline), "within %s this did not happen: %s", process.HangLimit, what)
		time.Sleep(20 * time.Millisecond)
	}
}

// everything returns all that the agent wrote into its directory, by path.
func (a *agent) everything() map[string]string {
	a.t.Helper()
	files := map[string]string{}
	require.NoError(a.t, filepath.WalkDir(a.dataDir(), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	text, err := os.ReadFile(filepath.Join(a.dir, "log"))
	require.NoError(a.t, err)
	files["log"] = string(text)
	return files
}

// address returns the address of a listener that hands each connection to a
// function, which need not close it.
func address(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return l.Addr().String()
}
