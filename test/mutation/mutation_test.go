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

package mutation

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/mutation"
)

const limit = 5 * time.Minute

// finding is what a model test prints for a broken invariant.
var finding = regexp.MustCompile(`(?m)^\s+(?:Messages:\s+)?(I\d): .*$`)

// model is a test that has to notice.
type model struct {
	dir  string // Of its package, as seen from here.
	args []string
}

var (
	// pipeline has everything from the log to the endpoints.
	pipeline = model{"../../tsdb/agent/durable", []string{"-test.run=^TestModel$", "-model.patience=5s"}}
	// twoRanges has an endpoint with fresh samples first.
	twoRanges = model{"../../storage/remote/delivery", []string{"-test.run=^TestFreshModel$", "-fresh.patience=5s"}}
)

// runs is the argument that says how many schedules to run.
func (m model) runs(n string) string {
	if m.dir == twoRanges.dir {
		return "-fresh.runs=" + n
	}
	return "-model.runs=" + n
}

// build returns the path of the model's binary, with defects to be switched on.
func (m model) build(t *testing.T) string {
	binary := filepath.Join(t.TempDir(), "model.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "mutation", "-o", binary, m.dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// TestModelNotices defends the defence: a test that stays green whatever breaks
// shows nothing.
func TestModelNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the storage and runs it many times")
	}
	for _, invariant := range []string{"I1", "I2", "I3", "I4", "I8"} {
		require.True(t, slices.ContainsFunc(mutation.All, func(m mutation.Mutation) bool { return m.Invariant == invariant }), "no defect breaks %s", invariant)
	}
	binaries := map[string]string{pipeline.dir: pipeline.build(t), twoRanges.dir: twoRanges.build(t)}
	run := func(t *testing.T, of model, name, runs string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), binaries[of.dir], append(slices.Clone(of.args), "-test.v", "-test.timeout="+limit.String(), of.runs(runs))...)
		cmd.Dir = of.dir
		cmd.Env = append(os.Environ(), mutation.Environment+"="+name)
		return cmd.CombinedOutput()
	}

	for _, of := range []model{pipeline, twoRanges} {
		out, err := run(t, of, "", "4")
		require.NoError(t, err, "the model test fails without any defect:\n%s", out)
	}

	for _, m := range mutation.All {
		t.Run(m.Name, func(t *testing.T) {
			begin := time.Now()
			of := pipeline
			if m.TwoRanges {
				of = twoRanges
			}
			out, err := run(t, of, m.Name, cmp.Or(os.Getenv("ACKWAL_MUTATION_RUNS"), "60"))
			found := finding.FindSubmatch(out)
			require.True(t, err != nil && found != nil, "%s (%s): nobody noticed that %s: %v\n%s", m.Name, m.Invariant, m.Effect, err, out[max(0, len(out)-4000):])
			t.Logf("MUTATION %s %s after %s: %s", m.Invariant, m.Name, time.Since(begin).Round(time.Millisecond), bytes.TrimSpace(found[0]))
		})
	}
}
