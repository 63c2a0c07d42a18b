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
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// errInvalid ends the benchmark if runs do not count.
var errInvalid = errors.New("some runs do not count, see above")

// report is the file with all results.
type report struct {
	Began    time.Time
	Machine  machine
	Binaries map[string]string
	Results  []result
	// Medians are those of the runs that count, by figure and agent.
	Medians map[string]map[string]float64 `json:",omitempty"`
}

// runAll runs every case with every agent, in turn, round by round, so that one
// round is there as a whole before the next one begins.
func runAll(s settings) error {
	by, err := s.contenders()
	if err != nil {
		return err
	}
	rep := report{Began: time.Now(), Machine: describeMachine(), Binaries: map[string]string{}, Medians: map[string]map[string]float64{}}
	for _, c := range by {
		rep.Binaries[c.name] = filepath.Base(c.binary)
	}
	total, expected := 0, time.Duration(0)
	for _, c := range s.courses {
		total += len(by) * s.rounds
		expected += time.Duration(len(by)*s.rounds) * c.expected()
	}
	path := filepath.Join(s.dir, "agent-"+rep.Began.Format("20060102-150405")+".json")
	fmt.Printf("%d runs, about %s; results are kept in %s\n", total, expected.Round(time.Minute), path)

	invalid := false
	for round := range s.rounds {
		for _, c := range s.courses {
			for _, of := range by {
				began := time.Now()
				res, err := run(s, c, of, round+1)
				if err != nil {
					res.Invalid = append(res.Invalid, err.Error())
				}
				rep.Results = append(rep.Results, res)
				fmt.Printf("%d/%d %s\n", len(rep.Results), total, res.summary(time.Since(began)))
				for _, why := range res.Invalid {
					invalid = true
					fmt.Printf("INVALID RUN agent-%s of %s, round %d: %s\n", c.Name, of.name, res.Round, why)
				}
				if err := rep.write(path); err != nil {
					return err
				}
			}
		}
	}
	for _, c := range s.courses {
		for _, l := range lines(c.Name, rep.Results) {
			fmt.Println(l)
			rep.Medians[l.name] = l.medians
		}
	}
	if err := rep.write(path); err != nil {
		return err
	}
	if invalid {
		return errInvalid
	}
	return nil
}

func (rep report) write(path string) error {
	text, err := json.MarshalIndent(rep, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}

// busyElsewhere is how much of a core others may use before it is said.
const busyElsewhere = 0.1

// summary says in a line what a run has shown.
func (r result) summary(took time.Duration) string {
	text := fmt.Sprintf("%s %s: %.2f CPU s for %.2f million samples, heap in use %.0f MB, RSS %.0f MB, ready in %.2f s; took %s",
		r.Case, r.Sender, r.Steady.CPU, float64(r.Steady.Scraped)/1e6, r.Steady.HeapInUse/1e6, r.Steady.RSS/1e6, r.Ready, took.Round(time.Second))
	if others := r.Steady.Others / max(1, r.Steady.Seconds); others > busyElsewhere {
		text += fmt.Sprintf("; NOT QUIET: other processes used %.2f cores", others)
	}
	return text
}
