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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Stock's tests of cmd/prometheus start the test binary itself, under the name
// it was called by, as an agent. To run them in another delivery mode without
// a hook in the product, "go test -exec" calls us in between: we call the test
// binary by the name of a script that adds the flag where --agent is among the
// arguments.
const deliveryVerb = "test-with-delivery"

const shim = `#!/bin/sh
for arg in "$@"; do
	if [ "$arg" = --agent ]; then
		set -- "$@" --storage.agent.delivery=%s
		break
	fi
done
exec '%s' "$@"
`

// runWithDelivery runs a test binary with its arguments in a delivery mode.
func runWithDelivery(mode string, args []string) int {
	code, err := withDelivery(mode, args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", deliveryVerb, err)
		return 2
	}
	return code
}

func withDelivery(mode string, args []string) (int, error) {
	if len(args) == 0 {
		return 0, errors.New("no test binary")
	}
	binary, err := filepath.Abs(args[0])
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "ackwal-delivery-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	// The name stays the binary's, because a test prints it.
	script := filepath.Join(dir, filepath.Base(binary))
	if err := os.WriteFile(script, fmt.Appendf(nil, shim, mode, binary), 0o777); err != nil {
		return 0, err
	}
	cmd := &exec.Cmd{Path: binary, Args: append([]string{script}, args[1:]...), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}
