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

package interlock

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var errNotYet = errors.New("not yet")

// keeps keeps everything behind segment 3, and notes what it is told.
type keeps struct {
	asked           []int
	opened          int
	begun, repaired int
}

func (k *keeps) MayRemove(last int) error {
	k.asked = append(k.asked, last)
	if last > 3 {
		return errNotYet
	}
	return nil
}

func (k *keeps) Opened() { k.opened++ }

func (k *keeps) Repair() func() {
	k.begun++
	return func() { k.repaired++ }
}

// A log is guarded under whatever name its directory is given, and no other is.
func TestGuard(t *testing.T) {
	dir := t.TempDir()
	wal, link := filepath.Join(dir, "data", "wal"), filepath.Join(dir, "link")
	names := []string{wal, filepath.Join("data", ".", "wal"), wal + string(filepath.Separator)}
	if err := os.Symlink("data", link); err == nil { // Not every user may on Windows.
		names = append(names, filepath.Join(link, "wal"))
	}
	g := &keeps{}
	mine, err := Register(wal, g) // Before it exists.
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(wal, 0o777))
	t.Chdir(dir)
	for i, name := range names {
		require.NoError(t, Check(name, 3), name)
		require.ErrorIs(t, Check(name, 4), errNotYet, name)
		Repair(name)()
		Opened(name)
		require.True(t, IsOpen(wal))
		Closed(name)
		require.False(t, IsOpen(wal))
		require.Equal(t, [3]int{i + 1, i + 1, i + 1}, [3]int{g.opened, g.begun, g.repaired})
	}
	require.Len(t, g.asked, 2*len(names))
	other := filepath.Join(dir, "other", "wal")
	require.NoError(t, Check(other, 4))
	Repair(other)()
	Opened(other)
	Opened(other)
	Closed(other)
	require.True(t, IsOpen(other), "it was opened twice")
	Closed(other)
	require.Equal(t, len(names), g.opened)

	_, err = Register(names[len(names)-1], &keeps{})
	require.ErrorContains(t, err, "already delivered from")
	mine.Release()
	require.NoError(t, Check(wal, 4))
	again, err := Register(wal, g)
	require.NoError(t, err)
	mine.Release() // Of the first, which has nothing any more.
	require.ErrorIs(t, Check(wal, 4), errNotYet)
	again.Release()
}

// What is to happen before a log is opened does not happen to one that is in use, nor to
// a server's.
func TestOpening(t *testing.T) {
	var of []string
	BeforeOpening(func(walDir string, _ *slog.Logger) { of = append(of, walDir) })
	t.Cleanup(func() { BeforeOpening(nil) })
	dir := t.TempDir()
	wal, server := filepath.Join(dir, "agent", "wal"), filepath.Join(dir, "server")
	Opening(wal, nil)
	require.Equal(t, []string{wal}, of)
	Opened(wal)
	Opening(wal, nil)
	Closed(wal)
	Server(server)
	Opening(filepath.Join(server, "wal"), nil)
	require.Len(t, of, 1)
}

// A guard that leaves while the log is open has its say until that is closed, or another
// registers.
func TestLeave(t *testing.T) {
	wal := filepath.Join(t.TempDir(), "wal")
	register := func() *Registration {
		mine, err := Register(wal, &keeps{})
		require.NoError(t, err)
		return mine
	}
	mine := register()
	mine.Leave()
	require.NoError(t, Check(wal, 4), "no writer is at work")

	mine = register()
	Opened(wal)
	Opened(wal)
	mine.Leave()
	Closed(wal)
	require.ErrorIs(t, Check(wal, 4), errNotYet, "it is open once more")
	Closed(wal)
	require.NoError(t, Check(wal, 4))

	mine = register()
	Opened(wal)
	mine.Leave()
	next := register()
	mine.Release()
	Closed(wal)
	require.ErrorIs(t, Check(wal, 4), errNotYet, "of the second")
	next.Release()
	require.NoError(t, Check(wal, 4))
}

// A server's log is not guarded, even if a guard registered for it before.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	require.False(t, IsServer(dir))
	data := filepath.Join(dir, "data")
	g := &keeps{}
	mine, err := Register(filepath.Join(data, "wal"), g)
	require.NoError(t, err)
	defer mine.Release()
	require.Error(t, Check(filepath.Join(data, "wal"), 4))
	Server(data)
	require.Equal(t, 1, g.opened)
	require.False(t, IsServer(dir))
	require.NoError(t, os.Mkdir(data, 0o777))
	require.True(t, IsServer(filepath.Join(data, "..", "data")))
	require.NoError(t, Check(filepath.Join(data, "wal"), 4))
}
