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
	"strings"
	"testing"
)

// RunTests runs the cases as subtests, Parallel of them at a time, and fails
// those whose verdict is against the sender. It returns the results, so that a
// test can demand more.
func RunTests(t *testing.T, o Options) []Result {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	results, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("running the suite: %v", err)
	}
	report := NewReport(o, results)
	table := strings.Builder{}
	if err := report.WriteTable(&table, true); err != nil {
		t.Fatalf("writing the table: %v", err)
	}
	t.Log("\n" + table.String())
	for _, r := range results {
		name := r.Case
		if r.Receiver != "" {
			name += "/" + r.Receiver
		}
		t.Run(name, func(t *testing.T) {
			if r.Verdict == NotApplicable {
				t.Skip(strings.Join(r.Notes, "; "))
			}
			if !r.Verdict.Passes() {
				t.Errorf("%s: %d of %d samples lost, %d duplicated, %d out of order, %d wrong; %s; %s",
					r.Verdict, r.Lost, r.Scraped, r.Duplicated, r.OutOfOrder, r.Wrong, r.Example, strings.Join(r.Notes, "; "))
			}
		})
	}
	return results
}
