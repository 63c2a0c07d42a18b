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
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"
)

const limit = 5 * time.Minute

// environment is the variable that names the defect which is there.
const environment = "WAL_MUTATION"

// defectSwitch is a file for a package that may have a defect.
const defectSwitch = `package %s

import "os"

var chosenDefect = os.Getenv(%q)

func defect(name string) bool { return name == chosenDefect }
`

// finding is what a model test prints for a broken invariant.
var finding = regexp.MustCompile(`(?m)^\s+(?:Messages:\s+)?(I\d): .*$`)

// model is a test that has to notice.
type model struct {
	dir  string // Of its package, as seen from here.
	args []string
	runs string // The argument that says how many schedules to run.
}

var (
	// pipeline has everything from the log to the endpoints.
	pipeline = &model{root + "/tsdb/agent/durable", []string{"-test.run=^TestModel$", "-model.stuck-after=5s"}, "-model.runs="}
	// twoRanges has an endpoint with fresh samples first.
	twoRanges = &model{root + "/storage/remote/delivery", []string{"-test.run=^TestFreshModel$", "-fresh.timeout=5s"}, "-fresh.runs="}
)

// TestModelNotices defends the defence: a test that stays green whatever breaks
// shows nothing.
func TestModelNotices(t *testing.T) {
	for _, invariant := range []string{"I1", "I2", "I3", "I4", "I8"} {
		require.True(t, slices.ContainsFunc(mutations, func(m mutation) bool { return m.invariant == invariant }), "no defect breaks %s", invariant)
	}
	var edits []edit
	switches := map[string]string{}
	for _, m := range mutations {
		require.Contains(t, m.replacement, fmt.Sprintf("defect(%q)", m.name))
		edits = append(edits, m.edit)
		pkg := path.Dir(m.file)
		switches[pkg+"/defect.go"] = fmt.Sprintf(defectSwitch, path.Base(pkg), environment)
	}
	replaced := overlay(t, edits, switches)
	if testing.Short() {
		t.Skip("builds the storage and runs it many times")
	}

	// Both at a time, so that what they share is compiled once.
	binaries := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", replaced, "-o", binaries+"/", pipeline.dir, twoRanges.dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := func(t *testing.T, of *model, name, runs string) ([]byte, error) {
		binary := filepath.Join(binaries, filepath.Base(of.dir)+".test")
		cmd := exec.CommandContext(t.Context(), binary, append(slices.Clone(of.args), "-test.v", "-test.timeout="+limit.String(), of.runs+runs)...)
		cmd.Dir = of.dir
		cmd.Env = append(os.Environ(), environment+"="+name)
		return cmd.CombinedOutput()
	}

	for _, of := range []*model{pipeline, twoRanges} {
		out, err := run(t, of, "", "4")
		require.NoError(t, err, "the model test fails without any defect:\n%s", out)
	}

	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			begin := time.Now()
			out, err := run(t, m.by, m.name, cmp.Or(os.Getenv("ACKWAL_MUTATION_RUNS"), "60"))
			found := finding.FindSubmatch(out)
			require.True(t, err != nil && found != nil, "%s (%s): no test noticed that %s: %v\n%s", m.name, m.invariant, m.effect, err, out[max(0, len(out)-4000):])
			t.Logf("MUTATION %s %s after %s: %s", m.invariant, m.name, time.Since(begin).Round(time.Millisecond), bytes.TrimSpace(found[0]))
		})
	}
}
