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

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/require"
)

// nobody is the user of the image, by number.
const nobody = 65534

// The Dockerfile is right to BuildKit's parser and linter, and what it makes runs as
// nobody, as an agent, with a data directory that is a volume of its own.
func TestDockerfile(t *testing.T) {
	f, err := os.Open(root + "/packaging/Dockerfile")
	require.NoError(t, err)
	defer f.Close()
	tree, err := parser.Parse(f)
	require.NoError(t, err)
	require.Empty(t, tree.Warnings)
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, _ []parser.Range) {
		t.Errorf("%s: %s (%s)", rule, message, description)
	}})
	stages, _, err := instructions.Parse(tree.AST, lint)
	require.NoError(t, err)
	require.Len(t, stages, 1)

	var user string
	var volumes, start []string
	owners, runs := map[string]string{}, 0
	for _, command := range stages[0].Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.VolumeCommand:
			volumes = append(volumes, c.Volumes...)
		case *instructions.CopyCommand:
			owners[c.DestPath] = c.Chown
		case *instructions.RunCommand:
			runs++
		case *instructions.CmdCommand:
			start = c.CmdLine
		}
	}
	require.Equal(t, "65534:65534", user)
	require.Equal(t, []string{"/prometheus"}, volumes)
	require.Equal(t, user, owners["/prometheus"])
	require.Empty(t, owners["/bin/"], "what it runs must not be its own to change")
	require.Zero(t, runs, "the base has no shell")
	require.Contains(t, start, "--agent")
	require.Contains(t, start, "--storage.agent.path=/prometheus")
}

// The image is built where something can build it, on an empty base, since that of the
// Dockerfile may be out of reach.
func TestImage(t *testing.T) {
	release := releaseDir(t)
	builder := ""
	for _, name := range []string{"docker", "podman"} {
		if exec.Command(name, "info").Run() == nil {
			builder = name
			break
		}
	}
	stage := filepath.Join(release, "stage", "linux-"+runtime.GOARCH)
	if _, err := os.Stat(stage); err != nil {
		t.Skip("LEFT OUT: the release has nothing for Linux that runs here, so no image is built")
	}
	if builder == "" {
		t.Skip("LEFT OUT: neither docker nor podman works here, so no image is built; the Dockerfile was parsed and linted")
	}
	out, err := exec.Command(builder, "build", "--build-arg", "BASE=scratch", "--build-arg", "TARGETARCH="+runtime.GOARCH,
		"--tag", "ackwal-packaging-test", "--file", root+"/packaging/Dockerfile", filepath.Join(release, "stage")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(builder, "run", "--rm", "ackwal-packaging-test", "--version").CombinedOutput()
	require.NoError(t, err, "%s", out)
	upstreams, _ := version(t)
	require.Contains(t, string(out), "version "+upstreams+"+ackwal.")
}

// The unit is right to systemd, with the paths that the Debian package has, and it is
// hardened.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("LEFT OUT: systemd-analyze is not installed, so the unit is not verified")
	}
	const unit = "usr/lib/systemd/system/prometheus-agent.service"
	text, err := os.ReadFile(root + "/packaging/systemd/prometheus-agent.service")
	require.NoError(t, err)
	dir := t.TempDir()
	programs := []string{"usr/lib/ackwal/prometheus", "usr/lib/ackwal/promtool", "bin/kill"}
	// As far as systemd looks: that there are programs with these names.
	for _, name := range append(programs, unit) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, unit), 0o644))
	for _, target := range []string{"sysinit", "basic", "shutdown", "network-online", "multi-user"} {
		name := filepath.Join(dir, "usr/lib/systemd/system", target+".target")
		require.NoError(t, os.WriteFile(name, []byte("[Unit]\nDescription="+target+"\n"), 0o644))
	}
	out, err := exec.Command("systemd-analyze", "verify", "--root="+dir, "--man=no", "prometheus-agent.service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, strings.TrimSpace(string(out)))

	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--root="+dir, "--threshold=20", "--no-pager", "prometheus-agent.service").CombinedOutput()
	require.NoError(t, err, "%s", out)
}
