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

package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v2"

	"github.com/ackwal/ackwal/conformance/wire"
)

func setupOfTwo(protocol wire.Protocol) Setup {
	return Setup{
		ConfigFile: "/c", DataDir: "/d", Listen: "127.0.0.1:1", Target: "127.0.0.1:2", Interval: 200 * time.Millisecond,
		Endpoints: []Endpoint{
			{Name: "one", URL: "http://127.0.0.1:3/w", OTLP: "http://127.0.0.1:3/w"},
			{Name: "two", URL: "http://127.0.0.1:4/w", OTLP: "http://127.0.0.1:4/w"},
		},
		Protocol: protocol,
	}
}

// TestKnownSenders: what is written for each sender is valid and names
// everything it has to.
func TestKnownSenders(t *testing.T) {
	for _, name := range Senders() {
		for _, protocol := range []wire.Protocol{"", wire.V1, wire.V2} {
			s, err := Named(name, os.Args[0])
			require.NoError(t, err)
			require.NoError(t, s.Validate())
			setup := setupOfTwo(protocol)
			setup.Settings = s.Settings
			args, err := s.arguments(setup)
			require.NoError(t, err)
			config, err := s.config(setup)
			require.NoError(t, err)
			var parsed map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(config), &parsed), config)
			all := strings.Join(args, "\n") + config
			if name != "otel-remote-write" { // It keeps nothing on disk.
				require.Contains(t, all, "/d", name)
			}
			for _, want := range []string{"/c", "127.0.0.1:2", "http://127.0.0.1:3/w", "http://127.0.0.1:4/w", "200ms"} {
				require.Contains(t, all, want, name)
			}
			if protocol != "" && name != "vmagent" && !strings.HasPrefix(name, "otel-otlp") {
				require.Contains(t, config, string(protocol))
			}
			setup.Reloaded = true
			reloaded, err := s.config(setup)
			require.NoError(t, err)
			require.NotEqual(t, config, reloaded, "there is something to reload")
		}
	}
	_, err := Named("nobody", "x")
	require.ErrorContains(t, err, "generic")
}

func TestBadSenders(t *testing.T) {
	for name, s := range map[string]Sender{
		"no binary":         {},
		"missing binary":    {Binary: filepath.Join(t.TempDir(), "x")},
		"bad argument":      {Binary: os.Args[0], Args: []string{"{{.Nothing}}"}},
		"bad config":        {Binary: os.Args[0], Config: "{{"},
		"bad pattern":       {Binary: os.Args[0], Positions: []string{"["}},
		"directory":         {Binary: t.TempDir()},
		"bad other pattern": {Binary: os.Args[0], Ignore: []string{"["}},
	} {
		require.Error(t, s.Validate(), name)
	}
}

func TestGeneric(t *testing.T) {
	s, err := Generic(`/bin/x -a 'b c' --u={{range .Endpoints}}{{.URL}},{{end}} "" {{ .DataDir }}/x`, "cfg {{.Target}}")
	require.NoError(t, err)
	require.Equal(t, "/bin/x", s.Binary)
	args, err := s.arguments(setupOfTwo(""))
	require.NoError(t, err)
	require.Equal(t, []string{"-a", "b c", "--u=http://127.0.0.1:3/w,http://127.0.0.1:4/w,", "/d/x"}, args)
	config, err := s.config(setupOfTwo(""))
	require.NoError(t, err)
	require.Equal(t, "cfg 127.0.0.1:2", config)
	for _, bad := range []string{"", "  ", "a 'b", "a {{b"} {
		_, err := Generic(bad, "")
		require.Error(t, err, bad)
	}
}

// TestDamage: the files that hold something are found by age, and exactly one
// byte of content changes.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	for i, f := range []struct{ name, content string }{
		{"old", "abc"}, {"zeros", "\x00\x00"}, {"empty", ""}, {"lock", "x"}, {"sub/new", "\x00abc\x00\x00\x00\x00\x00"},
	} {
		path := filepath.Join(dir, f.name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(f.content), 0o666))
		at := time.Unix(int64(1000+i), 0)
		require.NoError(t, os.Chtimes(path, at, at))
	}
	files, err := dataFiles(dir, []string{"lock"})
	require.NoError(t, err)
	require.Len(t, files, 2)
	require.Equal(t, "old", files[0].path)
	require.Equal(t, filepath.Join("sub", "new"), files[1].path)

	require.NoError(t, flip(filepath.Join(dir, "sub", "new")))
	content, err := os.ReadFile(filepath.Join(dir, "sub", "new"))
	require.NoError(t, err)
	require.Equal(t, "\x00a\x9dc\x00\x00\x00\x00\x00", string(content))
	require.Error(t, flip(filepath.Join(dir, "zeros")))

	removed, err := removeMatching(dir, []string{"o*", "sub/*"})
	require.NoError(t, err)
	require.Equal(t, 2, removed)
	require.NoFileExists(t, filepath.Join(dir, "old"))
}
