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

// Package inspecttest makes data directories for tests of what looks at them, by
// running the engine of durable delivery against a receiver.
package inspecttest

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
)

// Start is the time in ms of the first sample that [Agent.Append] appends; each call has
// the samples of one second after that.
const Start = int64(1_700_000_000_000)

// Receiver takes remote write 1.0 while it is up. Make one with NewReceiver.
type Receiver struct {
	*httptest.Server

	mtx    sync.Mutex
	status int                      // What it answers, 0 if it takes everything.
	got    map[string]map[int64]int // By series and time, how often.
}

// NewReceiver returns one that is up or down.
func NewReceiver(t testing.TB, up bool) *Receiver {
	r := &Receiver{got: map[string]map[int64]int{}}
	r.Up(up)
	r.Server = httptest.NewServer(http.HandlerFunc(r.take))
	t.Cleanup(r.Close)
	return r
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.status != 0 {
		http.Error(w, "not now", r.status)
		return
	}
	msg, err := remote.DecodeWriteRequest(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, ts := range msg.Timeseries {
		name := fmt.Sprint(ts.Labels)
		if r.got[name] == nil {
			r.got[name] = map[int64]int{}
		}
		for _, s := range ts.Samples {
			r.got[name][s.Timestamp]++
		}
	}
}

// Up lets the receiver take what comes, or not.
func (r *Receiver) Up(up bool) {
	if up {
		r.Answer(0)
		return
	}
	r.Answer(http.StatusServiceUnavailable)
}

// Answer makes it answer everything with a status, or take everything if that is 0.
func (r *Receiver) Answer(status int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.status = status
}

// Got returns how many samples have arrived, and how many of these again.
func (r *Receiver) Got() (samples, again int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, s := range r.got {
		for _, n := range s {
			samples++
			again += n - 1
		}
	}
	return samples, again
}

// Agent is an agent without scraping, at work in a directory.
type Agent struct {
	Dir string

	t    testing.TB
	db   *durable.DB
	rs   *delivery.Storage
	next int64
}

// Config returns a configuration with the endpoints named, in YAML.
func Config(endpoints map[string]*Receiver, names ...string) string {
	var out strings.Builder
	out.WriteString("remote_write:\n")
	for _, name := range names {
		fmt.Fprintf(&out, "- {name: %s, url: %q, queue_config: {min_backoff: 5ms, max_backoff: 20ms, batch_send_deadline: 10ms}}\n", name, endpoints[name].URL)
	}
	return out.String()
}

// Run starts an agent with small segments in dir, with a configuration in YAML.
func Run(t testing.TB, dir, conf string) *Agent {
	t.Helper()
	c, err := config.Load(conf, nil)
	require.NoError(t, err)
	a := &Agent{Dir: dir, t: t}
	a.rs, err = delivery.NewStorage(nil, prometheus.NewRegistry(), nil, dir, time.Second, nil, false, delivery.Options{})
	require.NoError(t, err)
	opts := durable.DefaultOptions()
	opts.WALSegmentSize = 32 * 1024
	a.db, err = durable.Open(nil, prometheus.NewRegistry(), a.rs, dir, opts)
	require.NoError(t, err)
	require.NoError(t, a.rs.ApplyConfig(c))
	return a
}

// Append commits a sample of each of so many series, so many times, each a second
// later than the one before. It returns how many that were.
func (a *Agent) Append(series, times int) int {
	a.t.Helper()
	for range times {
		app := a.db.Appender(context.Background())
		for i := range series {
			lset := labels.FromStrings(labels.MetricName, "metric", "instance", fmt.Sprintf("host-%04d", i), "job", "test")
			_, err := app.Append(0, lset, Start+a.next*1000, float64(i))
			require.NoError(a.t, err)
		}
		require.NoError(a.t, app.Commit())
		a.rs.Notify()
		a.next++
	}
	return series * times
}

// Delivered waits until the endpoints named have acknowledged everything, or all if
// none is.
func (a *Agent) Delivered(names ...string) {
	a.t.Helper()
	require.Eventually(a.t, func() bool {
		for _, p := range a.rs.Progress() {
			if !p.Done() && (len(names) == 0 || slices.Contains(names, p.Name)) {
				return false
			}
		}
		return true
	}, time.Minute, 5*time.Millisecond)
}

// Stop ends the agent as a signal does.
func (a *Agent) Stop() {
	a.t.Helper()
	require.NoError(a.t, a.db.Close())
	require.NoError(a.t, a.rs.Close())
}

// settled is a directory without the files that are being written to take the place of
// others, and are gone at any moment.
type settled struct{ fs.FS }

func (d settled) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(d.FS, name)
	return slices.DeleteFunc(all, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".tmp") }), err
}

// Killed returns a copy of the directory as it is now, which is what a kill would
// leave. The agent goes on.
func (a *Agent) Killed() string {
	a.t.Helper()
	dir := filepath.Join(a.t.TempDir(), "data")
	require.NoError(a.t, a.rs.Persist(context.Background()))
	require.NoError(a.t, os.CopyFS(dir, settled{os.DirFS(a.Dir)}))
	return dir
}
