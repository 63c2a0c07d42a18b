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
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSettings(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	parse := func(args ...string) (settings, error) {
		return parseSettings(append([]string{"--prometheus", self}, args...))
	}

	s, err := parse()
	require.NoError(t, err)
	require.Equal(t, defaults, s.courses)
	require.Equal(t, 3, s.rounds)

	s, err = parse("--only", "1M")
	require.NoError(t, err)
	require.Equal(t, "1M-1, 1M-3", names(s.courses))

	s, err = parse("--series", "500", "--endpoints", "1,8", "--busy")
	require.NoError(t, err)
	require.Equal(t, "500-1, 500-8", names(s.courses))
	require.Equal(t, 8, s.courses[1].Endpoints)
	require.True(t, s.courses[0].Busy)

	s, err = parse("--small")
	require.NoError(t, err)
	require.Equal(t, 1, s.rounds)

	for _, wrong := range [][]string{
		{"--only", "2M"},
		{"heap"},
		{"--protocol", "v3"},
		{"--rounds", "0"},
		{"--series", "5", "--endpoints", "none"},
		{"--series", "5", "--window", "1s"},
		{"--vmagent", "/nowhere"},
	} {
		_, err := parse(wrong...)
		require.Error(t, err, "%v", wrong)
	}
}

// A name that is none once ended with PASS, since no benchmark had failed.
func TestUnknownBenchmarkIsAnError(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no shell")
	}
	for _, name := range []string{"agents", "heap.*", "append|isolation", ""} {
		out, err := exec.Command("sh", "../../../scripts/bench.sh", name).CombinedOutput()
		var status *exec.ExitError
		require.ErrorAs(t, err, &status)
		require.Equal(t, 2, status.ExitCode())
		require.Contains(t, string(out), "there is no benchmark")
		require.NotContains(t, string(out), "PASS")
	}
}
