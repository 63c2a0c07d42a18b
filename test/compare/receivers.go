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
	"context"
	_ "embed" // For the page.
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/ackwal/ackwal/conformance"
	"github.com/ackwal/ackwal/conformance/wire"
)

// Results of receivers are those of our sender alone, with a row for each database and
// protocol in the place of a sender: what the database has when it is asked.

//go:embed receivers.md.tmpl
var receiversText string

// subject is a database with what is changed of its defaults.
type subject struct {
	name, title string
	args        []string
}

// subjects are in the order of the page.
var subjects = []subject{
	{"prometheus", "Prometheus", nil},
	{"thanos", "Thanos Receive", nil},
	{"cortex", "Cortex", nil},
	{"victoria-metrics", "VictoriaMetrics", nil},
	{"victoria-metrics", "VictoriaMetrics, deduplicating", []string{"-dedup.minScrapeInterval=1ms"}},
}

// tardy are the receivers for what comes late: as they are by default, and with a window for
// it. args and config are what the window takes.
var tardy = []struct {
	subject
	config string
}{
	{subject{"prometheus", "Prometheus", nil}, ""},
	{subject{"prometheus", "Prometheus, `storage.tsdb.out_of_order_time_window: 24h`", nil}, "storage: {tsdb: {out_of_order_time_window: 24h}}\n"},
	{subject{"thanos", "Thanos Receive", nil}, ""},
	{subject{"thanos", "Thanos Receive, `--tsdb.out-of-order.time-window=24h`", []string{"--tsdb.out-of-order.time-window=24h"}}, ""},
	{subject{"cortex", "Cortex", nil}, ""},
	{subject{"cortex", "Cortex, `-ingester.out-of-order-time-window=24h`", []string{"-ingester.out-of-order-time-window=24h"}}, ""},
	{subject{"victoria-metrics", "VictoriaMetrics", nil}, ""},
}

// runTardy has each of them get a backlog of two hours ago, before what is new and beside it.
func (r *Results) runTardy(ctx context.Context, options conformance.Options, databases binaries, dir string) error {
	sender, senders := options.Sender, r.Senders
	r.Senders = nil
	for _, s := range tardy {
		binary := databases[s.name]
		if binary == "" {
			continue // It was said.
		}
		backend, err := conformance.NamedBackend(s.name, binary)
		if err != nil {
			return err
		}
		options.Protocol, options.Backend = wire.V1, backend.With(s.args...)
		options.Backend.Config += s.config
		options.Cases = []string{"late"}
		for i, of := range []conformance.Sender{sender, sender.With("--storage.agent.delivery.fresh-first=main")} {
			options.Sender = of
			if err := r.runOne(ctx, options, s.title, filepath.Join(dir, fmt.Sprintf("%s, late %d", s.title, i))); err != nil {
				return err
			}
		}
	}
	r.Late, r.Senders = r.Senders, senders
	return nil
}

// lateTable has a row for each receiver of [tardy], and what it lacks if the backlog is
// sent before what is new, and beside it.
func (r *Results) lateTable() string {
	var rows [][]string
	for i := 0; i+1 < len(r.Late); i += 2 {
		row := []string{r.Late[i].Name}
		for _, of := range r.Late[i : i+2] {
			row = append(row, of.cell(of.Cases[0].Case, lostShare))
		}
		rows = append(rows, row)
	}
	return markdown([]string{"receiver", "in order", "with `fresh-first`"}, rows)
}

// protocols that each database is sent.
var protocols = []wire.Protocol{wire.V1, wire.V2}

// runReceivers runs the suite for our sender with every database whose program is there.
func runReceivers(ctx context.Context, sender string, databases binaries, cases []string, parallel int, dir string) (*Results, error) {
	options := conformance.Options{Sender: conformance.DurableAgent(sender), Cases: cases, Parallel: parallel, LostAfter: 150}
	return collect(dir, func(r *Results, dir string) error {
		r.Versions["agent"] = version(ctx, sender)
		for _, s := range subjects {
			binary := r.binary(ctx, databases, s.name, s.title)
			if binary == "" {
				continue
			}
			backend, err := conformance.NamedBackend(s.name, binary)
			if err != nil {
				return err
			}
			options.Backend = backend.With(s.args...)
			for _, options.Protocol = range protocols {
				row := s.title + ", " + options.Protocol.Short()
				if err := r.runOne(ctx, options, row, filepath.Join(dir, row)); err != nil {
					return err
				}
			}
		}
		return r.runTardy(ctx, options, databases, dir)
	})
}

// writeReceivers makes the page. What stores nothing at all, since it does not know the
// protocol, has no place in its tables.
func writeReceivers(r *Results, page string) error {
	shown, nothing := *r, []string{}
	shown.Senders = slices.DeleteFunc(slices.Clone(r.Senders), func(s SenderResults) bool {
		stores := slices.ContainsFunc(s.Cases, func(x conformance.Result) bool { return x.Delivered > 0 })
		if !stores {
			nothing = append(nothing, s.Name)
		}
		return !stores
	})
	text, err := r.render(receiversText, template.FuncMap{
		"table": shown.table, "late": r.lateTable, "cases": shown.described, "nothing": func() string { return strings.Join(nothing, "; ") },
	})
	if err != nil {
		return fmt.Errorf("page of receivers: %w", err)
	}
	return os.WriteFile(page, text, 0o666)
}
