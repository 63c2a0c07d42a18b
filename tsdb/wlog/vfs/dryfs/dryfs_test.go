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

package dryfs

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// content describes the files below a directory of a file system; directories have a
// slash at the end.
func content(t *testing.T, fsys vfs.FS, root, at string, out map[string]string) map[string]string {
	t.Helper()
	entries, err := fsys.ReadDir(filepath.Join(root, at))
	require.NoError(t, err)
	for _, e := range entries {
		name := filepath.Join(at, e.Name())
		info, err := fsys.Stat(filepath.Join(root, name))
		require.NoError(t, err)
		require.Equal(t, e.IsDir(), info.IsDir(), name)
		if e.IsDir() {
			out[name+"/"] = ""
			content(t, fsys, root, name, out)
			continue
		}
		f, err := fsys.OpenFile(filepath.Join(root, name), os.O_RDONLY, 0)
		require.NoError(t, err)
		b, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Len(t, b, int(info.Size()), name)
		out[name] = fmt.Sprintf("%d bytes, checksum %08x", len(b), crc32.ChecksumIEEE(b))
	}
	return out
}

func tree(t *testing.T, fsys vfs.FS, root string) map[string]string {
	t.Helper()
	return content(t, fsys, root, ".", map[string]string{})
}

// seedFiles makes files of several pages in a directory.
func seedFiles(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{"a", "b/c"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o777))
	}
	for i, name := range []string{"x", "a/x", "a/y", "b/c/x"} {
		b := strings.Repeat(name, 1+i*pageSize/2)
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(b), 0o666))
	}
}

// TestLikeTheSystem defends the second promise of the package, and the first: after
// any operations a dry file system shows what the operating system's would, and what
// is below is as it was.
func TestLikeTheSystem(t *testing.T) {
	for seed := range int64(40) {
		rnd := rand.New(rand.NewSource(seed))
		disk, below := t.TempDir(), t.TempDir()
		seedFiles(t, disk)
		seedFiles(t, below)
		before := tree(t, vfs.OS, below)
		dry := New(nil)
		names := []string{"x", "y", "a", "a/x", "a/y", "b", "b/c", "b/c/x", "b/new", "d", "d/e"}
		pick := func() string { return names[rnd.Intn(len(names))] }
		for n := range 60 {
			op, from, to, at := rnd.Intn(9), pick(), pick(), rnd.Int63n(3*pageSize)
			flag := []int{os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_EXCL, os.O_RDWR | os.O_TRUNC, os.O_WRONLY | os.O_APPEND}[rnd.Intn(5)]
			text := []byte(strings.Repeat("*", rnd.Intn(pageSize)))
			step := func(fsys vfs.FS, root string) error {
				from, to := filepath.Join(root, from), filepath.Join(root, to)
				switch op {
				case 0:
					if info, err := fsys.Stat(to); err == nil && info.IsDir() || strings.HasPrefix(to, from) {
						return nil // What systems disagree on.
					}
					if info, err := fsys.Stat(from); err == nil && info.IsDir() {
						if _, err := fsys.Stat(to); err == nil {
							return nil
						}
					}
					return fsys.Rename(from, to)
				case 1:
					if info, err := fsys.Stat(from); err == nil && info.IsDir() {
						return nil
					}
					return fsys.Link(from, to)
				case 2:
					return fsys.Remove(from)
				case 3:
					if err := fsys.RemoveAll(from); !errors.Is(err, syscall.ENOTDIR) {
						return err
					}
					return nil
				case 4:
					return fsys.MkdirAll(from, 0o777)
				}
				if info, err := fsys.Stat(from); err == nil && info.IsDir() {
					return nil
				}
				f, err := fsys.OpenFile(from, flag, 0o666)
				if err != nil {
					return err
				}
				switch {
				case op == 5:
					err = f.Truncate(at)
				case op == 6 && flag&os.O_APPEND == 0:
					_, err = f.WriteAt(text, at)
				default:
					_, err = f.Write(text)
				}
				return errors.Join(err, f.Close())
			}
			want, got := step(vfs.OS, disk), step(dry, below)
			require.Equal(t, want == nil, got == nil, "seed %d: %d %s %s: %v, %v", seed, op, from, to, want, got)
			if !errors.Is(want, syscall.ENOTDIR) {
				require.Equal(t, errors.Is(want, fs.ErrNotExist), errors.Is(got, fs.ErrNotExist), "seed %d: %v, %v", seed, want, got)
			}
			if n%10 == 9 {
				require.Equal(t, tree(t, vfs.OS, disk), tree(t, dry, below), "seed %d", seed)
			}
		}
		require.Equal(t, before, tree(t, vfs.OS, below), "seed %d", seed)
	}
}

// TestChanged defends that what was changed can be told.
func TestChanged(t *testing.T) {
	root := t.TempDir()
	seedFiles(t, root)
	dry := New(nil)
	require.Empty(t, dry.Changed())
	require.NoError(t, dry.Remove(filepath.Join(root, "x")))
	f, err := dry.OpenFile(filepath.Join(root, "a", "y"), os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), fs.ErrClosed)
	require.Equal(t, []string{filepath.Join(root, "a", "y"), filepath.Join(root, "x")}, dry.Changed())
}
