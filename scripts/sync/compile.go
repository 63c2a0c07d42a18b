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
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// fewPackages are compiled without a word.
	fewPackages = 50
	// compiledEvery is the time between two lines on how far the compiler is.
	compiledEvery = 15 * time.Second
)

// compile runs go build with flags on packages. A first build takes minutes, so it says
// how many packages there are to compile, and how many are, now and then.
func compile(ctx context.Context, o options, flags, packages []string) error {
	stale, err := stalePackages(ctx, o, flags, packages)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-v"}, flags...)
	cmd := goCommand(ctx, o, append(args, packages...)...)
	lines, writer := io.Pipe()
	cmd.Stderr = writer
	done := make(chan struct{})
	go func() {
		defer close(done)
		progress(lines, stale, time.Now, o.stdout, o.stderr)
	}()
	err = cmd.Run()
	writer.Close()
	<-done
	return err
}

// stalePackages are those that the build cache does not have. Asking for them has go fetch
// the modules that are missing, which it says.
func stalePackages(ctx context.Context, o options, flags, packages []string) (map[string]bool, error) {
	args := []string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}
	for i := 0; i < len(flags); i++ {
		if flags[i] == "-o" { // Not a flag of list.
			i++
			continue
		}
		args = append(args, flags[i])
	}
	var out strings.Builder
	cmd := goCommand(ctx, o, append(args, packages...)...)
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	stale := map[string]bool{}
	for p := range strings.FieldsSeq(out.String()) {
		stale[p] = true
	}
	return stale, nil
}

// progress reads what go build -v prints: the path of each package as the compiler gets to
// it, which is counted, and what went wrong, which is passed on.
func progress(lines io.Reader, stale map[string]bool, now func() time.Time, out, errs io.Writer) {
	total, compiled, last := len(stale), 0, now()
	if total >= fewPackages {
		fmt.Fprintf(out, "compiling %d packages: seconds for some, minutes if it is all of them\n", total)
	}
	scan := bufio.NewScanner(lines)
	for scan.Scan() {
		if !stale[scan.Text()] {
			fmt.Fprintln(errs, scan.Text())
			continue
		}
		compiled++
		if t := now(); total >= fewPackages && t.Sub(last) >= compiledEvery {
			last = t
			fmt.Fprintf(out, "%d of %d packages are compiled\n", compiled, total)
		}
	}
	_, _ = io.Copy(errs, lines) // A line that is too long: the rest as it is.
}
