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

// Command record lets agents go through outages, and writes down what their metrics said
// every minute, for the tests of the alerts. It needs the right to mount, takes as long as
// the outages do, half an hour, and is run by hand from the root of the project when metrics
// have changed:
//
//	go run ./test/mixin/record --prometheus build/lean/prometheus --to test/mixin/testdata
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/grafana/regexp"
)

func main() {
	binary := flag.String("prometheus", "build/lean/prometheus", "the agent's binary")
	to := flag.String("to", "test/mixin/testdata", "directory for what is recorded")
	minute := flag.Duration("minute", time.Minute, "how long a minute takes; for trials of this program")
	flag.Parse()
	if err := run(*binary, *to, *minute, flag.Args()); err != nil {
		slog.Error("Not everything was recorded", "err", err)
		os.Exit(1)
	}
}

// run goes through the named outages, or all, at once.
func run(binary, to string, minute time.Duration, names []string) error {
	work, err := os.MkdirTemp("", "outages")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	wanted, err := askedFor("mixin/out")
	if err != nil {
		return err
	}
	var (
		wg    sync.WaitGroup
		mtx   sync.Mutex
		first error
	)
	for _, o := range outages {
		if len(names) > 0 && !slices.Contains(names, o.name) {
			continue
		}
		wg.Go(func() {
			err := o.record(binary, filepath.Join(work, o.name), filepath.Join(to, o.name+".txt"), minute, wanted)
			mtx.Lock()
			defer mtx.Unlock()
			if err != nil && first == nil {
				first = fmt.Errorf("%s: %w", o.name, err)
			}
		})
	}
	wg.Wait()
	return first
}

// askedFor are the metrics that alerts and dashboards name.
func askedFor(dir string) (map[string]bool, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		for _, name := range regexp.MustCompile(`\b(?:prometheus|process)_\w+`).FindAllString(string(text), -1) {
			names[name] = true
		}
	}
	return names, nil
}
