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

package durable

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
)

// The same with a real file system that is full.
func TestRealDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no file system of a few megabytes can be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	data, ballast := filepath.Join(dir, "data"), filepath.Join(dir, "ballast")
	require.NoError(t, os.Mkdir(data, 0o777))
	opts := small()
	opts.MaxSize = 1 << 30
	x := newTroubled(t, data, opts, realEnvironment, delivery.Options{})
	x.ordeal(
		func() { cram(t, ballast) },
		func() { require.NoError(t, os.Remove(ballast)) },
		syscall.ENOSPC,
	)
	requireStockOpens(t, data, "after a full disk")
}
