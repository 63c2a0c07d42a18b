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

// Command conformance puts a sender of remote write through outages, restarts,
// crashes and damage, and prints what was lost, duplicated or reordered.
//
// It exits with 0 if every verdict is in the sender's favour, with 1 if not,
// and with 2 if it could not be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ackwal/ackwal/conformance"
	"github.com/ackwal/ackwal/conformance/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	passed, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(2)
	case !passed:
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

type command struct {
	sender, binary           string
	line, config             string
	ready, reload            string
	args, positions          list
	ignore                   list
	database, databaseBinary string
	cases, protocol          string
	rules                    string
	asJSON, notes, listCases bool
	opts                     conformance.Options
}

func parse(args []string) (*command, error) {
	c := &command{}
	f := flag.NewFlagSet("conformance", flag.ContinueOnError)
	f.StringVar(&c.sender, "sender", "generic", "what is tested: "+strings.Join(conformance.Senders(), ", ")+" or generic")
	f.StringVar(&c.binary, "binary", "", "path of the program, unless generic")
	f.Var(&c.args, "arg", "further argument for the program, a template; may be repeated")
	f.StringVar(&c.line, "command", "", "generic: command line, a template, see README.md")
	f.StringVar(&c.config, "config-template", "", "file with the template of the configuration, instead of the sender's own")
	f.StringVar(&c.ready, "ready", "", "generic: path that answers 2xx when the program works")
	f.StringVar(&c.reload, "reload", "", "generic: how to reload, a path to POST to or HUP")
	f.Var(&c.positions, "positions", "pattern of files below the data directory that hold positions; may be repeated")
	f.Var(&c.ignore, "ignore", "pattern of files below the data directory that hold no data; may be repeated")
	f.StringVar(&c.cases, "cases", "", "cases to run, apart by commas; all by default")
	f.StringVar(&c.protocol, "protocol", "any", "v1, v2, or any: the sender chooses")
	f.StringVar(&c.rules, "receiver", string(conformance.Strict), "rules of the receivers: strict, like Prometheus without an out-of-order window, or lenient")
	f.StringVar(&c.database, "database", "", "have this store what is sent, and query it, instead of the suite's own receiver: "+strings.Join(conformance.Backends(), ", "))
	f.StringVar(&c.databaseBinary, "database-binary", "", "path of its program")
	f.IntVar(&c.opts.Series, "series", 200, "series of the target")
	f.DurationVar(&c.opts.Interval, "interval", 0, "between scrapes (default 200ms)")
	f.Int64Var(&c.opts.LostAfter, "lost-after", 100, "scrapes without anything missing arriving after which it counts as lost")
	f.IntVar(&c.opts.Parallel, "parallel", 2, "cases at a time")
	f.BoolVar(&c.opts.NoDuplicates, "no-duplicates", false, "fail senders that send again what was acknowledged, unless they crashed")
	f.StringVar(&c.opts.Dir, "keep", "", "directory to keep data, output and logs in")
	f.BoolVar(&c.asJSON, "json", false, "print JSON instead of a table")
	f.BoolVar(&c.notes, "notes", false, "print the notes of cases that pass, too")
	f.BoolVar(&c.listCases, "list", false, "list the cases and exit")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("what is %q? Everything is a flag", f.Arg(0))
	}
	return c, nil
}

func run(ctx context.Context, args []string, out io.Writer) (passed bool, err error) {
	c, err := parse(args)
	if err != nil {
		return false, err
	}
	if c.listCases {
		for _, x := range conformance.Cases() {
			fmt.Fprintf(out, "%-18s %s\n", x.Name, x.Description)
		}
		return true, nil
	}
	if err := c.complete(); err != nil {
		return false, err
	}
	results, err := conformance.Run(ctx, c.opts)
	if err != nil {
		return false, err
	}
	report := conformance.NewReport(c.opts, results)
	if c.asJSON {
		return report.Passed, report.WriteJSON(out)
	}
	return report.Passed, report.WriteTable(out, c.notes)
}

// complete turns the flags into options.
func (c *command) complete() error {
	config := ""
	if c.config != "" {
		text, err := os.ReadFile(c.config)
		if err != nil {
			return fmt.Errorf("template of the configuration: %w", err)
		}
		config = string(text)
	}
	var err error
	if c.sender == "generic" {
		if c.line == "" {
			return errors.New("--command says what to run, or --sender and --binary do")
		}
		c.opts.Sender, err = conformance.Generic(c.line, config)
		c.opts.Sender.Ready = c.ready
	} else {
		c.opts.Sender, err = conformance.Named(c.sender, c.binary)
		if config != "" {
			c.opts.Sender.Config = config
		}
	}
	if err != nil {
		return err
	}
	s := c.opts.Sender.With(c.args...)
	s.Positions = append(s.Positions, c.positions...)
	s.Ignore = append(s.Ignore, c.ignore...)
	switch {
	case strings.HasPrefix(c.reload, "/"):
		s.Reload = conformance.Reload{Path: c.reload}
	case c.reload == "HUP":
		s.Reload = conformance.Reload{Signal: syscall.SIGHUP}
	case c.reload != "":
		return fmt.Errorf("--reload is a path or HUP, not %q", c.reload)
	}
	c.opts.Sender = s
	c.opts.Rules = conformance.Rules(c.rules)
	if c.database != "" {
		if c.opts.Backend, err = conformance.NamedBackend(c.database, c.databaseBinary); err != nil {
			return err
		}
	}
	if c.cases != "" {
		c.opts.Cases = strings.Split(c.cases, ",")
	}
	switch c.protocol {
	case "v1":
		c.opts.Protocol = wire.V1
	case "v2":
		c.opts.Protocol = wire.V2
	case "any":
	default:
		return fmt.Errorf("--protocol is v1, v2 or any, not %q", c.protocol)
	}
	return nil
}
