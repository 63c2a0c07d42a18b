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

package delivery

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/record"
)

// has reports whether there is a metric with the labels.
func (r *rig) has(name string, match map[string]string) bool {
	r.t.Helper()
	families, err := r.reg.Gather()
	require.NoError(r.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			n := 0
			for _, l := range m.GetLabel() {
				if want, ok := match[l.GetName()]; ok && want == l.GetValue() {
					n++
				}
			}
			if n == len(match) {
				return true
			}
		}
	}
	return false
}

// TestMetricsOfAnotherURL: an endpoint that is told by its name goes on when a
// reload gives it another URL, and so do its metrics: those of reading, which know
// it by name only, and the numbers of what it has in memory, by class.
func TestMetricsOfAnotherURL(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	a, b := newReceiver(), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": a, "b": b}, Options{})
	conf := remoteWrite("a")
	conf.SendNativeHistograms = true
	r.attach(conf)
	r.commit(50)
	r.complete("a", j.count)

	watcher := []string{"current_segment", "records_read_total", "notifications_skipped_total", "record_decode_failures_total", "samples_sent_pre_tailing_total"}
	records := func() float64 {
		return r.value("prometheus_wal_watcher_records_read_total", map[string]string{"consumer": "a", "type": "samples"})
	}
	for _, name := range watcher {
		require.True(t, r.has("prometheus_wal_watcher_"+name, map[string]string{"consumer": "a"}), name)
	}
	a.set(unavailable)
	b.set(unavailable)
	hs := make([]record.RefHistogramSample, 150)
	j.time++
	for i, s := range seriesOf(j, len(hs)) {
		hs[i] = record.RefHistogramSample{Ref: s.Ref(), T: j.time, H: wide()}
	}
	var enc record.Encoder
	rec, _ := enc.HistogramSamples(hs, nil)
	j.log(rec)
	r.Notify()
	pending := func(class string) float64 {
		return r.value("prometheus_remote_storage_"+class+"_pending", map[string]string{"remote_name": "a"})
	}
	require.Eventually(t, func() bool { return pending("histograms") == 150 }, time.Minute, time.Millisecond)
	sent := r.value("prometheus_remote_storage_queue_highest_sent_timestamp_seconds", nil)
	read := records()
	require.Positive(t, read)

	moved := remoteWrite("b")
	moved.Name, moved.SendNativeHistograms = "a", true
	r.apply(moved)
	require.Equal(t, 150.0, pending("histograms"))
	require.Zero(t, pending("samples"))
	require.Equal(t, sent, r.value("prometheus_remote_storage_queue_highest_sent_timestamp_seconds", nil))
	for _, name := range watcher {
		require.True(t, r.has("prometheus_wal_watcher_"+name, map[string]string{"consumer": "a"}), name)
	}
	require.False(t, r.has("prometheus_remote_storage_samples_pending", map[string]string{"url": "http://a/write"}))

	b.set(nil)
	q := r.running[0].streams()[0].queue
	require.Eventually(t, func() bool {
		return q.Done(*j.head.Load()) && pending("histograms") == 0 && pending("samples") == 0
	}, time.Minute, time.Millisecond)
	r.commit(50)
	require.Eventually(t, func() bool { return q.Done(*j.head.Load()) && records() > read }, time.Minute, time.Millisecond)
	r.apply()
	for _, name := range watcher {
		require.False(t, r.has("prometheus_wal_watcher_"+name, map[string]string{"consumer": "a"}), name)
	}
	r.end()
}

// TestMetricSets: metrics are there, and count on, until no endpoint uses them.
func TestMetricSets(t *testing.T) {
	r := &rig{t: t, reg: prometheus.NewRegistry()}
	w := newWatcherMetrics(r.reg)
	require.NoError(t, w.set.register())
	x := newMetricSets(r.reg, w)
	const read, shards = "prometheus_wal_watcher_record_decode_failures_total", "prometheus_remote_storage_shards"
	a := map[string]string{"consumer": "a"}
	get := func(name, url string) *endpointMetrics {
		m, err := x.get(name, url)
		require.NoError(t, err)
		m.undecodable.Inc()
		return m
	}
	first, again, other := get("a", "1"), get("a", "1"), get("a", "2")
	require.Same(t, first, again)
	x.release(first)
	require.True(t, r.has(shards, map[string]string{"url": "1"}))
	x.release(again)
	require.False(t, r.has(shards, map[string]string{"url": "1"}))
	require.Equal(t, 3.0, r.value(read, a))
	x.release(other)
	require.False(t, r.has(read, a))

	// A foreign metric is in the way: nothing is left of the attempt.
	taken := prometheus.NewGauge(prometheus.GaugeOpts{Name: shards, ConstLabels: prometheus.Labels{"remote_name": "a", "url": "3"}, Help: "Number of senders at work for the endpoint."})
	require.NoError(t, r.reg.Register(taken))
	_, err := x.get("a", "3")
	require.Error(t, err)
	require.False(t, r.has(read, a))
	require.False(t, r.has("prometheus_remote_storage_samples_total", nil))
	r.reg.Unregister(taken)
	x.release(get("a", "3"))
	require.Empty(t, x.sets)
	require.Empty(t, x.consumers)
}
