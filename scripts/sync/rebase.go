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
	"strings"

	"github.com/grafana/regexp"

	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/port"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

var (
	moduleVersion  = regexp.MustCompile(`^v?0\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	releaseVersion = regexp.MustCompile(`^v?([1-9][0-9]*)\.([0-9]+)\.([0-9]+)(-[0-9A-Za-z.-]+)?$`)
)

// versionForms says how a version of upstream may be written.
const versionForms = "a version, such as v0.315.0 or 3.15.0"

// asModule turns a release such as 3.15.0 into the version of the module,
// v0.315.0, whose v may be left out too. It returns "" for anything else.
func asModule(version string) string {
	if moduleVersion.MatchString(version) {
		return "v" + strings.TrimPrefix(version, "v")
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
	l, line, err := l.on(o, next)
	if err != nil {
		return err
	}
	var was tree.Tree
	here := o
	here.upstream = ""
	if old, err := stock(here); err != nil {
		fmt.Fprintf(o.stdout, "The present base cannot be read, so less can be recognised: %v\n", err)
	} else {
		was = old.tree
		fmt.Fprintf(o.stdout, "From %s to %s\n", old.origin, next.origin)
		if err := beside(ctx, o, l, was, next.tree); err != nil {
			return err
		}
	}
	r, err := port.Series(ctx, was, next.tree, l.entries, l.ours)
	if err != nil {
		return err
	}
	if o.dryRun {
		report(o, r, applied)
		return conflicts(r)
	}
	if _, err := r.Tree.Write(o.out, next.origin); err != nil {
		return failure{err}
	}
	var errs []error
	depth := applied
	if r.Count(port.Conflict) == 0 {
		if depth, err = try(ctx, o, &r, l); err != nil {
			errs = append(errs, err)
		}
	}
	report(o, r, depth)
	left := conflicts(r)
	if left != nil {
		errs = append(errs, left)
		fmt.Fprintf(o.stdout, "%s: the new tree with what fits, to look at; it is made anew each time\n", o.out)
	} else {
		fmt.Fprintf(o.stdout, "%s: the new tree\n", o.out)
	}
	switch {
	case line != "":
		fmt.Fprintf(o.stdout, "go.mod is as before: on %s ours are as patches/bases/%s.yaml makes them, in that tree only\n", line, line)
	case version == "":
		fmt.Fprintln(o.stdout, "go.mod is as before: the commit has no tag of a version that it could name")
	case len(errs) > 0:
		// What is known of the present base helps until all is resolved.
		fmt.Fprintln(o.stdout, "go.mod is as before: it moves when nothing is left to resolve")
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

// target reads the base to move to, and the version of the module it is, if it
// is one.
func target(ctx context.Context, o options) (next base, version string, err error) {
	if o.upstream == "" {
		return base{}, "", errors.New("which version? Name " + versionForms + ", or a checkout of upstream")
	}
	if next, err = stock(o); err != nil {
		return base{}, "", err
	}
	if version = asModule(o.upstream); version == "" {
		version, err = taggedVersion(ctx, o.upstream)
	}
	return next, version, err
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
		return failure{fmt.Errorf("%d of %d entries are in conflict: resolve them in patches, or the files that they bring, and run the same again", n, len(r.Findings))}
	}
	return nil
}

func report(o options, r port.Result, depth checked) {
	for _, f := range r.Findings {
		state := string(f.State)
		if f.State == port.Clean {
			state = depth.word()
		}
		fmt.Fprintf(o.stdout, "%-8s %s\n", state, f.Entry)
		for _, n := range f.Notes {
			fmt.Fprintf(o.stdout, "         %s\n", strings.ReplaceAll(strings.TrimSpace(n), "\n", "\n         "))
		}
	}
	good := depth.word()
	switch depth {
	case applied:
		good = "apply"
	case compiled, tried:
		good = "compile"
	}
	waiting := ""
	if n := r.Count(port.Waiting); n > 0 {
		waiting = fmt.Sprintf(", %d waiting for those", n)
	}
	fmt.Fprintf(o.stdout, "%d %s, %d in conflict%s, %d obsolete\n", r.Count(port.Clean), good, r.Count(port.Conflict), waiting, r.Count(port.Obsolete))
	if remark := depth.remark(); remark != "" {
		fmt.Fprintln(o.stdout, remark)
	}
	if r.Count(port.Obsolete) > 0 {
		fmt.Fprintln(o.stdout, "Obsolete entries were left out of the tree. Remove each in a commit of its own that names upstream's, with its line in patches/series and its files.")
	}
}
