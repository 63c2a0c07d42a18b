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

// Command sync makes a Prometheus tree out of upstream's and this project's
// files, builds and tests it, and keeps the series of changes that could be
// submitted. It is started by upstream-sync.sh.
//
// The verbs are in the table below; each only wires together the packages
// tree (what files there are), hook (what changes in upstream's), series (what
// belongs to which change), port (what becomes of that on another version) and
// git. Exit code 2 means that the input was refused and nothing was written, 1
// that a build, a test or an entry failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

const usage = `Usage: upstream-sync.sh VERB [flags]

The fork:
  assemble   copy upstream's tree to build/fork, lay our directories in, apply the hooks
  build      assemble, then build prometheus and promtool
  test       assemble, then run stock's and our tests of the touched packages there
  diff       print what the hooks change in upstream's files, as a unified diff
The series of changes in patches/:
  rebase VERSION|DIR   put it on another version of upstream (v0.315.0, 0.315.0 or 3.15.0,
                       or a git checkout, also by --upstream DIR), say which files of upstream
                       next to ours have changed, and of each entry whether it is clean
                       (it applies, compiles and passes its tests), in conflict or
                       obsolete, and write the tree to build/fork; go.mod moves when
                       nothing is in conflict
  split      make a branch of one signed-off commit for each entry, stacked in order,
             and the text of each pull request
  verify     check the series, and that every state of the tree on its way builds, vets
             (also for linux/386 and windows/amd64) and passes its tests
  export     write the series as files for git am; twice the same bytes
Nothing is ever pushed.

Flags:
  --upstream DIR   a git checkout of upstream to start from (its HEAD; it is only
                   read), or a version in one of the forms above; default: the one in
                   go.mod. Versions come from the Go module cache
  --out DIR        where the result goes; default: build/fork, for split, verify and
                   export build/split, build/series and build/export (not for diff)
assemble:
  --onto DIR       instead of --out: commit the tree on a new branch of your own checkout
                   of upstream, on top of what is checked out, which stays as it is
  --branch NAME    with --onto: the branch
  --tag NAME       with --onto: a tag for it, so that a replace directive can name it
build, test, rebase and verify:
  --tags LIST      build tags, separated by commas; remove_all_sd leaves out service
                   discovery and builds faster (the default of rebase and verify)
build:
  --bin DIR        where the binaries go; default: bin
  --release        as they are published: without paths of this machine and without
                   tables for debuggers, and with a file VERSION beside them. GOOS and
                   GOARCH name another platform, with and without it
test:
  --run PATTERN    run only the tests that match
diff:
  --entry NAME     only this entry of patches/
split:
  --onto DIR       put the branches into your own checkout of upstream, on top of what is
                   checked out; only new branches are added, all else stays as it is.
                   Default: a new repository in --out
  --prefix NAME    how names of branches begin; default: ackwal/
verify:
  --quick          build and vet here only, no tests
  --from NAME      begin at this entry
  --alone          only the entries that stand alone, each on upstream's tree
rebase:
  --quick          compile and vet, no tests
  --short          compile and vet, and only those tests that take seconds
  --dry-run        only report what applies; nothing is compiled

Trees in --out are generated: edit the files they are made from. Files there that
are the same as before are left alone, others that came from here are replaced.
Exit code: 0 done, 1 a build, a test or an entry failed, 2 the input was refused.
`

// options are the flags of all verbs, and where output goes.
type options struct {
	root, upstream, out, tags, bin, run, entry string
	onto, branch, tag, prefix, from            string
	quick, short, dryRun, alone, release       bool
	stdout, stderr                             io.Writer
}

type verb struct {
	flags []string
	// out and tags are the defaults of these flags.
	out, tags string
	// arg tells that upstream may be named without its flag.
	arg bool
	do  func(ctx context.Context, o options) error
}

// lean is the tag with which a binary takes least time to compile.
const lean = "remove_all_sd"

var verbs = map[string]verb{
	"assemble": {flags: []string{"upstream", "out", "onto", "branch", "tag"}, out: "fork", do: assemble},
	"build":    {flags: []string{"upstream", "out", "tags", "bin", "release"}, out: "fork", do: build},
	"test":     {flags: []string{"upstream", "out", "tags", "run"}, out: "fork", do: test},
	"diff":     {flags: []string{"upstream", "entry"}, do: diff},
	"rebase":   {flags: []string{"upstream", "out", "tags", "quick", "short", "dry-run"}, out: "fork", tags: lean, arg: true, do: rebase},
	"split":    {flags: []string{"upstream", "out", "onto", "prefix"}, out: "split", do: split},
	"verify":   {flags: []string{"upstream", "out", "tags", "quick", "from", "alone"}, out: "series", tags: lean, do: verify},
	"export":   {flags: []string{"upstream", "out"}, out: "export", do: export},
}

// failure is a build or a test that failed, as opposed to refused input.
type failure struct{ error }

func main() {
	if len(os.Args) > 2 && os.Args[1] == deliveryVerb {
		os.Exit(runWithDelivery(os.Args[2], os.Args[3:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run takes "--root DIR VERB flags…".
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var root string
	if len(args) > 1 && args[0] == "--root" {
		root, args = args[1], args[2:]
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	v, ok := verbs[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "upstream-sync.sh: unknown verb %q; --help lists them\n", args[0])
		return 2
	}
	o, err := parse(root, args[0], v, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err == nil {
		o.stdout, o.stderr = stdout, stderr
		err = v.do(ctx, o)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "upstream-sync.sh %s: %v\n", args[0], err)
	if failed := (failure{}); errors.As(err, &failed) {
		return 1
	}
	return 2
}

func parse(root, name string, v verb, args []string) (options, error) {
	o := options{root: root, out: filepath.Join(root, "build", v.out), bin: filepath.Join(root, "bin"), tags: v.tags, prefix: "ackwal/"}
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	texts := map[string]*string{
		"upstream": &o.upstream, "out": &o.out, "tags": &o.tags, "bin": &o.bin, "run": &o.run, "entry": &o.entry,
		"onto": &o.onto, "branch": &o.branch, "tag": &o.tag, "prefix": &o.prefix, "from": &o.from,
	}
	switches := map[string]*bool{"quick": &o.quick, "short": &o.short, "dry-run": &o.dryRun, "alone": &o.alone, "release": &o.release}
	for _, f := range v.flags {
		if to, ok := switches[f]; ok {
			set.BoolVar(to, f, false, "")
		} else {
			set.StringVar(texts[f], f, *texts[f], "")
		}
	}
	// What the verb is about may come before the flags or after them.
	arg := ""
	for rest := args; ; {
		if err := set.Parse(rest); err != nil {
			return options{}, err
		}
		if set.NArg() == 0 {
			break
		}
		if !v.arg || arg != "" {
			return options{}, fmt.Errorf("unexpected argument %q", set.Arg(0))
		}
		arg, rest = set.Arg(0), set.Args()[1:]
	}
	if arg != "" {
		if o.upstream != "" {
			return options{}, fmt.Errorf("either a version or --upstream, not both %q and %q", arg, o.upstream)
		}
		o.upstream = arg
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, f := range []string{"branch", "tag"} {
		if given[f] && *texts[f] == "" {
			return options{}, fmt.Errorf("--%s needs a name", f)
		}
	}
	for f, p := range map[string]*string{"upstream": &o.upstream, "out": &o.out, "bin": &o.bin, "onto": &o.onto} {
		if *p == "" {
			if given[f] || f == "out" || f == "bin" {
				return options{}, fmt.Errorf("--%s needs a directory", f)
			}
			continue
		}
		if f == "upstream" {
			if asModule(*p) != "" {
				continue
			}
			if info, err := os.Stat(*p); err != nil || !info.IsDir() {
				return options{}, fmt.Errorf("%q is neither %s, nor a directory", *p, versionForms)
			}
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return options{}, err
		}
		*p = abs
	}
	if o.onto != "" && o.upstream != "" {
		return options{}, errors.New("--onto says what to start from; leave --upstream out")
	}
	return o, nil
}
