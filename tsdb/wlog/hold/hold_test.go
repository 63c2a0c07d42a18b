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

package hold

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A log is held under whatever name its directory is given, and no other is.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	wal, link := filepath.Join(dir, "data", "wal"), filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("data", link))
	wanted := errors.New("not yet")
	var asked []int
	release, err := Register(wal, func(last int) error { // Before it exists.
		asked = append(asked, last)
		if last > 3 {
			return wanted
		}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(wal, 0o777))
	t.Chdir(dir)
	for _, name := range []string{wal, filepath.Join(link, "wal"), filepath.Join("data", ".", "wal"), wal + string(filepath.Separator)} {
		require.NoError(t, Check(name, 3), name)
		require.ErrorIs(t, Check(name, 4), wanted, name)
	}
	require.Len(t, asked, 8)
	require.NoError(t, Check(filepath.Join(dir, "other", "wal"), 4))

	_, err = Register(filepath.Join(link, "wal"), func(int) error { return nil })
	require.ErrorContains(t, err, "already delivered from")
	release()
	require.NoError(t, Check(wal, 4))
	again, err := Register(wal, func(int) error { return wanted })
	require.NoError(t, err)
	release() // Of the first, which has nothing any more.
	require.ErrorIs(t, Check(wal, 0), wanted)
	again()
}

// A function that is registered may ask and register itself.
func TestCheckHoldsNoLock(t *testing.T) {
	wal := filepath.Join(t.TempDir(), "wal")
	release, err := Register(wal, func(last int) error {
		if last == 0 {
			return nil
		}
		return Check(wal, 0)
	})
	require.NoError(t, err)
	defer release()
	require.NoError(t, Check(wal, 1))
}

func TestServer(t *testing.T) {
	dir := t.TempDir()
	require.False(t, IsServer(dir))
	Server(filepath.Join(dir, "data"))
	require.False(t, IsServer(dir))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "data"), 0o777))
	require.True(t, IsServer(filepath.Join(dir, "data", "..", "data")))
}
