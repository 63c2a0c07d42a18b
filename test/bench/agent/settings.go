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
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// course is one case of the benchmark: a load, and what happens.
type course struct {
	Name      string
	Series    int
	Endpoints int
	Interval  time.Duration
	Warmup    time.Duration
	Window    time.Duration
	// Outage is how long receivers are away, twice: without and with a kill and
	// a restart in the middle. Zero leaves both out.
	Outage time.Duration
	// Busy has another process use all cores.
	Busy bool
}

// defaults are the cases that run when none is described by flags.
var defaults = []course{
	{Name: "100k-1", Series: 100_000, Endpoints: 1, Interval: 5 * time.Second, Warmup: 20 * time.Second, Window: 45 * time.Second},
	{Name: "100k-3", Series: 100_000, Endpoints: 3, Interval: 5 * time.Second, Warmup: 20 * time.Second, Window: 45 * time.Second},
	{Name: "100k-8", Series: 100_000, Endpoints: 8, Interval: 5 * time.Second, Warmup: 20 * time.Second, Window: 45 * time.Second},
	{Name: "1M-1", Series: 1_000_000, Endpoints: 1, Interval: 30 * time.Second, Warmup: 70 * time.Second, Window: 60 * time.Second},
	{Name: "1M-3", Series: 1_000_000, Endpoints: 3, Interval: 30 * time.Second, Warmup: 70 * time.Second, Window: 60 * time.Second},
	{Name: "outage-quiet", Series: 50_000, Endpoints: 3, Interval: 5 * time.Second, Warmup: 20 * time.Second, Window: 30 * time.Second, Outage: time.Minute},
	{Name: "outage-busy", Series: 50_000, Endpoints: 3, Interval: 5 * time.Second, Warmup: 20 * time.Second, Window: 30 * time.Second, Outage: time.Minute, Busy: true},
}

// smoke is what --small runs: it shows that everything works, and no figures.
var smoke = []course{
	{Name: "small-1", Series: 3000, Endpoints: 1, Interval: time.Second, Warmup: 8 * time.Second, Window: 5 * time.Second},
	{Name: "small-outage", Series: 3000, Endpoints: 2, Interval: time.Second, Warmup: 8 * time.Second, Window: 5 * time.Second, Outage: 6 * time.Second, Busy: true},
}

// expected is about how long a run takes.
func (c course) expected() time.Duration {
	d := c.Warmup + c.Window + settleWithin(c)/2 + 5*time.Second
	if c.Outage > 0 {
		d += 2*c.Outage + 30*time.Second
	}
	return d
}

type settings struct {
	courses    []course
	senders    []string
	rounds     int
	protocol   string
	large      int
	smallPages int
	churn      float64
	compress   bool

	prometheus, upstream, vmagent, otelcol string // Paths.
	dir, profiles                          string
}

func parseSettings(args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet("agent", flag.ContinueOnError)
	f.StringVar(&s.prometheus, "prometheus", "build/lean/prometheus", "binary of ours, which has stock's engine too")
	f.StringVar(&s.upstream, "upstream", "", "binary of upstream's, measured beside it")
	f.StringVar(&s.vmagent, "vmagent", "", "binary of vmagent, measured beside it")
	f.StringVar(&s.otelcol, "otelcol", "", "binary of an OpenTelemetry Collector, measured beside it with the WAL of remote write and with OTLP's queue on disk")
	f.StringVar(&s.dir, "dir", "build/bench", "directory for results and for what agents write; on a real disk")
	f.StringVar(&s.profiles, "profiles", "", "directory for CPU and heap profiles of the windows")
	f.IntVar(&s.rounds, "rounds", 3, "how often each agent runs each case")
	f.StringVar(&s.protocol, "protocol", "v1", "v1 or v2, of remote write; vmagent knows v1 only")
	f.IntVar(&s.large, "large", 1000, "series of a large target")
	f.IntVar(&s.smallPages, "small-targets", 50, "series of a small target")
	f.Float64Var(&s.churn, "churn", 0.005, "share of the series that is replaced in a minute")
	f.BoolVar(&s.compress, "compress", true, "targets answer with gzip, as the client library does")
	small := f.Bool("small", false, "a smoke test: a few series, one round")
	only := f.String("only", "", "only the cases whose names begin so, of "+names(defaults))
	senders := f.String("senders", "durable,stock,upstream,vmagent,otel-wal,otel-otlp", "agents, of those that are there")
	one := course{Name: "custom"}
	f.IntVar(&one.Series, "series", 0, "with this number of series, instead of the usual cases")
	endpoints := f.String("endpoints", "1", "with --series: numbers of endpoints, a case for each")
	f.DurationVar(&one.Interval, "interval", 5*time.Second, "with --series: between scrapes")
	f.DurationVar(&one.Warmup, "warmup", 20*time.Second, "with --series: before the window")
	f.DurationVar(&one.Window, "window", 45*time.Second, "with --series: what is measured")
	f.DurationVar(&one.Outage, "outage", 0, "with --series: an outage of this length, and one with a kill and a restart")
	f.BoolVar(&one.Busy, "busy", false, "with --series: another process uses all cores")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("what is %q?", f.Arg(0))
	}

	switch {
	case one.Series > 0:
		for e := range strings.SplitSeq(*endpoints, ",") {
			n, err := strconv.Atoi(e)
			if err != nil || n < 1 {
				return s, fmt.Errorf("%q is no number of endpoints", e)
			}
			c := one
			c.Endpoints, c.Name = n, fmt.Sprintf("%d-%d", one.Series, n)
			s.courses = append(s.courses, c)
		}
	case *small:
		s.courses, s.rounds = smoke, 1
	default:
		s.courses = slices.DeleteFunc(slices.Clone(defaults), func(c course) bool { return !strings.HasPrefix(c.Name, *only) })
	}
	if len(s.courses) == 0 {
		return s, fmt.Errorf("no case is called %q: there are %s", *only, names(defaults))
	}
	s.senders = strings.Split(*senders, ",")
	return s, s.validate()
}

func (s settings) validate() error {
	if s.protocol != "v1" && s.protocol != "v2" {
		return fmt.Errorf("there is no protocol %q", s.protocol)
	}
	if s.rounds < 1 || s.large < 1 || s.smallPages < 1 || s.churn < 0 {
		return errors.New("rounds, large and small-targets begin at 1, churn at 0")
	}
	for _, c := range s.courses {
		if c.Interval <= 0 || c.Warmup < c.Interval || c.Window < c.Interval {
			return fmt.Errorf("case %s: warm-up and window take at least a scrape interval", c.Name)
		}
	}
	for _, path := range []string{s.prometheus, s.upstream, s.vmagent, s.otelcol} {
		if info, err := os.Stat(path); path != "" && (err != nil || info.IsDir()) {
			return fmt.Errorf("%s is not a program: build it first", path)
		}
	}
	return nil
}

func names(all []course) string {
	var of []string
	for _, c := range all {
		of = append(of, c.Name)
	}
	return strings.Join(of, ", ")
}
