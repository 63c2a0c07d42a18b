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
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Costs are what the benchmark of whole processes, test/bench/agent, keeps of a run.
type Costs struct {
	Machine struct {
		CPU   string
		Cores int
	}
	Results []struct {
		Case, Sender string
		Settings     struct {
			Series, Endpoints int
			Interval, Outage  time.Duration
		}
		Steady  struct{ Others, Seconds float64 }
		Invalid []string
	}
	Medians map[string]map[string]float64 // By figure and agent.
}

// loadCosts reads the file beside the results, if there is one.
func loadCosts(dir string) (*Costs, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cost.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &Costs{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s has no costs: %w", dir, err)
	}
	if len(c.Results) == 0 {
		return nil, fmt.Errorf("the file of costs in %s has no runs", dir)
	}
	return c, nil
}

// measured are the contenders that the benchmark knows.
func measured() []contender {
	return slices.DeleteFunc(slices.Clone(contenders), func(c contender) bool { return c.agent == "" })
}

// costFigures are the rows of a table of costs.
var costFigures = []struct {
	figure, title string
	format        func(float64) string
}{
	{"cpu-per-Msample", "CPU, s for a million samples scraped", tenths},
	{"rss-per-series", "RSS, bytes a series", whole},
	{"heap-in-use-per-series", "heap in use, bytes a series", whole},
	{"wire-per-sample", "on the wire, bytes a sample sent", tenths},
	{"written-per-sample", "written to disk in health, bytes a sample scraped", tenths},
	{"outage-written-per-sample", "the same in the outage", tenths},
	{"outage-peak-over-steady", "highest RSS in the outage, of that in health", tenths},
	{"catch-up-seconds", "catch-up after it, s", tenths},
	{"restart-catch-up-seconds", "catch-up after another with a kill and a start in it, s", tenths},
	{"missing-share", "lost of all samples, with both outages", func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }},
}

func tenths(v float64) string { return fmt.Sprintf("%.1f", v) }

func whole(v float64) string { return count(int(v + 0.5)) }

// CPU names the machine's processor.
func (c *Costs) CPU() string { return cmp.Or(c.Machine.CPU, "an unknown processor") }

// Quiet is the most that other processes used of the machine in a window, in cores.
func (c *Costs) Quiet() string {
	most := 0.0
	for _, r := range c.Results {
		if r.Steady.Seconds > 0 {
			most = max(most, r.Steady.Others/r.Steady.Seconds)
		}
	}
	return tenths(most)
}

// Tables has a table for each case: a row for each figure, a column for each agent.
func (c *Costs) Tables() string {
	out := strings.Builder{}
	done := map[string]bool{}
	for _, r := range c.Results {
		if done[r.Case] {
			continue
		}
		done[r.Case] = true
		of := r.Settings
		fmt.Fprintf(&out, "\n%s series scraped every %s, endpoints: %d; outages of %s.\n\n%s\n", count(of.Series), of.Interval, of.Endpoints, of.Outage, c.table(r.Case))
	}
	return strings.TrimSpace(out.String())
}

func (c *Costs) table(name string) string {
	head, rows := []string{""}, [][]string(nil)
	for _, m := range measured() {
		head = append(head, m.title)
	}
	for _, f := range costFigures {
		row := []string{f.title}
		for _, m := range measured() {
			cell := "–"
			if v, ok := c.Medians["agent-"+name+"-"+f.figure][m.agent]; ok {
				cell = f.format(v)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	return markdown(head, rows)
}

// Invalid are the runs that do not count, and why.
func (c *Costs) Invalid() (all []string) {
	for _, r := range c.Results {
		if len(r.Invalid) > 0 {
			all = append(all, fmt.Sprintf("%s, %s: %s", r.Case, r.Sender, strings.Join(r.Invalid, "; ")))
		}
	}
	return all
}
