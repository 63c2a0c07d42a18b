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

package series

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/sync/hook"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

const good = `
title: "cmd: toy"
status: to-submit
why: |
  Because.
release-notes: NONE
reason: a toy
forwarded: "no"
files: [tsdb/a/, tsdb/b.go]
`

func TestParse(t *testing.T) {
	e, err := Parse("0010-a", []byte(good))
	require.NoError(t, err)
	require.Equal(t, "Because.", e.Why)
	require.True(t, e.brings("tsdb/a/x.go"))
	require.True(t, e.brings("tsdb/b.go"))
	require.False(t, e.brings("tsdb/ab.go"))

	edit := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	tests := map[string]struct{ text, want string }{
		"empty":             {"", "title"},
		"unknown key":       {good + "titel: x\n", "titel"},
		"title, no area":    {edit("cmd: toy", "a toy"), "area: what"},
		"title, two lines":  {edit("cmd: toy", `a: b\nc`), "area: what"},
		"title, too long":   {edit("toy", strings.Repeat("x", 100)), "at most 100"},
		"status":            {edit("to-submit", "merged"), "status"},
		"no why":            {edit("  Because.\n", ""), "why"},
		"no reason":         {edit("reason: a toy\n", ""), "reason"},
		"forwarded":         {edit(`"no"`, "soon"), "forwarded"},
		"forwarded fork":    {edit("to-submit", "fork-only"), "not-needed"},
		"no release notes":  {edit("release-notes: NONE\n", ""), "release-notes"},
		"perf, unmeasured":  {edit("NONE", `"[PERF] Agent: Be quick."`), "how it was measured"},
		"nothing to do":     {edit("files: [tsdb/a/, tsdb/b.go]\n", ""), "nothing to do"},
		"file outside":      {edit("tsdb/b.go", "../b.go"), "clean relative path"},
		"file absolute":     {edit("tsdb/b.go", "/b.go"), "clean relative path"},
		"doc outside":       {good + "docs: [{from: a.md, to: ../b.md}]\n", "clean relative paths"},
		"link of two lines": {good + "links: [\"a\\nb\"]\n", "not one line"},
		"incomplete hook":   {good + "hooks: [{file: a.go, anchor: x}]\n", "hook 1: a.go: nothing to do"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("0010-a", []byte(tc.text))
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestLoad(t *testing.T) {
	tests := map[string]struct {
		list  string
		files map[string]string
		want  string
	}{
		"in order of the list": {list: "# order\n0020-b\n\n0010-a\n", files: map[string]string{"0010-a": good, "0020-b": good}},
		"no list":              {files: map[string]string{"0010-a": good}, want: "no such file"},
		"empty list":           {list: "# none\n", want: "no entries"},
		"not on the list":      {list: "0010-a\n", files: map[string]string{"0010-a": good, "0020-b": good}, want: "0020-b.yaml is not in"},
		"not in the directory": {list: "0010-a\n0020-b\n", files: map[string]string{"0010-a": good}, want: "series:2: 0020-b.yaml is not there"},
		"twice":                {list: "0010-a\n0010-a\n", files: map[string]string{"0010-a": good}, want: "named twice"},
		"broken entry":         {list: "0010-a\n", files: map[string]string{"0010-a": "x: y\n"}, want: "0010-a.yaml"},
		"depends on later": {
			list: "0010-a\n0020-b\n", files: map[string]string{"0010-a": good + "depends-on: [0020-b]\n", "0020-b": good},
			want: "0010-a depends on 0020-b, which is not before it",
		},
		"fork-only first": {
			list:  "0010-a\n0020-b\n",
			files: map[string]string{"0010-a": strings.NewReplacer("to-submit", "fork-only", `"no"`, "not-needed").Replace(good), "0020-b": good},
			want:  "0020-b is to be submitted but comes after 0010-a",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.list != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, ListName), []byte(tc.list), 0o666))
			}
			for entry, text := range tc.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, entry+extension), []byte(text), 0o666))
			}
			entries, err := Load(dir)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"0020-b", "0010-a"}, []string{entries[0].Name, entries[1].Name})
		})
	}
}

// What is accepted here is what upstream's own script accepts, of which the test
// runs the part that counts.
func TestCheckReleaseNotes(t *testing.T) {
	const script = `content=$(cat | grep -v '^[[:space:]]*$'); [[ "$content" == "NONE" ]] && exit 0; [[ -z "$content" ]] && exit 1
while IFS= read -r line; do [[ $line =~ ^\[(FEATURE|ENHANCEMENT|PERF|BUGFIX|SECURITY|CHANGE)\] ]] || exit 1; done <<<"$content"`
	bash, missing := exec.LookPath("bash")
	for text, ok := range map[string]bool{
		"NONE":                         true,
		"[FEATURE] Agent: Add a toy.":  true,
		"[BUGFIX] A: b.\n\n[PERF] C.":  true,
		"":                             false,
		"none":                         false,
		"[FEATURES] Agent: Add a toy.": false,
		"[FEATURE] Agent: Add\na toy.": false,
		"NONE\n[FEATURE] Agent: Add.":  false,
		"Agent: [FEATURE] x":           false,
	} {
		require.Equal(t, ok, CheckReleaseNotes(text) == nil, text)
		if missing == nil {
			cmd := exec.Command(bash, "-c", script)
			cmd.Stdin = strings.NewReader(text + "\n")
			require.Equal(t, ok, cmd.Run() == nil, text)
		}
	}
	// These it does not see, but readers of the release notes would.
	require.Error(t, CheckReleaseNotes("[FEATURE]"))
	require.Error(t, CheckReleaseNotes("[FEATURE] a\n[FEATURE] ```"))
}

func TestLint(t *testing.T) {
	p := Project{Upstream: "up.example/x"}
	code := func(lines int, imports string) tree.File {
		return tree.File{Data: []byte("package a\n\n" + imports + "\n// Comment.\n" + strings.Repeat("var _ = 1\n\n", lines))}
	}
	ours := Ours{Files: tree.Tree{
		"tsdb/a/a.go": code(1, ""), "tsdb/a/a_test.go": code(600, ""), "tsdb/a/testdata/x.go": {Data: []byte(strings.Repeat("no Go\n", MaxLines))},
		"tsdb/b/b.go": code(1, `import _ "up.example/x/tsdb/a"`), "tsdb/b/c.go": code(1, ""),
	}}
	series := func(change func(e []Entry)) []Entry {
		e := []Entry{
			{Name: "0010-a", Status: ToSubmit, Files: []string{"tsdb/a/"}},
			{Name: "0020-b", Status: ToSubmit, Files: []string{"tsdb/b/b.go"}, DependsOn: []string{"0010-a"}},
			{Name: "0030-c", Status: ToSubmit, Files: []string{"tsdb/b/c.go"}, DependsOn: []string{"0020-b"}},
			{Name: "9000-d", Status: ForkOnly, Hooks: []hook.Hook{{File: "cmd/main.go", Anchor: "x", Matches: 1, Replace: "y"}}},
		}
		change(e)
		return e
	}
	require.NoError(t, Lint(series(func([]Entry) {}), ours, p))
	tests := map[string]struct {
		change func(e []Entry)
		want   string
	}{
		"name":               {func(e []Entry) { e[1].Name = "20-b" }, "20-b: a name is four digits"},
		"order":              {func(e []Entry) { e[0].Name = "0025-a"; e[1].DependsOn[0] = "0025-a" }, "0020-b comes after 0025-a"},
		"fork band":          {func(e []Entry) { e[3].Name = "8000-d" }, "8000-d: fork-only entries"},
		"submit band":        {func(e []Entry) { e[2].Name = "9000-c"; e[3].Name = "9010-d" }, "9000-c: fork-only entries"},
		"in no entry":        {func(e []Entry) { e[2].Files = nil }, "tsdb/b/c.go is in no entry"},
		"in two entries":     {func(e []Entry) { e[2].Files = []string{"tsdb/b/"} }, "tsdb/b/b.go is listed more than once in patches, in 0020-b as tsdb/b/b.go and in 0030-c as tsdb/b/: leave one"},
		"no such file":       {func(e []Entry) { e[2].Files = append(e[2].Files, "tsdb/x/") }, "0030-c: there is no file tsdb/x/"},
		"undeclared import":  {func(e []Entry) { e[1].DependsOn = nil }, "0020-b uses tsdb/a, which 0010-a brings"},
		"undeclared package": {func(e []Entry) { e[2].DependsOn = nil }, "0030-c uses tsdb/b, which 0020-b brings"},
		"large hooks": {
			func(e []Entry) { e[3].Hooks[0].Replace = strings.Repeat("x()\n", MaxCode+1) },
			"9000-d has 601 lines of code",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, Lint(series(tc.change), ours, p), tc.want)
		})
	}
	// In each of these files four lines come before two for each declaration.
	ours.Files["tsdb/a/b_test.go"] = code(140, "")
	require.Equal(t, MaxLines, Lines(&series(func([]Entry) {})[0], ours)+6)
	ours.Docs = tree.Tree{"tsdb/docs/a.md": {Data: []byte("1\n2\n3\n4\n5\n6\n7")}}
	long := series(func(e []Entry) { e[0].Docs = []Doc{{From: "docs/a.md", To: "tsdb/docs/a.md"}} })
	require.ErrorContains(t, Lint(long, ours, p), "0010-a has 1501 lines all told, at most 1500 can be reviewed")

	ours.Files["tsdb/a/large.go"] = code(MaxCode, "")
	require.ErrorContains(t, Lint(series(func([]Entry) {}), ours, p), "0010-a has 603 lines of code that are not tests, at most 600")
}

func TestApply(t *testing.T) {
	base := tree.Tree{"cmd/x.md": {Data: []byte("a\n")}, "tsdb/stock.go": {}}
	e := Entry{Name: "0010-a", Files: []string{"tsdb/a/"}, Docs: []Doc{{From: "docs/a.md", To: "tsdb/docs/a.md"}}, Hooks: []hook.Hook{{File: "cmd/x.md", Anchor: "a", Matches: 1, After: "b"}}}
	ours := Ours{Files: tree.Tree{"tsdb/a/a.go": {Data: []byte("1")}, "tsdb/a/testdata/x.go": {}, "tsdb/other.go": {}}, Docs: tree.Tree{"tsdb/docs/a.md": {}}}
	s, err := Apply(base, &e, ours)
	require.NoError(t, err)
	require.Equal(t, []string{"cmd/x.md", "tsdb/a/a.go", "tsdb/a/testdata/x.go", "tsdb/docs/a.md"}, s.Changed().Paths())
	require.Equal(t, []string{"cmd/x.md", "tsdb/a/a.go", "tsdb/a/testdata/x.go", "tsdb/docs/a.md", "tsdb/stock.go"}, s.Tree.Paths())
	require.Equal(t, "a\nb\n", string(s.Tree["cmd/x.md"].Data))
	require.Equal(t, "a\n", string(base["cmd/x.md"].Data))
	require.Equal(t, []string{"tsdb/a"}, s.Dirs())

	_, err = Apply(s.Tree, &e, ours)
	require.ErrorContains(t, err, "is also a file of upstream")
}

func TestMessages(t *testing.T) {
	dep := Entry{Name: "0010-a", Title: "a: first"}
	e := Entry{
		Name: "0020-b", Title: "b: second", Status: ToSubmit, Why: "Because.", Measured: "It is quick.", ReleaseNotes: "[PERF] B: Be quick.",
		Links: []string{"Fixes #1"}, Reason: "quick", Forwarded: "https://example.com/pull/1", AppliedUpstream: "v0.400.0", DependsOn: []string{"0010-a"},
	}
	require.Equal(t, `b: second

Because.

It is quick.

Fixes #1

Signed-off-by: A <a@example.com>
`, e.Message("A <a@example.com>"))
	stays := e
	stays.Status, stays.Forwarded = ForkOnly, "not-needed"
	require.Contains(t, stays.Message("A <a@example.com>"), "Fixes #1\n\nReason: quick\nForwarded: not-needed\nDepends-on: 0010-a\nSigned-off-by: A <a@example.com>\n")
	require.Equal(t, "b: second\n\nBecause.\n\nIt is quick.\n\nDepends on, to be replaced by their numbers once they are open:\n\n- a: first\n\n"+
		"#### Which issue(s) does the PR fix:\n\nFixes #1\n\n#### Release notes for end users\n\n```release-notes\n[PERF] B: Be quick.\n```\n",
		e.Description([]Entry{dep, e}))
}
