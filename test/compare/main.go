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
// Command compare runs senders of remote write and OTLP through the durability suite
// of conformance/, side by side, and makes the page docs/comparison.md of what it
// saw. It is a module of its own because it needs a library for plots.
//
// `compare run` writes a file of results, `compare write` the page and its drawings
// from such a file, and nothing else: every number of the page is in the file.
// `compare run-receivers` and `compare write-receivers` do the same for our sender with
// real databases.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/ackwal/ackwal/conformance"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// binaries are programs, from flags of the form program=path.
type binaries map[string]string

func (b binaries) String() string { return "" }

func (b binaries) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	known := slices.ContainsFunc(contenders, func(c contender) bool { return c.program == name }) || slices.Contains(conformance.Backends(), name)
	if !ok || !known {
		return fmt.Errorf("%q is not of the form program=path with one of the programs prometheus, vmagent and otelcol, or a database: %s", s, strings.Join(conformance.Backends(), ", "))
	}
	b[name] = path
	return nil
}

func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say run, write, run-receivers or write-receivers")
	}
	f := flag.NewFlagSet("compare "+args[0], flag.ContinueOnError)
	file := f.String("results", "", "file of results")
	switch args[0] {
	case "run", "run-receivers":
		agent := f.String("agent", "", "path of our agent, for run-receivers")
		programs := binaries{}
		f.Var(programs, "binary", "program=path: a program to run; may be repeated, those that are missing are left out")
		only := f.String("cases", "", "cases to run, apart by commas; all by default")
		parallel := f.Int("parallel", 2, "cases at a time")
		dir := f.String("keep", "", "directory to keep data, output and logs in")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		var (
			results *Results
			err     error
		)
		if args[0] == "run" {
			results, err = run(ctx, programs, split(*only), *parallel, *dir)
		} else {
			results, err = runReceivers(ctx, *agent, programs, split(*only), *parallel, *dir)
		}
		if err != nil {
			return err
		}
		return results.save(*file)
	case "write", "write-receivers":
		page := f.String("page", "", "the page to write; drawings go beside the results")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		results, err := load(*file)
		if err != nil {
			return err
		}
		if args[0] == "write" {
			dir := filepath.Dir(*file)
			costs, err := loadCosts(dir)
			if err != nil {
				return err
			}
			return write(results, costs, *page, dir)
		}
		return writeReceivers(results, *page)
	}
	return fmt.Errorf("say run, write, run-receivers or write-receivers, not %q", args[0])
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
