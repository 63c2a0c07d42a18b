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

package queuebench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	common_config "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	numSeries = 5000
	// sent is the counter that tells how far delivery is.
	sent = "prometheus_remote_storage_samples_total"
)

// path is a log with remote write reading it.
type path struct {
	reg     *prometheus.Registry
	wal     *wlog.WL
	storage *remote.WriteStorage
	enc     record.Encoder
	samples []record.RefSample
	logged  float64 // Samples times endpoints since the endpoints read the log.
}

func newPath(tb testing.TB, shards, endpoints int) *path {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	tb.Cleanup(server.Close)
	dir := tb.TempDir()
	p := &path{reg: prometheus.NewRegistry(), samples: make([]record.RefSample, numSeries)}
	var err error
	p.wal, err = wlog.New(nil, nil, dir+"/wal", compression.Snappy)
	require.NoError(tb, err)
	p.storage = remote.NewWriteStorage(nil, p.reg, dir, time.Second, nil, false)
	p.wal.SetWriteNotified(p.storage)
	tb.Cleanup(func() {
		require.NoError(tb, p.storage.Close())
		require.NoError(tb, p.wal.Close())
	})

	series := make([]record.RefSeries, numSeries)
	for i := range series {
		ref := chunks.HeadSeriesRef(i + 1)
		p.samples[i].Ref = ref
		series[i] = record.RefSeries{Ref: ref, Labels: labels.FromStrings("__name__", "http_requests_total", "cluster", "eu-west-1", "namespace", "shop",
			"pod", fmt.Sprintf("frontend-%05d", i/20), "job", "frontend", "method", "GET", "code", strconv.Itoa(200+i%20))}
	}
	require.NoError(tb, p.wal.Log(p.enc.Series(series, nil)))

	conf := &config.Config{GlobalConfig: config.DefaultGlobalConfig}
	for i := range endpoints {
		u, err := url.Parse(server.URL)
		require.NoError(tb, err)
		c := config.DefaultRemoteWriteConfig
		c.Name, c.URL = fmt.Sprint("endpoint", i), &common_config.URL{URL: u}
		c.SendNativeHistograms = true
		c.QueueConfig.MinShards, c.QueueConfig.MaxShards = shards, shards
		c.QueueConfig.Capacity, c.QueueConfig.MaxSamplesPerSend = 10_000, 2000
		c.QueueConfig.BatchSendDeadline = model.Duration(50 * time.Millisecond)
		conf.RemoteWriteConfigs = append(conf.RemoteWriteConfigs, &c)
	}
	require.NoError(tb, p.storage.ApplyConfig(conf))

	// Only what is logged after a queue has begun to read is sent.
	await := func(met func() bool) { require.Eventually(tb, met, time.Minute, 50*time.Millisecond) }
	await(func() bool {
		p.log(tb)
		counts := p.metric(tb, sent)
		return len(counts) == endpoints && !slices.Contains(counts, 0)
	})
	// A histogram after it tells that all of it is queued.
	last, _ := p.enc.HistogramSamples([]record.RefHistogramSample{
		{Ref: 1, T: time.Now().UnixMilli(), H: &histogram.Histogram{}},
	}, nil)
	require.NoError(tb, p.wal.Log(last))
	await(func() bool { return p.total(tb, "prometheus_remote_storage_histograms_total") == float64(endpoints) })
	await(func() bool { return p.total(tb, "prometheus_remote_storage_samples_pending") == 0 })
	p.logged = p.total(tb, sent)
	return p
}

// log logs a sample of each series.
func (p *path) log(tb testing.TB) {
	now := time.Now().UnixMilli()
	for i := range p.samples {
		p.samples[i].T, p.samples[i].V = now, float64(i)
	}
	require.NoError(tb, p.wal.Log(p.enc.Samples(p.samples, nil)))
}

// metric returns the values of a metric, one for each endpoint. A watcher that
// is notified while it reads misses that and waits for 15 seconds, so it is told
// again here: what is measured is the way of the samples and not that wait.
func (p *path) metric(tb testing.TB, name string) (values []float64) {
	p.storage.Notify()
	families, err := p.reg.Gather()
	require.NoError(tb, err)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				values = append(values, m.GetCounter().GetValue()+m.GetGauge().GetValue())
			}
		}
	}
	return values
}

// total returns the sum of a metric over all endpoints.
func (p *path) total(tb testing.TB, name string) (n float64) {
	for _, v := range p.metric(tb, name) {
		n += v
	}
	return n
}

// BenchmarkReaderToQueue logs a sample of each of 5000 series per operation and
// measures until all endpoints were sent all of them.
func BenchmarkReaderToQueue(b *testing.B) {
	for _, endpoints := range []int{1, 3} {
		for _, shards := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("endpoints=%d/shards=%d", endpoints, shards), func(b *testing.B) {
				p := newPath(b, shards, endpoints)
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					p.log(b)
				}
				want := p.logged + float64(b.N*numSeries*endpoints)
				for p.total(b, sent) < want {
					time.Sleep(time.Millisecond)
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N*numSeries*endpoints)/b.Elapsed().Seconds(), "samples/s")
			})
		}
	}
}

// The benchmark counts what it says it counts.
func TestEverythingIsCounted(t *testing.T) {
	p := newPath(t, 2, 2)
	p.log(t)
	require.Eventually(t, func() bool { return p.total(t, sent) == p.logged+2*numSeries }, time.Minute, 10*time.Millisecond)
}
