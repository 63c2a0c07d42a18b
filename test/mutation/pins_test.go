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
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// delayed makes every use of a number wait, after the number was read, until
// the garbage collector and a sweep had their chance.
var delayed = []edit{
	{
		file:   "tsdb/wlog/series/encoded.go",
		anchor: `str := y.str(s.values[place])`,
		replacement: `n, gone := s.values[place], s.Gone()
	pause(gone)
	str := y.str(n)`,
	},
	{
		file:   "tsdb/wlog/series/table.go",
		anchor: `first := t.find(s.set, s.hash())`,
		replacement: `of, hash, gone := s.set, s.hash(), s.Gone()
	pause(gone)
	first := t.find(of, hash)`,
	},
}

// pins are what keeps the numbers of a series its own until they have been used.
var pins = []string{"tsdb/wlog/series/encoded.go", "tsdb/wlog/series/table.go"}

// TestPinsAreNeeded defends invariant 3 of package series: a reader of a series
// gets its own labels. With all pins that holds however long the reader takes, and
// without any one of them it does not.
func TestPinsAreNeeded(t *testing.T) {
	added := map[string]string{}
	for _, name := range []string{"pause.go", "pins_test.go"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		added["tsdb/wlog/series/"+name] = string(text)
	}
	run := func(edits []edit) ([]byte, error) {
		replaced := overlay(t, edits, added)
		return exec.CommandContext(t.Context(), "go", "test", "-overlay", replaced, "-count=1", "-run=^TestPins$", root+"/tsdb/wlog/series").CombinedOutput()
	}
	out, err := run(delayed)
	require.NoError(t, err, "%s", out)
	for _, file := range pins {
		out, err := run(append(slices.Clip(delayed), edit{
			file: file, anchor: "runtime.KeepAlive(s)", replacement: "runtime.KeepAlive(0)",
		}))
		require.Error(t, err, "no test noticed that %s has no pin", file)
		require.Contains(t, string(out), "TestPins", "the pin of %s: not for this reason", file)
	}
}
