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

// Command self starts itself by the name it was called by, as stock's tests
// of cmd/prometheus do, and writes down with which arguments.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if len(os.Args) > 2 {
		fmt.Println(os.Args[1:])
		return
	}
	out := filepath.Base(os.Args[0]) + "\n"
	for _, args := range [][]string{{"-x", "y z"}, {"--agent", "-x"}} {
		printed, err := exec.Command(os.Args[0], args...).Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		out += string(printed)
	}
	if err := os.WriteFile(os.Args[1], []byte(out), 0o666); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(7)
}
