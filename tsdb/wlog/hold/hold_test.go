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
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var errNotYet = errors.New("not yet")

// holds holds everything behind segment 3, and notes what it is told.
type holds struct {
	asked           []int
	opened          int
	begun, repaired int
}

func (h *holds) MayRemove(last int) error {
	h.asked = append(h.asked, last)
	if last > 3 {
		return errNotYet
	}
	return nil
}

func (h *holds) Opened() { h.opened++ }

func (h *holds) Repair() func() {
	h.begun++
	return func() { h.repaired++ }
}

// A log is held under whatever name its directory is given, and no other is.
func TestHolder(t *testing.T) {
	dir := t.TempDir()
	wal, link := filepath.Join(dir, "data", "wal"), filepath.Join(dir, "link")
	names := []string{wal, filepath.Join("data", ".", "wal"), wal + string(filepath.Separator)}
	if err := os.Symlink("data", link); err == nil { // Not every user may on Windows.
		names = append(names, filepath.Join(link, "wal"))
	}
	h := &holds{}
	held, err := Register(wal, h) // Before it exists.
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
		require.Equal(t, [3]int{i + 1, i + 1, i + 1}, [3]int{h.opened, h.begun, h.repaired})
	}
	require.Len(t, h.asked, 2*len(names))
	other := filepath.Join(dir, "other", "wal")
	require.NoError(t, Check(other, 4))
	Repair(other)()
	Opened(other)
	Opened(other)
	Closed(other)
	require.True(t, IsOpen(other), "it was opened twice")
	Closed(other)
	require.Equal(t, len(names), h.opened)

	_, err = Register(names[len(names)-1], &holds{})
	require.ErrorContains(t, err, "already delivered from")
	held.Release()
	require.NoError(t, Check(wal, 4))
	again, err := Register(wal, h)
	require.NoError(t, err)
	held.Release() // Of the first, which has nothing any more.
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

// A holder that leaves while the log is open has its say until that is closed, or another
// registers.
func TestLeave(t *testing.T) {
	wal := filepath.Join(t.TempDir(), "wal")
	register := func() *Hold {
		held, err := Register(wal, &holds{})
		require.NoError(t, err)
		return held
	}
	held := register()
	held.Leave()
	require.NoError(t, Check(wal, 4), "no writer is at work")

	held = register()
	Opened(wal)
	Opened(wal)
	held.Leave()
	Closed(wal)
	require.ErrorIs(t, Check(wal, 4), errNotYet, "it is open once more")
	Closed(wal)
	require.NoError(t, Check(wal, 4))

	held = register()
	Opened(wal)
	held.Leave()
	next := register()
	held.Release()
	Closed(wal)
	require.ErrorIs(t, Check(wal, 4), errNotYet, "of the second")
	next.Release()
	require.NoError(t, Check(wal, 4))
}

// A server's log is not held, even if a holder registered for it before.
func TestServer(t *testing.T) {
	dir := t.TempDir()
	require.False(t, IsServer(dir))
	data := filepath.Join(dir, "data")
	h := &holds{}
	held, err := Register(filepath.Join(data, "wal"), h)
	require.NoError(t, err)
	defer held.Release()
	require.Error(t, Check(filepath.Join(data, "wal"), 4))
	Server(data)
	require.Equal(t, 1, h.opened)
	require.False(t, IsServer(dir))
	require.NoError(t, os.Mkdir(data, 0o777))
	require.True(t, IsServer(filepath.Join(data, "..", "data")))
	require.NoError(t, Check(filepath.Join(data, "wal"), 4))
}
