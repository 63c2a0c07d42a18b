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
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// bases are the versions of upstream that this project is kept working on, the
// pinned one last.
var bases = []string{"v0.313.2", "v0.315.1", "v0.316.0"}

// The series of this project on each base, compiled and tested, from the modules
// and from a git checkout. It takes minutes, so `make rebase-test` asks for it and
// says where the trees are kept: what is compiled and tested there already is not
// done again. In short, for `make rebase-short`, it is about the older bases, of
// which nothing else in `make test` knows.
func TestRebaseThisProject(t *testing.T) {
	at := os.Getenv("ACKWAL_REBASE_TEST")
	if at == "" {
		t.Skip("make rebase-test runs it")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	project := filepath.Join(at, "project")
	copyProject(t, root, project)
	pin, err := pinned(project)
	require.NoError(t, err)
	require.Equal(t, bases[len(bases)-1], pin)
	modules := moduleFiles(t, project)

	short := os.Getenv("ACKWAL_REBASE_SHORT") != ""
	on, want, flags := bases, " clean, 0 in conflict, 0 obsolete", []string(nil)
	if short {
		on, want, flags = bases[:len(bases)-1], " compile, 0 in conflict, 0 obsolete", []string{"--short"}
	}
	for _, version := range on {
		t.Run(version, func(t *testing.T) {
			o := options{out: filepath.Join(at, version)}
			code, out := tell(t, append([]string{"--root", project, "rebase", version, "--out", o.out}, flags...)...)
			t.Log("\n" + out)
			require.Zero(t, code)
			require.Contains(t, out, want)
			// Packages that no entry touches use those that are touched.
			users := []string{"-tags=" + lean, "./tsdb/...", "./storage/...", "./cmd/prometheus"}
			require.NoError(t, quietly(t.Context(), o, nil, slices.Concat(vetCommand, users)))
			require.Equal(t, modules, moduleFiles(t, project), "go.mod and go.sum of the pin are what rebase makes of them")
		})
	}

	if short {
		t.Log("LEFT OUT, make rebase-test has it: the tests named above, the pinned version, and a git checkout of it")
		return
	}
	// As a commit of upstream's main branch, of which no version is known.
	t.Run("checkout", func(t *testing.T) {
		b, err := fromModule(root, pin)
		require.NoError(t, err)
		checkout := t.TempDir()
		_, err = b.tree.Write(checkout, b.origin)
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(checkout, tree.ManifestName)))
		committed(t, checkout)
		code, out := tell(t, "--root", project, "rebase", "--upstream", checkout, "--out", filepath.Join(at, pin))
		require.Zero(t, code, out)
		require.Contains(t, out, " clean, 0 in conflict, 0 obsolete")
		require.Contains(t, out, "go.mod is as before: the commit has no tag")
	})
}

// copyProject copies what git knows of this repository, as it is in the work tree.
func copyProject(t *testing.T, root, to string) {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	require.NoError(t, err)
	files := tree.Tree{}
	for name := range strings.SplitSeq(string(names), "\x00") {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if name == "" || os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		files[name] = tree.File{Data: data}
	}
	_, err = files.Write(to, "this repository")
	require.NoError(t, err)
}

// moduleFiles returns what the files of all modules say.
func moduleFiles(t *testing.T, root string) map[string]string {
	t.Helper()
	mods, err := requiring(root)
	require.NoError(t, err)
	require.NotEmpty(t, mods)
	texts := map[string]string{}
	for _, mod := range mods {
		for _, name := range []string{mod, strings.TrimSuffix(mod, "mod") + "sum"} {
			text, err := os.ReadFile(name)
			if !os.IsNotExist(err) {
				require.NoError(t, err)
				texts[name] = string(text)
			}
		}
	}
	return texts
}
