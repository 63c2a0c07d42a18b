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

package main

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCPUTime(t *testing.T) {
	// Names of processes may look like the rest of the line.
	line := []byte("4242 (a) R 1 (b) S 1 4242 4242 0 -1 4194560 100 0 0 0 250 70 9 9 20 0 12 0 100 0 0")
	d, err := cpuTime(line)
	require.NoError(t, err)
	require.Equal(t, 3200*time.Millisecond, d)
	_, err = cpuTime([]byte("4242 (a) S 1 2"))
	require.Error(t, err)
}

func TestField(t *testing.T) {
	text := []byte("VmHWM:\t    1234 kB\nVmRSS:\t     999 kB\n")
	n, err := field(text, "VmRSS:")
	require.NoError(t, err)
	require.Equal(t, int64(999), n)
	_, err = field(text, "VmSwap:")
	require.Error(t, err)
}

// The files of /proc are as this program reads them.
func TestUsageOfThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	u, err := readUsage(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, u.RSS)
	require.GreaterOrEqual(t, u.Peak, u.RSS)
	busy, err := busyTime()
	require.NoError(t, err)
	require.Greater(t, busy, u.CPU)
	require.Positive(t, describeMachine().Memory)
	_, err = readUsage(1 << 30)
	require.Error(t, err)
}
