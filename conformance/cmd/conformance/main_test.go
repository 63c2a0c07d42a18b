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
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestList(t *testing.T) {
	out := strings.Builder{}
	passed, err := run(t.Context(), []string{"--list"}, &out)
	require.NoError(t, err)
	require.True(t, passed)
	require.Contains(t, out.String(), "crash-in-catch-up")
}

// TestMistakes: what cannot be run is said before anything is started.
func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"nothing to run":    {nil, "--command"},
		"unknown sender":    {[]string{"--sender=x", "--binary=y"}, `no sender "x"`},
		"no binary":         {[]string{"--sender=vmagent"}, "no binary"},
		"no such binary":    {[]string{"--sender=vmagent", "--binary=" + filepath.Join(t.TempDir(), "x")}, "not a program"},
		"no such template":  {[]string{"--command=x", "--config-template=" + filepath.Join(t.TempDir(), "x")}, "template"},
		"unknown protocol":  {[]string{"--command=x", "--protocol=v3"}, "v3"},
		"unknown rules":     {[]string{"--command=" + os.Args[0], "--receiver=kind"}, "kind"},
		"unknown case":      {[]string{"--command=" + os.Args[0], "--cases=x"}, `no case "x"`},
		"unknown reload":    {[]string{"--command=x", "--reload=USR1"}, "USR1"},
		"something besides": {[]string{"outage"}, "outage"},
		"quote without end": {[]string{"--command=a 'b"}, "quote"},
	} {
		t.Run(name, func(t *testing.T) {
			out := strings.Builder{}
			_, err := run(t.Context(), tc.args, &out)
			require.ErrorContains(t, err, tc.want)
			require.Empty(t, out.String())
		})
	}
}

// TestRunAndReport: a program that is no sender fails every case, in both forms
// of the report.
func TestRunAndReport(t *testing.T) {
	args := []string{"--command=" + os.Args[0] + " --test.run=^$", "--cases=outage,reload-in-outage"}
	out := strings.Builder{}
	passed, err := run(t.Context(), args, &out)
	require.NoError(t, err)
	require.False(t, passed)
	require.Contains(t, out.String(), "FAIL generic")
	require.Contains(t, out.String(), "n/a")

	out.Reset()
	passed, err = run(t.Context(), append(args, "--json"), &out)
	require.NoError(t, err)
	require.False(t, passed)
	require.Contains(t, out.String(), `"verdict": "ended"`)
}
