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

package vfs

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file system that cannot sync directories, as some over the network, is no
// reason to fail. This one is at hand everywhere and says so.
func TestSyncDirUnsupported(t *testing.T) {
	d, err := os.Open("/proc")
	require.NoError(t, err)
	err = d.Sync()
	require.NoError(t, d.Close())
	if err == nil {
		t.Skip("the system syncs /proc")
	}
	require.True(t, unsupported(err), "%v", err)
	require.NoError(t, OS.SyncDir("/proc"))
	require.NoError(t, OS.SyncDir(t.TempDir()))
	require.ErrorIs(t, OS.SyncDir("/none"), os.ErrNotExist)
}

func TestNoRoom(t *testing.T) {
	require.True(t, NoRoom(fmt.Errorf("write: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC})))
	require.True(t, NoRoom(syscall.EDQUOT))
	require.False(t, NoRoom(syscall.EIO))
	require.False(t, NoRoom(nil))
}
