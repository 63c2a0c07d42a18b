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

package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
)

// Report is what the command prints as JSON.
type Report struct {
	Sender   string   `json:"sender"`
	Rules    Rules    `json:"rules"`
	Protocol string   `json:"protocol,omitempty"`
	Passed   bool     `json:"passed"`
	Results  []Result `json:"results"`
}

// NewReport sums up the results of a run with these options.
func NewReport(o Options, results []Result) Report {
	if o.Rules == "" {
		o.Rules = Strict
	}
	r := Report{Sender: o.Sender.Name, Rules: o.Rules, Passed: len(results) > 0, Results: results}
	if o.Protocol != "" {
		r.Protocol = o.Protocol.Short()
	}
	r.Passed = r.Passed && !slices.ContainsFunc(results, func(x Result) bool { return !x.Verdict.Passes() })
	return r
}

// WriteJSON writes the report as one object.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes a line for each result, and notes below it if asked for.
func (r Report) WriteTable(w io.Writer, notes bool) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tscraped\tdelivered\tlost\tduplicated\tout of order\tverdict")
	for _, x := range r.Results {
		name := x.Case
		if x.Receiver != "" {
			name += "/" + x.Receiver
		}
		if x.Verdict == NotApplicable || x.Verdict == Failed || x.Verdict == Ended {
			fmt.Fprintf(t, "%s\t\t\t\t\t\t%s\n", name, x.Verdict)
			continue
		}
		lost := strconv.Itoa(x.Lost)
		if x.LostBefore > 0 {
			lost += fmt.Sprintf(" of %d damaged", x.AtRisk)
		}
		if x.LostWhileFull > 0 {
			lost += fmt.Sprintf(", %d while full", x.LostWhileFull)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%d\t%d\t%s\n", name, x.Scraped, x.Delivered, lost, x.Duplicated, x.OutOfOrder, x.Verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, x := range r.Results {
		if x.Example != "" && !x.Verdict.Passes() {
			fmt.Fprintf(w, "%s: %s\n", x.Case, x.Example)
		}
		for _, note := range x.Notes {
			if notes || !x.Verdict.Passes() {
				fmt.Fprintf(w, "%s: %s\n", x.Case, note)
			}
		}
	}
	verdict := "FAIL"
	if r.Passed {
		verdict = "PASS"
	}
	_, err := fmt.Fprintf(w, "%s %s\n", verdict, r.Sender)
	return err
}
