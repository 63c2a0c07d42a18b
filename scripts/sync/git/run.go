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

package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// pinned settings make the outcome the same everywhere.
var pinned = []string{
	"-c", "core.quotePath=false",
	"-c", "core.autocrlf=false",
	"-c", "core.hooksPath=" + os.DevNull,
	"-c", "commit.gpgSign=false",
	"-c", "tag.gpgSign=false",
	"-c", "gc.auto=0",
	"-c", "am.threeWay=false",
	"-c", "advice.detachedHead=false",
}

// Run runs git in dir and returns what it prints.
func Run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return Feed(ctx, dir, nil, args...)
}

// Line is Run for commands that print one line.
func Line(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := Run(ctx, dir, args...)
	return strings.TrimSpace(string(out)), err
}

// Feed is Run with something to read.
func Feed(ctx context.Context, dir string, in io.Reader, args ...string) ([]byte, error) {
	return run(ctx, dir, in, nil, args)
}

// Isolated is Run without any setting of the user's or the machine's, for
// repositories of our own.
func Isolated(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return run(ctx, dir, nil, []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull}, args)
}

func run(ctx context.Context, dir string, in io.Reader, env, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append(append([]string{}, pinned...), args...)...)
	cmd.Dir, cmd.Stdin = dir, in
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// Optional locks would let "status" rewrite the index of a checkout that
	// is not ours, and the language decides the words of some outputs.
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C", "TZ=UTC")
	cmd.Env = append(cmd.Env, env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("git %s in %s: %w: %s", args[0], dir, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
