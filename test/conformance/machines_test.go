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
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/conformance/process"
)

// This file runs the examples for more than one agent, with what is theirs to change.

const envReceivers = "ACKWAL_RECEIVERS" // A directory, see `make receivers`.

func freeAddress(t *testing.T) string {
	address, err := process.FreeAddress()
	require.NoError(t, err)
	return address
}

// fleet is some agents with the configurations of an example, their targets, and what to
// ask of their receiver.
type fleet struct {
	t       *testing.T
	dir     string
	binary  string
	query   string // URL.
	agents  map[string]*process.Process
	started int
	served  atomic.Int64 // Scrapes.
}

func newFleet(t *testing.T, query string) *fleet {
	return &fleet{t: t, dir: t.TempDir(), binary: binary(t), query: query, agents: map[string]*process.Process{}}
}

// run starts a program that ends with the test.
func (f *fleet) run(name, program string, args ...string) *process.Process {
	f.t.Helper()
	f.started++
	p, err := process.Start(name, program, filepath.Join(f.dir, fmt.Sprintf("%s-%d.log", name, f.started)), args...)
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		p.Kill()
		if f.t.Failed() {
			f.t.Logf("%s:\n%s", name, p.Tail(20))
		}
	})
	return p
}

// start starts the agent of a configuration of an example, with changes to it: pairs of
// what stands there and what stands instead.
func (f *fleet) start(example string, changes ...string) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", example))
	require.NoError(f.t, err)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(f.t, string(text), changes[i], "what is changed in the example")
	}
	listen := freeAddress(f.t)
	name := strings.TrimSuffix(filepath.Base(example), ".yml")
	config := filepath.Join(f.dir, name+".yml")
	text = []byte(strings.NewReplacer(append(changes, "127.0.0.1:9090", listen)...).Replace(string(text)))
	require.NoError(f.t, os.WriteFile(config, text, 0o666))
	f.agents[name] = f.run(name, f.binary, "--agent", "--config.file="+config, "--web.listen-address="+listen,
		"--storage.agent.path="+filepath.Join(f.dir, name))
}

// serve has so many targets with a series each, in the file that the examples read.
func (f *fleet) serve(targets int) {
	f.t.Helper()
	var list []string
	for range targets {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f.served.Inc()
			fmt.Fprintf(w, "machines_time_seconds %d\n", time.Now().Unix())
		}))
		f.t.Cleanup(server.Close)
		list = append(list, server.Listener.Addr().String())
	}
	text, err := json.Marshal([]map[string]any{{"targets": list}})
	require.NoError(f.t, err)
	require.NoError(f.t, os.Mkdir(filepath.Join(f.dir, "targets"), 0o777))
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, "targets", "nodes.yml"), text, 0o666)) // JSON is YAML.
}

// found is a series of an answer.
type found struct {
	Metric map[string]string
	Value  []any
	Values [][]any
}

func (f *fleet) ask(query string) []found {
	response, err := http.Get(f.query + "?query=" + url.QueryEscape(query))
	if err != nil {
		return nil // It may only just begin.
	}
	defer response.Body.Close()
	var answer struct{ Data struct{ Result []found } }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil
	}
	return answer.Data.Result
}

// one is the only value of an answer as text, or "".
func (f *fleet) one(query string) string {
	if all := f.ask(query); len(all) == 1 && len(all[0].Value) == 2 {
		return all[0].Value[1].(string)
	}
	return ""
}

func (f *fleet) until(query, value string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.one(query) == value }, 2*time.Minute, 100*time.Millisecond, "%s is to be %s", query, value)
}

// TestShards: every target of the example is scraped by one of two agents and arrives
// once, also what was scraped by an agent that is killed while the receiver is away (I2).
func TestShards(t *testing.T) {
	const targets = 12
	address := freeAddress(t)
	f := newFleet(t, "http://"+address+"/api/v1/query")
	f.serve(targets)
	empty := filepath.Join(f.dir, "receiver.yml")
	require.NoError(t, os.WriteFile(empty, nil, 0o666))
	receiver := func() *process.Process {
		return f.run("receiver", f.binary, "--config.file="+empty, "--web.listen-address="+address,
			"--web.enable-remote-write-receiver", "--storage.tsdb.path="+filepath.Join(f.dir, "tsdb"))
	}
	start := func(shard string) {
		f.start("sharded/agent-"+shard+".yml", "30s", "500ms", "https://metrics.example.com", "http://"+address)
	}
	central := receiver()
	start("0")
	start("1")
	f.until(`count(machines_time_seconds)`, strconv.Itoa(targets))
	f.until(`max(count by (instance) (machines_time_seconds))`, "1")
	f.until(`count(count by (shard) (machines_time_seconds))`, "2")

	_, err := central.Terminate()
	require.NoError(t, err)
	away := time.Now()
	for due := f.served.Load() + 5*targets; f.served.Load() < due; {
		time.Sleep(10 * time.Millisecond)
	}
	killed := f.agents["agent-1"].Kill()
	start("1")
	receiver()
	f.until(fmt.Sprintf(`count(machines_time_seconds > %d)`, time.Now().Unix()), strconv.Itoa(targets))
	series := f.ask(fmt.Sprintf("machines_time_seconds[%ds]", int(time.Since(away).Seconds())+1))
	require.Len(t, series, targets)
	for _, s := range series {
		n := 0
		for _, v := range s.Values {
			if at := time.UnixMilli(int64(1000 * v[0].(float64))); at.After(away) && at.Before(killed) {
				n++
			}
		}
		require.GreaterOrEqual(t, n, 3, "%v: what was scraped while the receiver was away", s.Metric)
	}
}

// replicated are receivers that keep one of two replicas' samples, by how they are started
// and asked, and what they need of the example.
var replicated = map[string]struct {
	ports   int
	program string
	args    [][]string // Of each of its processes; %N is an address, %D a directory.
	write   string
	query   string
	changes []string
}{
	"victoria-metrics": {
		1, "victoria-metrics",
		[][]string{{"-storageDataPath=%D", "-httpListenAddr=%0", "-dedup.minScrapeInterval=1s", "-search.latencyOffset=0s"}},
		"http://%0/api/v1/write", "http://%0/api/v1/query",
		// Only what is the same series is the same for it.
		[]string{"    replica: ", "    source: agent # not "},
	},
	"thanos": {
		5, "thanos",
		[][]string{
			{
				"receive", "--tsdb.path=%D", "--http-address=%0", "--grpc-address=%1", "--remote-write.address=%2", "--label=receive=\"x\"",
			},
			{"query", "--http-address=%3", "--grpc-address=%4", "--endpoint=%1", "--query.replica-label=replica"},
		},
		"http://%2/api/v1/receive", "http://%3/api/v1/query", nil,
	},
}

// TestReplicas: of two agents that scrape the same targets either may be killed and come
// back, and what the receiver returns has neither a gap nor anything twice.
func TestReplicas(t *testing.T) {
	for name, of := range replicated {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(os.Getenv(envReceivers), of.program)
			if _, err := os.Stat(program); err != nil {
				t.Skipf("LEFT OUT: two replicas with %s, which `make receivers` builds: %s", name, err)
			}
			program, err := filepath.Abs(program)
			require.NoError(t, err)
			pairs := []string{"%D", filepath.Join(t.TempDir(), "data")}
			for i := range of.ports {
				pairs = append(pairs, fmt.Sprintf("%%%d", i), freeAddress(t))
			}
			fill := strings.NewReplacer(pairs...).Replace
			f := newFleet(t, fill(of.query))
			f.serve(1)
			for _, args := range of.args {
				for i := range args {
					args[i] = fill(args[i])
				}
				f.run(name, program, args...)
			}
			start := func(replica string) {
				f.start("replicas/agent-"+replica+".yml", append([]string{
					"30s", "1s", "https://metrics.example.com/api/v1/write", fill(of.write),
				}, of.changes...)...)
			}
			began := time.Now()
			since := func() string { return fmt.Sprintf("machines_time_seconds[%ds]", int(time.Since(began).Seconds())+1) }
			samples := func() int {
				if all := f.ask(since()); len(all) == 1 {
					return len(all[0].Values)
				}
				return 0
			}
			more := func(n int) {
				t.Helper()
				due := samples() + n
				require.Eventually(t, func() bool { return samples() >= due }, 2*time.Minute, 200*time.Millisecond, "%d more samples", n)
			}
			start("a")
			start("b")
			more(5)
			for _, replica := range []string{"a", "b"} {
				f.agents["agent-"+replica].Kill()
				more(15)
				start(replica)
				more(15)
			}
			all := f.ask(since())
			require.Len(t, all, 1, "one series of both replicas")
			values := all[0].Values
			for i := 1; i < len(values); i++ {
				gap := values[i][0].(float64) - values[i-1][0].(float64)
				require.Less(t, gap, 6.0, "a gap before %v", values[i])
			}
			lasted := values[len(values)-1][0].(float64) - values[0][0].(float64)
			require.LessOrEqual(t, float64(len(values)), 1.2*lasted+2, "one sample a second")
		})
	}
}
