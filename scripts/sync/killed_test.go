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
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/scripts/internal/testfiles"
	"github.com/ackwal/ackwal/scripts/sync/git"
)

// interruptedRun holds the arguments of a run of the program, one a line, in a process
// of its own that is to be interrupted.
const interruptedRun = "ACKWAL_INTERRUPTED_RUN"

// TestInterruptedRun is that process.
func TestInterruptedRun(t *testing.T) {
	args := os.Getenv(interruptedRun)
	if args == "" {
		t.Skip("other tests start it")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	require.Zero(t, run(ctx, strings.Split(args, "\n"), os.Stdout, os.Stderr))
}

// interrupt runs the program with something in the place of git that carries out a
// script at one of git's commands; there real is git.
func interrupt(t *testing.T, at, script string, args ...string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	program, err := exec.LookPath("git")
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	bin := testfiles.Write(t, t.TempDir(), "git", fmt.Sprintf("#!/bin/sh\nreal='%s'\nfor arg in \"$@\"; do\n\tif [ \"$arg\" = %s ]; then\n\t\t%s\n\tfi\ndone\nexec \"$real\" \"$@\"\n", program, at, script))
	require.NoError(t, os.Chmod(filepath.Join(bin, "git"), 0o777))
	cmd := exec.Command(self, "-test.run=^TestInterruptedRun$")
	cmd.Env = append(os.Environ(), interruptedRun+"="+strings.Join(args, "\n"), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	printed, err := cmd.CombinedOutput()
	require.Error(t, err, "%s: %s", at, printed)
}

// branches are the references of ours in a repository.
func branches(t *testing.T, repo string) string {
	t.Helper()
	names, err := git.Line(t.Context(), repo, "for-each-ref", "--format=%(refname)", "refs/heads/ackwal", "refs/ackwal")
	require.NoError(t, err)
	return names
}

// A split that was killed, at whichever command of git, leaves nothing that the next
// one stumbles over, in a repository of its own or in the user's checkout.
func TestSplitIsKilled(t *testing.T) {
	toyPerson(t)
	root := toyRoot(t)
	for _, command := range []string{"init", "fast-import", "update-ref", "symbolic-ref", "reset"} {
		for _, onto := range []bool{false, true} {
			if onto && command != "fast-import" && command != "update-ref" {
				continue // It needs no repository of its own.
			}
			upstream, out := toyCheckout(t), filepath.Join(t.TempDir(), "split")
			repo, args := filepath.Join(out, repository), []string{"--root", root, "split", "--out", out, "--upstream", upstream}
			if onto {
				repo, args[len(args)-2] = upstream, "--onto"
			}
			before := snapshot(t, upstream)
			interrupt(t, command, "kill -9 $PPID; exit 1", args...)
			require.NoDirExists(t, filepath.Join(out, descriptions))

			code, again := tell(t, args...)
			require.Zero(t, code, "%s: %s", command, again)
			require.Equal(t, "refs/heads/ackwal/0010-wlog-name\nrefs/heads/ackwal/0020-agent-toy\nrefs/heads/ackwal/9000-other-default", branches(t, repo))
			_, err := git.CleanHead(t.Context(), repo)
			require.NoError(t, err)
			after := snapshot(t, upstream)
			for name := range after {
				if strings.HasPrefix(name, ".git/refs/heads/ackwal/") {
					delete(after, name)
				}
			}
			require.Equal(t, before, after)
			if !onto {
				left, err := os.ReadDir(out)
				require.NoError(t, err)
				require.Len(t, left, 2, "the repository and the descriptions")
			}
		}
	}
}

// One that the user interrupts cleans up itself.
func TestSplitIsInterrupted(t *testing.T) {
	toyPerson(t)
	root, upstream, out := toyRoot(t), toyCheckout(t), filepath.Join(t.TempDir(), "split")
	before := snapshot(t, upstream)
	// It does not end before the program ends it.
	const script = `"$real" "$@"; kill -INT $PPID; exec sleep 600`
	interrupt(t, "fast-import", script, "--root", root, "split", "--onto", upstream, "--out", out)
	require.Equal(t, before, snapshot(t, upstream))
	require.Empty(t, branches(t, upstream))
	interrupt(t, "fast-import", script, "--root", root, "split", "--upstream", upstream, "--out", out)
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, left)
}
