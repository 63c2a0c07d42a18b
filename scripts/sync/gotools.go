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
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ackwal/ackwal/scripts/internal/gotool"
)

// goCommand prepares a go command in the assembled tree that shows its output
// and does not outlive us.
func goCommand(ctx context.Context, o options, args ...string) *exec.Cmd {
	cmd := gotool.Command(ctx, o.out, args...)
	cmd.Stdout, cmd.Stderr = o.stdout, o.stderr
	// Stock's tests are of stock's delivery, which its constructors do not have in the
	// fork unless that is said.
	cmd.Env = append(cmd.Env, "PROMETHEUS_REMOTE_WRITE_DELIVERY=best-effort")
	return cmd
}

func build(ctx context.Context, o options) error {
	if err := assemble(ctx, o); err != nil {
		return err
	}
	flags, err := versionFlags(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.bin, 0o777); err != nil {
		return err
	}
	var args []string
	if o.release {
		args, flags = append(args, "-trimpath"), flags+" -s -w"
	}
	// With a trailing separator go takes it for a directory and names the
	// binaries as the platform wants.
	out := o.bin + string(filepath.Separator)
	args = append(args, "-tags="+o.tags, "-ldflags="+flags, "-o", out)
	if err := compile(ctx, o, args, []string{"./cmd/prometheus", "./cmd/promtool"}); err != nil {
		return failure{fmt.Errorf("go build: %w", err)}
	}
	if o.release {
		named, err := version(o)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(o.bin, "VERSION"), []byte(named+"\n"), 0o666); err != nil {
			return err
		}
	}
	fmt.Fprintf(o.stdout, "%s: prometheus, promtool\n", o.bin)
	return nil
}

// versionFile names what these sources make: upstream's version, a plus sign and ours.
const versionFile = "packaging/VERSION"

// version is upstream's, of the tree that is built, with ours behind it.
func version(o options) (string, error) {
	upstreams, err := os.ReadFile(filepath.Join(o.out, "VERSION"))
	if err != nil {
		return "", err
	}
	named, err := os.ReadFile(filepath.Join(o.root, filepath.FromSlash(versionFile)))
	if err != nil {
		return "", err
	}
	_, ours, _ := strings.Cut(strings.TrimSpace(string(named)), "+")
	if ours == "" {
		return "", fmt.Errorf("%s: want upstream's version, a plus sign and ours, not %q", versionFile, named)
	}
	return strings.TrimSpace(string(upstreams)) + "+" + ours, nil
}

// versionFlags has the linker set what --version prints. Nothing in it depends
// on when and where the build runs, so the same commit gives the same binary.
func versionFlags(o options) (string, error) {
	named, err := version(o)
	if err != nil {
		return "", err
	}
	values := map[string]string{
		"Version":   named,
		"Revision":  "unknown",
		"BuildUser": "ackwal",
	}
	if revision, ok := ourGit(o.root, "rev-parse", "HEAD"); ok {
		values["Revision"] = revision
		if changes, ok := ourGit(o.root, "status", "--porcelain"); ok && changes != "" {
			values["Revision"] += "-modified"
		}
	}
	if branch, ok := ourGit(o.root, "symbolic-ref", "--short", "HEAD"); ok {
		values["Branch"] = branch
	}
	if date, ok := ourGit(o.root, "log", "-1", "--format=%ct"); ok {
		var seconds int64
		if _, err := fmt.Sscan(date, &seconds); err == nil {
			values["BuildDate"] = time.Unix(seconds, 0).UTC().Format("20060102-15:04:05")
		}
	}
	var flags []string
	for name, value := range values {
		flags = append(flags, fmt.Sprintf("-X github.com/prometheus/common/version.%s=%s", name, value))
	}
	slices.Sort(flags)
	return strings.Join(flags, " "), nil
}

// ourGit asks about this repository; not ok where it is an export without git.
func ourGit(root string, args ...string) (string, bool) {
	cmd := exec.Command("git", args...)
	cmd.Dir = root
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err == nil
}

// binaryTests are run once per delivery mode, the others know no mode.
const binaryTests = "./cmd/prometheus"

// skipList names stock tests that fail in an unmodified tree.
const skipList = "scripts/stock-tests-skipped.txt"

// vetCommand leaves out two checks that upstream's own packages do not pass: an
// iterator has a method Seek that is not io.Seeker's, and generated lexers have code
// that is never reached.
var vetCommand = []string{"vet", "-stdmethods=false", "-unreachable=false"}

var packageTests = []string{"./tsdb/wlog/...", "./tsdb/agent/...", "./tsdb/internal/...", "./storage/remote/...", "./cmd/promtool"}

func test(ctx context.Context, o options) error {
	skips, err := loadSkips(filepath.Join(o.root, skipList), strings.Split(o.tags, ","))
	if err != nil {
		return err
	}
	if err := assemble(ctx, o); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runs := []struct {
		about    string
		packages []string
		flags    []string
	}{
		{"packages", packageTests, nil},
		{"the binary, durable", []string{binaryTests}, nil},
		{"the binary, best-effort", []string{binaryTests}, []string{fmt.Sprintf("-exec='%s' %s best-effort", self, deliveryVerb)}},
	}
	var failed error
	for _, r := range runs {
		fmt.Fprintf(o.stdout, "== %s\n", r.about)
		args := append([]string{"test", "-count=1", "-timeout=20m", "-tags=" + o.tags}, r.flags...)
		if o.run != "" {
			args = append(args, "-run="+o.run)
		}
		if pattern := skipPattern(skips, r.packages); pattern != "" {
			args = append(args, "-skip="+pattern)
		}
		if err := goCommand(ctx, o, append(args, r.packages...)...).Run(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("tests of %s: %w", r.about, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failed != nil {
		return failure{failed}
	}
	return nil
}

// skip is a stock test that fails in the unmodified tree as well.
type skip struct{ pkg, test string }

// loadSkips reads lines "PACKAGE TEST TAG REASON". A line holds if the build
// has the tag; "-" means every build.
func loadSkips(name string, tags []string) ([]skip, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var skips []skip
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return nil, fmt.Errorf("%s:%d: want package, test, tag and a reason", name, n)
		}
		if fields[2] == "-" || slices.Contains(tags, fields[2]) {
			skips = append(skips, skip{pkg: path.Clean(fields[0]), test: fields[1]})
		}
	}
	return skips, lines.Err()
}

// skipPattern names exactly the tests, and the parts of tests, to be left out in a run
// of packages.
func skipPattern(skips []skip, packages []string) string {
	var names []string
	for _, s := range skips {
		for _, p := range packages {
			p = path.Clean(p)
			if prefix, ok := strings.CutSuffix(p, "/..."); s.pkg == p || ok && (s.pkg == prefix || strings.HasPrefix(s.pkg, prefix+"/")) {
				names = append(names, "^"+strings.ReplaceAll(s.test, "/", "$/^")+"$")
			}
		}
	}
	return strings.Join(names, "|")
}
