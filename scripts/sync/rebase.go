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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grafana/regexp"

	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/hook"
	"github.com/ackwal/ackwal/scripts/sync/port"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

var (
	moduleVersion  = regexp.MustCompile(`^v0\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	releaseVersion = regexp.MustCompile(`^v?([1-9][0-9]*)\.([0-9]+)\.([0-9]+)(-[0-9A-Za-z.-]+)?$`)
)

// asModule turns a release such as 3.15.0 into the version of the module,
// v0.315.0. It returns "" for anything else.
func asModule(version string) string {
	if moduleVersion.MatchString(version) {
		return version
	}
	m := releaseVersion.FindStringSubmatch(version)
	if m == nil {
		return ""
	}
	minor := m[2]
	if len(minor) == 1 {
		minor = "0" + minor
	}
	return fmt.Sprintf("v0.%s%s.%s%s", m[1], minor, m[3], m[4])
}

// rebase puts the series on another version of upstream and moves the pin.
func rebase(ctx context.Context, o options) error {
	if err := outside(o); err != nil {
		return err
	}
	if _, err := tree.LoadManifest(o.out); err != nil {
		return err
	}
	next, version, err := target(ctx, o)
	if err != nil {
		return err
	}
	l, err := load(o)
	if err != nil {
		return err
	}
	if err := l.covered(); err != nil {
		return err
	}
	var was tree.Tree
	if old, err := stock(o); err != nil {
		fmt.Fprintf(o.stdout, "The present base cannot be read, so less can be recognised: %v\n", err)
	} else {
		was = old.tree
		fmt.Fprintf(o.stdout, "From %s to %s\n", old.origin, next.origin)
	}
	r, err := port.Series(ctx, was, next.tree, l.entries, l.ours)
	if err != nil {
		return err
	}
	if o.dryRun {
		report(o, r)
		return conflicts(r)
	}
	if _, err := r.Tree.Write(o.out, next.origin); err != nil {
		return failure{err}
	}
	var errs []error
	if r.Count(port.Conflict) == 0 {
		if err := compiles(ctx, o, &r, l); err != nil {
			errs = append(errs, err)
		}
	}
	report(o, r)
	fmt.Fprintf(o.stdout, "%s: the new tree\n", o.out)
	errs = append(errs, conflicts(r))
	switch {
	case version == "":
		fmt.Fprintln(o.stdout, "go.mod is as before: the commit has no tag of a version that it could name")
	default:
		if err := movePin(ctx, o, version, next.tree); err != nil {
			errs = append(errs, fmt.Errorf("go.mod and go.sum are as before: %w", brief(err)))
		} else {
			fmt.Fprintf(o.stdout, "go.mod: %s %s\n", upstreamModule, version)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return failure{err}
	}
	return nil
}

var (
	// compileError is a line in which the go command says what is wrong where,
	// unreachable one that says which module cannot be fetched.
	compileError = regexp.MustCompile(`(?m)^\s*(?:vet: )?(\S+\.go):[0-9]+:[0-9]+: .*$`)
	unreachable  = regexp.MustCompile(`(\S+@v\S+): (?:reading|verifying|Get|not found)`)
)

// compiles builds what the entries touch in the new tree. What does not compile
// makes its entry one in conflict; an error says for which packages that could
// not be found out, and why.
func compiles(ctx context.Context, o options, r *port.Result, l loaded) error {
	var packages []string
	for _, dir := range r.Dirs {
		packages = append(packages, "./"+dir)
	}
	if len(packages) == 0 {
		return nil
	}
	vet := func(packages ...string) error {
		return quietly(ctx, o, nil, append([]string{"vet", "-tags=" + o.tags}, packages...))
	}
	var unchecked []error
	good := len(packages)
	if vet(packages...) != nil {
		// One at a time tells which, and those that can be built are.
		good = 0
		for _, p := range packages {
			err := vet(p)
			if err == nil {
				good++
			} else if !l.blame(r, err.Error()) {
				unchecked = append(unchecked, whyUnchecked(p, err))
			}
		}
	}
	fmt.Fprintf(o.stdout, "%d of %d packages that the entries touch compile and vet\n", good, len(packages))
	return errors.Join(unchecked...)
}

// brief names the modules that cannot be fetched, where that is what an error is
// about; the go command names everything that leads to each of them, too.
func brief(err error) error {
	var names []string
	for _, m := range unreachable.FindAllStringSubmatch(err.Error(), -1) {
		names = append(names, m[1])
	}
	if len(names) == 0 {
		return err
	}
	slices.Sort(names)
	return fmt.Errorf("cannot be fetched: %s", strings.Join(slices.Compact(names), ", "))
}

func whyUnchecked(pkg string, err error) error {
	return fmt.Errorf("%s could not be checked: %w", pkg, brief(err))
}

// blame puts the entries in conflict that brought or edited the files which do
// not compile. It tells whether there are any.
func (l loaded) blame(r *port.Result, output string) (found bool) {
	for _, m := range compileError.FindAllStringSubmatch(output, -1) {
		if unreachable.MatchString(m[0]) {
			continue
		}
		if name := l.changes(m[1]); name != "" {
			found = true
			r.Blame(name, strings.TrimPrefix(strings.TrimSpace(m[0]), "vet: "))
		}
	}
	return found
}

// changes returns the last entry that brings or edits a file.
func (l loaded) changes(file string) (name string) {
	for i := range l.entries {
		e := &l.entries[i]
		if _, ok := l.ours.Of(e)[file]; ok || slices.ContainsFunc(e.Hooks, func(h hook.Hook) bool { return h.File == file }) {
			name = e.Name
		}
	}
	return name
}

// target reads the base to move to, and the version of the module it is, if it
// is one.
func target(ctx context.Context, o options) (next base, version string, err error) {
	info, statErr := os.Stat(o.arg)
	switch {
	case o.arg == "":
		return base{}, "", errors.New("which version? Name one, such as v0.315.0 or 3.15.0, or a checkout of upstream")
	case statErr == nil && info.IsDir():
		o.upstream = o.arg
		if next, err = stock(o); err != nil {
			return base{}, "", err
		}
		version, err = taggedVersion(ctx, o.arg)
		return next, version, err
	}
	version = asModule(o.arg)
	if version == "" {
		return base{}, "", fmt.Errorf("%q is neither a version, such as v0.315.0 or 3.15.0, nor a directory", o.arg)
	}
	if next, err = fromModule(o.root, version); err != nil {
		return base{}, "", err
	}
	for _, name := range workspaceFiles {
		delete(next.tree, name)
	}
	return next, version, nil
}

func taggedVersion(ctx context.Context, dir string) (string, error) {
	tags, err := git.Run(ctx, dir, "tag", "--points-at", "HEAD")
	if err != nil {
		return "", err
	}
	for tag := range strings.FieldsSeq(string(tags)) {
		if v := asModule(tag); v != "" {
			return v, nil
		}
	}
	return "", nil
}

func conflicts(r port.Result) error {
	if n := r.Count(port.Conflict); n > 0 {
		return failure{fmt.Errorf("%d of %d entries are in conflict: mend them in patches, then run assemble", n, len(r.Findings))}
	}
	return nil
}

func report(o options, r port.Result) {
	for _, f := range r.Findings {
		fmt.Fprintf(o.stdout, "%-8s %s\n", f.State, f.Entry)
		for _, n := range f.Notes {
			fmt.Fprintf(o.stdout, "         %s\n", strings.ReplaceAll(strings.TrimSpace(n), "\n", "\n         "))
		}
	}
	fmt.Fprintf(o.stdout, "%d clean, %d in conflict, %d obsolete\n", r.Count(port.Clean), r.Count(port.Conflict), r.Count(port.Obsolete))
	if r.Count(port.Obsolete) > 0 {
		fmt.Fprintln(o.stdout, "Obsolete entries were left out of the tree. Remove each in a commit of its own that names upstream's, with its line in patches/series and its files.")
	}
}

// movePin makes every go.mod of ours that requires upstream require a version
// of it, with the dependencies which that version names: what is built here is
// what is built in the fork tree. If that cannot be done, nothing has changed.
func movePin(ctx context.Context, o options, version string, next tree.Tree) (err error) {
	mods, err := requiring(o.root)
	if err != nil {
		return err
	}
	gomod, err := next.Read("go.mod")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ackwal-rebase-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(file, gomod, 0o666); err != nil {
		return err
	}
	theirs, err := requirements(file)
	if err != nil {
		return err
	}
	theirs[upstreamModule] = version

	kept := map[string][]byte{}
	defer func() {
		if err == nil {
			return
		}
		for name, data := range kept {
			err = errors.Join(err, putBack(name, data))
		}
	}()
	for _, mod := range mods {
		for _, name := range []string{mod, strings.TrimSuffix(mod, "mod") + "sum"} {
			data, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			kept[name] = data
		}
		ours, err := requirements(mod)
		if err != nil {
			return err
		}
		args := []string{"mod", "edit"}
		for path := range ours {
			if v, ok := theirs[path]; ok {
				args = append(args, "-require="+path+"@"+v)
			}
		}
		for _, args := range [][]string{args, {"mod", "tidy"}} {
			in := o
			in.out = filepath.Dir(mod)
			if err := quietly(ctx, in, nil, args); err != nil {
				return err
			}
		}
	}
	return nil
}

func putBack(name string, data []byte) error {
	if data == nil {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.WriteFile(name, data, 0o666)
}

// requiring finds the go.mod files of this repository that require upstream.
func requiring(root string) (mods []string, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == filepath.Join(root, "build")):
			return fs.SkipDir
		case d.Name() != "go.mod":
			return nil
		}
		requires, err := requirements(name)
		if _, ok := requires[upstreamModule]; ok {
			mods = append(mods, name)
		}
		return err
	})
	if err == nil && len(mods) == 0 {
		err = fmt.Errorf("no go.mod in %s requires %s", root, upstreamModule)
	}
	return mods, err
}
