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

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func profileFile(b *testing.B, kind string) *os.File {
	require.NoError(b, os.MkdirAll(*profile, 0o777))
	name := strings.ReplaceAll(strings.TrimPrefix(b.Name(), "Benchmark/"), "/", "-")
	f, err := os.Create(filepath.Join(*profile, fmt.Sprintf("%s.%s", name, kind)))
	require.NoError(b, err)
	return f
}

// profileCPU profiles until the function it returns is called.
func profileCPU(b *testing.B) (stop func()) {
	if *profile == "" {
		return func() {}
	}
	f := profileFile(b, "cpu")
	require.NoError(b, pprof.StartCPUProfile(f))
	return func() {
		pprof.StopCPUProfile()
		require.NoError(b, f.Close())
	}
}

// live returns the bytes that the garbage collector leaves.
func live() float64 {
	var m runtime.MemStats
	for range 3 { // What pools keep goes with the second.
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func profileHeap(b *testing.B) {
	if *profile == "" {
		return
	}
	f := profileFile(b, "heap")
	require.NoError(b, pprof.Lookup("heap").WriteTo(f, 0))
	require.NoError(b, f.Close())
}
