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
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/ackwal/ackwal/conformance/wire"
	"github.com/ackwal/ackwal/test/bench/agent/exposition"
)

// contender is an agent with the way it is started.
type contender struct {
	name   string
	binary string
	ready  string // Path that answers 200 when the agent works.
	// delivery is the engine that our binary is told to use.
	delivery string
	victoria bool
	// exporter is that of the OpenTelemetry Collector, empty for all others.
	exporter string
}

// textOnly reports whether it knows nothing of native histograms.
func (c contender) textOnly() bool { return c.victoria || c.exporter != "" }

// tellsOfHeap reports whether it serves metrics of its heap, and profiles. The Collector
// serves neither.
func (c contender) tellsOfHeap() bool { return c.exporter == "" }

const ours = "durable"

// contenders are the agents that were asked for and are there, in the order in
// which they take turns.
func (s settings) contenders() (all []contender, err error) {
	known := []contender{
		{name: ours, binary: s.prometheus, ready: "/-/ready", delivery: "durable"},
		{name: "stock", binary: s.prometheus, ready: "/-/ready", delivery: "best-effort"},
		{name: "upstream", binary: s.upstream, ready: "/-/ready"},
		{name: "vmagent", binary: s.vmagent, ready: "/health", victoria: true},
		{name: "otel-wal", binary: s.otelcol, ready: "/metrics", exporter: remoteWriteExporter},
		{name: "otel-otlp", binary: s.otelcol, ready: "/metrics", exporter: otlpExporter},
	}
	for _, name := range s.senders {
		if !slices.ContainsFunc(known, func(c contender) bool { return c.name == name }) {
			return nil, fmt.Errorf("there is no agent %q", name)
		}
	}
	for _, c := range known {
		if c.binary != "" && slices.Contains(s.senders, c.name) {
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("none of these agents is there")
	}
	return all, nil
}

// place is where an agent finds everything.
type place struct {
	dir       string // For its data and configuration.
	listen    string
	targets   []*exposition.Target
	scraped   []string // Their addresses.
	receivers []string
}

// arguments are those of the agent's command line.
func (c contender) arguments(p place) []string {
	config, data := filepath.Join(p.dir, "agent.yml"), filepath.Join(p.dir, "data")
	if c.victoria {
		args := []string{
			"-promscrape.config=" + config, "-httpListenAddr=" + p.listen, "-remoteWrite.tmpDataPath=" + data,
			// As stock's max_backoff: by itself it waits for up to a minute.
			"-remoteWrite.retryMaxInterval=5s",
			// Without a try of its own protocol first.
			"-remoteWrite.forcePromProto",
		}
		for _, r := range p.receivers {
			args = append(args, "-remoteWrite.url="+writeURL(r))
		}
		return args
	}
	if c.exporter != "" {
		return []string{"--config=" + config}
	}
	args := []string{"--agent", "--config.file=" + config, "--web.listen-address=" + p.listen, "--storage.agent.path=" + data}
	if c.delivery != "" {
		args = append(args, "--storage.agent.delivery="+c.delivery)
	}
	return args
}

func writeURL(address string) string { return "http://" + address + "/api/v1/write" }

type object = map[string]any

// configure writes the agent's configuration: everything as it is by default,
// but for the scrape interval, and for native histograms, of which the first
// version of remote write sends none unless it is told to.
func (c contender) configure(of course, protocol string, p place) error {
	global := object{
		"scrape_interval": of.Interval.String(), "scrape_timeout": of.Interval.String(),
		"external_labels": object{"cluster": "production-1"},
	}
	conf := object{"global": global, "scrape_configs": c.jobs(p)}
	switch {
	case c.exporter != "":
		var err error
		if conf, err = c.collectorConfig(global, protocol, p); err != nil {
			return err
		}
	case !c.victoria:
		var endpoints []object
		for i, r := range p.receivers {
			endpoints = append(endpoints, object{
				"name": fmt.Sprintf("receiver-%d", i), "url": writeURL(r), "protobuf_message": messageOf(protocol),
				"send_native_histograms": true,
			})
		}
		conf["remote_write"] = endpoints
	}
	text, err := yaml.Marshal(conf)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "agent.yml"), text, 0o666)
}

// messageOf is a protocol as Prometheus and the Collector name it.
func messageOf(protocol string) string {
	if protocol == "v2" {
		return string(wire.V2)
	}
	return string(wire.V1)
}

// jobs are the targets by what they are and how they are asked.
func (c contender) jobs(p place) (jobs []object) {
	byName := map[string]object{}
	for i, t := range p.targets {
		job, ok := byName[t.Job]
		if !ok {
			job = object{"job_name": t.Job, "honor_labels": t.Honor, "static_configs": []object(nil)}
			if t.Form == exposition.Protobuf && !c.textOnly() {
				job["scrape_native_histograms"] = true
			}
			byName[t.Job] = job
			jobs = append(jobs, job)
		}
		job["static_configs"] = append(job["static_configs"].([]object), object{"targets": []string{p.scraped[i]}, "labels": t.Labels})
	}
	return jobs
}
