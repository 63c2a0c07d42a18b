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
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/ackwal/ackwal/test/bench/agent/exposition"
	"github.com/ackwal/ackwal/test/bench/agent/peers"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
)

func placeFor(t *testing.T, series int) place {
	p := place{dir: t.TempDir(), listen: "127.0.0.1:1", receivers: []string{"127.0.0.1:2", "127.0.0.1:3"}}
	p.targets = exposition.Targets(series, exposition.Sizes{Large: 1000, Small: 50})
	for i := range p.targets {
		p.scraped = append(p.scraped, peers.TargetHost(i)+":80")
	}
	return p
}

func TestConfigurationIsPrometheus(t *testing.T) {
	p := placeFor(t, 20_000)
	require.NoError(t, contender{name: ours}.configure(course{Interval: 5 * time.Second}, "v2", p))
	conf, err := config.LoadFile(filepath.Join(p.dir, "agent.yml"), true, promslog.NewNopLogger())
	require.NoError(t, err)

	require.Len(t, conf.RemoteWriteConfigs, 2)
	for _, rw := range conf.RemoteWriteConfigs {
		require.Equal(t, "io.prometheus.write.v2.Request", string(rw.ProtobufMessage))
		require.True(t, rw.SendNativeHistograms)
		require.Equal(t, config.DefaultQueueConfig, rw.QueueConfig)
	}
	targets, native := 0, 0
	for _, job := range conf.ScrapeConfigs {
		require.Equal(t, 5*time.Second, time.Duration(job.ScrapeInterval))
		for _, sd := range job.ServiceDiscoveryConfigs {
			targets += len(sd.(discovery.StaticConfig))
		}
		if job.ScrapeNativeHistogramsEnabled() {
			native++
		}
	}
	require.Len(t, p.targets, targets)
	require.Equal(t, 1, native)
}

func TestConfigurationOfVMAgent(t *testing.T) {
	p := placeFor(t, 2000)
	by := contender{name: "vmagent", victoria: true}
	require.NoError(t, by.configure(course{Interval: time.Second}, "v1", p))
	text, err := os.ReadFile(filepath.Join(p.dir, "agent.yml"))
	require.NoError(t, err)
	var conf map[string]any
	require.NoError(t, yaml.Unmarshal(text, &conf))
	require.NotContains(t, conf, "remote_write", "its receivers are flags")
	require.NotContains(t, string(text), "native", "it knows no such thing")
	require.Contains(t, by.arguments(p), "-remoteWrite.url=http://127.0.0.1:3/api/v1/write")
}

func TestConfigurationOfCollector(t *testing.T) {
	p := placeFor(t, 2000)
	for exporter, want := range map[string]string{
		remoteWriteExporter: "endpoint: http://127.0.0.1:3/api/v1/write", otlpExporter: "metrics_endpoint: http://127.0.0.1:3/v1/metrics",
	} {
		by := contender{name: "otelcol", exporter: exporter}
		require.NoError(t, by.configure(course{Interval: time.Second}, "v1", p))
		text, err := os.ReadFile(filepath.Join(p.dir, "agent.yml"))
		require.NoError(t, err)
		require.Contains(t, string(text), want)
		require.NotContains(t, string(text), "native", "it would send them as something else")
		require.Equal(t, []string{"--config=" + filepath.Join(p.dir, "agent.yml")}, by.arguments(p))
	}
}

func TestContendersThatAreThere(t *testing.T) {
	s := settings{prometheus: "a", senders: []string{"durable", "stock", "upstream", "vmagent", "otel-wal", "otel-otlp"}}
	have := func() (names []string) {
		all, err := s.contenders()
		require.NoError(t, err)
		for _, c := range all {
			names = append(names, c.name)
		}
		return names
	}
	require.Equal(t, []string{"durable", "stock"}, have())
	s.vmagent, s.upstream, s.otelcol = "b", "c", "d"
	require.Equal(t, []string{"durable", "stock", "upstream", "vmagent", "otel-wal", "otel-otlp"}, have())
	s.senders = []string{"vmagent"}
	require.Equal(t, []string{"vmagent"}, have())
	s.senders = []string{"grafana"}
	_, err := s.contenders()
	require.ErrorContains(t, err, "grafana")
}
