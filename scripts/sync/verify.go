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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ackwal/ackwal/scripts/sync/git"
	"github.com/ackwal/ackwal/scripts/sync/series"
	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// releaseNotesChecker is upstream's own, run on each description.
const releaseNotesChecker = "scripts/check_release_notes.sh"

// platforms are vetted in addition to the one we run on: 32 bits, and another
// operating system.
var platforms = [][2]string{{"linux", "386"}, {"windows", "amd64"}}

// verify checks the series and every state of upstream's tree on its way.
func verify(ctx context.Context, o options) error {
	if err := outside(o); err != nil {
		return err
	}
	if _, err := tree.LoadManifest(o.out); err != nil {
		return err
	}
	c, err := composeAll(o)
	if err != nil {
		return err
	}
	skips, err := loadSkips(filepath.Join(o.root, skipList), strings.Split(o.tags, ","))
	if err != nil {
		return err
	}
	if _, err := series.Find(c.entries, o.from); o.from != "" && err != nil {
		return err
	}
	if err := lint(o, c); err != nil {
		return failure{err}
	}
	if err := c.sameAsFork(ctx, o); err != nil {
		return failure{err}
	}
	fmt.Fprintln(o.stdout, "The branches end in the tree that is assembled from the work tree.")
	began := time.Now()
	skipping := o.from != ""
	for _, s := range c.steps {
		if skipping = skipping && s.Entry.Name != o.from; skipping || o.alone && !s.Entry.Alone {
			continue
		}
		start := time.Now()
		if err := checkReleaseNotes(ctx, c, s.Entry); err != nil {
			return failure{err}
		}
		if s.Entry.Alone {
			s = c.alone[s.Entry.Name]
		}
		if _, err := s.Tree.Write(o.out, c.origin+" up to "+s.Entry.Name); err != nil {
			return failure{err}
		}
		if err := checkStep(ctx, o, s, skips); err != nil {
			return failure{fmt.Errorf("%s: %w; the tree is in %s", s.Entry.Name, err, o.out)}
		}
		fmt.Fprintf(o.stdout, "ok %-44s %4d lines %6.1fs\n", s.Entry.Name, series.Code(s.Entry, c.ours), time.Since(start).Seconds())
	}
	if o.alone {
		fmt.Fprintf(o.stdout, "%d entries, each alone on %s, %.0fs\n", len(c.alone), c.origin, time.Since(began).Seconds())
		return nil
	}
	fmt.Fprintf(o.stdout, "%d entries on %s, %.0fs\n", len(c.steps), c.origin, time.Since(began).Seconds())
	return nil
}

func lint(o options, c composed) error { return series.Lint(c.entries, c.ours, project(o)) }

// sameAsFork compares the tree at the end of the branches, read back from a
// repository, with the one that is assembled from the working tree.
func (c composed) sameAsFork(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "ackwal-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// The signer does not matter here, and nothing is kept.
	who := git.Person{Name: "verify", Email: "verify@localhost"}
	parent, err := c.found(ctx, filepath.Join(dir, repository), "", who)
	if err != nil {
		return err
	}
	names, err := git.Stack(ctx, filepath.Join(dir, repository), parent, c.commits("", who))
	if err != nil {
		return err
	}
	branches, err := tree.FromCommit(filepath.Join(dir, repository), names[len(names)-1])
	if err != nil {
		return err
	}
	assembled, _, err := fork(o)
	if err != nil {
		return err
	}
	return sameTree(branches, assembled)
}

func sameTree(branches, assembled tree.Tree) error {
	var errs []error
	for _, name := range branches.Paths() {
		f, ok := assembled[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s is in the branches only", name))
		case f.Exec != branches[name].Exec || !bytes.Equal(f.Data, branches[name].Data):
			errs = append(errs, fmt.Errorf("%s differs between the branches and the assembled tree", name))
		}
	}
	for _, name := range assembled.Paths() {
		if _, ok := branches[name]; !ok {
			errs = append(errs, fmt.Errorf("%s is in the assembled tree only", name))
		}
	}
	return errors.Join(errs...)
}

// checkReleaseNotes has upstream's own script read a description.
func checkReleaseNotes(ctx context.Context, c composed, e *series.Entry) error {
	script, err := c.tree.Read(releaseNotesChecker)
	if err != nil {
		return nil // Not every version has it.
	}
	shell, err := exec.LookPath("bash")
	if err != nil {
		return nil //nolint:nilerr // Where there is no bash our own check has to do.
	}
	cmd := exec.CommandContext(ctx, shell, "-c", string(script))
	cmd.Stdin = strings.NewReader(e.Description(c.entries))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: upstream's %s: %w: %s", e.Name, releaseNotesChecker, err, out)
	}
	return nil
}

// checkStep compiles, vets and tests what one entry touches.
func checkStep(ctx context.Context, o options, s series.Step, skips []skip) error {
	var packages []string
	for _, dir := range s.Dirs() {
		packages = append(packages, "./"+dir)
	}
	if len(packages) == 0 {
		return nil
	}
	tags := "-tags=" + o.tags
	if err := quietly(ctx, o, nil, append([]string{"build", "-o", os.DevNull, tags}, packages...)); err != nil {
		return err
	}
	if err := quietly(ctx, o, nil, slices.Concat(vetCommand, []string{tags}, packages)); err != nil {
		return err
	}
	if o.quick {
		return nil
	}
	for _, p := range platforms {
		if err := quietly(ctx, o, []string{"GOOS=" + p[0], "GOARCH=" + p[1], "CGO_ENABLED=0"}, slices.Concat(vetCommand, []string{tags}, packages)); err != nil {
			return err
		}
	}
	args := []string{"test", "-timeout=20m", tags}
	if pattern := skipPattern(skips, packages); pattern != "" {
		args = append(args, "-skip="+pattern)
	}
	return quietly(ctx, o, nil, append(args, packages...))
}

// quietly runs a go command in the tree and shows its output only if it fails.
func quietly(ctx context.Context, o options, env, args []string) error {
	var out bytes.Buffer
	cmd := goCommand(ctx, o, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(append(env, "go", args[0]), " "), err, out.Bytes())
	}
	return nil
}
