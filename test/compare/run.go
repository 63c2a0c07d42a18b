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
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ackwal/ackwal/conformance"
)

// contender is one sender of the comparison.
type contender struct {
	program string // That is run, as the flag for its path names it.
	sender  func(binary string) conformance.Sender
	title   string // In tables.
	short   string // In drawings.
	// what is how it keeps what has not been delivered, in a sentence.
	what string
}

// contenders are in the order of the page.
var contenders = []contender{
	{
		"prometheus", conformance.DurableAgent, "ackwal, durable", "ackwal",
		"a write-ahead log that is kept until every endpoint has acknowledged it, and saved positions",
	},
	{
		"prometheus", func(binary string) conformance.Sender {
			return conformance.StockAgent(binary).With("--storage.agent.delivery=best-effort")
		}, "Prometheus agent", "Prometheus",
		"a write-ahead log that is cut by age, positions in memory",
	},
	{
		"vmagent", conformance.VMAgent, "vmagent", "vmagent",
		"blocks in memory, and a queue of files for what cannot be sent",
	},
	{
		"otelcol", conformance.OTelRemoteWrite, "OTel Collector, remote write", "OTel RW",
		"a queue in memory",
	},
	{
		"otelcol", conformance.OTelRemoteWriteWAL, "OTel Collector, remote write with WAL", "OTel RW, WAL",
		"the exporter's write-ahead log, one entry a request",
	},
	{
		"otelcol", conformance.OTelOTLP, "OTel Collector, OTLP, default sizes", "OTel OTLP",
		"a queue of 1,000 requests on disk, each given up after 5 minutes; both scaled to the suite's outages",
	},
	{
		"otelcol", conformance.OTelOTLPSized, "OTel Collector, OTLP, sized", "OTel OTLP, sized",
		"the same queue, large enough, without giving up",
	},
}

// drawn are the cases of which there is a drawing, with their receivers.
var drawn = []string{"restart-in-outage", "crash-in-catch-up"}

// run runs the suite for every sender whose program is there. Receivers store late
// samples: senders that give up order would otherwise lose most, and say nothing of
// their queues.
func run(ctx context.Context, programs binaries, cases []string, parallel int, dir string) (*Results, error) {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "compare-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	options := conformance.Options{Rules: conformance.Lenient, Cases: cases, Parallel: parallel, Series: 200, Interval: 200 * time.Millisecond}
	r := &Results{
		Date:    time.Now().UTC().Format(time.DateOnly),
		Machine: fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Series:  options.Series, Interval: options.Interval.String(), Versions: map[string]string{},
	}
	for _, c := range contenders {
		binary := programs[c.program]
		if binary == "" {
			fmt.Fprintf(os.Stderr, "LEFT OUT: %s, since there is no --binary %s=\n", c.title, c.program)
			r.LeftOut = append(r.LeftOut, c.title)
			continue
		}
		r.Versions[c.program] = version(ctx, binary)
		options.Sender = c.sender(binary)
		options.Dir = filepath.Join(dir, strings.ReplaceAll(c.title, " ", "-"))
		started := time.Now()
		results, err := conformance.Run(ctx, options)
		if err != nil {
			return nil, err
		}
		report := conformance.NewReport(options, results)
		if err := report.WriteTable(os.Stderr, true); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n\n", c.title, time.Since(started).Round(time.Second))
		sender := SenderResults{Name: c.title, Cases: results, Curves: map[string]Curve{}}
		for _, name := range drawn {
			if len(cases) > 0 && !slices.Contains(cases, name) {
				continue
			}
			if sender.Curves[name], err = curve(filepath.Join(options.Dir, name), "main", options.Series); err != nil {
				return nil, err
			}
		}
		r.Senders = append(r.Senders, sender)
	}
	return r, nil
}

// version is what a program says of itself in its first line, or else the version of
// its module.
func version(ctx context.Context, binary string) string {
	if out, err := exec.CommandContext(ctx, binary, "--version").Output(); err == nil {
		if line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); line != "" {
			return line
		}
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "unknown"
	}
	return path.Base(info.Path) + " " + info.Main.Version
}
