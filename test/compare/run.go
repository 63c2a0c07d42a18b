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
	what  string
	agent string // Its name in the benchmark of whole processes, if that has it.
}

// contenders are in the order of the page.
var contenders = []contender{
	{
		"prometheus", conformance.DurableAgent, "ackwal, durable", "ackwal",
		"a write-ahead log that is kept until every endpoint has acknowledged it, and saved positions", "durable",
	},
	{
		"prometheus", func(binary string) conformance.Sender {
			return conformance.StockAgent(binary).With("--storage.agent.delivery=best-effort")
		}, "Prometheus agent", "Prometheus",
		"a write-ahead log that is cut by age, positions in memory", "stock",
	},
	{
		"vmagent", conformance.VMAgent, "vmagent", "vmagent",
		"blocks in memory, and a queue of files for what cannot be sent", "vmagent",
	},
	{
		"otelcol", conformance.OTelRemoteWrite, "OTel Collector, remote write", "OTel RW",
		"a queue in memory", "",
	},
	{
		"otelcol", conformance.OTelRemoteWriteWAL, "OTel Collector, remote write with WAL", "OTel RW, WAL",
		"the exporter's write-ahead log, one entry a request", "otel-wal",
	},
	{
		"otelcol", conformance.OTelOTLP, "OTel Collector, OTLP, default sizes", "OTel OTLP",
		"a queue of 1,000 requests on disk, each given up after 5 minutes; both scaled to the suite's outages", "",
	},
	{
		"otelcol", conformance.OTelOTLPSized, "OTel Collector, OTLP, sized", "OTel OTLP, sized",
		"the same queue, large enough, without giving up", "otel-otlp",
	},
}

// drawn are the cases of which there is a drawing, with their receivers.
var drawn = []string{"restart-in-outage", "crash-in-catch-up"}

// run runs the suite for every sender whose program is there. Receivers store late
// samples: senders that give up order would otherwise lose most, and say nothing of
// their queues.
func run(ctx context.Context, programs binaries, cases []string, parallel int, dir string) (*Results, error) {
	options := conformance.Options{Rules: conformance.Lenient, Cases: cases, Parallel: parallel}
	return collect(dir, func(r *Results, dir string) error {
		for _, c := range contenders {
			binary := r.binary(ctx, programs, c.program, c.title)
			if binary == "" {
				continue
			}
			options.Sender = c.sender(binary)
			kept := filepath.Join(dir, c.title)
			if err := r.runOne(ctx, options, c.title, kept); err != nil {
				return err
			}
			sender := &r.Senders[len(r.Senders)-1]
			sender.Curves = map[string]Curve{}
			for _, name := range drawn {
				if len(cases) > 0 && !slices.Contains(cases, name) {
					continue
				}
				var err error
				if sender.Curves[name], err = curve(filepath.Join(kept, name), "main", r.Series); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

const (
	series   = 200
	interval = 200 * time.Millisecond
)

// collect makes the frame of results and has them filled in, with a directory for what
// is kept, which is removed afterwards if none is named.
func collect(dir string, fill func(r *Results, dir string) error) (*Results, error) {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "compare-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	r := &Results{
		Date:    time.Now().UTC().Format(time.DateOnly),
		Machine: fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()),
		Series:  series, Interval: interval.String(), Versions: map[string]string{},
	}
	return r, fill(r, dir)
}

// binary returns the path of a program and notes its version, or leaves out what is run of
// it if there is none.
func (r *Results) binary(ctx context.Context, programs binaries, program, title string) string {
	binary := programs[program]
	if binary == "" {
		fmt.Fprintf(os.Stderr, "LEFT OUT: %s, since there is no --binary %s=\n", title, program)
		r.LeftOut = append(r.LeftOut, title)
		return ""
	}
	r.Versions[program] = version(ctx, binary)
	return binary
}

// runOne runs the suite with its options and adds what it shows under a name.
func (r *Results) runOne(ctx context.Context, options conformance.Options, name, dir string) error {
	options.Dir, options.Series, options.Interval = dir, series, interval
	started := time.Now()
	results, err := conformance.Run(ctx, options)
	if err != nil {
		return err
	}
	if err := conformance.NewReport(options, results).WriteTable(os.Stderr, true); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n\n", name, time.Since(started).Round(time.Second))
	r.Senders = append(r.Senders, SenderResults{Name: name, Cases: results})
	return nil
}

// version is that of a program's module, or what it says of itself in its first line.
func version(ctx context.Context, binary string) string {
	if info, err := buildinfo.ReadFile(binary); err == nil && strings.HasPrefix(info.Main.Version, "v") {
		return path.Base(info.Path) + " " + info.Main.Version
	}
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); err == nil && line != "" {
		return line
	}
	return "unknown"
}
