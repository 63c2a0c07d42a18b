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
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// What becomes of each entry on later versions of upstream.
func TestRebaseCases(t *testing.T) {
	cases, err := os.ReadDir(filepath.Join(toyDir, "cases"))
	require.NoError(t, err)
	proxy(t, map[string]string{"v0.909.0": filepath.Join(toyDir, "upstream")})
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			root, next := toyRoot(t), toyCase(t, c.Name())
			before, project := snapshot(t, next), snapshot(t, root)
			want, err := os.ReadFile(filepath.Join(toyDir, "cases", c.Name(), "want"))
			require.NoError(t, err)

			code, out := tell(t, "--root", root, "rebase", next)
			conflicts := bytes.Contains(want, []byte("conflict"))
			require.Equal(t, conflicts, code == 1, out)
			for line := range strings.Lines(string(want)) {
				require.Contains(t, strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(line), " "), out)
			}
			require.Equal(t, before, snapshot(t, next), "the checkout has changed")

			// The new tree is there, whatever the entries' state, and nothing
			// else of the project has changed: the commit has no version.
			m, err := tree.LoadManifest(filepath.Join(root, "build", "fork"))
			require.NoError(t, err)
			require.True(t, m.Complete)
			require.NoError(t, os.RemoveAll(filepath.Join(root, "build")))
			require.Equal(t, project, snapshot(t, root))
		})
	}
}

// How far an entry was tried is what it is called by: only one that compiles and
// passes its tests is clean.
func TestRebaseSaysWhatWasTried(t *testing.T) {
	proxy(t, map[string]string{"v0.909.0": filepath.Join(toyDir, "upstream")})
	root, next := toyRoot(t), toyCase(t, "clean")
	// On the next version this test of ours does not pass any more.
	testfiles.Write(t, root, "tsdb/agent/toy/toy_test.go", `package toy

import (
	"os"
	"testing"
)

func TestName(t *testing.T) {
	t.Run("of upstream's documentation", func(t *testing.T) {
		if _, err := os.Stat("../../../docs/other.md"); err == nil {
			t.Fatal("upstream has other documentation")
		}
	})
}
`)
	for _, tc := range []struct {
		flag string
		code int
		want []string
	}{
		{"--dry-run", 0, []string{"applies 0020-agent-toy", "3 apply, 0 in conflict", "Nothing was compiled or tested"}},
		{"--quick", 0, []string{"compiles 0020-agent-toy", "3 compile, 0 in conflict", "No tests were run"}},
		{"--short", 1, []string{"TESTS LEFT OUT, since they take long: ./cmd/prometheus", "tests of tsdb/agent/toy fail: TestName", "2 compile, 1 in conflict", "Not all tests were run"}},
		{"", 1, []string{"clean 0010-wlog-name", "conflict 0020-agent-toy tests of tsdb/agent/toy fail: TestName", "2 clean, 1 in conflict"}},
	} {
		args := []string{"--root", root, "rebase", "--upstream", next}
		if tc.flag != "" {
			args = append(args, tc.flag)
		}
		code, out := tell(t, args...)
		require.Equal(t, tc.code, code, out)
		for _, want := range tc.want {
			require.Contains(t, strings.Join(strings.Fields(out), " "), want)
		}
		if tc.flag == "--dry-run" {
			require.NotContains(t, out, "clean ")
			require.NoDirExists(t, filepath.Join(root, "build", "fork"))
		}
	}
}

// What changed in upstream beside ours is listed, with what its changelog says
// of our subjects, in both directions.
func TestRebaseTellsWhatChangedBesideOurs(t *testing.T) {
	upstream := copied(t, filepath.Join(toyDir, "upstream"))
	testfiles.Write(t, upstream,
		"CHANGELOG.md", "# Changelog\n\n## 9.9.9\n- [BUGFIX] UI: Old. #1\n",
		"storage/remote/write.go", "package remote\n\nconst A = 1\n",
		"tsdb/agent/gone.go", "package agent\n",
		"web/web.go", "package web\n")
	proxy(t, map[string]string{"v0.909.0": upstream})
	root, next := toyRoot(t), copied(t, upstream)
	require.NoError(t, os.Remove(filepath.Join(next, "tsdb", "agent", "gone.go")))
	testfiles.Write(t, next,
		"CHANGELOG.md", "# Changelog\n\n## 9.10.0\n- [FEATURE] Remote Write: New. #2\n- [FEATURE] PromQL: No. #3\n- [BUGFIX] TSDB: The WAL is whole. #4\n\n## 9.9.9\n- [BUGFIX] UI: Old. #1\n",
		"storage/remote/write.go", "package remote\n\nconst A = 2\n\nconst B = 1\n",
		"storage/remote/write_test.go", "package remote\n",
		"tsdb/wlog/new.go", "package wlog\n",
		"docs/flags.md", "# Flags\n\n| flag | default |\n|---|---|\n| `--path` | `data` |\n| `--other` | `1` |\n",
		"web/web.go", "package web\n\nconst A = 1\n")
	committed(t, next)
	code, out := tell(t, "--root", root, "rebase", "--dry-run", "--upstream", next)
	require.Zero(t, code, out)
	require.Contains(t, out, `Files of upstream that ours are next to, use or edit, and that have changed (4). Is there something that ours should do as well?
  changed docs/flags.md +1 -2
  changed storage/remote/write.go +3 -1
  gone    tsdb/agent/gone.go +0 -1
  new     tsdb/wlog/new.go +1 -0
Upstream's changelog says meanwhile, of the agent, remote write and the WAL:
  9.10.0
  - [FEATURE] Remote Write: New. #2
  - [BUGFIX] TSDB: The WAL is whole. #4
`)
	gained, lost := changelogOf([]byte("## 2\n- Agent: x\n## 1\n- Agent: y\n"), []byte("## 1\n- Agent: y\n"))
	require.Empty(t, gained)
	require.Equal(t, []string{"2", "- Agent: x"}, lost)
}

// All hooks that do not fit are reported, over all entries.
func TestAllBadHooksAtOnce(t *testing.T) {
	root, upstream := toyRoot(t), toyCheckout(t)
	replacing("patches/0020-agent-toy.yaml", `("stock", o.path)`, `("gone")`)(root)
	replacing("patches/0020-agent-toy.yaml", "| `--path` | `data` |", "| `--none` |")(root)
	replacing("patches/0010-wlog-name.yaml", "files:", "hooks: [{file: VERSION, anchor: 1.1.1, delete: true}]\nfiles:")(root)
	code, out := tell(t, "--root", root, "assemble", "--upstream", upstream)
	require.Equal(t, 2, code)
	require.Equal(t, 3, strings.Count(out, "expected 1, found 0 of the line"), out)
	for _, want := range []string{"0010-wlog-name: VERSION", `fmt.Println("gone")`, "`--none`"} {
		require.Contains(t, out, want)
	}
	// 9000 edits a line that the second of those would have added.
	require.NotContains(t, out, "9000-other-default")
}

// The trap that the report is not to fall into: with an entry that upstream
// merged with edits, git am -3 succeeds and makes no commit.
func TestMergedWithEditsMakesNoCommit(t *testing.T) {
	toyPerson(t)
	root, patches, next := toyRoot(t), filepath.Join(t.TempDir(), "patches"), toyCase(t, "edited")
	old, err := git.Line(t.Context(), next, "rev-parse", "HEAD~")
	require.NoError(t, err)
	base := t.TempDir()
	_, err = git.Isolated(t.Context(), base, "clone", "-q", next, ".")
	require.NoError(t, err)
	_, err = git.Isolated(t.Context(), base, "reset", "-q", "--hard", old)
	require.NoError(t, err)
	code, out := tell(t, "--root", root, "export", "--upstream", base, "--out", patches)
	require.Zero(t, code, out)

	// Only the hooks, as upstream's own files are where it happens.
	count := func() string {
		n, err := git.Line(t.Context(), next, "rev-list", "--count", "HEAD")
		require.NoError(t, err)
		return n
	}
	before := count()
	_, err = git.Isolated(t.Context(), next, "-c", "user.name=t", "-c", "user.email=t@example.com", "am", "-q", "-3", "--include=docs/*", filepath.Join(patches, "0020-agent-toy.patch"))
	require.NoError(t, err)
	require.Equal(t, before, count())
}

// A conflict leaves a tree in which its place can be seen, and is resolved in the
// entry.
func TestRebaseLeavesTreeToFix(t *testing.T) {
	proxy(t, map[string]string{"v0.909.0": filepath.Join(toyDir, "upstream")})
	root, next := toyRoot(t), toyCase(t, "conflict")
	code, out := tell(t, "--root", root, "rebase", next)
	require.Equal(t, 1, code, out)
	marked, err := os.ReadFile(filepath.Join(root, "build", "fork", "cmd", "prometheus", "main.go"))
	require.NoError(t, err)
	require.Contains(t, string(marked), "<<<<<<< upstream now\n")
	require.Contains(t, string(marked), ">>>>>>> 0020-agent-toy\n")

	entry := filepath.Join(root, "patches", "0020-agent-toy.yaml")
	text, err := os.ReadFile(entry)
	require.NoError(t, err)
	resolved := strings.Replace(string(text), `fmt.Println("stock", o.path)`, `fmt.Println("stock", "at", o.path)`, 1)
	require.NoError(t, os.WriteFile(entry, []byte(resolved), 0o666))
	code, out = tell(t, "--root", root, "assemble", "--upstream", next)
	require.Zero(t, code, out)
}

// The pin goes to another version and back, and go.mod is as it was.
func TestRebaseMovesThePin(t *testing.T) {
	proxy(t, map[string]string{
		"v0.909.0": filepath.Join(toyDir, "upstream"),
		"v0.910.0": toyCase(t, "clean"),
		"v0.911.0": toyCase(t, "conflict"),
	})
	root := toyRoot(t)
	// Something has to need the module, or tidying would drop it.
	testfiles.Write(t, root, "use/use.go", "package use\n\nimport _ \"github.com/prometheus/prometheus/lib\"\n")
	original := snapshot(t, root)
	t.Run("a version that cannot be used changes nothing", func(t *testing.T) {
		code, out := tell(t, "--root", root, "rebase", "v0.910.0")
		require.Equal(t, 1, code)
		require.Contains(t, out, "go.mod and go.sum are as before")
		require.NoError(t, os.RemoveAll(filepath.Join(root, "build")))
		require.Equal(t, original, snapshot(t, root))
	})
	testfiles.Write(t, root, "use/use.go", "package use\n\nimport _ \"github.com/prometheus/prometheus/cmd/promtool/lib\"\n")
	// A module as a user of the fork writes it. It says too little to be tidied,
	// and imports ours under a build tag.
	user := filepath.Join(root, "test", "user")
	testfiles.Write(t, user,
		"go.mod", "// What a user writes.\nmodule example.com/user\n\ngo 1.24\n\nrequire github.com/prometheus/prometheus v0.909.0\n\nreplace github.com/prometheus/prometheus => ../../build/fork\n",
		"user.go", "//go:build direct\n\npackage user\n\nimport _ \"github.com/ackwal/ackwal/tsdb/wlog/name\"\n")
	lib := func(dir string) string {
		return testfiles.Write(t, dir, "cmd/promtool/lib/lib.go", "package lib\n")
	}
	proxy(t, map[string]string{
		"v0.909.0": lib(copied(t, filepath.Join(toyDir, "upstream"))),
		"v0.910.0": testfiles.Write(t, lib(toyCase(t, "clean")), "VERSION", "9.10.0\n"),
		"v0.911.0": lib(toyCase(t, "conflict")),
	})
	pin := func() string {
		version, err := pinned(root)
		require.NoError(t, err)
		return version
	}
	requireVersion := func(want string) {
		named, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(versionFile)))
		require.NoError(t, err)
		require.Equal(t, want, string(named))
	}
	code, out := tell(t, "--root", root, "rebase", "v0.909.0")
	require.Zero(t, code, out)
	requireVersion("9.9.0+ours.7\n")
	first, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	code, out = tell(t, "--root", root, "rebase", "9.10.0")
	require.Zero(t, code, out)
	require.Contains(t, out, "3 clean, 0 in conflict, 0 obsolete")
	require.Equal(t, "v0.910.0", pin())
	requireVersion("9.10.0+ours.1\n")
	moved, err := os.ReadFile(filepath.Join(user, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, "// What a user writes.\nmodule example.com/user\n\ngo 1.24\n\nrequire github.com/prometheus/prometheus v0.910.0\n\nreplace github.com/prometheus/prometheus => ../../build/fork\n", string(moved))
	require.NoFileExists(t, filepath.Join(user, "go.sum"))
	before := snapshot(t, root)
	_, first911 := tell(t, "--root", root, "rebase", "0.911.0")
	code, out = tell(t, "--root", root, "rebase", "v0.911.0")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "1 of 3 entries are in conflict")
	require.Contains(t, out, "go.mod is as before: it moves when nothing is left to resolve")
	require.Equal(t, first911, out, "a second time it says the same")
	require.Equal(t, "v0.910.0", pin())
	requireOnlyBuilt(t, before, root)
	code, out = tell(t, "--root", root, "rebase", "v0.909.0")
	require.Zero(t, code, out)
	last, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, string(first), string(last))
}

// requireOnlyBuilt wants a project to be as before but for what is built in it.
func requireOnlyBuilt(t *testing.T, before map[string]string, root string) {
	t.Helper()
	now := snapshot(t, root)
	for _, files := range []map[string]string{before, now} {
		for name := range files {
			if strings.HasPrefix(name, "build/") {
				delete(files, name)
			}
		}
	}
	require.Equal(t, before, now)
}

// Several entries are in conflict over one file. Each is told of once, with its merge,
// also when another has been resolved meanwhile; then the pin moves.
func TestRebaseAgainAfterResolving(t *testing.T) {
	// Something has to need the module, or tidying would drop it.
	upstream := testfiles.Write(t, copied(t, filepath.Join(toyDir, "upstream")), "cmd/promtool/lib/lib.go", "package lib\n")
	next := copied(t, upstream)
	for _, line := range []string{"stock", "closing", "serving"} {
		replacing("cmd/prometheus/main.go", `Println("`+line+`"`, `Println("now", "`+line+`"`)(next)
	}
	proxy(t, map[string]string{"v0.909.0": upstream, "v0.910.0": next})
	root := testfiles.Write(t, toyRoot(t), "use/use.go", "package use\n\nimport _ \"github.com/prometheus/prometheus/cmd/promtool/lib\"\n")
	testfiles.Write(t, root, "patches/9010-end.yaml", `
title: "cmd/prometheus: the toy ends"
status: fork-only
why: It has to.
release-notes: NONE
reason: a toy
forwarded: not-needed
depends-on: [0020-agent-toy]
hooks:
  - {file: cmd/prometheus/main.go, in: func main, anchor: 'fmt.Println("closing")', after: 'fmt.Println("toy", "closing")'}
  - {file: cmd/prometheus/main.go, in: func main, anchor: 'fmt.Println("toy", "closing")', after: 'fmt.Println("toy", "closed")'}
`, "patches/9020-add.yaml", `
title: "cmd/prometheus: the toy is ready"
status: fork-only
why: It is.
release-notes: NONE
reason: a toy
forwarded: not-needed
depends-on: [0020-agent-toy]
hooks: [{file: cmd/prometheus/main.go, in: func main, anchor: 'fmt.Println("reading")', after: 'fmt.Println("ready")'}]
`, "patches/9030-more.yaml", `
title: "cmd/prometheus: the toy is closed, too"
status: fork-only
why: It is.
release-notes: NONE
reason: a toy
forwarded: not-needed
depends-on: [9010-end]
hooks: [{file: cmd/prometheus/main.go, in: func main, anchor: 'fmt.Println("toy", "closed")', after: 'fmt.Println("toy", "gone")'}]
`)
	replacing("patches/series", "9000-other-default\n", "9000-other-default\n9010-end\n9020-add\n9030-more\n")(root)
	before := snapshot(t, root)
	rebase := func() (code int, out, shown string) {
		code, out = tell(t, "--root", root, "rebase", "v0.910.0")
		text, err := os.ReadFile(filepath.Join(root, "build", "fork", "cmd", "prometheus", "main.go"))
		require.NoError(t, err)
		return code, out, string(text)
	}
	code, out, shown := rebase()
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "3 apply, 2 in conflict, 1 waiting for those, 0 obsolete")
	for _, once := range []string{`"stock", o.path)`, `fmt.Println("closing")`, "0020-agent-toy"} {
		require.Equal(t, 1, strings.Count(strings.ReplaceAll(out, `"now", "stock", o.path)`, ""), once), "%s\n%s", once, out)
	}
	require.Contains(t, out, "waiting  9030-more\n         it needs what hooks of 9010-end would bring")
	for _, mark := range []string{">>>>>>> 0020-agent-toy\n", ">>>>>>> 9010-end\n", "fmt.Println(\"ready\")\n"} {
		require.Equal(t, 1, strings.Count(shown, mark), shown)
	}
	requireOnlyBuilt(t, before, root)

	replacing("patches/0020-agent-toy.yaml", `anchor: fmt.Println("stock"`, `anchor: fmt.Println("now", "stock"`)(root)
	code, out, shown = rebase()
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "4 apply, 1 in conflict, 1 waiting for those, 0 obsolete")
	require.NotContains(t, shown, ">>>>>>> 0020-agent-toy\n")
	require.Contains(t, shown, ">>>>>>> 9010-end\n")

	replacing("patches/9010-end.yaml", `anchor: 'fmt.Println("closing"`, `anchor: 'fmt.Println("now", "closing"`)(root)
	code, out, _ = rebase()
	require.Zero(t, code, out)
	require.Contains(t, out, "6 clean, 0 in conflict, 0 obsolete")
	version, err := pinned(root)
	require.NoError(t, err)
	require.Equal(t, "v0.910.0", version)
	code, out = tell(t, "--root", root, "assemble")
	require.Zero(t, code, out)
}
