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

const (
	// underTest is the package with the model test, as seen from here.
	underTest = "../../tsdb/agent/durable"
	limit     = 5 * time.Minute
)

// finding is what the model test prints for a broken invariant.
var finding = regexp.MustCompile(`(?m)^\s+(I\d): .*$`)

// TestModelNotices defends the defence: a test that stays green whatever breaks
// shows nothing.
func TestModelNotices(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the storage and runs it many times")
	}
	for _, invariant := range []string{"I1", "I2", "I3", "I4", "I8"} {
		require.True(t, slices.ContainsFunc(mutation.All, func(m mutation.Mutation) bool { return m.Invariant == invariant }), "no defect breaks %s", invariant)
	}
	binary := filepath.Join(t.TempDir(), "model.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "mutation", "-o", binary, underTest).CombinedOutput()
	require.NoError(t, err, "%s", out)
	model := func(t *testing.T, name, runs string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.run=^TestModel$", "-test.v", "-test.timeout="+limit.String(), "-model.patience=5s", "-model.runs="+runs)
		cmd.Dir = underTest
		cmd.Env = append(os.Environ(), mutation.Environment+"="+name)
		return cmd.CombinedOutput()
	}

	out, err = model(t, "", "4")
	require.NoError(t, err, "the model test fails without any defect:\n%s", out)

	for _, m := range mutation.All {
		t.Run(m.Name, func(t *testing.T) {
			begin := time.Now()
			out, err := model(t, m.Name, cmp.Or(os.Getenv("ACKWAL_MUTATION_RUNS"), "60"))
			found := finding.FindSubmatch(out)
			require.True(t, err != nil && found != nil, "%s (%s): nobody noticed that %s: %v\n%s", m.Name, m.Invariant, m.Effect, err, out[max(0, len(out)-4000):])
			t.Logf("MUTATION %s %s after %s: %s", m.Invariant, m.Name, time.Since(begin).Round(time.Millisecond), bytes.TrimSpace(found[0]))
		})
	}
}
