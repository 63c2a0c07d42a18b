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

package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/conformance/process"

	"github.com/prometheus/prometheus/model/labels"
)

// Options vary a scenario.
type Options struct {
	Protocol Protocol
	// Engine runs the agent; the zero value is the engine under test.
	Engine Engine
	// Receivers names the endpoints, each with a proxy and a receiver; nil is
	// one of the name "main".
	Receivers []string
	// Series is how many gauges each scrape has, default 200.
	Series int
	// ScrapeInterval defaults to 200ms.
	ScrapeInterval time.Duration
	// Queue overrides single settings of queue_config of all endpoints.
	Queue map[string]any
	// Extra overrides settings of all remote_write entries.
	Extra map[string]any
	// OutOfOrder is the window in which receivers take samples that are older
	// than others of their series. With one, samples that overtake each other
	// are no finding.
	OutOfOrder time.Duration
}

// Scenario is one agent with its target and receivers. Its methods fail the
// test where something that is not under test goes wrong.
type Scenario struct {
	t         *testing.T
	dir       string
	opts      Options
	started   time.Time
	Symbols   *Symbols
	Target    *Target
	Shadow    *Shadow
	Agent     *Agent
	proxies   []*Proxy
	receivers map[string]*Receiver
}

// New waits for a slot and sets up a scenario with its receivers running and
// the agent not yet.
func New(t *testing.T, opts Options) *Scenario {
	t.Helper()
	if testing.Short() {
		t.Skip("end-to-end tests start real processes and take minutes")
	}
	if opts.Engine == (Engine{}) {
		opts.Engine = UnderTest(t)
	}
	if opts.Receivers == nil {
		opts.Receivers = []string{"main"}
	}
	if opts.Series == 0 {
		opts.Series = 200
	}
	if opts.ScrapeInterval == 0 {
		opts.ScrapeInterval = 200 * time.Millisecond
	}
	takeSlot(t)

	s := &Scenario{
		t:         t,
		dir:       scenarioDir(t),
		opts:      opts,
		started:   time.Now(),
		Symbols:   NewSymbols(),
		receivers: map[string]*Receiver{},
	}
	s.Agent = &Agent{Engine: opts.Engine, dir: s.dir, scenario: s}
	t.Cleanup(s.close)

	var err error
	s.Target, err = newTarget(opts.Series)
	require.NoError(t, err)
	s.Shadow, err = newShadow(s.Agent.WALDir(), filepath.Join(s.dir, "shadow"), s.Symbols, withExternalLabels)
	require.NoError(t, err)

	endpoints := []Endpoint{}
	for _, name := range opts.Receivers {
		s.AddReceiver(name)
		endpoints = append(endpoints, s.Endpoint(name))
	}
	s.Agent.Config = Config{
		ScrapeInterval: opts.ScrapeInterval,
		Target:         s.Target.Address(),
		Endpoints:      endpoints,
		CustomBuckets:  opts.Protocol == V2,
	}
	return s
}

// scenarioDir is a temporary directory, or one that stays if asked for.
func scenarioDir(t *testing.T) string {
	root := os.Getenv("ACKWAL_E2E_KEEP")
	if root == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(root, strings.ReplaceAll(t.Name(), "/", "-")+"-")
	require.NoError(t, err)
	t.Logf("data, logs and configuration stay in %s", dir)
	return dir
}

// withExternalLabels gives a label set the form it has after the agent.
func withExternalLabels(lset labels.Labels) labels.Labels {
	if lset.Has(ExternalLabel) {
		return lset
	}
	return labels.NewBuilder(lset).Set(ExternalLabel, externalValue).Labels()
}

func (s *Scenario) close() {
	if s.Agent.proc != nil {
		s.Agent.proc.Kill()
	}
	for _, p := range s.proxies {
		p.Refuse()
		s.trace(p)
	}
	for _, r := range s.receivers {
		r.kill()
	}
	if s.Shadow != nil {
		s.Shadow.close()
	}
	if s.Target != nil {
		s.Target.close()
	}
}

// trace leaves the history of a proxy beside the logs.
func (s *Scenario) trace(p *Proxy) {
	file, err := os.Create(filepath.Join(s.dir, p.Name+".requests"))
	if err == nil {
		err = errors.Join(p.WriteTrace(file), file.Close())
	}
	if err != nil {
		s.t.Logf("writing the history of proxy %s: %v", p.Name, err)
	}
}

// AddReceiver starts a further receiver behind a proxy of its own. The agent
// knows nothing of it until it is configured.
func (s *Scenario) AddReceiver(name string) *Proxy {
	s.t.Helper()
	proxy := s.AddProxy(name)
	config := filepath.Join(s.dir, name+".yml")
	text := receiverConfig
	if s.opts.OutOfOrder > 0 {
		text += fmt.Sprintf("storage: {tsdb: {out_of_order_time_window: %ds}}\n", int(s.opts.OutOfOrder.Seconds()))
		proxy.AllowOvertaking()
	}
	require.NoError(s.t, os.WriteFile(config, []byte(text), 0o666))
	r := &Receiver{
		Name:   name,
		path:   s.opts.Engine.Path,
		dir:    filepath.Join(s.dir, name),
		log:    filepath.Join(s.dir, name+".log"),
		config: config,
		proxy:  proxy,
	}
	require.NoError(s.t, r.Start())
	s.receivers[name] = r
	return proxy
}

// AddProxy starts a further proxy that has no receiver of its own.
func (s *Scenario) AddProxy(name string) *Proxy {
	s.t.Helper()
	proxy, err := newProxy(name, s.Symbols, s.Target.Scrapes)
	require.NoError(s.t, err)
	proxy.SetRun(len(s.Agent.Runs) - 1)
	s.proxies = append(s.proxies, proxy)
	return proxy
}

// Proxy returns the proxy of a name.
func (s *Scenario) Proxy(name string) *Proxy {
	s.t.Helper()
	for _, p := range s.proxies {
		if p.Name == name {
			return p
		}
	}
	s.t.Fatalf("the scenario has no proxy %q", name)
	return nil
}

// Main returns the proxy of the first receiver.
func (s *Scenario) Main() *Proxy { return s.proxies[0] }

// Receiver returns the receiver of a name.
func (s *Scenario) Receiver(name string) *Receiver {
	s.t.Helper()
	r, ok := s.receivers[name]
	require.True(s.t, ok, "the scenario has no receiver %q", name)
	return r
}

// Endpoint returns the remote_write entry for a proxy.
func (s *Scenario) Endpoint(name string) Endpoint {
	s.t.Helper()
	return Endpoint{
		Name:     name,
		URL:      s.Proxy(name).URL(),
		Protocol: s.opts.Protocol,
		Queue:    s.opts.Queue,
		Extra:    s.opts.Extra,
	}
}

// Start starts the agent and waits until it has been scraping.
func (s *Scenario) Start() {
	s.t.Helper()
	require.NoError(s.t, s.Agent.Start())
	s.WaitScrapes(2)
}

// StartEngine starts the agent with another engine from now on.
func (s *Scenario) StartEngine(engine Engine) {
	s.t.Helper()
	s.Agent.Engine = engine
	s.Start()
}

// Kill ends the agent with SIGKILL.
func (s *Scenario) Kill() {
	s.t.Helper()
	require.NoError(s.t, s.Agent.Kill())
}

// Terminate ends the agent with SIGTERM.
func (s *Scenario) Terminate() time.Duration {
	s.t.Helper()
	took, err := s.Agent.Terminate()
	require.NoError(s.t, err)
	return took
}

// Metrics scrapes the agent.
func (s *Scenario) Metrics() Metrics {
	s.t.Helper()
	m, err := s.Agent.Metrics()
	require.NoError(s.t, err)
	return m
}

// WAL measures the agent's WAL.
func (s *Scenario) WAL() WALSize {
	s.t.Helper()
	size, err := s.Agent.WAL()
	require.NoError(s.t, err)
	return size
}

// Until polls for something that happens some time.
func (s *Scenario) Until(what string, happened func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(process.HangLimit)
	for !happened() {
		if time.Now().After(deadline) {
			s.t.Fatalf("within %s this did not happen: %s", process.HangLimit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// WaitScrapes waits until the target was scraped n more times.
func (s *Scenario) WaitScrapes(n int64) {
	s.t.Helper()
	due := s.Target.Scrapes() + n
	s.Until(fmt.Sprintf("%d more scrapes", n), func() bool { return s.Target.Scrapes() >= due })
}

// WaitSegments waits until the agent opened n more segments, that is for about
// n truncation intervals.
func (s *Scenario) WaitSegments(n int) {
	s.t.Helper()
	due := s.Shadow.Last() + n
	s.Until(fmt.Sprintf("%d more segments", n), func() bool { return s.Shadow.Last() >= due })
}

// WaitRequests waits until n more requests reached a proxy.
func (s *Scenario) WaitRequests(p *Proxy, n int) {
	s.t.Helper()
	due := p.Count() + n
	s.Until(fmt.Sprintf("%d more requests to %s", n, p.Name), func() bool { return p.Count() >= due })
}
