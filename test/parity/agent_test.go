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
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

// timeout is how long an agent may take to get somewhere before a test gives
// up on it. Tests end as soon as it is there.
const timeout = 60 * time.Second

// engine is one way to run the agent.
type engine struct {
	name   string
	binary string
	flags  []string
}

// engines returns stock's engine and ours.
func engines(t testing.TB) (stock, ours engine) {
	t.Helper()
	binary := os.Getenv("ACKWAL_PROMETHEUS")
	if binary == "" {
		binary = "../../bin/prometheus"
	}
	ours = engine{name: "durable", binary: program(t, binary), flags: []string{"--storage.agent.delivery=durable"}}
	stock = engine{name: "best-effort", binary: ours.binary, flags: []string{"--storage.agent.delivery=best-effort"}}
	if path := os.Getenv("ACKWAL_STOCK_PROMETHEUS"); path != "" {
		stock = engine{name: "upstream", binary: program(t, path)}
	}
	return stock, ours
}

func program(t testing.TB, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoError(t, err, "there is no Prometheus binary: build it with `make build`, or name one with ACKWAL_PROMETHEUS")
	return path
}

// agent is a running process in agent mode.
type agent struct {
	engine engine
	base   string // URL without a slash at the end.
	dir    string

	mtx   sync.Mutex
	lines []string // Its output.
}

var listening = regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:\d+)`)

// start runs the agent with a configuration until the test ends, and returns
// when it is ready.
func (e engine) start(t testing.TB, config string, flags ...string) *agent {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "agent.yml")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))

	args := append([]string{
		"--agent",
		"--config.file=" + path,
		"--storage.agent.path=" + filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0",
		"--scrape.discovery-reload-interval=200ms",
		"--storage.remote.flush-deadline=2s",
	}, append(flags, e.flags...)...)

	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, e.binary, args...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = timeout // Then it is killed.
	output, input := io.Pipe()
	cmd.Stdout, cmd.Stderr = input, input
	require.NoError(t, cmd.Start())

	a := &agent{engine: e, dir: dir}
	address, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(output)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			a.mtx.Lock()
			a.lines = append(a.lines, lines.Text())
			a.mtx.Unlock()
			if found := listening.FindStringSubmatch(lines.Text()); found != nil {
				address <- found[1]
			}
		}
	}()
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		input.Close()
		<-read
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		if t.Failed() {
			t.Logf("output of the agent with %s delivery, %q:\n%s", e.name, args, a.output())
		}
	})

	select {
	case at := <-address:
		a.base = "http://" + at
	case err := <-ended:
		require.Failf(t, "the agent ended instead of starting", "%v", err)
	case <-time.After(timeout):
		require.Fail(t, "the agent did not say where it listens")
	}
	require.Eventually(t, func() bool { return a.fetch("/-/ready") == nil }, timeout, 50*time.Millisecond, "the agent is not ready")
	return a
}

func (a *agent) output() string {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return strings.Join(a.lines, "\n")
}

// fetch asks for a page of the agent and hands its body to read.
func (a *agent) fetch(page string, read ...func(io.Reader) error) error {
	response, err := http.Get(a.base + page)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", page, response.Status)
	}
	for _, f := range read {
		if err := f(response.Body); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	return nil
}
