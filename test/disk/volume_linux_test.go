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

package disk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// volume is a mounted file system of a test's own.
type volume struct {
	t     *testing.T
	dir   string // Where it is mounted.
	image string // The file it is in; empty for a tmpfs.
}

// run runs a command of the system.
func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// mount makes a file system of so many MiB, without blocks that only root may use,
// and mounts it. Where that is not allowed
// the test says so and is left out.
func mount(t *testing.T, kind string, mib int, options ...string) *volume {
	t.Helper()
	v := &volume{t: t, dir: filepath.Join(t.TempDir(), "volume")}
	require.NoError(t, os.Mkdir(v.dir, 0o777))
	var err error
	if kind == "tmpfs" {
		err = run("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", v.dir)
	} else {
		v.image = filepath.Join(filepath.Dir(v.dir), "image")
		f, e := os.Create(v.image)
		require.NoError(t, e)
		require.NoError(t, f.Truncate(int64(mib)<<20))
		require.NoError(t, f.Close())
		if err = run("mkfs."+kind, append(append([]string{"-q", "-m", "0"}, options...), v.image)...); err == nil {
			err = v.attach()
		}
	}
	if err != nil {
		t.Skipf("LEFT OUT: no %s of %d MiB can be made and mounted here: %v", kind, mib, err)
	}
	t.Cleanup(func() { require.NoError(t, v.detach()) })
	return v
}

func (v *volume) attach() error { return run("mount", "-o", "loop", v.image, v.dir) }

func (v *volume) detach() error {
	if err := syscall.Unmount(v.dir, 0); errors.Is(err, syscall.EBUSY) {
		return syscall.Unmount(v.dir, syscall.MNT_DETACH)
	} else if !errors.Is(err, syscall.EINVAL) { // It is not mounted.
		return err
	}
	return nil
}

func (v *volume) free() int64 {
	v.t.Helper()
	var st syscall.Statfs_t
	require.NoError(v.t, syscall.Statfs(v.dir, &st))
	return int64(st.Bavail) * st.Bsize
}

// cram is another program that takes all room there is but the given bytes, and
// gives it back with the function it returns.
func (v *volume) cram(but int64) (undo func()) {
	v.t.Helper()
	path := filepath.Join(v.dir, "crammed")
	f, err := os.Create(path)
	require.NoError(v.t, err)
	defer f.Close()
	for block := int64(1 << 20); block > 0; {
		if v.free() < but+block {
			block /= 2
			continue
		}
		if _, err := f.Write(make([]byte, block)); err != nil {
			require.ErrorIs(v.t, err, syscall.ENOSPC)
			block /= 2
		}
	}
	return func() { require.NoError(v.t, os.Remove(path)) }
}

// useUpFiles makes files until there can be no more.
func (v *volume) useUpFiles() (undo func()) {
	v.t.Helper()
	dir := filepath.Join(v.dir, "many")
	require.NoError(v.t, os.Mkdir(dir, 0o777))
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			require.ErrorIs(v.t, err, syscall.ENOSPC)
			break
		}
		require.NoError(v.t, f.Close())
	}
	return func() { require.NoError(v.t, os.RemoveAll(dir)) }
}
