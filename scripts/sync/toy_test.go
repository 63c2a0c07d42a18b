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
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

const toyDir = "testdata/toy"

// toyPerson sets the identity that the tests commit with.
func toyPerson(t *testing.T) {
	t.Helper()
	t.Setenv("GIT_AUTHOR_NAME", "Toy Maker")
	t.Setenv("GIT_AUTHOR_EMAIL", "toy@example.com")
}

// copied is a directory of testdata in a place of its own.
func copied(t *testing.T, from string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(from)))
	return dir
}

func toyRoot(t *testing.T) string { return copied(t, filepath.Join(toyDir, "project")) }

func toyCheckout(t *testing.T) string {
	return committed(t, copied(t, filepath.Join(toyDir, "upstream")))
}

// toyCase is a checkout of a later version of the toy upstream.
func toyCase(t *testing.T, name string) string {
	t.Helper()
	dir := toyCheckout(t)
	next, err := tree.FromDir(filepath.Join(toyDir, "cases", name), false)
	require.NoError(t, err)
	if list, ok := next["removed"]; ok {
		for file := range strings.FieldsSeq(string(list.Data)) {
			require.NoError(t, os.Remove(filepath.Join(dir, file)))
		}
	}
	delete(next, "removed")
	delete(next, "want")
	for file, f := range next {
		testfiles.Write(t, dir, file, string(f.Data))
	}
	return amended(t, dir)
}

// amended commits what has changed in a checkout.
func amended(t *testing.T, dir string) string {
	t.Helper()
	for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "next"}} {
		_, err := git.Isolated(t.Context(), dir, args...)
		require.NoError(t, err)
	}
	return dir
}

// tell runs the program and returns all it prints.
func tell(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = run(t.Context(), args, &b, &b)
	return code, b.String()
}

// snapshot is everything in a directory but git's own objects, which may be
// added to: files, index, references. Files are told apart by a checksum.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, err := tree.FromDir(dir, true)
	require.NoError(t, err)
	sums := map[string]string{}
	for name, f := range all {
		if !strings.HasPrefix(name, ".git/objects/") && !strings.HasPrefix(name, ".git/logs/") {
			sums[name] = fmt.Sprintf("%x", sha256.Sum256(f.Data))
		}
	}
	return sums
}

// proxy offers versions of the toy upstream as modules, as "go mod download"
// gets them.
func proxy(t *testing.T, versions map[string]string) {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, filepath.FromSlash(upstreamModule), "@v")
	var list string
	for version, from := range versions {
		list += version + "\n"
		files, err := tree.FromDir(from, false)
		require.NoError(t, err)
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		for _, name := range files.Paths() {
			f, err := z.Create(upstreamModule + "@" + version + "/" + name)
			require.NoError(t, err)
			_, err = f.Write(files[name].Data)
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		testfiles.Write(t, at, version+".info", `{"Version":"`+version+`","Time":"2026-01-02T03:04:05Z"}`,
			version+".mod", string(files["go.mod"].Data), version+".zip", b.String())
	}
	testfiles.Write(t, at, "list", list)
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(dir))
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GONOSUMCHECK", "1")
	t.Setenv("GOFLAGS", "-modcacherw")
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOTOOLCHAIN", "local")
}

// Branches in a repository of its own: one commit each, the same every time,
// and at their end the tree that is assembled.
func TestSplitToRepository(t *testing.T) {
	toyPerson(t)
	root, upstream, out := toyRoot(t), toyCheckout(t), filepath.Join(t.TempDir(), "split")
	code, printed := tell(t, "--root", root, "split", "--upstream", upstream, "--out", out)
	require.Zero(t, code, printed)
	repo := filepath.Join(out, "prometheus")
	log, err := git.Line(t.Context(), repo, "log", "--format=%an <%ae>|%s|%D", "ackwal/9000-other-default")
	require.NoError(t, err)
	require.Equal(t, strings.Join([]string{
		"Toy Maker <toy@example.com>|docs: the toy is on|HEAD -> ackwal/9000-other-default",
		"Toy Maker <toy@example.com>|tsdb/agent: a toy|ackwal/0020-agent-toy",
		"Toy Maker <toy@example.com>|tsdb/wlog: a name|ackwal/0010-wlog-name",
	}, "\n"), strings.Join(strings.Split(log, "\n")[:3], "\n"))
	message, err := git.Line(t.Context(), repo, "log", "-1", "--format=%B", "ackwal/0020-agent-toy")
	require.NoError(t, err)
	require.Equal(t, "tsdb/agent: a toy\n\nThe toy prints its name.\n\nIt was looked at.\n\nSigned-off-by: Toy Maker <toy@example.com>", message)
	status, err := git.Run(t.Context(), repo, "status", "--porcelain")
	require.NoError(t, err)
	require.Empty(t, string(status))

	text, err := os.ReadFile(filepath.Join(out, "descriptions", "0020-agent-toy.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "- tsdb/wlog: a name\n")
	require.Contains(t, string(text), "```release-notes\n[FEATURE] Agent: Add a toy.\n```\n")

	// Again, over what is there and elsewhere: the same commits.
	again := filepath.Join(t.TempDir(), "split")
	for _, dir := range []string{out, again} {
		code, second := tell(t, "--root", root, "split", "--upstream", upstream, "--out", dir)
		require.Zero(t, code, second)
		require.Equal(t, strings.Split(printed, "\n")[:3], strings.Split(second, "\n")[:3])
	}

	// The tree at the end is the one that is assembled from the work tree.
	fork := filepath.Join(t.TempDir(), "fork")
	code, printed = tell(t, "--root", root, "assemble", "--upstream", upstream, "--out", fork)
	require.Zero(t, code, printed)
	assembled, err := tree.FromDir(fork, true)
	require.NoError(t, err)
	delete(assembled, tree.ManifestName)
	branches, _, err := tree.FromGit(repo)
	require.NoError(t, err)
	require.NoError(t, sameTree(branches, assembled))

	// A commit of the user's there is not overwritten.
	testfiles.Write(t, repo, "mine", "x")
	amended(t, repo)
	code, printed = tell(t, "--root", root, "split", "--upstream", upstream, "--out", out)
	require.Equal(t, 2, code)
	require.Contains(t, printed, "has refs/heads/ackwal/9000-other-default already, with other content")
}

// An entry that stands alone has a branch from upstream's tree, with its own
// change only, and the stacked ones have it as well.
func TestSplitAlone(t *testing.T) {
	toyPerson(t)
	root, upstream, out := toyRoot(t), toyCheckout(t), filepath.Join(t.TempDir(), "split")
	testfiles.Write(t, root, "patches/0005-fix.yaml", `
title: "docs: a fix"
status: to-submit
alone: true
why: It was wrong.
release-notes: NONE
reason: a fix
forwarded: "no"
hooks: [{file: docs/flags.md, anchor: "# Flags", replace: "# All flags"}]
`)
	replacing("patches/series", "0010-wlog-name", "0005-fix\n0010-wlog-name")(root)
	code, printed := tell(t, "--root", root, "split", "--upstream", upstream, "--out", out)
	require.Zero(t, code, printed)
	repo := filepath.Join(out, "prometheus")
	base, err := git.Line(t.Context(), repo, "rev-parse", "upstream")
	require.NoError(t, err)
	parent, err := git.Line(t.Context(), repo, "rev-parse", "ackwal/0005-fix~")
	require.NoError(t, err)
	require.Equal(t, base, parent)
	log, err := git.Line(t.Context(), repo, "log", "--format=%s", "ackwal/0020-agent-toy", "--not", "upstream")
	require.NoError(t, err)
	require.Equal(t, "tsdb/agent: a toy\ntsdb/wlog: a name\ndocs: a fix", log)
	changed, err := git.Line(t.Context(), repo, "diff", "--name-only", "upstream", "ackwal/0005-fix")
	require.NoError(t, err)
	require.Equal(t, "docs/flags.md", changed)
	code, printed = tell(t, "--root", root, "verify", "--upstream", upstream, "--out", filepath.Join(t.TempDir(), "v"), "--quick")
	require.Zero(t, code, printed)

	require.Contains(t, printed, "ok 0010-wlog-name")
	code, printed = tell(t, "--root", root, "verify", "--upstream", upstream, "--out", filepath.Join(t.TempDir(), "v"), "--alone")
	require.Zero(t, code, printed)
	require.Contains(t, printed, "ok 0005-fix")
	require.NotContains(t, printed, "ok 0010-wlog-name")

	replacing("patches/0005-fix.yaml", "alone: true", "alone: true\ndepends-on: [0010-wlog-name]")(root)
	code, printed = tell(t, "--root", root, "split", "--upstream", upstream, "--out", out)
	require.Equal(t, 2, code)
	require.Contains(t, printed, "depends on nothing")
}

// Branches in the user's own checkout: only they are added.
func TestSplitOnto(t *testing.T) {
	toyPerson(t)
	root, upstream, out := toyRoot(t), toyCheckout(t), t.TempDir()
	before := snapshot(t, upstream)
	code, printed := tell(t, "--root", root, "split", "--onto", upstream, "--out", out, "--prefix", "pr/")
	require.Zero(t, code, printed)
	after := snapshot(t, upstream)
	for _, name := range []string{"0010-wlog-name", "0020-agent-toy", "9000-other-default"} {
		require.Contains(t, after, ".git/refs/heads/pr/"+name)
		delete(after, ".git/refs/heads/pr/"+name)
	}
	require.Equal(t, before, after)
	parent, err := git.Line(t.Context(), upstream, "rev-parse", "pr/0010-wlog-name~")
	require.NoError(t, err)
	head, err := git.Line(t.Context(), upstream, "rev-parse", "HEAD")
	require.NoError(t, err)
	require.Equal(t, head, parent)
}

// The fork as one commit with a tag in the user's own checkout.
func TestAssembleOnto(t *testing.T) {
	toyPerson(t)
	root, upstream := toyRoot(t), toyCheckout(t)
	before := snapshot(t, upstream)
	args := []string{"--root", root, "assemble", "--onto", upstream, "--branch", "durable", "--tag", "v0.909.0-ackwal"}
	for range 2 {
		code, printed := tell(t, args...)
		require.Zero(t, code, printed)
	}
	after := snapshot(t, upstream)
	delete(after, ".git/refs/heads/durable")
	delete(after, ".git/refs/tags/v0.909.0-ackwal")
	require.Equal(t, before, after)
	got, err := tree.FromCommit(upstream, "v0.909.0-ackwal")
	require.NoError(t, err)
	want, _, err := fork(options{root: root, upstream: upstream})
	require.NoError(t, err)
	require.NoError(t, sameTree(got, want))

	testfiles.Write(t, upstream, "docs/x.md", "x")
	amended(t, upstream)
	code, printed := tell(t, args...)
	require.Equal(t, 2, code, printed)
}

// Two exports are the same bytes, git am makes the branches' tree of them, and
// what an earlier export left and is no more is removed.
func TestExport(t *testing.T) {
	toyPerson(t)
	root, upstream, out := toyRoot(t), toyCheckout(t), filepath.Join(t.TempDir(), "patches")
	code, printed := tell(t, "--root", root, "export", "--upstream", upstream, "--out", out)
	require.Zero(t, code, printed)
	first, err := tree.FromDir(out, false)
	require.NoError(t, err)
	require.Equal(t, []string{"0010-wlog-name.patch", "0020-agent-toy.patch", "9000-other-default.patch"}, first.Paths())
	// Settings of the user's have no influence.
	t.Setenv("HOME", testfiles.Write(t, t.TempDir(), ".gitconfig", "[format]\n\tsignature = mine\n[diff]\n\tnoprefix = true\n\talgorithm = patience\n"))
	t.Setenv("GIT_DIFF_OPTS", "--unified=1")
	code, printed = tell(t, "--root", root, "export", "--upstream", upstream, "--out", out)
	require.Zero(t, code, printed)
	require.Contains(t, printed, "(0 written, 0 removed, 3 as before)")

	for _, name := range first.Paths() {
		_, err := git.Isolated(t.Context(), upstream, "-c", "user.name=t", "-c", "user.email=t@example.com", "am", "-q", filepath.Join(out, name))
		require.NoError(t, err)
	}
	applied, _, err := tree.FromGit(upstream)
	require.NoError(t, err)
	want, _, err := fork(options{root: root, upstream: committed(t, copied(t, filepath.Join(toyDir, "upstream")))})
	require.NoError(t, err)
	require.NoError(t, sameTree(applied, want))

	require.NoError(t, os.Remove(filepath.Join(root, "patches", "9000-other-default.yaml")))
	list := filepath.Join(root, "patches", "series")
	require.NoError(t, os.WriteFile(list, []byte("0010-wlog-name\n0020-agent-toy\n"), 0o666))
	code, printed = tell(t, "--root", root, "export", "--upstream", toyCheckout(t), "--out", out)
	require.Zero(t, code, printed)
	require.NoFileExists(t, filepath.Join(out, "9000-other-default.patch"))

	// A series without entries would remove all of them.
	require.NoError(t, os.WriteFile(list, []byte("# none\n"), 0o666))
	for _, name := range []string{"0010-wlog-name", "0020-agent-toy"} {
		require.NoError(t, os.Remove(filepath.Join(root, "patches", name+".yaml")))
	}
	code, printed = tell(t, "--root", root, "export", "--upstream", toyCheckout(t), "--out", out)
	require.Equal(t, 2, code)
	require.Contains(t, printed, "no entries")
	require.FileExists(t, filepath.Join(out, "0010-wlog-name.patch"))
}

func TestVerify(t *testing.T) {
	root, upstream := toyRoot(t), toyCheckout(t)
	args := []string{"--root", root, "verify", "--upstream", upstream}
	code, printed := tell(t, args...)
	require.Zero(t, code, printed)
	require.Contains(t, printed, "ok 0020-agent-toy")

	// An entry that needs a later one does not build where it is.
	testfiles.Write(t, root, "tsdb/wlog/name/later.go", "package name\n\nimport _ \"github.com/ackwal/ackwal/storage/remote/toy\"\n")
	code, printed = tell(t, append(args, "--quick")...)
	require.Equal(t, 1, code)
	require.Contains(t, printed, "0010-wlog-name uses storage/remote/toy, which 0020-agent-toy brings")

	testfiles.Write(t, root, "tsdb/wlog/name/later.go", "package name\n\nvar _ = missing\n")
	code, printed = tell(t, append(args, "--quick")...)
	require.Equal(t, 1, code)
	require.Contains(t, printed, "0010-wlog-name: go build")
	require.Contains(t, printed, "undefined: missing")

	// Tests count, but not for the quick form.
	testfiles.Write(t, root, "tsdb/wlog/name/later.go", "package name\n",
		"tsdb/agent/toy/fail_test.go", "package toy\n\nimport \"testing\"\n\nfunc TestFail(t *testing.T) { t.Fatal(\"no\") }\n")
	code, printed = tell(t, append(args, "--quick")...)
	require.Zero(t, code, printed)
	code, printed = tell(t, append(args, "--from", "0020-agent-toy")...)
	require.Equal(t, 1, code)
	require.Contains(t, printed, "0020-agent-toy: go test")
	require.NotContains(t, printed, "ok 0010")
}

// Bad input is refused with exit code 2, and nothing has changed then.
func TestSeriesRefused(t *testing.T) {
	toyPerson(t)
	proxy(t, map[string]string{"v0.909.0": filepath.Join(toyDir, "upstream")})
	upstream := toyCheckout(t)
	dirty := toyCheckout(t)
	testfiles.Write(t, dirty, "VERSION", "edited\n")
	foreign := committed(t, testfiles.Write(t, t.TempDir(), "go.mod", "module x\n"))
	taken := toyCheckout(t)
	_, err := git.Isolated(t.Context(), taken, "branch", "ackwal/0020-agent-toy")
	require.NoError(t, err)
	mine := testfiles.Write(t, t.TempDir(), "mine", "x")
	onto := []string{"assemble", "--onto", upstream}
	tests := map[string]struct {
		args   []string
		change func(root string)
		anon   bool
		want   string
	}{
		"dirty checkout":          {args: []string{"split", "--onto", dirty}, want: "not committed (M VERSION)"},
		"foreign checkout":        {args: []string{"split", "--onto", foreign}, want: "is not a tree of"},
		"no checkout":             {args: []string{"split", "--onto", mine}, want: "not a git checkout"},
		"missing checkout":        {args: []string{"split", "--onto", filepath.Join(mine, "no")}, want: "no such file"},
		"branch is taken":         {args: []string{"split", "--onto", taken}, want: "ackwal/0020-agent-toy already, with other content"},
		"out is not ours":         {args: []string{"export", "--upstream", upstream, "--out", mine}, want: "not a directory made by this tool"},
		"out in the checkout":     {args: []string{"split", "--onto", upstream, "--out", filepath.Join(upstream, "x")}, want: "only read"},
		"out in the new version":  {args: []string{"rebase", upstream, "--out", filepath.Join(upstream, "x")}, want: "only read"},
		"onto and upstream":       {args: []string{"split", "--onto", upstream, "--upstream", upstream}, want: "leave --upstream out"},
		"no identity, split":      {args: []string{"split", "--onto", upstream}, anon: true, want: "git config --global user.name"},
		"no identity, export":     {args: []string{"export", "--upstream", upstream}, anon: true, want: "signed off"},
		"no identity, assemble":   {args: []string{"assemble", "--onto", upstream, "--branch", "b"}, anon: true, want: "signed off"},
		"bad prefix":              {args: []string{"split", "--upstream", upstream, "--prefix", "my pr/"}, want: `--prefix my pr/: git has no branch with the name "my pr/0000-entry"`},
		"bad prefix onto":         {args: []string{"split", "--onto", upstream, "--prefix", "-"}, want: `git has no branch with the name "-0000-entry"`},
		"prefix of the base":      {args: []string{"split", "--upstream", upstream, "--prefix", "upstream/"}, want: "there is a branch upstream"},
		"bad branch":              {args: append(onto, "--branch", "a..b"), want: `git has no branch with the name "a..b"`},
		"branch HEAD":             {args: append(onto, "--branch", "HEAD"), want: `git has no branch with the name "HEAD"`},
		"no branch":               {args: append(onto, "--branch", ""), want: "--branch needs a name"},
		"bad tag":                 {args: append(onto, "--branch", "b", "--tag", "v1.lock"), want: `git has no tag with the name "v1.lock"`},
		"no tag":                  {args: append(onto, "--branch", "b", "--tag", ""), want: "--tag needs a name"},
		"onto without branch":     {args: []string{"assemble", "--onto", upstream}, want: "--onto needs --branch"},
		"branch without onto":     {args: []string{"assemble", "--branch", "b"}, want: "need --onto"},
		"no version":              {args: []string{"rebase"}, want: "which version?"},
		"not a version":           {args: []string{"rebase", "latest"}, want: `"latest" is neither a version`},
		"unknown version":         {args: []string{"rebase", "v0.999.0"}, want: "fetch github.com/prometheus/prometheus v0.999.0"},
		"dirty version":           {args: []string{"rebase", dirty}, want: "not committed"},
		"foreign version":         {args: []string{"rebase", foreign}, want: "is not a tree of"},
		"version twice":           {args: []string{"rebase", "v0.909.0", "--upstream", upstream}, want: "either a version or --upstream"},
		"two versions":            {args: []string{"rebase", "v0.909.0", "v0.909.0"}, want: `unexpected argument "v0.909.0"`},
		"unknown entry":           {args: []string{"verify", "--from", "x"}, want: `no entry "x"`},
		"failed hunk":             {args: []string{"split", "--onto", upstream}, change: replacing("patches/0020-agent-toy.yaml", `("stock", o.path)`, `("gone")`), want: "expected 1, found 0 of the line"},
		"file in no entry":        {args: []string{"split", "--onto", upstream}, change: replacing("patches/0020-agent-toy.yaml", "tsdb/agent/, ", ""), want: "tsdb/agent/toy/toy.go is in no entry"},
		"file in two entries":     {args: []string{"export", "--upstream", upstream}, change: replacing("patches/0010-wlog-name.yaml", "[tsdb/wlog/]", "[tsdb/wlog/, tsdb/agent/toy/toy.go]"), want: "tsdb/agent/toy/toy.go is listed more than once"},
		"in two, assemble":        {args: []string{"assemble", "--upstream", upstream}, change: replacing("patches/0010-wlog-name.yaml", "[tsdb/wlog/]", "[tsdb/wlog/, tsdb/agent/toy/toy.go]"), want: "tsdb/agent/toy/toy.go is listed more than once in patches, in 0010-wlog-name as tsdb/agent/toy/toy.go and in 0020-agent-toy as tsdb/agent/"},
		"page in two entries":     {args: []string{"assemble", "--upstream", upstream}, change: replacing("patches/9000-other-default.yaml", "hooks:", "docs: [{from: docs/name.md, to: tsdb/docs/name.md}]\nhooks:"), want: "tsdb/docs/name.md is brought twice, by the docs of 0010-wlog-name and of 9000-other-default"},
		"entry without a file":    {args: []string{"split", "--onto", upstream}, change: replacing("patches/series", "0010-wlog-name", "0011-x"), want: "0011-x.yaml is not there"},
		"entry not in the series": {args: []string{"split", "--onto", upstream}, change: replacing("patches/series", "0010-wlog-name\n", ""), want: "0010-wlog-name.yaml is not in"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			root := toyRoot(t)
			if tc.change != nil {
				tc.change(root)
			}
			if tc.anon {
				t.Setenv("GIT_AUTHOR_NAME", "")
				t.Setenv("HOME", t.TempDir())
				t.Setenv("XDG_CONFIG_HOME", t.TempDir())
			}
			watched := []string{root, upstream, dirty, foreign, taken, mine}
			var before []map[string]string
			for _, dir := range watched {
				before = append(before, snapshot(t, dir))
			}
			code, printed := tell(t, append([]string{"--root", root}, tc.args...)...)
			require.Equal(t, 2, code, printed)
			require.Contains(t, printed, tc.want)
			for i, dir := range watched {
				require.Equal(t, before[i], snapshot(t, dir))
			}
		})
	}
}

func replacing(file, was, with string) func(root string) {
	return func(root string) {
		name := filepath.Join(root, file)
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, bytes.Replace(text, []byte(was), []byte(with), 1), 0o666)
		}
		if err != nil {
			panic(err)
		}
	}
}

func TestAsModule(t *testing.T) {
	for version, want := range map[string]string{
		"v0.315.0": "v0.315.0", "3.15.0": "v0.315.0", "v3.15.0": "v0.315.0", "v3.5.1": "v0.305.1", "v0.316.0-rc.0": "v0.316.0-rc.0", "3.16.0-rc.0": "v0.316.0-rc.0",
		"latest": "", "v0.315": "", "": "", "main": "", "0.315.0": "v0.315.0", "0.316.0-rc.0": "v0.316.0-rc.0", "0.315": "", "3.15": "", "v.0.315.0": "", "0.315.0.1": "",
	} {
		require.Equal(t, want, asModule(version), version)
	}
}

// Every entry of this project fulfils what Lint asks for, on the pinned version,
// and each hook fits.
func TestSeriesOfThisProject(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	if out, err := exec.Command("go", "env", "GOFLAGS").Output(); err == nil && strings.Contains(string(out), "-mod=vendor") {
		t.Skip("upstream's sources are not in the module cache")
	}
	c, err := composeAll(options{root: root})
	require.NoError(t, err)
	require.NoError(t, lint(options{root: root}, c))
}
