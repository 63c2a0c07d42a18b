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
	_ "embed" // For the templates of configurations.
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
)

var (
	//go:embed templates/prometheus.yml.tmpl
	prometheusConfig string
	//go:embed templates/vmagent.yml.tmpl
	vmagentConfig string
	//go:embed templates/otelcol.yml.tmpl
	otelConfig string
)

// Truncation runs every second instead of every two hours, so that an outage of
// a few seconds covers what one of many hours does in operation.
func prometheusAgent(name, binary string) Sender {
	return Sender{
		Name:   name,
		Binary: binary,
		Args: []string{
			"--agent",
			"--config.file={{.ConfigFile}}",
			"--storage.agent.path={{.DataDir}}",
			"--web.listen-address={{.Listen}}",
			"--web.enable-lifecycle",
			"--storage.agent.wal-truncate-frequency=1s",
			"--storage.agent.retention.min-time=4s",
			"--storage.remote.flush-deadline=5s",
			"--scrape.discovery-reload-interval=500ms",
		},
		Config: prometheusConfig,
		Ready:  "/-/ready",
		Reload: Reload{Path: "/-/reload"},
		Ignore: []string{"lock"},
	}
}

// StockAgent is Prometheus in agent mode.
func StockAgent(binary string) Sender { return prometheusAgent("stock-agent", binary) }

// DurableAgent is Prometheus in agent mode with durable delivery, which keeps
// its positions in files of its own.
func DurableAgent(binary string) Sender {
	s := prometheusAgent("durable-agent", binary).With("--storage.agent.delivery=durable")
	s.Positions = []string{"delivery*.json"}
	return s
}

// VMAgent is VictoriaMetrics' agent, made to send the protocol of Prometheus
// and to retry at short intervals. Its flags name the receivers, so a reload
// can change nothing about the sending.
func VMAgent(binary string) Sender {
	return Sender{
		Name:   "vmagent",
		Binary: binary,
		Args: []string{
			"-promscrape.config={{.ConfigFile}}",
			"-remoteWrite.tmpDataPath={{.DataDir}}",
			"-httpListenAddr={{.Listen}}",
			"{{range .Endpoints}}-remoteWrite.url={{.URL}}\n{{end}}",
			"-remoteWrite.flushInterval=1s",
			"-remoteWrite.showURL",
		},
		Config: vmagentConfig,
		Ready:  "/health",
		Reload: Reload{Signal: syscall.SIGHUP},
		Ignore: []string{"*/*/flock.lock", "*/flock.lock", "flock.lock"},
	}
}

// otelCollector is the OpenTelemetry Collector in a build with the Prometheus
// receiver, both exporters and queues on files. Settings are values of its
// configuration.
func otelCollector(name, binary string, settings map[string]string) Sender {
	return Sender{
		Name:     name,
		Binary:   binary,
		Args:     []string{"--config={{.ConfigFile}}"},
		Config:   otelConfig,
		Reload:   Reload{Signal: syscall.SIGHUP},
		Settings: settings,
	}
}

// OTelRemoteWrite is the Collector with the remote write exporter, whose queue is
// in memory and has the default size, without an end to its repetitions.
func OTelRemoteWrite(binary string) Sender {
	return otelCollector("otel-remote-write", binary, map[string]string{
		"exporter": "prometheusremotewrite", "queue_size": "10000", "max_elapsed_time": "0s",
	})
}

// OTelRemoteWriteWAL is the same with that exporter's WAL.
func OTelRemoteWriteWAL(binary string) Sender {
	s := OTelRemoteWrite(binary)
	s.Name, s.Settings["wal"] = "otel-remote-write-wal", "true"
	return s
}

// OTelOTLP is the Collector with the OTLP exporter and its queue on files, by
// defaults that are made as much smaller as an outage of the suite is shorter: a
// queue of 1,000 requests is two and a half minutes of 100 targets that are
// scraped every 15 seconds, and a request is given up after five minutes.
func OTelOTLP(binary string) Sender {
	return otelCollector("otel-otlp", binary, map[string]string{
		"exporter": "otlphttp", "queue_size": "25", "max_elapsed_time": "5s",
	})
}

// OTelOTLPSized is the same with a queue for the outage, and without an end to its
// repetitions.
func OTelOTLPSized(binary string) Sender {
	s := OTelOTLP(binary)
	s.Name, s.Settings["queue_size"], s.Settings["max_elapsed_time"] = "otel-otlp-sized", "100000", "0s"
	return s
}

var known = map[string]func(binary string) Sender{
	"stock-agent":           StockAgent,
	"durable-agent":         DurableAgent,
	"vmagent":               VMAgent,
	"otel-remote-write":     OTelRemoteWrite,
	"otel-remote-write-wal": OTelRemoteWriteWAL,
	"otel-otlp":             OTelOTLP,
	"otel-otlp-sized":       OTelOTLPSized,
}

// Senders lists the names that [Named] knows.
func Senders() []string { return slices.Sorted(maps.Keys(known)) }

// Named returns the description of a sender that the suite knows.
func Named(name, binary string) (Sender, error) {
	describe, ok := known[name]
	if !ok {
		return Sender{}, fmt.Errorf("there is no sender %q: use generic with a command, or one of %s", name, strings.Join(Senders(), ", "))
	}
	return describe(binary), nil
}

// Generic describes any sender by its command line, words apart by spaces (a
// word in single or double quotes may hold some), and the template of its
// configuration.
func Generic(command, config string) (Sender, error) {
	words, err := split(command)
	if err != nil {
		return Sender{}, err
	}
	if len(words) == 0 {
		return Sender{}, fmt.Errorf("the command %q names no program", command)
	}
	return Sender{Name: "generic", Binary: words[0], Args: words[1:], Config: config}, nil
}

// split cuts a command line into words. Actions of templates are not cut,
// whatever is in them.
func split(command string) (words []string, err error) {
	word, open := strings.Builder{}, false
	var quote rune
	depth := 0
	for i, c := range command {
		switch {
		case strings.HasPrefix(command[i:], "{{"):
			depth++
		case i > 0 && strings.HasPrefix(command[i-1:], "}}"):
			depth--
		}
		switch {
		case depth > 0, quote != 0 && c != quote:
			word.WriteRune(c)
			open = true
		case quote != 0:
			quote = 0
		case c == '\'', c == '"':
			quote, open = c, true
		case c == ' ', c == '\t', c == '\n':
			if open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if quote != 0 || depth != 0 {
		return nil, fmt.Errorf("the command %q has a quote or a template action without its end", command)
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}
