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
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/ackwal/ackwal/scripts/internal/gotool"
)

// part is something that the programs are made of: a Go module, Go itself, or a
// package of npm whose code is in the web pages.
type part struct {
	kind, name, version string
	// sum is what go.sum says of a module.
	sum string
	// files are those about its licence, by the name that they are published under.
	files map[string][]byte
	// licences are those that files have, by their SPDX identifiers.
	licences []string
}

const (
	goModule   = "golang"
	npmPackage = "npm"
)

// partsOf finds out what the programs of a platform are made of. The binaries say which
// modules they have; a listing of their packages, where the files of those lie.
func (r release) partsOf(ctx context.Context, p platform, dir string) ([]part, error) {
	modules := map[string]*debug.Module{}
	toolchain := ""
	for _, program := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(dir, p.binary(program)))
		if err != nil {
			return nil, err
		}
		toolchain = info.GoVersion
		for _, m := range info.Deps {
			modules[m.Path] = m
		}
	}
	packages, err := r.packages(ctx, p)
	if err != nil {
		return nil, err
	}
	own, below := part{kind: goModule, name: upstreamModule, version: r.version, files: map[string][]byte{}}, map[string]*part{}
	below[upstreamModule] = &own
	for _, m := range modules {
		found := &part{kind: goModule, name: m.Path, version: m.Version, sum: m.Sum, files: map[string][]byte{}}
		if m.Replace != nil {
			found.name, found.version, found.sum = m.Replace.Path, m.Replace.Version, m.Replace.Sum
		}
		below[m.Path] = found
	}
	for _, pkg := range packages {
		found, ok := below[pkg.Module.Path]
		if !ok {
			return nil, fmt.Errorf("package %s is listed, but its module %s is in no binary", pkg.ImportPath, pkg.Module.Path)
		}
		if err := found.collect(pkg.Module.Dir, pkg.Dir); err != nil {
			return nil, err
		}
	}
	goroot, err := r.goCommand(ctx, p, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	std := part{kind: goModule, name: "std", version: strings.TrimPrefix(toolchain, "go"), files: map[string][]byte{}}
	root := strings.TrimSpace(string(goroot))
	if err := std.collect(root, root); err != nil {
		return nil, err
	}
	parts := []part{std}
	for _, found := range below {
		parts = append(parts, *found)
	}
	if slices.Contains(strings.Split(r.tags, ","), "builtinassets") {
		pages, err := npmParts(filepath.Join(r.root, "build", "ui", "node_modules", ".pnpm"))
		if err != nil {
			return nil, err
		}
		parts = append(parts, pages...)
	}
	slices.SortFunc(parts, func(a, b part) int { return strings.Compare(a.id(), b.id()) })
	return parts, classify(parts)
}

const upstreamModule = "github.com/prometheus/prometheus"

// id names a part as package URLs do.
func (p part) id() string {
	name := p.name
	if p.kind == npmPackage {
		name = strings.ReplaceAll(name, "@", "%40")
	}
	return "pkg:" + p.kind + "/" + name + "@" + p.version
}

// listed is what "go list" says of a package.
type listed struct {
	ImportPath, Dir string
	Standard        bool
	Module          *struct{ Path, Dir string }
}

// packages lists those of the programs that are not Go's own.
func (r release) packages(ctx context.Context, p platform) ([]listed, error) {
	out, err := r.goCommand(ctx, p, "list", "-deps", "-tags="+r.tags, "-json=ImportPath,Dir,Standard,Module", "./cmd/prometheus", "./cmd/promtool")
	if err != nil {
		return nil, err
	}
	var all []listed
	for stream := json.NewDecoder(bytes.NewReader(out)); ; {
		var one listed
		err := stream.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if !one.Standard && one.Module != nil {
			all = append(all, one)
		}
	}
}

// goCommand runs a go command in the tree, as for that platform.
func (r release) goCommand(ctx context.Context, p platform, args ...string) ([]byte, error) {
	cmd := gotool.Command(ctx, r.fork, args...)
	cmd.Env, cmd.Stderr = append(cmd.Env, p.environment()...), os.Stderr
	return cmd.Output()
}

// collect takes the files about licences from the directory of a package and from
// those above it, up to that of its module.
func (p *part) collect(root, dir string) error {
	for {
		rel, err := filepath.Rel(root, dir)
		if err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("%s is not in %s", dir, root)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(filepath.ToSlash(rel), e.Name())
			if _, has := p.files[name]; has || e.IsDir() || !isLegal(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			p.files[name] = text
		}
		if rel == "." {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// npmParts are the packages that the web pages were made with, in the store of pnpm.
// Some are only tools, and their code is not in the pages.
func npmParts(store string) ([]part, error) {
	names, err := filepath.Glob(filepath.Join(store, "*", "node_modules", "*", "package.json"))
	if err != nil {
		return nil, err
	}
	scoped, err := filepath.Glob(filepath.Join(store, "*", "node_modules", "@*", "*", "package.json"))
	if err != nil {
		return nil, err
	}
	byID := map[string]part{}
	for _, name := range append(names, scoped...) {
		// Links are to packages that have a directory of their own.
		dir := filepath.Dir(name)
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var about struct {
			Name, Version string
			License       any
		}
		if err := json.Unmarshal(text, &about); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		found := part{kind: npmPackage, name: about.Name, version: about.Version, files: map[string][]byte{}}
		if id, ok := about.License.(string); ok {
			found.licences = []string{id}
		}
		if err := found.collect(dir, dir); err != nil {
			return nil, err
		}
		byID[found.id()] = found
	}
	if len(byID) == 0 {
		return nil, fmt.Errorf("the pages are in the tree, but not what they were made of, in %s: `make ui` brings it", store)
	}
	var parts []part
	for _, found := range byID {
		parts = append(parts, found)
	}
	return parts, nil
}
