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

package disk

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"

	"github.com/prometheus/prometheus/prompb"
)

const (
	targetSeries = 2000
	interval     = 200 * time.Millisecond
	// timeout is far beyond what anything here takes.
	timeout = 2 * time.Minute
)

// rig is an agent on a volume, with a target whose scrapes are numbered and a
// receiver that is up or down.
type rig struct {
	t      *testing.T
	volume *volume
	flags  []string
	agent  *harness.Prometheus
	run    int

	target, receiver *httptest.Server

	mtx       sync.Mutex
	down      bool
	served    int         // Scrapes.
	got       map[int]int // How often each of them came, by the first of its series.
	samples   int         // Received, but for those sent again.
	repeated  int
	failed    int     // Scrapes that the agent says it did not get, on a busy machine.
	refused   float64 // Commits, in runs that have ended.
	forfeited float64 // Samples forfeited, likewise.
	unread    float64 // Bytes that could not be read, likewise.
}

func newRig(t *testing.T, v *volume, flags ...string) *rig {
	r := &rig{t: t, volume: v, flags: flags, got: map[int]int{}}
	r.target = httptest.NewServer(http.HandlerFunc(r.serve))
	r.receiver = httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(r.target.Close)
	t.Cleanup(r.receiver.Close)
	t.Cleanup(func() {
		if r.agent == nil {
			return
		}
		if t.Failed() {
			t.Logf("last output of the agent:\n%s", r.agent.Tail(40))
		}
		r.agent.Kill()
	})
	return r
}

func (r *rig) serve(w http.ResponseWriter, _ *http.Request) {
	r.mtx.Lock()
	r.served++
	n := r.served
	r.mtx.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE scrape gauge\nscrape %d\n# TYPE value gauge\n", n)
	for i := range targetSeries {
		// Noise, which takes up most of the log.
		fmt.Fprintf(w, "value{i=\"%d\"} %g\n", i, float64((n*7919+i*104729)%1_000_003)/997)
	}
}

func (r *rig) receive(w http.ResponseWriter, req *http.Request) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err == nil {
		body, err = snappy.Decode(nil, body)
	}
	var write prompb.WriteRequest
	if err == nil {
		err = write.Unmarshal(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, ts := range write.Timeseries {
		name := ""
		for _, l := range ts.Labels {
			if l.Name == "__name__" {
				name = l.Value
			}
		}
		for _, s := range ts.Samples {
			switch {
			case name == "value" && s.Value == s.Value: // No marker of staleness.
				r.samples++
			case name == "up" && s.Value == 0:
				r.failed++
			case name == "scrape" && s.Value == s.Value: // No marker of staleness.
				r.got[int(s.Value)]++
				if r.got[int(s.Value)] > 1 {
					r.repeated++
				}
			}
		}
	}
}

func (r *rig) setDown(down bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.down = down
}

func (r *rig) scrapes() (served, got int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.served, len(r.got)
}

func (r *rig) data() string { return filepath.Join(r.volume.dir, "data") }

// start runs the agent and waits until it is ready.
func (r *rig) start() {
	r.t.Helper()
	dir := filepath.Dir(r.volume.dir)
	conf := filepath.Join(dir, "agent.yml")
	require.NoError(r.t, os.WriteFile(conf, fmt.Appendf(nil, `
global: {scrape_interval: %[1]s, scrape_timeout: %[1]s}
scrape_configs: [{job_name: disk, static_configs: [{targets: [%q]}]}]
remote_write:
- {name: only, url: %q, queue_config: {min_backoff: 30ms, max_backoff: 200ms, batch_send_deadline: 100ms}, metadata_config: {send: false}}
`, interval, r.target.Listener.Addr().String(), r.receiver.URL), 0o666))
	r.run++
	args := append([]string{
		"--agent", "--config.file=" + conf, "--storage.agent.path=" + r.data(), "--scrape.discovery-reload-interval=500ms",
	}, r.flags...)
	agent, err := harness.StartPrometheus("agent", harness.UnderTest(r.t).Path, filepath.Join(dir, "agent-"+strconv.Itoa(r.run)+".log"), args...)
	require.NoError(r.t, err)
	r.agent = agent
}

// stop ends the agent gracefully, and notes what it had counted.
func (r *rig) stop() {
	r.t.Helper()
	r.note()
	took, err := r.agent.Terminate()
	require.NoError(r.t, err)
	require.Less(r.t, took, 8*time.Second, "SIGTERM takes 5 s at the most, and the machine may be busy")
}

func (r *rig) note() {
	r.t.Helper()
	r.refused += r.metric("prometheus_agent_wal_refused_commits_total")
	for _, class := range []string{"samples", "histograms", "exemplars"} {
		r.forfeited += r.metric("prometheus_remote_storage_" + class + "_expired_total")
	}
	r.unread += r.metric("prometheus_remote_storage_unreadable_bytes_total")
}

func (r *rig) metric(name string) float64 {
	r.t.Helper()
	m, err := r.agent.Metrics()
	require.NoError(r.t, err)
	return m.Sum(name)
}

// until waits for something.
func (r *rig) until(what string, happened func() bool) {
	r.t.Helper()
	require.Eventually(r.t, happened, timeout, 50*time.Millisecond, what)
}

// more waits for so many scrapes more.
func (r *rig) more(n int) {
	r.t.Helper()
	before, _ := r.scrapes()
	r.until(fmt.Sprintf("%d scrapes", n), func() bool {
		now, _ := r.scrapes()
		return now >= before+n
	})
}

func (r *rig) broken() bool { return r.metric("prometheus_agent_wal_broken") == 1 }

// delivered reports whether nothing waits but what was just scraped. A scrape is
// some 30 KiB.
func (r *rig) delivered() bool {
	return r.metric("prometheus_remote_storage_unacked_seconds") < 2 && r.metric("prometheus_remote_storage_unacked_bytes") < 100<<10
}

// verdict waits until everything is delivered, ends the agent, and requires that
// nothing that was committed is missing and nothing came twice. A scrape is one
// commit of samples and, when it failed, one of markers of staleness.
func (r *rig) verdict() {
	r.t.Helper()
	r.until("everything is delivered", r.delivered)
	r.stop()
	r.mtx.Lock()
	defer r.mtx.Unlock()
	missing := r.served - len(r.got)
	r.t.Logf("DISK %s: %d scrapes, %d delivered, %d not committed or lost, %d failed, %.0f commits refused, %d repeated, %.0f samples forfeited, %.0f bytes unreadable",
		r.t.Name(), r.served, len(r.got), missing, r.failed, r.refused, r.repeated, r.forfeited, r.unread)
	// At each stop one scrape may have been under way.
	require.LessOrEqual(r.t, float64(missing), r.refused+float64(r.failed+r.run), "scrapes that were committed are lost")
	require.Zero(r.t, r.repeated, "nothing is sent twice after a graceful stop")
	require.Zero(r.t, r.forfeited, "nothing is forfeited")
	require.Equal(r.t, len(r.got)*targetSeries, r.samples, "scrapes came in part")
}
