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
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

const (
	toyMain = "package main\n\nimport (\n\t\"fmt\"\n)\n\nfunc main() {\n\tfmt.Println(\"stock\")\n}\n"
	toyHook = `
title: "cmd: toy"
status: to-submit
why: It is a toy.
release-notes: NONE
reason: it is a toy
forwarded: "no"
files: [tsdb/, storage/]
hooks:
  - file: cmd/prometheus/main.go
    in: func main
    anchor: fmt.Println("stock")
    replace: |
      fmt.Println(toy.Name)
  - file: cmd/prometheus/main.go
    in: imports
    anchor: '"fmt"'
    after: |
      "github.com/prometheus/prometheus/tsdb/agent/toy"
`
	toyPackage = "package toy\n\nimport \"github.com/ackwal/ackwal/tsdb/wlog/name\"\n\nvar Name = name.Name\n"
	toyTest    = "package toy\n\nimport \"testing\"\n\nfunc TestName(t *testing.T) {\n\tif Name != \"ours\" {\n\t\tt.Fatal(Name)\n\t}\n}\n"
)

// toyProject is a project root whose directories and hook fit toyUpstream.
func toyProject(t *testing.T) string {
	return testfiles.Write(t, t.TempDir(),
		"go.mod", "module github.com/ackwal/ackwal\n",
		"patches/series", "0100-toy\n",
		"patches/0100-toy.yaml", toyHook,
		"packaging/VERSION", "9.9.9+ours.1\n",
		"scripts/stock-tests-skipped.txt", "# none\n",
		"storage/remote/x/x.go", "package x\n",
		"tsdb/agent/toy/toy.go", toyPackage,
		"tsdb/agent/toy/toy_test.go", toyTest,
		"tsdb/internal/y/y.go", "package y\n",
		"tsdb/wlog/name/name.go", "package name\n\nconst Name = \"ours\"\n")
}

func toyUpstream(t *testing.T) string {
	dir := testfiles.Write(t, t.TempDir(),
		"go.mod", "module github.com/prometheus/prometheus\n\ngo 1.24\n",
		"go.work", "go 1.24\n\nuse ./nowhere\n",
		"VERSION", "9.9.9\n",
		"cmd/prometheus/main.go", toyMain,
		"cmd/promtool/main.go", "package main\n\nfunc main() {}\n")
	return committed(t, dir)
}

// committed makes a directory a git repository with one commit.
func committed(t *testing.T, dir string) string {
	t.Helper()
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "-A"},
		{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "x"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	return dir
}

// sync runs the program in process.
func sync(t *testing.T, args ...string) (code int, stderr string) {
	t.Helper()
	var errs bytes.Buffer
	code = run(t.Context(), args, io.Discard, &errs)
	return code, errs.String()
}

func TestAssembleToy(t *testing.T) {
	root, upstream, out := toyProject(t), toyUpstream(t), filepath.Join(t.TempDir(), "fork")
	code, stderr := sync(t, "--root", root, "assemble", "--upstream", upstream, "--out", out)
	require.Zero(t, code, stderr)

	main, err := os.ReadFile(filepath.Join(out, "cmd", "prometheus", "main.go"))
	require.NoError(t, err)
	require.Contains(t, string(main), "fmt.Println(toy.Name)")
	require.NoFileExists(t, filepath.Join(out, "go.work"))
	require.FileExists(t, filepath.Join(out, "tsdb", "agent", "toy", "toy_test.go"))

	// The tree works as a module: ours and stock's parts find each other.
	cmd := exec.Command("go", "run", "./cmd/prometheus")
	cmd.Dir = out
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off")
	printed, err := cmd.CombinedOutput()
	require.NoError(t, err, string(printed))
	require.Equal(t, "ours\n", string(printed))

	// The checkout is as it was.
	status := exec.Command("git", "status", "--porcelain", "--ignored")
	status.Dir = upstream
	changes, err := status.Output()
	require.NoError(t, err)
	require.Empty(t, string(changes))
}

func TestBuildAndTestToy(t *testing.T) {
	root, upstream := toyProject(t), toyUpstream(t)
	code, stderr := sync(t, "--root", root, "build", "--upstream", upstream)
	require.Zero(t, code, stderr)
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	printed, err := exec.Command(filepath.Join(root, "bin", "prometheus"+suffix)).Output()
	require.NoError(t, err)
	require.Equal(t, "ours\n", string(printed))
	require.NoFileExists(t, filepath.Join(root, "bin", "VERSION"))

	published := filepath.Join(root, "build", "published")
	code, stderr = sync(t, "--root", root, "build", "--upstream", upstream, "--release", "--bin", published)
	require.Zero(t, code, stderr)
	named, err := os.ReadFile(filepath.Join(published, "VERSION"))
	require.NoError(t, err)
	require.Equal(t, "9.9.9+ours.1\n", string(named))
	binary, err := os.ReadFile(filepath.Join(published, "prometheus"+suffix))
	require.NoError(t, err)
	require.NotContains(t, string(binary), filepath.ToSlash(root), "a path of this machine is published")

	code, stderr = sync(t, "--root", root, "test", "--upstream", upstream)
	require.Zero(t, code, stderr)

	testfiles.Write(t, root, "tsdb/wlog/name/name.go", "package name\n\nconst Name = \"other\"\n")
	code, stderr = sync(t, "--root", root, "test", "--upstream", upstream)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "tests of packages")
}

// What is built is named after the tree that it is built from, whatever base that is, and
// after the number that versionFile has for ours.
func TestVersion(t *testing.T) {
	root := toyProject(t)
	o := options{root: root, out: testfiles.Write(t, t.TempDir(), "VERSION", "9.8.7\n")}
	named, err := version(o)
	require.NoError(t, err)
	require.Equal(t, "9.8.7+ours.1", named)
	flags, err := versionFlags(o)
	require.NoError(t, err)
	require.Contains(t, strings.Split(flags, " "), "github.com/prometheus/common/version.Version=9.8.7+ours.1")

	for _, bad := range []string{"9.8.7", "9.8.7+", "", "+\n"} {
		testfiles.Write(t, root, versionFile, bad)
		_, err := version(o)
		require.ErrorContains(t, err, versionFile, "%q", bad)
	}
}

// The version that the repository names begins with that of the pinned upstream.
func TestVersionIsThatOfThePin(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	b, err := stock(options{root: root})
	require.NoError(t, err)
	upstreams, err := b.tree.Read("VERSION")
	require.NoError(t, err)
	named, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(versionFile)))
	require.NoError(t, err)
	require.Regexp(t, "^"+strings.ReplaceAll(strings.TrimSpace(string(upstreams)), ".", `\.`)+`\+ackwal\.[1-9][0-9]*\n$`, string(named))
}

// The script finds its project from elsewhere, and when it is called by a link to it,
// or by a link to that.
func TestScriptByLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	script, err := os.ReadFile(filepath.Join("..", "..", "upstream-sync.sh"))
	require.NoError(t, err)
	root, bin := filepath.Join(t.TempDir(), "the project"), t.TempDir()
	// In the place of the go command, a tool that prints what it is called with.
	const fake = "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\nmkdir -p \"${2%/*}\"\nprintf '#!/bin/sh\\necho \"$@\"\\n' >\"$2\"\nchmod +x \"$2\"\n"
	testfiles.Write(t, root, "upstream-sync.sh", string(script))
	testfiles.Write(t, bin, "go", fake)
	for _, name := range []string{filepath.Join(root, "upstream-sync.sh"), filepath.Join(bin, "go")} {
		require.NoError(t, os.Chmod(name, 0o777))
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	elsewhere := testfiles.Write(t, t.TempDir(), "links/x", "")
	first, second := filepath.Join(elsewhere, "links", "sync"), filepath.Join(elsewhere, "sync")
	require.NoError(t, os.Symlink(filepath.Join(root, "upstream-sync.sh"), first))
	require.NoError(t, os.Symlink(filepath.Join("links", "sync"), second))
	for _, name := range []string{filepath.Join(root, "upstream-sync.sh"), first, second, "./sync"} {
		cmd := exec.Command(name, "help")
		cmd.Dir = elsewhere
		printed, err := cmd.CombinedOutput()
		require.NoError(t, err, string(printed))
		require.Equal(t, "--root "+root+" help\n", string(printed))
	}
}

// Bad input is refused with exit code 2 and leaves no trace.
func TestRefused(t *testing.T) {
	root, upstream := toyProject(t), toyUpstream(t)
	foreign := testfiles.Write(t, t.TempDir(), "mine", "x")
	dirty := toyUpstream(t)
	testfiles.Write(t, dirty, "cmd/prometheus/main.go", toyMain+"\n")
	other := committed(t, testfiles.Write(t, t.TempDir(), "go.mod", "module x\n"))
	stale := toyProject(t)
	testfiles.Write(t, stale, "patches/0100-toy.yaml", strings.Replace(toyHook, `Println("stock")`, `Println("gone")`, 1))
	clash := toyProject(t)
	testfiles.Write(t, clash, "patches/0100-toy.yaml", "title: \"x: y\"\n")
	out := filepath.Join(t.TempDir(), "fork")

	tests := map[string]struct {
		args []string
		want string
	}{
		"nothing":            {nil, "Usage"},
		"unknown verb":       {[]string{"--root", root, "merge"}, `unknown verb "merge"`},
		"unknown flag":       {[]string{"--root", root, "assemble", "--nope"}, "-nope"},
		"flag of other verb": {[]string{"--root", root, "assemble", "--bin", "x"}, "-bin"},
		"argument":           {[]string{"--root", root, "assemble", "x"}, `unexpected argument "x"`},
		"empty out":          {[]string{"--root", root, "assemble", "--out", ""}, "--out needs a directory"},
		"missing upstream":   {[]string{"--root", root, "assemble", "--upstream", filepath.Join(upstream, "no"), "--out", out}, "nor a directory"},
		"not a version":      {[]string{"--root", root, "diff", "--upstream", "v0.315"}, `"v0.315" is neither a version, such as v0.315.0 or 3.15.0, nor a directory`},
		"dirty upstream":     {[]string{"--root", root, "assemble", "--upstream", dirty, "--out", out}, "not committed"},
		"other repository":   {[]string{"--root", root, "assemble", "--upstream", other, "--out", out}, "is not a tree of"},
		"foreign out":        {[]string{"--root", root, "assemble", "--upstream", upstream, "--out", foreign}, "not a directory made by this tool"},
		"out in upstream":    {[]string{"--root", root, "assemble", "--upstream", upstream, "--out", filepath.Join(upstream, "fork")}, "only read"},
		"out is upstream":    {[]string{"--root", root, "assemble", "--upstream", upstream, "--out", upstream}, "only read"},
		"out in ours":        {[]string{"--root", root, "assemble", "--upstream", upstream, "--out", filepath.Join(root, "tsdb", "agent", "x")}, "only read"},
		"failed anchor":      {[]string{"--root", stale, "assemble", "--upstream", upstream, "--out", out}, "expected 1, found 0 of the line"},
		"bad entry":          {[]string{"--root", clash, "assemble", "--upstream", upstream, "--out", out}, "status is"},
		"no pin":             {[]string{"--root", root, "assemble", "--out", out}, "does not require github.com/prometheus/prometheus"},
		"unknown entry":      {[]string{"--root", root, "diff", "--upstream", upstream, "--entry", "x"}, `no entry "x"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			code, stderr := sync(t, tc.args...)
			require.Equal(t, 2, code, stderr)
			require.Contains(t, stderr, tc.want)
			require.NoDirExists(t, out)
			require.NoDirExists(t, filepath.Join(upstream, "fork"))
		})
	}
	left, err := os.ReadDir(foreign)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestUnified(t *testing.T) {
	before := tree.Tree{"a/x.md": {Data: []byte("1\n2\n3\n")}}
	after := tree.Tree{"a/x.md": {Data: []byte("1\n2\nnew\n3\n")}}
	got, err := unified(t.Context(), before, after)
	require.NoError(t, err)
	require.Contains(t, string(got), "--- a/a/x.md\n+++ b/a/x.md\n@@ -1,3 +1,4 @@\n 1\n 2\n+new\n 3\n")
	got, err = unified(t.Context(), before, before)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestSkips(t *testing.T) {
	name := filepath.Join(t.TempDir(), "skips")
	require.NoError(t, os.WriteFile(name, []byte("# comment\n\n./a/b TestAlways - because of this\n./a TestLean/part.yml lean and of that\n./c TestOther - x\n"), 0o666))
	skips, err := loadSkips(name, []string{"lean"})
	require.NoError(t, err)
	require.Equal(t, "^TestAlways$|^TestLean$/^part.yml$", skipPattern(skips, []string{"./a/..."}))
	require.Equal(t, "^TestLean$/^part.yml$", skipPattern(skips, []string{"./a"}))
	require.Empty(t, skipPattern(skips, []string{"./d/..."}))
	skips, err = loadSkips(name, nil)
	require.NoError(t, err)
	require.Empty(t, skipPattern(skips, []string{"./a"}))

	require.NoError(t, os.WriteFile(name, []byte("./a TestX -\n"), 0o666))
	_, err = loadSkips(name, nil)
	require.ErrorContains(t, err, ":1: want package, test, tag and a reason")
}

// The binary is called by a name under which it calls itself with the flag.
func TestWithDelivery(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "prometheus.test")
	require.NoError(t, exec.Command("go", "build", "-o", binary, "./testdata/self").Run())
	out := filepath.Join(dir, "out")
	code, err := withDelivery("best-effort", []string{binary, out})
	require.NoError(t, err)
	require.Equal(t, 7, code)
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "prometheus.test\n[-x y z]\n[--agent -x --storage.agent.delivery=best-effort]\n", string(got))
}

func TestProgressOfCompiler(t *testing.T) {
	stale, lines := map[string]bool{}, []string(nil)
	for i := range fewPackages {
		p := "a/" + strconv.Itoa(i)
		stale[p], lines = true, append(lines, p)
	}
	lines = append(lines, "# a/7", "a/7/x.go:1:1: wrong")
	clock := time.Unix(0, 0)
	now := func() time.Time { clock = clock.Add(time.Second); return clock }
	var out, errs strings.Builder
	progress(strings.NewReader(strings.Join(lines, "\n")), stale, now, &out, &errs)
	require.Equal(t, "# a/7\na/7/x.go:1:1: wrong\n", errs.String(), "errors of the compiler are passed on, and nothing else")
	require.Equal(t, "compiling 50 packages: seconds for some, minutes if it is all of them\n"+
		"15 of 50 packages are compiled\n30 of 50 packages are compiled\n45 of 50 packages are compiled\n", out.String())

	out.Reset()
	delete(stale, "a/0")
	progress(strings.NewReader("a/1\n"), stale, now, &out, &errs)
	require.Empty(t, out.String(), "a few are compiled without a word")
}
