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

package bench

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"
)

// scrapeSize is how many samples a commit has.
const scrapeSize = 1000

// scrapeInterval is the distance of a series' samples, in ms of their
// timestamps. Rounds are committed as fast or slowly as a benchmark needs it.
const scrapeInterval = 15_000

// plan says what is opened.
type plan struct {
	dir         string // A temporary one if empty.
	endpoints   int
	protocol    remoteapi.WriteMessageType
	external    bool
	queue       func(*config.QueueConfig)
	segmentSize int           // The default if 0.
	truncate    time.Duration // The default if 0.
	servers     bool          // HTTP servers instead of receivers in process.
	down        bool          // Receivers are, at first.
	opened      func(*rig)    // Called before the configuration is applied.
}

// rig is an engine with its endpoints and a load.
type rig struct {
	*opened
	b         *testing.B
	dir       string
	reg       *prometheus.Registry
	receivers []*receiver
	refs      []storage.SeriesRef
	time      int64 // Of the last round, ms.
	committed int   // Samples.
	random    uint64
	appending time.Duration // CPU time of Append calls, where it can be told.
	stop      []func()
}

func openRig(b *testing.B, e engine, p plan) *rig {
	b.Helper()
	r := &rig{b: b, dir: p.dir, reg: prometheus.NewRegistry(), time: time.Now().Add(time.Minute).UnixMilli()}
	if r.dir == "" {
		r.dir = tempDir(b)
	}
	conf := config.DefaultConfig
	if p.external {
		conf.GlobalConfig.ExternalLabels = labels.FromStrings("region", "eu-west-1", "replica", "prometheus-agent-0")
	}
	net := network{}
	for i := range p.endpoints {
		rc := &receiver{}
		rc.down.Store(p.down)
		r.receivers = append(r.receivers, rc)
		// Nothing listens there: should a request escape, the run fails.
		u := &url.URL{Scheme: "http", Host: fmt.Sprintf("endpoint-%d.invalid", i), Path: "/api/v1/write"}
		if p.servers {
			server := httptest.NewServer(rc)
			r.stop = append(r.stop, server.Close)
			var err error
			u, err = url.Parse(server.URL)
			require.NoError(b, err)
		}
		net[u.Host] = rc
		c := config.DefaultRemoteWriteConfig
		c.Name = fmt.Sprintf("endpoint-%d", i)
		c.URL = &commonconfig.URL{URL: u}
		c.MetadataConfig.Send = false
		c.QueueConfig.MaxBackoff = model.Duration(100 * time.Millisecond)
		if p.protocol != "" {
			c.ProtobufMessage = p.protocol
		}
		if p.queue != nil {
			p.queue(&c.QueueConfig)
		}
		conf.RemoteWriteConfigs = append(conf.RemoteWriteConfigs, &c)
	}
	opts := agent.DefaultOptions()
	opts.WALCompression = compression.Snappy // The binary's default.
	opts.CheckpointFromInMemorySeries = true
	if p.segmentSize > 0 {
		opts.WALSegmentSize = p.segmentSize
	}
	if p.truncate > 0 {
		opts.TruncateFrequency = p.truncate
	}
	var err error
	r.opened, err = e.open(r.reg, r.dir, opts)
	require.NoError(b, err)
	if p.opened != nil {
		p.opened(r)
	}
	require.NoError(b, r.apply(&conf))
	if !p.servers {
		clients, err := r.clients()
		require.NoError(b, err)
		require.NoError(b, divert(clients, net))
	}
	return r
}

func tempDir(b *testing.B) string {
	dir, err := os.MkdirTemp("", "ackwal-bench-")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (r *rig) Close() {
	require.NoError(r.b, r.opened.Close())
	for _, f := range r.stop {
		f()
	}
}

// seriesLabels are the labels of the i-th series: ten of them, some 250 bytes.
func seriesLabels(i int) labels.Labels {
	target, metric := i/500, i%500
	return labels.FromStrings(
		labels.MetricName, fmt.Sprintf("rpc_server_handled_latency_%02d_total", metric/20),
		"cluster", "production-eu-west-1",
		"code", strconv.Itoa(200+metric%20/5),
		"container", "checkout-frontend",
		"instance", fmt.Sprintf("10.%d.%d.%d:8080", 16+target>>16, target>>8&255, target&255),
		"job", "kubernetes-pods",
		"namespace", fmt.Sprintf("team-payments-%02d", target%50),
		"node", fmt.Sprintf("ip-10-%d-%d.compute.internal", target>>8, target/10&255),
		"path", fmt.Sprintf("/api/v1/orders/%02d/items", metric%20),
		"pod", fmt.Sprintf("checkout-frontend-7d9f8c6b54-%05x", target),
	)
}

// create commits the first sample of n further series.
func (r *rig) create(n int) {
	if r.refs == nil {
		r.refs = make([]storage.SeriesRef, 0, n)
	}
	r.time++
	for to := len(r.refs) + n; len(r.refs) < to; {
		app := r.Appender(context.Background())
		for range min(scrapeSize, to-len(r.refs)) {
			ref, err := app.Append(0, seriesLabels(len(r.refs)), r.time, r.value())
			require.NoError(r.b, err)
			r.refs = append(r.refs, ref)
			r.committed++
		}
		require.NoError(r.b, app.Commit())
	}
}

// value returns the next of a sequence of whole numbers below 2^20 that have
// nothing to do with each other.
func (r *rig) value() float64 {
	r.random = r.random*6364136223846793005 + 1442695040888963407
	return float64(r.random >> 44)
}

// scrape commits a sample of each of the given series.
func (r *rig) scrape(refs []storage.SeriesRef, t int64) {
	runtime.LockOSThread() // For its time; not for longer, since a locked thread costs switches.
	began := threadTime()
	app := r.Appender(context.Background())
	for _, ref := range refs {
		if _, err := app.Append(ref, labels.EmptyLabels(), t, r.value()); err != nil {
			r.b.Fatal(err)
		}
	}
	r.appending += threadTime() - began
	runtime.UnlockOSThread()
	if err := app.Commit(); err != nil {
		r.b.Fatal(err)
	}
	r.committed += len(refs)
}

// round commits a sample of every series, each scrape after pause.
func (r *rig) round(pause <-chan time.Time) {
	r.time += scrapeInterval
	for from := 0; from < len(r.refs); from += scrapeSize {
		if pause != nil {
			<-pause
		}
		r.scrape(r.refs[from:min(from+scrapeSize, len(r.refs))], r.time)
	}
}

func (r *rig) setDown(down bool) {
	for _, rc := range r.receivers {
		rc.down.Store(down)
	}
}

// sum adds up the engines' metric of that name over all endpoints.
func (r *rig) sum(name string) (sum float64) {
	families, err := r.reg.Gather()
	require.NoError(r.b, err)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// delivered returns how many samples all endpoints together have taken. What
// both engines call sent are attempts.
func (r *rig) delivered() int {
	const prefix = "prometheus_remote_storage_samples_"
	return int(r.sum(prefix+"total") - r.sum(prefix+"retried_total"))
}

// waitFor waits until the endpoints have taken so many samples together.
func (r *rig) waitFor(want int, poll time.Duration) {
	r.b.Helper()
	last, since := -1, time.Now()
	for {
		got := r.delivered()
		if got >= want {
			return
		}
		if got != last {
			last, since = got, time.Now()
		}
		if time.Since(since) > time.Minute {
			r.b.Fatalf("%d of %d samples were delivered, and none in the last minute", got, want)
		}
		time.Sleep(poll)
	}
}

// wait waits until every receiver has acknowledged everything.
func (r *rig) wait(poll time.Duration) {
	r.b.Helper()
	want := r.committed * len(r.receivers)
	r.waitFor(want, poll)
	for _, rc := range r.receivers {
		// They count attempts when they begin.
		for rc.underWay.Load() > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	for _, name := range []string{"failed", "dropped"} {
		require.Zero(r.b, r.sum("prometheus_remote_storage_samples_"+name+"_total"), "samples %s", name)
	}
	require.Equal(r.b, want, r.delivered())
}
