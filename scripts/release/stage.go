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
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ackwal/ackwal/scripts/internal/gotool"
)

// accompanying are files of ours that every archive has, by their names there.
var accompanying = map[string]string{
	"CHANGELOG.md":   "CHANGELOG.md",
	"LICENSE":        "LICENSE",
	"prometheus.yml": "examples/prometheus.yml",
}

// onLinux are those that only archives for Linux have.
var onLinux = map[string]string{
	"systemd/prometheus-agent.service": "packaging/systemd/prometheus-agent.service",
	"systemd/prometheus-agent.default": "packaging/systemd/prometheus-agent.default",
}

// stage lays beside the binaries what is published with them.
func (r release) stage(p platform, dir string, parts []part) error {
	files := maps.Clone(accompanying)
	if p.os == "linux" {
		maps.Copy(files, onLinux)
	}
	for to, from := range files {
		if err := copyFile(filepath.Join(r.root, filepath.FromSlash(from)), filepath.Join(dir, filepath.FromSlash(to))); err != nil {
			return err
		}
	}
	list, err := r.sbom(p, parts)
	if err != nil {
		return err
	}
	notice, err := os.ReadFile(filepath.Join(r.root, "NOTICE"))
	if err != nil {
		return err
	}
	made := map[string][]byte{
		sbomName:         list,
		"NOTICE":         notices(notice, parts),
		"licenses/INDEX": index(parts),
	}
	for _, found := range parts {
		for name, text := range found.files {
			made[path.Join("licenses", found.name+"@"+found.version, name)] = text
		}
	}
	for to, text := range made {
		to = filepath.Join(dir, filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// notices is our notice with those of all parts behind it, which their licences ask to
// be passed on.
func notices(ours []byte, parts []part) []byte {
	var text bytes.Buffer
	text.Write(ours)
	for _, found := range parts {
		for _, name := range slices.Sorted(maps.Keys(found.files)) {
			if isNotice(name) {
				fmt.Fprintf(&text, "\n%s\n%s, %s:\n\n%s\n", strings.Repeat("-", 72), found.id(), name, bytes.TrimSpace(found.files[name]))
			}
		}
	}
	return text.Bytes()
}

// index says which licences each part has.
func index(parts []part) []byte {
	var text bytes.Buffer
	for _, found := range parts {
		fmt.Fprintf(&text, "%s: %s\n", found.id(), strings.Join(found.licences, " AND "))
	}
	return text.Bytes()
}

// debian has nfpm make a package of what is staged.
func (r release) debian(ctx context.Context, p platform, stage string) (string, error) {
	tool := filepath.Join(r.root, "build", "tools", "nfpm")
	build := gotool.Command(ctx, filepath.Join(r.root, "packaging", "tools"), "build", "-o", tool, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
	build.Env = append(build.Env, "GOOS=", "GOARCH=", "GOFLAGS=-buildvcs=false")
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build nfpm: %w", err)
	}
	config := filepath.Join(r.out, "stage", "nfpm-"+p.arch+".yaml")
	text, err := os.ReadFile(filepath.Join(r.root, "packaging", "deb", "nfpm.yaml"))
	if err != nil {
		return "", err
	}
	values := map[string]string{
		"ARCH": p.arch, "VERSION": r.version, "STAGE": stage,
		"PACKAGING": filepath.Join(r.root, "packaging"), "TIME": r.when.Format(time.RFC3339),
	}
	filled := os.Expand(string(text), func(name string) string { return values[name] })
	if err := os.WriteFile(config, []byte(filled), 0o666); err != nil {
		return "", err
	}
	to := filepath.Join(r.out, "ackwal_"+r.version+"_"+p.arch+".deb")
	pack := exec.CommandContext(ctx, tool, "package", "--config", config, "--packager", "deb", "--target", to)
	pack.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.when.Unix(), 10))
	pack.Stdout, pack.Stderr = os.Stdout, os.Stderr
	if err := pack.Run(); err != nil {
		return "", fmt.Errorf("nfpm: %w", err)
	}
	return to, nil
}
