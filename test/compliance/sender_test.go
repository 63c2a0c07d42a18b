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

package compliance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/compliance/remotewrite/sender"
	"github.com/stretchr/testify/require"
)

const (
	envBinary = "ACKWAL_PROMETHEUS"
	// Set for the run of the suite that TestSender starts for one engine.
	envEngine = "ACKWAL_COMPLIANCE_ENGINE"

	durable    = "durable"
	bestEffort = "best-effort"
)

const configuration = `
global:
  scrape_interval: 1s
remote_write:
  - url: %q
    protobuf_message: %q
    send_exemplars: true
    queue_config: {retry_on_http_429: true}
    metadata_config: {send: true}
scrape_configs:
  - job_name: %q
    scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText0.0.4]
    static_configs: [{targets: [%q]}]
`

// agent starts the binary in agent mode with one of the engines. A test case
// starts one and stops it when it has seen enough requests.
type agent struct{ binary, engine string }

func (a agent) Name() string { return a.engine }

func (a agent) Run(ctx context.Context, o sender.Options) error {
	dir, err := os.MkdirTemp("", "compliance-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "agent.yml")
	text := fmt.Sprintf(configuration, o.RemoteWriteEndpointURL, o.RemoteWriteMessage, o.ScrapeTargetJobName, o.ScrapeTargetHostPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	return sender.RunCommand(ctx, dir, nil, a.binary,
		"--agent",
		"--config.file="+config,
		"--storage.agent.path="+filepath.Join(dir, "data"),
		"--storage.agent.delivery="+a.engine,
		"--web.listen-address=127.0.0.1:0",
		"--scrape.discovery-reload-interval=500ms",
		// The receiver is gone when the agent is stopped.
		"--storage.remote.flush-deadline=1s",
		"--enable-feature=st-storage",
	)
}

// binary returns the path of the program under test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv(envBinary)
	if path == "" {
		path = "../../bin/prometheus"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	_, err = os.Stat(path)
	require.NoErrorf(t, err, "there is no Prometheus binary: build it with `make build`, or name one with %s", envBinary)
	return path
}

// TestSuite is the suite with one engine. It is started by TestSender; to run
// it alone, name an engine.
func TestSuite(t *testing.T) {
	engine := os.Getenv(envEngine)
	if engine == "" {
		t.Skipf("run by TestSender, or with %s=%s", envEngine, durable)
	}
	sender.RunTests(t, agent{binary: binary(t), engine: engine}, sender.ComplianceTests())
}

// TestSender compares the results with the two engines.
func TestSender(t *testing.T) {
	path := binary(t)
	stock, stockLog := verdicts(t, path, bestEffort)
	ours, ourLog := verdicts(t, path, durable)

	// Nothing is shown by a suite that did not run or an agent that did not start.
	require.NotEmptyf(t, stock, "the suite ran no case with best-effort delivery:\n%s", stockLog)
	var passing, failing []string
	for name, ok := range stock {
		switch {
		case !ok:
			t.Logf("best-effort fails %s", name)
		case ours[name]:
			passing = append(passing, name)
		default:
			failing = append(failing, name)
		}
	}
	slices.Sort(failing)
	require.Emptyf(t, failing, "cases that pass with best-effort delivery and not with durable:\n%s", ourLog)
	require.NotEmptyf(t, passing, "no case passes with best-effort delivery, so nothing was compared:\n%s", stockLog)
}

// verdicts runs the suite in a test process of its own, because a failing case
// fails its process. Cases are named without the engine.
func verdicts(t *testing.T, path, engine string) (map[string]bool, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSuite$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), envEngine+"="+engine, envBinary+"="+path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A failing case gives an exit status of 1. The lines say which one.
	runErr := cmd.Run()

	prefix := "TestSuite/" + engine + "/"
	passed := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "---" || !slices.Contains([]string{"PASS:", "FAIL:", "SKIP:"}, words[1]) {
			continue
		}
		if name, ok := strings.CutPrefix(words[2], prefix); ok {
			passed[name] = words[1] == "PASS:"
		}
	}
	log := fmt.Sprintf("%s\n(suite with %s: %v)", out.String(), engine, runErr)
	return passed, log
}
