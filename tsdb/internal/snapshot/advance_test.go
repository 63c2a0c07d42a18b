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
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"
)

// crampedFS has no room for files and directories in wal/, nor, if so set, links.
type crampedFS struct {
	vfs.FS
	full, noLinks bool
	copied        int // Files.
}

func (*crampedFS) inWAL(name string) bool {
	return strings.Contains(name, string(filepath.Separator)+"wal"+string(filepath.Separator))
}

func (c *crampedFS) MkdirAll(name string, perm fs.FileMode) error {
	if c.full && c.inWAL(name) {
		return &fs.PathError{Op: "mkdir", Path: name, Err: faultfs.NoSpace}
	}
	return c.FS.MkdirAll(name, perm)
}

func (c *crampedFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag&os.O_CREATE != 0 && c.inWAL(name) {
		if c.full {
			return nil, &fs.PathError{Op: "open", Path: name, Err: faultfs.NoSpace}
		}
		c.copied++
	}
	return c.FS.OpenFile(name, flag, perm)
}

func (c *crampedFS) Link(from, to string) error {
	if c.noLinks {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: fs.ErrPermission}
	}
	return c.FS.Link(from, to)
}

// Defends I1 and I3: the next checkpoint is made of the one before, without room on
// the disk, be its chunks the same or more.
func TestCheckpointWithoutRoom(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	wal := filepath.Join(data, "wal")
	require.NoError(t, os.Mkdir(wal, 0o777))
	fsys := &crampedFS{FS: vfs.OS}
	s := open(t, filepath.Join(data, "series"), Options{FS: fsys})
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 1000))}))
	require.NoError(t, s.Checkpoint(ctx, wal, 1))
	fsys.full = true
	require.NoError(t, s.Checkpoint(ctx, wal, 2))
	require.Equal(t, []string{"checkpoint.00000002"}, dirNames(t, wal))
	require.Len(t, stockReads(t, filepath.Join(wal, "checkpoint.00000002")), 999)

	require.NoError(t, s.Append(ctx, Update{State: stateOf(2), Series: defs(upTo(1000, 1010))}))
	require.NoError(t, s.Checkpoint(ctx, wal, 5))
	require.Equal(t, []string{"checkpoint.00000005"}, dirNames(t, wal))
	require.Len(t, stockReads(t, filepath.Join(wal, "checkpoint.00000005")), 1009)
}

// Where no links can be made, a chunk is copied once and not for each checkpoint,
// and copying ends with the context.
func TestCheckpointWithoutLinks(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	wal := filepath.Join(data, "wal")
	require.NoError(t, os.Mkdir(wal, 0o777))
	fsys := &crampedFS{FS: vfs.OS, noLinks: true}
	slow := false
	paced, stop := context.WithCancel(ctx)
	s := open(t, filepath.Join(data, "series"), Options{FS: fsys, Pace: func(ctx context.Context, _ int) error {
		if slow {
			stop()
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}})
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 20000))}))
	require.NoError(t, s.Checkpoint(ctx, wal, 1))
	copied := fsys.copied
	require.NotZero(t, copied)
	require.NoError(t, s.Checkpoint(ctx, wal, 2))
	require.Equal(t, copied, fsys.copied, "the same chunks")
	require.NoError(t, s.Append(ctx, Update{State: stateOf(2), Series: defs(upTo(20000, 20010))}))
	require.NoError(t, s.Checkpoint(ctx, wal, 3))
	require.Equal(t, copied+1, fsys.copied, "one chunk more")
	require.Equal(t, []string{"checkpoint.00000003"}, dirNames(t, wal))
	require.Len(t, stockReads(t, filepath.Join(wal, "checkpoint.00000003")), 20009)

	// Another run finds out that they are copies; a file that is none is replaced.
	again := open(t, filepath.Join(data, "series"), Options{FS: fsys})
	require.NoError(t, again.Checkpoint(ctx, wal, 3))
	require.Equal(t, copied+1, fsys.copied)
	first := filepath.Join(wal, "checkpoint.00000003", segmentName(0))
	text, err := os.ReadFile(first)
	require.NoError(t, err)
	text[len(text)/2] ^= 1
	require.NoError(t, os.WriteFile(first, text, 0o666))
	third := open(t, filepath.Join(data, "series"), Options{FS: fsys})
	require.NoError(t, third.Checkpoint(ctx, wal, 3))
	require.Greater(t, fsys.copied, copied+1)
	require.Len(t, stockReads(t, filepath.Join(wal, "checkpoint.00000003")), 20009)

	require.NoError(t, s.Append(ctx, Update{State: stateOf(4), Series: defs(upTo(20010, 20020))}))
	slow = true
	require.ErrorIs(t, s.Checkpoint(paced, wal, 4), context.Canceled)
	require.Len(t, stockReads(t, filepath.Join(wal, "checkpoint.00000003")), 20009, "the one before is as it was")
}
