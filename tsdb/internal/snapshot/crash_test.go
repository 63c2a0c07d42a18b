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

package snapshot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

var errCrash = errors.New("crashed")

// crashFS stops before its operation number stop, counted from 1, that changes
// the disk: neither that one nor any later one has an effect, but for a write,
// of which half is done. Files that were not synced by then are cut to half.
type crashFS struct {
	vfs.FS
	mtx     sync.Mutex
	n, stop int
	dirty   map[string]struct{}
}

func newCrashFS(stop int) *crashFS {
	return &crashFS{FS: quick, stop: stop, dirty: map[string]struct{}{}}
}

// step counts an operation and returns an error if it must not happen.
func (c *crashFS) step() error {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.n++
	if c.stop > 0 && c.n >= c.stop {
		return errCrash
	}
	return nil
}

func (c *crashFS) crashed() bool { return c.stop > 0 && c.n >= c.stop }

// lose takes away what was not synced.
func (c *crashFS) lose(t *testing.T) {
	for path := range c.dirty {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, info.Size()/2))
	}
}

func (c *crashFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag == os.O_RDONLY {
		return c.FS.OpenFile(name, flag, perm)
	}
	if err := c.step(); err != nil {
		return nil, err
	}
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c.dirty[name] = struct{}{}
	return &crashFile{f, c}, nil
}

func (c *crashFS) Rename(from, to string) error {
	if err := c.step(); err != nil {
		return err
	}
	if _, ok := c.dirty[from]; ok {
		c.dirty[to] = struct{}{}
	} else {
		delete(c.dirty, to)
	}
	delete(c.dirty, from)
	return c.FS.Rename(from, to)
}

func (c *crashFS) Link(from, to string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.Link(from, to)
}

func (c *crashFS) Remove(name string) error {
	if err := c.step(); err != nil {
		return err
	}
	delete(c.dirty, name)
	return c.FS.Remove(name)
}

func (c *crashFS) RemoveAll(name string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.RemoveAll(name)
}

func (c *crashFS) MkdirAll(name string, perm fs.FileMode) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.MkdirAll(name, perm)
}

func (c *crashFS) SyncDir(name string) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.FS.SyncDir(name)
}

type crashFile struct {
	vfs.File
	c *crashFS
}

func (f *crashFile) Write(b []byte) (int, error) {
	already := f.c.crashed()
	if err := f.c.step(); err != nil {
		if !already {
			_, _ = f.File.Write(b[:len(b)/2])
		}
		return 0, err
	}
	return f.File.Write(b)
}

func (f *crashFile) Sync() error {
	if err := f.c.step(); err != nil {
		return err
	}
	delete(f.c.dirty, f.Name())
	return f.File.Sync()
}

// Defends I8: wherever in an append with merges, a replacement or a checkpoint
// the machine stops, the snapshot before or the one after is found, exactly,
// and so is the checkpoint; and the next append works.
func TestCrashAtEveryOperation(t *testing.T) {
	ctx := context.Background()
	stamps := func(t int64) map[ref]int64 { return map[ref]int64{1: t, 2: t, 40: 3} }
	history := func(s *Store, m *model) error {
		for i := range fanIn - 1 {
			u := Update{
				State: stateOf(i), Floor: i, Series: defs(upTo(1+i*150, 151+i*150)),
				Retired: []Retired{{ref(1 + i*150), i}}, Timestamps: sorted(stamps(int64(i))),
				Metadata: sorted(map[ref]metadata.Metadata{1: meta(i), 40: meta(i + 1)}),
			}
			if err := s.Append(ctx, u); err != nil {
				return err
			}
			m.apply(u)
		}
		return nil
	}
	next := Update{
		State: stateOf(50), Floor: 9, Series: defs(upTo(2000, 2300)),
		Retired: []Retired{{5, 50}, {2001, 50}}, Revived: []ref{901}, Timestamps: sorted(stamps(7)),
		Metadata: sorted(map[ref]metadata.Metadata{2: meta(7)}),
	}
	for name, act := range map[string]func(s *Store, wal string) error{
		"append":  func(s *Store, _ string) error { return s.Append(ctx, next) },
		"replace": func(s *Store, _ string) error { return s.Replace(ctx, next) },
		"checkpoint": func(s *Store, wal string) error {
			return errors.Join(s.Append(ctx, next), s.Checkpoint(ctx, wal, 7))
		},
	} {
		t.Run(name, func(t *testing.T) {
			saw := map[string]int{}
			template := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(template, "wal"), 0o777))
			before := newModel()
			s, err := Open(filepath.Join(template, "series"), Options{FS: quick})
			require.NoError(t, err)
			require.NoError(t, history(s, before))
			require.NoError(t, s.Checkpoint(ctx, filepath.Join(template, "wal"), 7))
			require.NoError(t, s.Close())
			for stop := 1; ; stop++ {
				data := filepath.Join(t.TempDir(), "data")
				require.NoError(t, os.CopyFS(data, os.DirFS(template)))
				dir, wal := filepath.Join(data, "series"), filepath.Join(data, "wal")
				after := newModel()
				if name != "replace" {
					after = before.clone()
				}
				after.apply(next)

				c := newCrashFS(stop)
				finished := false
				if s, err = Open(dir, Options{FS: c}); err == nil {
					err = act(s, wal)
					finished = err == nil && !c.crashed()
					c.lose(t)
					require.NoError(t, s.Close())
				} else {
					require.ErrorIs(t, err, errCrash)
				}

				s, err = Open(dir, Options{FS: quick})
				require.NoError(t, err)
				st, ok := s.State()
				require.True(t, ok)
				want, which := before.clone(), "before"
				if st.Covered == after.state.Covered {
					want, which = after, "after"
				}
				saw[which]++
				if err == nil && finished {
					require.Equal(t, "after", which)
				}
				want.check(t, s)
				require.Equal(t, wantNames(s), dirNames(t, dir))

				path, _, err := wlog.LastCheckpoint(wal)
				if err == nil {
					n := len(stockReads(t, path))
					require.GreaterOrEqual(t, n, 1000)
				} else {
					// Between the two renames there is none, and the snapshot has all.
					require.Equal(t, "checkpoint", name)
					saw["no checkpoint"]++
				}
				last := Update{State: stateOf(60), Series: defs(upTo(3000, 3010)), Floor: 9}
				require.NoError(t, s.Append(ctx, last))
				want.apply(last)
				want.check(t, s)
				require.NoError(t, s.Checkpoint(ctx, wal, 7))
				require.NotEmpty(t, stockReads(t, filepath.Join(wal, "checkpoint.00000007")))
				require.Equal(t, []string{"checkpoint.00000007"}, dirNames(t, wal))
				require.NoError(t, s.Close())
				if finished {
					break
				}
				require.Less(t, stop, 500)
			}
			require.Positive(t, saw["before"])
			require.Positive(t, saw["after"])
			require.LessOrEqual(t, saw["no checkpoint"], 1)
		})
	}
}

// Defends I8: if the manifest may be in place although writing it failed, no
// file of either version is removed until another manifest is there.
func TestUncertainCommitKeepsBoth(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	c := newCrashFS(0)
	s := open(t, dir, Options{FS: c})
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 10))}))
	u := Update{State: stateOf(2), Series: defs(upTo(10, 20))}
	// Count the operations of such an append, then fail the last of another.
	n := c.n
	require.NoError(t, s.Append(ctx, u))
	c.stop = c.n + (c.n - n)
	require.ErrorIs(t, s.Append(ctx, Update{State: stateOf(3), Series: defs(upTo(20, 30))}), errCrash)
	c.stop = 0
	st, _ := s.State()
	require.Equal(t, stateOf(2), st)

	other := open(t, dir, Options{FS: vfs.OS})
	st, _ = other.State()
	require.Equal(t, stateOf(3), st)
	got, rep := loaded(t, other, false)
	require.Len(t, got, 29)
	require.Zero(t, rep.DamagedBlocks)

	require.NoError(t, s.Append(ctx, Update{State: stateOf(4), Series: defs(upTo(30, 40))}))
	require.Equal(t, wantNames(s), dirNames(t, dir))
	got, _ = loaded(t, s, false)
	require.Len(t, got, 29)
}
