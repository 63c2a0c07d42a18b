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

package agentcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/ackwal/ackwal/tsdb/agent/inspect"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitBad    = 3
)

const (
	formatText = "text"
	formatJSON = "json"
)

// Commands are the commands of one command line.
type Commands struct {
	printer
	err io.Writer
	run map[string]func(context.Context) (int, error) // By what the command line calls it.
}

// command adds a command that takes a directory.
func (c *Commands) command(agent *kingpin.CmdClause, name, help string, run func(ctx context.Context, dir string) (int, error)) *kingpin.CmdClause {
	cmd := agent.Command(name, help)
	dir := cmd.Arg("dir", "Data directory of the agent, as in --storage.agent.path.").Required().String()
	c.run[cmd.FullCommand()] = func(ctx context.Context) (int, error) { return run(ctx, *dir) }
	return cmd
}

func formatOf(cmd *kingpin.CmdClause) *string {
	return cmd.Flag("format", "Format of the output, text or json.").Default(formatText).Enum(formatText, formatJSON)
}

func (c *Commands) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// look opens a directory, calls f with it and closes it.
func look(dir string, f func(d *inspect.Directory) error) error {
	d, err := inspect.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // Only read from.
	return f(d)
}

func (c *Commands) status(agent *kingpin.CmdClause) {
	var format *string
	var limit *time.Duration
	cmd := c.command(agent, "status", "What is in a data directory, and what each endpoint has yet to be sent. Reads only, and needs no lock.", func(ctx context.Context, dir string) (int, error) {
		return exitOK, look(dir, func(d *inspect.Directory) error {
			counting, cancel := context.WithTimeout(ctx, *limit)
			defer cancel()
			s, err := d.Status(counting)
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case *format == formatJSON:
				return c.printJSON(s)
			}
			c.printStatus(s, time.Now())
			return nil
		})
	})
	limit = cmd.Flag("count-for", "How long to count samples before the rest is estimated.").Default("1m").Duration()
	format = formatOf(cmd)
}

func (c *Commands) verify(agent *kingpin.CmdClause) {
	var format *string
	cmd := c.command(agent, "verify", "Read every file of a data directory, and say what a start of the agent would repair. Changes nothing. The exit code is 3 if something is damaged.", func(_ context.Context, dir string) (int, error) {
		r, err := inspect.Verify(dir)
		if err != nil {
			return exitFailed, err
		}
		code := exitOK
		if r.Severity == inspect.Damaged || r.Severity == inspect.Refused {
			code = exitBad
		}
		if *format == formatJSON {
			return code, c.printJSON(r)
		}
		c.printReport(r)
		return code, nil
	})
	format = formatOf(cmd)
}

func (c *Commands) savepoint(agent *kingpin.CmdClause) {
	var (
		format, endpoint, to *string
		dry                  *bool
	)
	cmd := c.command(agent, "savepoint", "Show how far each endpoint is, or move one with --endpoint and --to. A move needs an agent that is stopped; it keeps the savepoint as it was in a file beside it.", func(ctx context.Context, dir string) (int, error) {
		switch {
		case *to == "" && *endpoint == "":
			return exitOK, look(dir, func(d *inspect.Directory) error {
				s, err := d.Status(ctx)
				switch {
				case err != nil:
					return err
				case *format == formatJSON:
					return c.printJSON(struct {
						inspect.Savepoint
						Endpoints []inspect.Endpoint `json:"endpoints"`
					}{s.Savepoint, s.Endpoints})
				}
				c.printSavepoint(s)
				return nil
			})
		case *to == "":
			return exitFailed, fmt.Errorf("say where endpoint %q is to go on: --to=oldest, --to=now, or --to= with a time", *endpoint)
		case *endpoint == "":
			return exitFailed, fmt.Errorf("say which endpoint is to be moved: --endpoint= with a name or an ID that `promtool agent savepoint %s` shows", dir)
		}
		target, err := inspect.ParseTarget(*to)
		if err != nil {
			return exitFailed, err
		}
		m, err := inspect.Move(ctx, dir, *endpoint, target, *dry)
		switch {
		case err != nil:
			return exitFailed, err
		case *format == formatJSON:
			return exitOK, c.printJSON(m)
		}
		c.printMoved(m, *dry)
		return exitOK, nil
	})
	endpoint = cmd.Flag("endpoint", "Name or ID of the endpoint to move.").String()
	to = cmd.Flag("to", "Where it goes on: oldest, now, or a time, in RFC 3339 or ms since the epoch, for the first record with a sample of that time or later.").String()
	dry = cmd.Flag("dry-run", "Say what a move would do, and do nothing.").Bool()
	format = formatOf(cmd)
}
