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

package tree

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
)

func text(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(data)
}

func TestLayIn(t *testing.T) {
	upstream := testfiles.Write(t, t.TempDir(), "go.mod", "module up.example/x\n", "a/stock.go", "package a\n", ".github/x.yml", "x")
	ours := testfiles.Write(t, t.TempDir(),
		"a/b/b.go", "package b\n\nimport (\n\t\"fmt\"\n\n\t\"our.example/y/a/c\"\n\t\"up.example/x/a\"\n)\n\nvar _, _, _ = fmt.Sprint(\"our.example/y/a\"), a.A, c.C\n",
		"a/b/testdata/t.go", "package t\n\nimport _ \"our.example/y/a\"\n",
		"a/b/.hidden", "x",
		"a/b/README.md", "our.example/y\n")

	tree, err := FromDir(upstream, true)
	require.NoError(t, err)
	require.NoError(t, tree.LayIn(ours, []string{"a"}, "our.example/y", "up.example/x"))
	require.Equal(t, []string{".github/x.yml", "a/b/README.md", "a/b/b.go", "a/b/testdata/t.go", "a/stock.go", "go.mod"}, tree.Paths())
	// The import moves to where gofmt wants it; the string stays.
	require.Equal(t, "package b\n\nimport (\n\t\"fmt\"\n\n\t\"up.example/x/a\"\n\t\"up.example/x/a/c\"\n)\n\nvar _, _, _ = fmt.Sprint(\"our.example/y/a\"), a.A, c.C\n", string(tree["a/b/b.go"].Data))
	require.Contains(t, string(tree["a/b/testdata/t.go"].Data), "our.example/y/a")

	require.ErrorContains(t, tree.LayIn(ours, []string{"a"}, "our.example/y", "up.example/x"), "also a file of upstream")
	require.ErrorIs(t, tree.LayIn(ours, []string{"missing"}, "", ""), fs.ErrNotExist)
}

func TestReimport(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"only whole path elements": {"package p\n\nimport _ \"m/xy\"\n", "package p\n\nimport _ \"m/xy\"\n"},
		"module itself, named":     {"package p\n\nimport q \"m/x\"\n", "package p\n\nimport q \"up\"\n"},
		"raw string":               {"package p\n\nimport _ `m/x/a`\n", "package p\n\nimport _ \"up/a\"\n"},
		"none":                     {"package p\n", "package p\n"},
		"groups of one module": {
			"package p\n\nimport (\n\t\"os\"\n\n\t\"up/z\"\n\n\tq \"m/x/a\"\n\n\t\"other\"\n)\n",
			"package p\n\nimport (\n\t\"os\"\n\n\tq \"up/a\"\n\t\"up/z\"\n\n\t\"other\"\n)\n",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Reimport("p.go", []byte(tc.in), "m/x", "up")
			require.NoError(t, err)
			require.Equal(t, tc.want, string(got))
		})
	}
	_, err := Reimport("p.go", []byte("packag p\n"), "m/x", "up")
	require.ErrorContains(t, err, "p.go")
}

func TestFromDirRefusesLinks(t *testing.T) {
	dir := testfiles.Write(t, t.TempDir(), "a", "x")
	if err := os.Symlink("a", filepath.Join(dir, "b")); err != nil {
		t.Skip("no symbolic links here")
	}
	_, err := FromDir(dir, true)
	require.ErrorContains(t, err, "neither a file nor a directory")
}

func TestWrite(t *testing.T) {
	out := filepath.Join(t.TempDir(), "deep", "fork")
	tree := Tree{"a/x.go": {Data: []byte("1")}, "a/y.go": {Data: []byte("1")}, "b/c/z": {Data: []byte("1"), Exec: true}}
	c, err := tree.Write(out, "v1")
	require.NoError(t, err)
	require.Equal(t, Changes{Written: 3}, c)
	m, err := LoadManifest(out)
	require.NoError(t, err)
	require.Equal(t, Manifest{Upstream: "v1", Complete: true, Files: []string{"a/x.go", "a/y.go", "b/c/z"}}, m)

	// Others' files stay, ours that left the tree go, with the directories
	// they leave empty, and what is the same keeps its time.
	testfiles.Write(t, out, "a/made-by-a-test", "keep")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, name := range []string{"a/x.go", "a/y.go"} {
		require.NoError(t, os.Chtimes(filepath.Join(out, name), old, old))
	}
	tree = Tree{"a/x.go": {Data: []byte("1")}, "a/y.go": {Data: []byte("2")}}
	c, err = tree.Write(out, "v2")
	require.NoError(t, err)
	require.Equal(t, Changes{Written: 1, Removed: 1, Same: 1}, c)
	require.NoDirExists(t, filepath.Join(out, "b"))
	require.Equal(t, "keep", text(t, out, "a/made-by-a-test"))
	require.Equal(t, "2", text(t, out, "a/y.go"))
	info, err := os.Stat(filepath.Join(out, "a", "x.go"))
	require.NoError(t, err)
	require.Equal(t, old, info.ModTime())

	// A change of the mode alone counts, and a damaged file is put right.
	tree["a/x.go"] = File{Data: []byte("1"), Exec: true}
	testfiles.Write(t, out, "a/y.go", "edited")
	c, err = tree.Write(out, "v2")
	require.NoError(t, err)
	require.Equal(t, Changes{Written: 2}, c)
	require.Equal(t, "2", text(t, out, "a/y.go"))
}

// A run that was cut off leaves a manifest from which the next one cleans up.
func TestWriteAfterInterruption(t *testing.T) {
	out := t.TempDir()
	_, err := Tree{"old": {}}.Write(out, "v1")
	require.NoError(t, err)
	// A directory in the way of a file stops the run half-way.
	require.NoError(t, os.MkdirAll(filepath.Join(out, "new", "in-the-way"), 0o777))
	_, err = Tree{"added": {}, "new": {}}.Write(out, "v2")
	require.Error(t, err)
	m, err := LoadManifest(out)
	require.NoError(t, err)
	require.False(t, m.Complete)

	require.NoError(t, os.RemoveAll(filepath.Join(out, "new")))
	_, err = Tree{"new": {}}.Write(out, "v3")
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(out, "added"))
	require.NoFileExists(t, filepath.Join(out, "old"))
	require.FileExists(t, filepath.Join(out, "new"))

	// It was killed while it wrote the first manifest.
	out = testfiles.Write(t, t.TempDir(), "."+ManifestName+".tmp", "{")
	_, err = Tree{"new": {}}.Write(out, "v1")
	require.NoError(t, err)
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Len(t, left, 2)
}

func TestWriteRefusesForeign(t *testing.T) {
	for name, setup := range map[string]func(dir string){
		"other files":      func(dir string) { testfiles.Write(t, dir, "mine.txt", "x") },
		"damaged manifest": func(dir string) { testfiles.Write(t, dir, ManifestName, "{") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			setup(dir)
			before, err := FromDir(dir, true)
			require.NoError(t, err)
			_, err = Tree{"a": {}}.Write(dir, "v1")
			require.Error(t, err)
			if name == "other files" {
				require.ErrorIs(t, err, ErrForeign)
			}
			after, err := FromDir(dir, true)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
	dir := testfiles.Write(t, t.TempDir(), "file", "x")
	_, err := Tree{"a": {}}.Write(filepath.Join(dir, "file"), "v1")
	require.Error(t, err)
}

// checkout makes a git repository with one commit.
func checkout(t *testing.T, pairs ...string) string {
	t.Helper()
	dir := testfiles.Write(t, t.TempDir(), pairs...)
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

func TestFromGit(t *testing.T) {
	dir := checkout(t, "go.mod", "module x\n", "a/x.go", "package a\n", ".gitignore", "ignored\n")
	testfiles.Write(t, dir, "ignored", "x")
	tree, commit, err := FromGit(dir)
	require.NoError(t, err)
	require.Len(t, commit, 40)
	require.Equal(t, []string{".gitignore", "a/x.go", "go.mod"}, tree.Paths())
	require.Equal(t, "package a\n", string(tree["a/x.go"].Data))

	_, _, err = FromGit(filepath.Join(dir, "a"))
	require.ErrorContains(t, err, "not the top of a git checkout")

	testfiles.Write(t, dir, "new.go", "package x\n")
	_, _, err = FromGit(dir)
	require.ErrorContains(t, err, "not committed (?? new.go)")

	_, _, err = FromGit(t.TempDir())
	require.ErrorContains(t, err, "not a git checkout")
}
