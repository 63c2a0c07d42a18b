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

package savepoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The child process is told by its environment what to do and before which
// operation, counted from 1, to die.
const (
	crashDir       = "SAVEPOINT_CRASH_DIR"
	crashAction    = "SAVEPOINT_CRASH_ACTION"
	crashOperation = "SAVEPOINT_CRASH_OPERATION"
)

// actions are what a process may die in.
var actions = map[string]func(s *Store) error{
	"write":         func(s *Store) error { return s.Write(numbered(2), false) },
	"write durable": func(s *Store) error { return s.Write(numbered(2), true) },
	"load": func(s *Store) error {
		_, _, err := s.Load()
		return err
	},
}

// TestCrashChild is the child process of the tests below.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only runs as the child of another test")
	}
	operation, err := strconv.Atoi(os.Getenv(crashOperation))
	require.NoError(t, err)
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)

	s, n := NewStore(dir), 0
	s.before = func(string) error {
		n++
		if n == operation {
			if err := self.Kill(); err != nil {
				return err
			}
			time.Sleep(time.Hour) // The operation must not begin; the kill ends this.
		}
		return nil
	}
	err = actions[os.Getenv(crashAction)](s)
	t.Fatalf("survived, with %d operations and error %v", n, err)
}

// kill runs the action on dir in a process of its own that dies for good
// before the given operation.
func kill(t *testing.T, dir, action string, operation int) {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, "-test.run=^TestCrashChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashAction+"="+action, crashOperation+"="+strconv.Itoa(operation))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	ok := errors.As(err, &exit)
	require.True(t, ok, "the child was to die: %v\n%s", err, out)
	require.NotContains(t, string(out), "survived")
	require.NotContains(t, string(out), "FAIL", "the child ended in another way: %s", exit)
	require.NoError(t, ctx.Err())
}

// Defends I8: wherever in Write the process dies, Load returns the version
// before or the new one, undamaged, and the next Write works as if nothing had
// happened.
func TestKilledWhileWriting(t *testing.T) {
	for _, action := range []string{"write", "write durable"} {
		probe := NewStore(t.TempDir())
		steps := operations(probe, func() { require.NoError(t, actions[action](probe)) })
		renamed := false
		for i, step := range steps {
			t.Run(fmt.Sprintf("%s/%02d %s", action, i+1, step), func(t *testing.T) {
				dir := t.TempDir()
				require.NoError(t, NewStore(dir).Write(numbered(1), true))
				kill(t, dir, action, i+1)

				want := 1
				if renamed {
					want = 2
				}
				s := NewStore(dir)
				f, src, err := s.Load()
				require.NoError(t, err)
				require.Equal(t, Source{Origin: Current}, src)
				require.Equal(t, numbered(want), f)

				// The fallback by itself is whole at every instant as well.
				fallback, err := Decode([]byte(read(t, dir, PreviousName)))
				require.NoError(t, err)
				require.Contains(t, []int{1, 2}, fallback.Checkpoint)
				require.LessOrEqual(t, fallback.Checkpoint, f.Checkpoint)

				require.NoError(t, s.Write(numbered(3), true))
				require.Equal(t, []string{CurrentName, PreviousName}, names(t, dir))
				f, _, err = s.Load()
				require.NoError(t, err)
				require.Equal(t, numbered(3), f)
			})
			renamed = renamed || step == CurrentName+" rename"
		}
		require.True(t, renamed)
	}
}

// Defends I1: killed in the first write of all, there is a whole savepoint or
// none, never a damaged one.
func TestKilledInTheFirstWrite(t *testing.T) {
	probe := NewStore(t.TempDir())
	for i := range operations(probe, func() { require.NoError(t, actions["write durable"](probe)) }) {
		dir := t.TempDir()
		kill(t, dir, "write durable", i+1)
		f, src, err := NewStore(dir).Load()
		require.NoError(t, err)
		switch src.Origin {
		case Current:
			require.Equal(t, numbered(2), f)
		case None:
			require.Equal(t, File{}, f)
			require.NoFileExists(t, filepath.Join(dir, PreviousName))
		default:
			t.Fatalf("loaded from the %s", src.Origin)
		}
	}
}

// Defends I2: killed while it sets damaged files aside, a start leaves what the
// next one needs to come to the same result.
func TestKilledWhileLoading(t *testing.T) {
	for _, tc := range []struct {
		name string
		prev bool
	}{{"with fallback", true}, {"without", false}} {
		prepare := func(dir string) {
			for n := range corruptKept {
				put(t, dir, corruptName(n+1), "older damage")
			}
			put(t, dir, CurrentName, "damaged")
			put(t, dir, PreviousName, "damaged")
			if tc.prev {
				put(t, dir, PreviousName, encoded(t, numbered(1)))
			}
		}
		dir := t.TempDir()
		prepare(dir)
		probe := NewStore(dir)
		steps := operations(probe, func() { _ = actions["load"](probe) })
		require.NotEmpty(t, steps)
		for i, step := range steps {
			t.Run(fmt.Sprintf("%s/%d %s", tc.name, i+1, step), func(t *testing.T) {
				dir := t.TempDir()
				prepare(dir)
				kill(t, dir, "load", i+1)

				f, src, err := NewStore(dir).Load()
				if tc.prev {
					require.NoError(t, err)
					require.Equal(t, Fallback, src.Origin)
					require.Equal(t, numbered(1), f)
					return
				}
				var lost *LostError
				require.ErrorAs(t, err, &lost)
			})
		}
	}
}
