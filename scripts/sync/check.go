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
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/grafana/regexp"

	"github.com/ackwal/ackwal/scripts/sync/hook"
	"github.com/ackwal/ackwal/scripts/sync/port"
)

var (
	// compileError is a line in which the go command says what is wrong where,
	// unreachable one that says which module cannot be fetched.
	compileError = regexp.MustCompile(`(?m)^\s*(?:vet: )?(\S+\.go):[0-9]+:[0-9]+: .*$`)
	unreachable  = regexp.MustCompile(`(\S+@v\S+): (?:reading|verifying|Get|not found)`)
	// failedTest and failedPackage are how go test says what failed.
	failedTest    = regexp.MustCompile(`^--- FAIL: (\S+)`)
	failedPackage = regexp.MustCompile(`^FAIL\s+(\S+)`)
)

// checked is how far what rebase says of an entry has been tried.
type checked int

const (
	applied checked = iota
	compiled
	tried
	tested
)

// word is what an entry is called that is good as far as that.
func (c checked) word() string { return []string{"applies", "compiles", "compiles", "clean"}[c] }

// remark says what was not tried.
func (c checked) remark() string {
	return []string{
		"Nothing was compiled or tested: that an entry applies says little.",
		"No tests were run.",
		"Not all tests were run, see above.",
		"",
	}[c]
}

// slowTests are the packages whose tests take nearly all of the time that those
// of all together take.
var slowTests = []string{
	"./cmd/prometheus", "./storage/remote", "./storage/remote/delivery", "./tsdb/agent", "./tsdb/agent/durable",
	"./tsdb/wlog", "./tsdb/wlog/repair", "./tsdb/internal/snapshot",
}

// try builds what the entries touch in the new tree, and runs its tests. What
// fails makes its entry one in conflict; an error says for which packages that
// could not be found out, and why.
func try(ctx context.Context, o options, r *port.Result, l loaded) (checked, error) {
	var packages []string
	for _, dir := range r.Dirs {
		packages = append(packages, "./"+dir)
	}
	if len(packages) == 0 {
		return tested, nil
	}
	if err := compiles(ctx, o, r, l, packages); err != nil || r.Count(port.Conflict) > 0 || o.quick {
		return compiled, err
	}
	var fast, slow []string
	for _, p := range packages {
		if o.short && slices.Contains(slowTests, p) {
			slow = append(slow, p)
		} else {
			fast = append(fast, p)
		}
	}
	depth := tested
	if len(slow) > 0 {
		depth = tried
		fmt.Fprintf(o.stdout, "TESTS LEFT OUT, since they take long: %s\n", strings.Join(slow, " "))
	}
	return depth, passes(ctx, o, r, l, fast)
}

func compiles(ctx context.Context, o options, r *port.Result, l loaded, packages []string) error {
	vet := func(packages ...string) error {
		return quietly(ctx, o, nil, slices.Concat(vetCommand, []string{"-tags=" + o.tags}, packages))
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
				unchecked = append(unchecked, fmt.Errorf("%s could not be checked: %w", p, brief(err)))
			}
		}
	}
	fmt.Fprintf(o.stdout, "%d of %d packages that the entries touch compile and vet\n", good, len(packages))
	return errors.Join(unchecked...)
}

// passes runs the tests of the packages.
func passes(ctx context.Context, o options, r *port.Result, l loaded, packages []string) error {
	if len(packages) == 0 {
		return nil
	}
	skips, err := loadSkips(filepath.Join(o.root, skipList), strings.Split(o.tags, ","))
	if err != nil {
		return err
	}
	// Most of these tests wait more than they compute.
	args := []string{"test", fmt.Sprintf("-p=%d", 2*runtime.NumCPU()), "-timeout=20m", "-tags=" + o.tags}
	if pattern := skipPattern(skips, packages); pattern != "" {
		args = append(args, "-skip="+pattern)
	}
	err = quietly(ctx, o, nil, append(args, packages...))
	if err == nil {
		fmt.Fprintf(o.stdout, "The tests of %d packages pass\n", len(packages))
		return nil
	}
	found := false
	var tests []string
	for line := range strings.Lines(err.Error()) {
		if m := failedTest.FindStringSubmatch(line); m != nil {
			tests = append(tests, m[1])
		}
		m := failedPackage.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		dir := strings.TrimPrefix(m[1], upstreamModule+"/")
		if name := l.changesIn(dir); name != "" {
			found = true
			what := "tests of " + dir + " fail"
			if len(tests) > 0 {
				what += ": " + strings.Join(tests, ", ")
			}
			r.Blame(name, what)
		}
		tests = nil
	}
	if found && ctx.Err() == nil {
		return nil
	}
	return err
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

// blame puts the entries in conflict that brought or edited the files which do
// not compile. It tells whether there are any.
func (l loaded) blame(r *port.Result, output string) (found bool) {
	for _, m := range compileError.FindAllStringSubmatch(output, -1) {
		if unreachable.MatchString(m[0]) {
			continue
		}
		if name := l.changes(func(file string) bool { return file == m[1] }); name != "" {
			found = true
			r.Blame(name, strings.TrimPrefix(strings.TrimSpace(m[0]), "vet: "))
		}
	}
	return found
}

// changesIn returns the last entry that brings or edits a file of a directory.
func (l loaded) changesIn(dir string) string {
	return l.changes(func(file string) bool { return path.Dir(file) == dir })
}

// changes returns the last entry that brings or edits a file.
func (l loaded) changes(is func(file string) bool) (name string) {
	for i := range l.entries {
		e := &l.entries[i]
		brings := slices.ContainsFunc(l.ours.Of(e).Paths(), is)
		if brings || slices.ContainsFunc(e.Hooks, func(h hook.Hook) bool { return is(h.File) }) {
			name = e.Name
		}
	}
	return name
}
