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
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ackwal/ackwal/scripts/internal/gotool"
	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/series"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

const (
	ourModule      = "github.com/ackwal/ackwal"
	upstreamModule = "github.com/prometheus/prometheus"
)

// ourDirs are laid into upstream's tree at the same place.
var ourDirs = []string{"storage/remote", "tsdb/agent", "tsdb/internal", "tsdb/wlog"}

// workspaceFiles name nested modules, which the module cache does not have.
var workspaceFiles = []string{"go.work", "go.work.sum"}

// stock reads upstream's tree.
func stock(o options) (base, error) {
	b, err := stockFrom(o)
	if err != nil {
		return base{}, err
	}
	gomod, err := b.tree.Read("go.mod")
	if err != nil || !bytes.Contains(gomod, []byte("module "+upstreamModule+"\n")) {
		return base{}, fmt.Errorf("%s is not a tree of %s: its go.mod does not say so", b.origin, upstreamModule)
	}
	for _, name := range workspaceFiles {
		delete(b.tree, name)
	}
	return b, nil
}

func stockFrom(o options) (base, error) {
	if version := asModule(o.upstream); version != "" {
		return fromModule(o.root, version)
	}
	if o.upstream != "" {
		return fromCheckout(o.upstream)
	}
	version, err := pinned(o.root)
	if err != nil {
		return base{}, err
	}
	return fromModule(o.root, version)
}

func fromCheckout(dir string) (base, error) {
	t, commit, err := tree.FromGit(dir)
	if err != nil {
		return base{}, err
	}
	when, err := git.When(context.Background(), dir, commit)
	return base{tree: t, origin: "commit " + commit, when: when}, err
}

// fromModule reads a version of upstream from the module cache, to which it is
// fetched if need be.
func fromModule(root, version string) (base, error) {
	// "go mod download" adds to go.sum, so it works on copies: only rebase may
	// change ours.
	dir, err := os.MkdirTemp("", "ackwal-fetch-")
	if err != nil {
		return base{}, err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o666)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return base{}, err
		}
	}
	var module struct{ Dir, Info, Error string }
	err = goJSON(dir, &module, "mod", "download", "-json", upstreamModule+"@"+version)
	if module.Error != "" {
		err = errors.New(module.Error)
	}
	if err != nil {
		return base{}, fmt.Errorf("fetch %s %s: %w", upstreamModule, version, err)
	}
	text, err := os.ReadFile(module.Info)
	if err != nil {
		return base{}, err
	}
	var info struct{ Time time.Time }
	if err := json.Unmarshal(text, &info); err != nil {
		return base{}, fmt.Errorf("%s: %w", module.Info, err)
	}
	t, err := tree.FromDir(module.Dir, true)
	return base{tree: t, origin: upstreamModule + " " + version, when: info.Time.UTC()}, err
}

// pinned finds the version of upstream that go.mod requires.
func pinned(root string) (string, error) {
	requires, err := requirements(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	version, ok := requires[upstreamModule]
	if !ok {
		return "", fmt.Errorf("%s does not require %s", filepath.Join(root, "go.mod"), upstreamModule)
	}
	return version, nil
}

// requirements reads the versions that a go.mod file asks for.
func requirements(file string) (map[string]string, error) {
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := goJSON(filepath.Dir(file), &mod, "mod", "edit", "-json", file); err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Path] = r.Version
	}
	return versions, nil
}

func goJSON(dir string, to any, args ...string) error {
	cmd := gotool.Command(context.Background(), dir, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	// "go mod download -json" says in its output what went wrong, too.
	if decodeErr := json.Unmarshal(out, to); err == nil {
		err = decodeErr
	}
	return err
}

func assemble(ctx context.Context, o options) error {
	if o.onto != "" {
		return assembleOnto(ctx, o)
	}
	if o.branch+o.tag != "" {
		return errors.New("--branch and --tag need --onto")
	}
	if err := outside(o); err != nil {
		return err
	}
	if _, err := tree.LoadManifest(o.out); err != nil {
		return err
	}
	t, origin, err := fork(o)
	if err != nil {
		return err
	}
	c, err := t.Write(o.out, origin)
	if err != nil {
		return failure{err}
	}
	fmt.Fprintf(o.stdout, "%s: %s with our directories and hooks (%d files written, %d removed, %d as before)\n", o.out, origin, c.Written, c.Removed, c.Same)
	return nil
}

// outside refuses an output directory within what it would be made from.
func outside(o options) error {
	sources := []string{o.upstream, o.onto}
	for _, dir := range append([]string{"patches"}, ourDirs...) {
		sources = append(sources, filepath.Join(o.root, filepath.FromSlash(dir)))
	}
	for _, source := range sources {
		if source == "" {
			continue
		}
		rel, err := filepath.Rel(resolved(source), resolved(o.out))
		if err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("--out %s lies within %s, which is only read", o.out, source)
		}
	}
	return nil
}

// resolved follows symbolic links as far as the path exists.
func resolved(name string) string {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		return target
	}
	parent := filepath.Dir(name)
	if parent == name {
		return name
	}
	return filepath.Join(resolved(parent), filepath.Base(name))
}

// diff prints what entries change in upstream's files.
func diff(ctx context.Context, o options) error {
	b, err := stock(o)
	if err != nil {
		return err
	}
	l, err := load(o)
	if err != nil {
		return err
	}
	l, _, err = l.on(o, b)
	if err != nil {
		return err
	}
	steps, err := series.Compose(b.tree, l.entries, l.ours)
	if err != nil {
		return err
	}
	if _, err := series.Find(l.entries, o.entry); o.entry != "" && err != nil {
		return err
	}
	before, after := tree.Tree{}, tree.Tree{}
	was := b.tree
	for _, s := range steps {
		if o.entry == "" || o.entry == s.Entry.Name {
			for name, f := range s.Edited {
				if _, seen := before[name]; !seen {
					before[name] = was[name]
				}
				after[name] = f
			}
		}
		was = s.Tree
	}
	text, err := unified(ctx, before, after)
	if err != nil {
		return failure{err}
	}
	_, err = o.stdout.Write(text)
	return err
}

// unified compares two trees with git.
func unified(ctx context.Context, before, after tree.Tree) ([]byte, error) {
	return compared(ctx, before, after, "--no-prefix", "--unified=3", "--full-index")
}

// compared runs git diff on two trees, independently of the user's settings.
func compared(ctx context.Context, before, after tree.Tree, args ...string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "ackwal-diff-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for side, t := range map[string]tree.Tree{"a": before, "b": after} {
		if err := os.Mkdir(filepath.Join(dir, side), 0o777); err != nil {
			return nil, err
		}
		for name, f := range t {
			at := filepath.Join(dir, side, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
				return nil, err
			}
			if err := os.WriteFile(at, f.Data, fs.FileMode(0o666)); err != nil {
				return nil, err
			}
		}
	}
	cmd := exec.CommandContext(ctx, "git", slices.Concat([]string{"diff", "--no-index", "--no-color", "--no-ext-diff", "--no-textconv", "--diff-algorithm=myers"}, args, []string{"a", "b"})...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // There are differences.
	}
	return out, err
}
