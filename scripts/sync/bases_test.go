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

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
)

// A release line that lacks something ours use gets them as patches says, in its
// tree only.
func TestSecondBase(t *testing.T) {
	proxy(t, map[string]string{"v0.909.0": filepath.Join(toyDir, "upstream")})
	root, line := toyRoot(t), "why: It has another name.\nleave-out: [tsdb/agent/toy/toy_test.go]\nhooks: [{file: tsdb/wlog/name/name.go, in: const Name, anchor: X, replace: Y}]\n"
	name, err := os.ReadFile(filepath.Join(root, "tsdb", "wlog", "name", "name.go"))
	require.NoError(t, err)
	declaration := ""
	for l := range strings.Lines(string(name)) {
		if strings.HasPrefix(l, "const Name") {
			declaration = strings.TrimSpace(l)
		}
	}
	require.NotEmpty(t, declaration)
	line = strings.NewReplacer("in: const Name, ", "", "X", "'"+declaration+"'", "Y", `'const Name = "older"'`).Replace(line)
	testfiles.Write(t, root, "patches/bases/9.9.yaml", line)
	before := snapshot(t, root)
	fork := filepath.Join(t.TempDir(), "fork")
	code, out := tell(t, "--root", root, "assemble", "--upstream", "v0.909.0", "--out", fork)
	require.Zero(t, code, out)
	require.NoFileExists(t, filepath.Join(fork, "tsdb", "agent", "toy", "toy_test.go"))
	older, err := os.ReadFile(filepath.Join(fork, "tsdb", "wlog", "name", "name.go"))
	require.NoError(t, err)
	require.Contains(t, string(older), `"older"`)

	code, out = tell(t, "--root", root, "rebase", "v0.909.0", "--out", fork)
	require.Zero(t, code, out)
	require.Contains(t, out, "go.mod is as before: on 9.9 ours are as patches/bases/9.9.yaml makes them")
	require.Equal(t, before, snapshot(t, root))

	for change, want := range map[string]string{
		"leave-out: [gone.go]\nwhy: x":                                             "there is no file gone.go to leave out",
		"hooks: [{file: tsdb/wlog/name/name.go, anchor: y, delete: true}]\nwhy: x": "bases/9.9: tsdb/wlog/name/name.go: expected 1, found 0",
		"without: [0011-x]\nwhy: x":                                                `bases/9.9: patches has no entry "0011-x"`,
		"leave-out: []":                                                            "why is missing",
		"what: x":                                                                  "field what not found",
	} {
		testfiles.Write(t, root, "patches/bases/9.9.yaml", change+"\n")
		code, out = tell(t, "--root", root, "assemble", "--upstream", "v0.909.0", "--out", fork)
		require.Equal(t, 2, code)
		require.Contains(t, out, want)
	}
	// A line is like another one, and more.
	testfiles.Write(t, root, "patches/bases/9.9.yaml", "like: '9.8'\nwhy: It is older still.\n")
	code, out = tell(t, "--root", root, "assemble", "--upstream", "v0.909.0", "--out", fork)
	require.Equal(t, 2, code)
	require.Contains(t, out, "bases/9.9 is like 9.8")
	testfiles.Write(t, root, "patches/bases/9.8.yaml", line)
	testfiles.Write(t, root, "patches/bases/9.9.yaml", `{like: "9.8", why: x, hooks: [{file: tsdb/wlog/name/name.go, anchor: 'const Name = "older"', replace: 'const Name = "oldest"'}]}`)
	code, out = tell(t, "--root", root, "assemble", "--upstream", "v0.909.0", "--out", fork)
	require.Zero(t, code, out)
	require.NoFileExists(t, filepath.Join(fork, "tsdb", "agent", "toy", "toy_test.go"))
	oldest, err := os.ReadFile(filepath.Join(fork, "tsdb", "wlog", "name", "name.go"))
	require.NoError(t, err)
	require.Contains(t, string(oldest), `"oldest"`)
	testfiles.Write(t, root, "patches/bases/9.8.yaml", "like: '9.9'\n"+line)
	code, out = tell(t, "--root", root, "assemble", "--upstream", "v0.909.0", "--out", fork)
	require.Equal(t, 2, code)
	require.Contains(t, out, "it is like another one itself")

	// Another line has nothing to do with it.
	next := toyCase(t, "clean")
	amended(t, testfiles.Write(t, next, "VERSION", "9.10.0\n"))
	code, out = tell(t, "--root", root, "assemble", "--upstream", next, "--out", fork)
	require.Zero(t, code, out)
}
