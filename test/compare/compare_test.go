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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/conformance"
)

const published = "../../docs"

// TestPublished: the page and its drawings say what the file of results says, and
// nothing has been changed by hand.
func TestPublished(t *testing.T) {
	results, err := load(filepath.Join(published, "comparison", "results.json"))
	require.NoError(t, err)
	costs, err := loadCosts(filepath.Join(published, "comparison"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, write(results, costs, filepath.Join(dir, "comparison.md"), dir))
	same := func(made, kept string) {
		a, err := os.ReadFile(filepath.Join(dir, made))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(published, kept))
		require.NoError(t, err)
		require.Equal(t, string(a), string(b), "docs/%s: make it anew with `make compare-write`", kept)
	}
	same("comparison.md", "comparison.md")
	for _, d := range drawings {
		same(d.file, filepath.Join("comparison", d.file))
	}
	require.Len(t, results.Senders, len(contenders), "the published results have all senders")
}

// TestReceiversPublished is the same for the page of receivers.
func TestReceiversPublished(t *testing.T) {
	results, err := load(filepath.Join(published, "comparison", "receivers.json"))
	require.NoError(t, err)
	page := filepath.Join(t.TempDir(), "receivers.md")
	require.NoError(t, writeReceivers(results, page))
	made, err := os.ReadFile(page)
	require.NoError(t, err)
	kept, err := os.ReadFile(filepath.Join(published, "receivers.md"))
	require.NoError(t, err)
	require.Equal(t, string(made), string(kept), "make docs/receivers.md anew with `make compare-write`")
	require.Len(t, results.Senders, len(subjects)*len(protocols), "the published results have all receivers")
}

// TestTable: each cell is of its case, receiver and sender.
func TestTable(t *testing.T) {
	counts := conformance.Counts{Scraped: 1000, Lost: 125, OutOfOrder: 1234567}
	r := &Results{Senders: []SenderResults{
		{Name: "a", Cases: []conformance.Result{
			{Case: "outage", Verdict: conformance.LostSamples, Counts: counts},
			{Case: "isolation", Receiver: "alive", Verdict: conformance.OK, Counts: conformance.Counts{Scraped: 5}},
			{Case: "wiped-positions", Verdict: conformance.NotApplicable},
		}},
		{Name: "b", Cases: []conformance.Result{
			{Case: "isolation", Verdict: conformance.Ended},
			{Case: "wiped-positions", Verdict: conformance.OK, Counts: conformance.Counts{Scraped: 5}},
		}},
	}}
	lost, err := r.table("lost")
	require.NoError(t, err)
	require.Equal(t, `| case | a | b |
|---|---|---|
| `+"`outage`"+` | **12.5 %** | – |
| `+"`isolation/alive`"+` | 0 | **ended** |
| `+"`wiped-positions`"+` | n/a | 0 |`, lost)
	order, err := r.table("out of order")
	require.NoError(t, err)
	require.Contains(t, order, "| 1,234,567 | – |")
	_, err = r.table("nonsense")
	require.Error(t, err)
}

// TestCostTables: each case has a table, with what was measured of each agent.
func TestCostTables(t *testing.T) {
	c := &Costs{}
	require.NoError(t, json.Unmarshal([]byte(`{
		"Results": [
			{"Case": "5-1", "Sender": "durable", "Settings": {"Series": 5000, "Endpoints": 1, "Interval": 5000000000}, "Steady": {"Others": 3, "Seconds": 30}},
			{"Case": "5-1", "Sender": "otel-wal", "Invalid": ["late"]}
		],
		"Medians": {"agent-5-1-cpu-per-Msample": {"durable": 6.25, "otel-otlp": 20}, "agent-5-1-missing-share": {"stock": 0.125}, "agent-5-1-rss-per-series": {"vmagent": 1234.4}}
	}`), c))
	text := c.Tables()
	require.Contains(t, text, "5,000 series scraped every 5s, endpoints: 1")
	require.Contains(t, text, "| CPU, s for a million samples scraped | 6.2 | – | – | – | 20.0 |\n")
	require.Contains(t, text, "| RSS, bytes a series | – | – | 1,234 | – | – |\n")
	require.Contains(t, text, "| – | 12.5 % | – | – | – |")
	require.Equal(t, 1, strings.Count(text, "endpoints: "), "a table for each case")
	require.Equal(t, "0.1", c.Quiet())
	require.Equal(t, []string{"5-1, otel-wal: late"}, c.Invalid())
}

// TestCurve: a curve has what was scraped and is not stored, at its time, and each
// sample once.
func TestCurve(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(tenths int) time.Time { return start.Add(time.Duration(tenths) * 100 * time.Millisecond) }
	dir := t.TempDir()
	keep := func(name string, items ...any) {
		file, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		for _, item := range items {
			require.NoError(t, json.NewEncoder(file).Encode(item))
		}
		require.NoError(t, file.Close())
	}
	keep("target.jsonl",
		conformance.Scrape{Number: 1, Served: at(0)}, conformance.Scrape{Number: 2, Served: at(3)}, conformance.Scrape{Number: 3, Served: at(6)})
	keep("receiver-main.jsonl",
		conformance.Request{At: at(1), Status: 400, Arrivals: []conformance.Arrival{{Series: 0, Number: 1, Fate: conformance.Overtaken}}},
		conformance.Request{At: at(1), Status: 204, Arrivals: []conformance.Arrival{{Series: 0, Number: 1}, {Series: 0, Number: 1, Fate: conformance.Again}}},
		conformance.Request{At: at(5), Status: 204, Arrivals: []conformance.Arrival{{Series: 1, Number: 2}, {Series: 1, Number: 1, Fate: conformance.Overtaken}}},
		conformance.Request{At: at(8), Status: 204, Arrivals: []conformance.Arrival{{Series: 1, Number: 3}}})
	keep("events.jsonl",
		conformance.Event{At: at(1), What: conformance.ReceiverBack, Receiver: "main"}, // It was there.
		conformance.Event{At: at(2), What: conformance.ReceiverAway, Receiver: "main"},
		conformance.Event{At: at(2), What: conformance.ReceiverAway, Receiver: "other"},
		conformance.Event{At: at(3), What: conformance.SenderKilled},
		conformance.Event{At: at(4), What: conformance.ReceiverBack, Receiver: "main"})
	c, err := curve(dir, "main", 2)
	require.NoError(t, err)
	require.Equal(t, Curve{
		Seconds: []float64{0, 0.2, 0.4, 0.6, 0.8, 1}, Outstanding: []int{2, 1, 3, 3, 2, 2},
		Events: []Moment{{0.2, conformance.ReceiverAway}, {0.3, conformance.SenderKilled}, {0.4, conformance.ReceiverBack}},
	}, c)
}
