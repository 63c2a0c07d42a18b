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

package faultfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// rig is a file system in a directory of its own.
type rig struct {
	*FS
	t    *testing.T
	root string
}

func newRig(t *testing.T) *rig {
	root := filepath.Join(t.TempDir(), "data")
	f, err := New(root)
	require.NoError(t, err)
	return &rig{FS: f, t: t, root: root}
}

func (r *rig) path(name string) string { return filepath.Join(r.root, filepath.FromSlash(name)) }

// write makes a file, or appends to it.
func (r *rig) write(name, data string) {
	r.t.Helper()
	f, err := r.OpenFile(r.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	require.NoError(r.t, err)
	_, err = f.Write([]byte(data))
	require.NoError(r.t, err)
	require.NoError(r.t, f.Close())
}

func (r *rig) sync(name string) {
	r.t.Helper()
	f, err := r.OpenFile(r.path(name), os.O_RDWR, 0)
	require.NoError(r.t, err)
	require.NoError(r.t, f.Sync())
	require.NoError(r.t, f.Close())
}

// tree returns the files below a directory with their content; directories have
// a slash at the end.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if e.IsDir() {
			out[rel+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(path)
		out[rel] = string(data)
		return err
	}))
	return out
}

// clones returns what n random clones hold, after the least one.
func (r *rig) clones(n int) (out []map[string]string) {
	r.t.Helper()
	for seed := range int64(n + 1) {
		dst := filepath.Join(r.t.TempDir(), "clone")
		require.NoError(r.t, r.Clone(dst, seed))
		out = append(out, tree(r.t, dst))
	}
	return out
}

func (r *rig) copied() map[string]string {
	r.t.Helper()
	dst := filepath.Join(r.t.TempDir(), "copy")
	require.NoError(r.t, r.Copy(dst))
	return tree(r.t, dst)
}

type content = map[string]string

// What was synced, and nothing else, is in the least clone; every random one
// has a state that the order of the operations allows; and each of these states
// is in some.
func TestClone(t *testing.T) {
	for name, tc := range map[string]struct {
		do    func(r *rig)
		least content
		may   func(c content) bool
		some  []content
	}{
		"file without its name": {
			do: func(r *rig) {
				r.write("a", "1234")
				r.sync("a")
			},
			least: content{},
			some:  []content{{}, {"a": "1234"}},
		},
		"name without the file": {
			do: func(r *rig) {
				r.write("a", "1234")
				require.NoError(r.t, r.SyncDir(r.root))
			},
			least: content{"a": ""},
			may: func(c content) bool {
				got := strings.TrimRight(c["a"], "\x00")
				return got == "1234"[:min(len(got), 4)] && len(c["a"]) <= 4
			},
			some: []content{{"a": ""}, {"a": "12"}, {"a": "1234"}, {"a": "1\x00\x00\x00"}},
		},
		"appended": {
			do: func(r *rig) {
				r.write("a", "12")
				r.sync("a")
				require.NoError(r.t, r.SyncDir(r.root))
				r.write("a", "34")
			},
			least: content{"a": "12"},
			some:  []content{{"a": "12"}, {"a": "123"}, {"a": "1234"}, {"a": "12\x00\x00"}, {"a": "123\x00"}, {"a": "12\x00"}},
		},
		"replaced": {
			do: func(r *rig) {
				r.write("a", "old")
				r.sync("a")
				require.NoError(r.t, r.SyncDir(r.root))
				r.write("a.tmp", "new")
				r.sync("a.tmp")
				require.NoError(r.t, r.Rename(r.path("a.tmp"), r.path("a")))
			},
			least: content{"a": "old"},
			some:  []content{{"a": "old"}, {"a": "old", "a.tmp": "new"}, {"a": "new"}},
		},
		"removed in order": {
			do: func(r *rig) {
				for _, name := range []string{"0", "1", "2"} {
					r.write(name, "x")
					r.sync(name)
				}
				require.NoError(r.t, r.SyncDir(r.root))
				require.NoError(r.t, r.Remove(r.path("0")))
				require.NoError(r.t, os.Remove(r.path("1"))) // By another process.
			},
			least: content{"0": "x", "1": "x", "2": "x"},
			some:  []content{{"0": "x", "1": "x", "2": "x"}, {"1": "x", "2": "x"}, {"2": "x"}},
		},
		"directory": {
			do: func(r *rig) {
				require.NoError(r.t, r.MkdirAll(r.path("d/e"), 0o777))
				r.write("d/e/a", "x")
				r.sync("d/e/a")
				require.NoError(r.t, r.SyncDir(r.path("d/e")))
			},
			least: content{},
			some:  []content{{}, {"d/": ""}, {"d/": "", "d/e/": "", "d/e/a": "x"}},
		},
		"directory renamed": {
			do: func(r *rig) {
				require.NoError(r.t, r.MkdirAll(r.path("d.tmp"), 0o777))
				r.write("d.tmp/a", "x")
				r.sync("d.tmp/a")
				require.NoError(r.t, r.SyncDir(r.path("d.tmp")))
				require.NoError(r.t, r.Rename(r.path("d.tmp"), r.path("d")))
				require.NoError(r.t, r.SyncDir(r.root))
			},
			least: content{"d/": "", "d/a": "x"},
			some:  []content{{"d/": "", "d/a": "x"}},
		},
		"directory removed": {
			do: func(r *rig) {
				require.NoError(r.t, r.MkdirAll(r.path("d"), 0o777))
				r.write("d/a", "x")
				r.write("d/b", "y")
				require.NoError(r.t, r.Settled(r.path("d")))
				require.NoError(r.t, r.RemoveAll(r.path("d")))
			},
			least: content{"d/": "", "d/a": "x", "d/b": "y"},
			some:  []content{{"d/": "", "d/a": "x", "d/b": "y"}, {"d/": "", "d/b": "y"}, {"d/": ""}, {}},
		},
		"link": {
			do: func(r *rig) {
				r.write("a", "x")
				require.NoError(r.t, r.Link(r.path("a"), r.path("b")))
				r.sync("b")
				require.NoError(r.t, r.SyncDir(r.root))
			},
			least: content{"a": "x", "b": "x"},
			some:  []content{{"a": "x", "b": "x"}},
		},
		"shortened": {
			do: func(r *rig) {
				r.write("a", "1234")
				require.NoError(r.t, r.Settled(r.path("a")))
				f, err := r.OpenFile(r.path("a"), os.O_RDWR, 0)
				require.NoError(r.t, err)
				require.NoError(r.t, f.Truncate(1))
				require.NoError(r.t, f.Close())
			},
			least: content{"a": "1234"},
			some:  []content{{"a": "1234"}, {"a": "1"}},
		},
		"written over": {
			do: func(r *rig) {
				r.write("a", strings.Repeat("o", 2*sector))
				require.NoError(r.t, r.Settled(r.path("a")))
				f, err := r.OpenFile(r.path("a"), os.O_RDWR, 0)
				require.NoError(r.t, err)
				_, err = f.WriteAt([]byte(strings.Repeat("n", 2*sector)), 0)
				require.NoError(r.t, err)
				require.NoError(r.t, f.Close())
			},
			least: content{"a": strings.Repeat("o", 2*sector)},
			some: []content{
				{"a": strings.Repeat("o", 2*sector)},
				{"a": strings.Repeat("o", sector) + strings.Repeat("n", sector)},
				{"a": strings.Repeat("n", sector) + strings.Repeat("o", sector)},
				{"a": strings.Repeat("n", 2*sector)},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tc.do(r)
			got := r.clones(100)
			require.Equal(t, tc.least, got[Least])
			require.Equal(t, tree(t, r.root), r.copied())
			for _, c := range got {
				if tc.may != nil {
					require.True(t, tc.may(c), "%q", c)
				} else {
					require.Contains(t, tc.some, c)
				}
			}
			for _, c := range tc.some {
				require.Contains(t, got, c)
			}
		})
	}
}

// Links stay links in a clone.
func TestCloneKeepsLinks(t *testing.T) {
	r := newRig(t)
	r.write("a", "x")
	require.NoError(t, r.Link(r.path("a"), r.path("b")))
	require.NoError(t, r.Settled(r.path("a")))
	dst := filepath.Join(t.TempDir(), "clone")
	require.NoError(t, r.Clone(dst, 7))
	a, err := os.Stat(filepath.Join(dst, "a"))
	require.NoError(t, err)
	b, err := os.Stat(filepath.Join(dst, "b"))
	require.NoError(t, err)
	require.True(t, os.SameFile(a, b))
}

// Equal seeds give equal clones.
func TestCloneIsDeterministic(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		r.write(name, strings.Repeat(name, 1000))
	}
	first := r.clones(20)
	require.Equal(t, first, r.clones(20))
}

// What is there at the beginning is durable, and what others write is not until
// it is said to be.
func TestFilesOfOthers(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "wal"), 0o777))
	segment := filepath.Join(root, "wal", "00000000")
	require.NoError(t, os.WriteFile(segment, []byte("12"), 0o666))
	f, err := New(root)
	require.NoError(t, err)
	r := &rig{FS: f, t: t, root: root}
	require.Equal(t, content{"wal/": "", "wal/00000000": "12"}, r.clones(0)[0])

	require.NoError(t, os.WriteFile(segment, []byte("123456"), 0o666))
	next := filepath.Join(root, "wal", "00000001")
	require.NoError(t, r.Outside("next", next, func() error { return os.WriteFile(next, nil, 0o666) }))
	require.Equal(t, content{"wal/": "", "wal/00000000": "12"}, r.clones(0)[0])
	size, err := r.Durable(segment)
	require.NoError(t, err)
	require.Equal(t, int64(2), size)

	require.NoError(t, r.Synced(segment, 4))
	require.Equal(t, content{"wal/": "", "wal/00000000": "1234"}, r.clones(0)[0])
	size, err = r.Durable(next)
	require.NoError(t, err)
	require.Equal(t, int64(-1), size)
	require.NoError(t, r.SyncedDir(filepath.Dir(next)))
	require.Equal(t, content{"wal/": "", "wal/00000000": "1234", "wal/00000001": ""}, r.clones(0)[0])
}

// Each operation fails when it is its turn, with the error that was asked for,
// once or from then on, and changes nothing; only a write leaves half of what
// it was given.
func TestInject(t *testing.T) {
	steps := func(r *rig) (errs []error) {
		do := func(err error) { errs = append(errs, err) }
		do(r.MkdirAll(r.path("d"), 0o777))
		f, err := r.OpenFile(r.path("d/a"), os.O_CREATE|os.O_RDWR, 0o666)
		do(err)
		if err == nil {
			_, err = f.Write([]byte("1234"))
			do(err)
			_, err = f.WriteAt([]byte("abcd"), 4)
			do(err)
			do(f.Truncate(6))
			do(f.Sync())
			require.NoError(r.t, f.Close())
		}
		do(r.Link(r.path("d/a"), r.path("d/b")))
		do(r.Rename(r.path("d/b"), r.path("d/c")))
		do(r.SyncDir(r.path("d")))
		do(r.Remove(r.path("d/c")))
		do(r.Outside("log", r.path("d/x"), func() error { return os.WriteFile(r.path("d/x"), nil, 0o666) }))
		do(r.RemoveAll(r.path("d")))
		return errs
	}
	r := newRig(t)
	r.Count(nil)
	require.NoError(t, errors.Join(steps(r)...))
	total := r.Counted()
	require.Equal(t, 12, total)

	for at := range total {
		for _, stays := range []bool{false, true} {
			r := newRig(t)
			r.Inject(Fault{At: at, Err: NoSpace, Stays: stays})
			errs := steps(r)
			var hit error
			for _, err := range errs {
				if Injected(err) {
					hit = err
					break
				}
			}
			require.ErrorIs(t, hit, NoSpace)
			if stays {
				require.Equal(t, r.Counted()-at, r.Hits())
			} else {
				require.Equal(t, 1, r.Hits())
			}
		}
	}

	r = newRig(t)
	r.write("a", "")
	r.Inject(Fault{At: 1, Err: NoSpace})
	f, err := r.OpenFile(r.path("a"), os.O_WRONLY, 0)
	require.NoError(t, err)
	n, err := f.Write([]byte("1234"))
	require.ErrorIs(t, err, NoSpace)
	require.Equal(t, 2, n)
	require.NoError(t, f.Close())
	require.Equal(t, content{"a": "12"}, tree(t, r.root))
}

// Reading operations are chosen by their own filter.
func TestInjectReads(t *testing.T) {
	r := newRig(t)
	r.write("a", "1234")
	steps := func() error {
		f, err := r.OpenFile(r.path("a"), os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, statErr := f.Stat()
		_, readErr := io.ReadFull(f, make([]byte, 4))
		_, readAtErr := f.ReadAt(make([]byte, 4), 0)
		_, err = r.ReadDir(r.root)
		_, e := r.Stat(r.path("a"))
		return errors.Join(statErr, readErr, readAtErr, err, e)
	}
	r.Count(Reads)
	require.NoError(t, steps())
	require.Equal(t, 6, r.Counted())
	for at := range 6 {
		r.Inject(Fault{At: at, Err: Broken, Match: Reads})
		require.ErrorIs(t, steps(), Broken)
		require.Equal(t, 1, r.Hits())
	}
	r.Inject(Fault{At: 0, Err: Broken, Stays: true})
	require.NoError(t, steps(), "nothing was changed")
}

// Before is called ahead of each operation, and may clone.
func TestBefore(t *testing.T) {
	r := newRig(t)
	var ops []string
	var states []content
	r.Before(func(o Op) {
		rel, err := filepath.Rel(r.root, o.Path)
		require.NoError(t, err)
		ops = append(ops, o.Name+" "+rel)
		states = append(states, r.clones(0)[0])
	})
	r.write("a", "x")
	r.sync("a")
	require.NoError(t, r.SyncDir(r.root))
	r.Before(nil)
	require.NoError(t, r.Remove(r.path("a")))
	require.Equal(t, []string{"openfile a", "write a", "openfile a", "sync a", "syncdir ."}, ops)
	require.Equal(t, []content{{}, {}, {}, {}, {}}, states)
}

// Without faults it behaves as the file system it wraps.
func TestErrorsAreThoseOfTheSystem(t *testing.T) {
	r := newRig(t)
	for _, fsys := range []vfs.FS{vfs.OS, r} {
		_, err := fsys.OpenFile(r.path("no"), os.O_RDONLY, 0)
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = fsys.Stat(r.path("no"))
		require.ErrorIs(t, err, os.ErrNotExist)
		_, err = fsys.ReadDir(r.path("no"))
		require.ErrorIs(t, err, os.ErrNotExist)
		require.ErrorIs(t, fsys.Remove(r.path("no")), os.ErrNotExist)
		require.ErrorIs(t, fsys.Rename(r.path("no"), r.path("no2")), os.ErrNotExist)
		require.ErrorIs(t, fsys.Link(r.path("no"), r.path("no2")), os.ErrNotExist)
		require.NoError(t, fsys.RemoveAll(r.path("no")))
		require.ErrorIs(t, fsys.SyncDir(r.path("no")), os.ErrNotExist)
	}
	r.write("a", "")
	_, err := r.OpenFile(r.path("a"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	require.ErrorIs(t, err, os.ErrExist)
}
