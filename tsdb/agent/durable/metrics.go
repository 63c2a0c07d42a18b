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

package durable

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a DB. The names without wal in them are those of the best-effort
// agent, with its meanings.
type metrics struct {
	floats, histograms prometheus.Counter // Children of samples appended.
	exemplars          prometheus.Counter
	outOfOrder         prometheus.Counter

	truncateDuration prometheus.Observer
	replayDuration   prometheus.Gauge
	corruptions      prometheus.Counter
	damages          *prometheus.CounterVec
	unknownRefs      prometheus.Counter

	checkpoints, checkpointsFailed           prometheus.Counter
	checkpointsDeleted, checkpointsUndeleted prometheus.Counter
	snapshots, snapshotsFailed               prometheus.Counter
	snapshotDamages                          *prometheus.CounterVec

	writeFailures   prometheus.Counter
	refusedCommits  prometheus.Counter
	refusedSamples  prometheus.Counter
	syncs           prometheus.Counter
	syncsFailed     prometheus.Counter
	segmentsRemoved *prometheus.CounterVec
	forfeits        *prometheus.CounterVec
}

// gauges are read from the storage whenever metrics are collected.
type gauges struct {
	active, retired, retainedBytes, snapshotBytes, maxBytes, broken func() float64

	holdings prometheus.Collector
}

// makeMetrics makes the metrics, registers them, and wires up the gauges.
func makeMetrics(reg *registry, read gauges) *metrics {
	enlist := func(c prometheus.Collector) {
		if reg != nil {
			reg.MustRegister(c)
		}
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "prometheus_agent_" + name, Help: help})
		enlist(c)
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "prometheus_agent_" + name, Help: help}, []string{label})
		enlist(c)
		return c
	}
	computed := func(name, help string, f func() float64) {
		enlist(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "prometheus_agent_" + name, Help: help}, f))
	}

	samples := counters("samples_appended_total", "Samples that were accepted by appenders.", "type")
	m := &metrics{
		floats:     samples.WithLabelValues("float"),
		histograms: samples.WithLabelValues("histogram"),
		exemplars:  counter("exemplars_appended_total", "Exemplars that were accepted by appenders."),
		outOfOrder: counter("out_of_order_samples_total", "Samples older than the out-of-order window allows, when appended or when committed."),

		corruptions: counter("corruptions_total", "Damages found in the write-ahead log and contained."),
		damages:     counters("wal_repairs_total", "What the repair of the write-ahead log at start-up dealt with, by kind; a torn tail is what a crash leaves and no corruption.", "kind"),
		unknownRefs: counter("wal_unknown_refs_total", "Samples and exemplars found at start-up whose series is not in the log."),

		checkpoints:          counter("checkpoint_creations_total", "Checkpoints that were begun."),
		checkpointsFailed:    counter("checkpoint_creations_failed_total", "Checkpoints that could not be written."),
		checkpointsDeleted:   counter("checkpoint_deletions_total", "Rounds of deleting superseded checkpoints."),
		checkpointsUndeleted: counter("checkpoint_deletions_failed_total", "Rounds of deleting superseded checkpoints that failed."),

		snapshots:       counter("series_snapshot_updates_total", "Times the snapshot of series was brought up to date, or this was tried."),
		snapshotsFailed: counter("series_snapshot_failures_total", "Times the snapshot of series could not be written."),
		snapshotDamages: counters("series_snapshot_problems_total", "Damages found in the snapshot of series, and the reasons for making a new one from the log.", "kind"),

		writeFailures:   counter("wal_write_failures_total", "Times the write-ahead log became unusable by a failed write."),
		syncs:           counter("wal_syncs_total", "Times the write-ahead log was synced to its disk because of the sync interval."),
		syncsFailed:     counter("wal_sync_failures_total", "Times that failed. Until a later one succeeds, and if the disk has lost something even then, a loss of power may cost more than the interval."),
		refusedCommits:  counter("wal_refused_commits_total", "Commits that failed because the write-ahead log could not be written to."),
		refusedSamples:  counter("wal_refused_samples_total", "Samples, histograms and exemplars of those commits, which no endpoint gets."),
		segmentsRemoved: counters("wal_segments_removed_total", "Segments removed: sent (by every endpoint), no_endpoint (there is none, and they were old), max_time or max_size (forfeited to a limit). What an endpoint forfeited to its own budget counts as sent.", "reason"),
		forfeits:        counters("wal_forfeits_total", "Times a limit demanded samples that an endpoint still needed.", "reason"),
	}
	enlist(read.holdings)
	m.replayDuration = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "prometheus_agent_data_replay_duration_seconds",
		Help: "How long reading the log at start-up took.",
	})
	duration := prometheus.NewSummary(prometheus.SummaryOpts{
		Name: "prometheus_agent_truncate_duration_seconds",
		Help: "How long truncations of the write-ahead log take.",
	})
	m.truncateDuration = duration
	for _, c := range []prometheus.Collector{m.replayDuration, duration} {
		enlist(c)
	}

	computed("active_series", "Series that are appended to.", read.active)
	computed("deleted_series", "Series without recent appends that are in memory still.", read.retired)
	computed("series_snapshot_bytes", "Size of the snapshot of series.", read.snapshotBytes)
	computed("wal_retained_bytes", "Size of the segments of the write-ahead log.", read.retainedBytes)
	computed("wal_max_bytes", "Size of the write-ahead log at which the oldest samples are forfeited; 0 if there is no limit.", read.maxBytes)
	computed("wal_broken", "1 while the write-ahead log cannot be written to, else 0.", read.broken)
	return m
}

// commitRefused counts a commit that failed, with what it held.
func (m *metrics) commitRefused(items int) {
	m.refusedCommits.Inc()
	m.refusedSamples.Add(float64(items))
}

// since returns the seconds from start to now.
func since(start, now time.Time) float64 { return now.Sub(start).Seconds() }
