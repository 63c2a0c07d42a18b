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
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
)

// Register adds the commands to a command line.
func Register(app *kingpin.Application) *Commands {
	return register(app, &Commands{printer: printer{out: os.Stdout, terminal: isTerminal(os.Stdout)}, err: os.Stderr})
}

func register(app *kingpin.Application, c *Commands) *Commands {
	c.run = map[string]func(context.Context) (int, error){}
	agent := app.Command("agent", "Look at data directories of agents, and deliver what they hold.")
	c.status(agent)
	c.verify(agent)
	c.savepoint(agent)
	c.cat(agent)
	c.drain(agent)
	return c
}

// Run runs the command that was parsed, and reports whether it is one of these. One that
// ends with an error has an exit code other than 0: its own, or 1.
func (c *Commands) Run(ctx context.Context, parsed string) (code int, ours bool) {
	run := c.run[parsed]
	if run == nil {
		return exitOK, false
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx)
	if err != nil {
		fmt.Fprintln(c.err, "error:", err)
		if code == exitOK {
			code = exitFailed
		}
	}
	return code, true
}
