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

package harness

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"

	"github.com/ackwal/ackwal/conformance/process"
)

// Tool runs `promtool agent`, of the build under test, on the agent's directory, and
// returns what it printed and its exit code.
func (a *Agent) Tool(command string, flags ...string) (out string, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), process.HangLimit)
	defer cancel()
	if command == "drain" {
		flags = append(flags, "--config.file="+a.configPath())
	}
	tool := filepath.Join(filepath.Dir(a.Engine.Path), "promtool")
	b, err := exec.CommandContext(ctx, tool, append([]string{"agent", command, a.DataDir()}, flags...)...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		return string(b), exit.ExitCode(), nil
	}
	return string(b), 0, err
}
