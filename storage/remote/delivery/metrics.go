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
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"

	"github.com/prometheus/prometheus/tsdb/record"
)

const namespace = "prometheus"

// Reasons for which an endpoint deliberately does not send an item. The first
// five are stock's.
const (
	reasonTooOld     = "too_old"
	reasonDropped    = "dropped_series"
	reasonUnknownRef = "unintentionally_dropped_series"
	reasonNHCB       = "nhcb_in_rw1_not_supported"
	reasonConversion = "nhcb_to_classic_conversion_error"
	reasonOnReplay   = "refused_on_replay"
	reasonAlone      = "exemplar_without_sample_in_rw2"
)

// metricSet registers metrics and takes them out again as one.
type metricSet struct {
	reg        prometheus.Registerer
	labels     prometheus.Labels
	subsystem  string
	collectors []prometheus.Collector
}

func (s *metricSet) opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: namespace, Subsystem: s.subsystem, Name: name, Help: help, ConstLabels: s.labels}
}

func add[C prometheus.Collector](s *metricSet, c C) C {
	s.collectors = append(s.collectors, c)
	return c
}

func (s *metricSet) counter(name, help string) prometheus.Counter {
	return add(s, prometheus.NewCounter(prometheus.CounterOpts(s.opts(name, help))))
}

func (s *metricSet) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return add(s, prometheus.NewCounterVec(prometheus.CounterOpts(s.opts(name, help)), labels))
}

func (s *metricSet) gauge(name, help string) prometheus.Gauge {
	return add(s, prometheus.NewGauge(prometheus.GaugeOpts(s.opts(name, help))))
}

func (s *metricSet) gaugeFunc(name, help string, f func() float64) {
	add(s, prometheus.NewGaugeFunc(prometheus.GaugeOpts(s.opts(name, help)), f))
}

// register registers everything, or nothing if a name is taken.
func (s *metricSet) register() error {
	if s.reg == nil {
		return nil
	}
	for i, c := range s.collectors {
		if err := s.reg.Register(c); err != nil {
			for _, done := range s.collectors[:i] {
				s.reg.Unregister(done)
			}
			return err
		}
	}
	return nil
}

func (s *metricSet) unregister() {
	if s.reg == nil {
		return
	}
	for _, c := range s.collectors {
		s.reg.Unregister(c)
	}
}

// perClass is one counter or gauge for each of samples, histograms, exemplars.
type perClass[M any] [queue.Classes]M

func each[M any](metric func(class string) M) (out perClass[M]) {
	for c := range out {
		out[c] = metric(queue.Class(c).String())
	}
	return out
}

// setLabels tells the metrics of endpoints apart.
type setLabels struct{ name, url string }

// endpointMetrics are the metrics of one endpoint under one name and URL. Their
// names are stock's where stock has the metric.
type endpointMetrics struct {
	set metricSet
	// families are the metrics of messages of metadata. Only remote write 1.0
	// has such messages, and as in stock nothing else shows their metrics.
	// shownBy is how many endpoints do; metricSets.mtx guards it.
	families metricSet
	shownBy  int

	attempted, failed, retried perClass[prometheus.Counter]
	dropped                    perClass[*prometheus.CounterVec]
	pending                    perClass[prometheus.Gauge]
	metadata, metadataFailed   prometheus.Counter
	metadataRetried            prometheus.Counter
	waits                      prometheus.Counter
	latency                    prometheus.Histogram
	highest, highestSent       *highWater
	bytes, metadataBytes       prometheus.Counter
	capacity, perSend          prometheus.Gauge
	shards, shardsMin          prometheus.Gauge
	shardsMax, shardsDesired   prometheus.Gauge

	refused           *prometheus.CounterVec
	resent            prometheus.Counter
	segmentsMissing   prometheus.Counter
	unreadable        prometheus.Counter
	unreadableBytes   prometheus.Counter
	ackedSegment      prometheus.Gauge
	ackedOffset       prometheus.Gauge
	unackedBytes      prometheus.Gauge
	unackedSeconds    prometheus.Gauge
	refusing          prometheus.Gauge
	freshActive       prometheus.Gauge
	isolated          prometheus.Gauge
	isolationRequests prometheus.Counter
	freshBacklog      prometheus.Gauge
	records           *prometheus.CounterVec
	undecodable       prometheus.Counter
	preTailing        prometheus.Counter
	segment           prometheus.Gauge
	skippedNotify     prometheus.Counter
	recordCounters    [queue.MaxRecordType + 1]prometheus.Counter
	unknownRecords    prometheus.Counter
	labels            setLabels
}

// highWater is a gauge that only rises, in seconds.
type highWater struct {
	gauge prometheus.Gauge
	max   atomicMax
}

func (h *highWater) raise(ms int64) {
	if ms > 0 && h.max.raise(ms) {
		h.gauge.Set(float64(h.max.load() / 1000))
	}
}

func newEndpointMetrics(reg prometheus.Registerer, w *watcherMetrics, name, url string) *endpointMetrics {
	m := &endpointMetrics{set: metricSet{reg: reg, subsystem: "remote_storage", labels: prometheus.Labels{"remote_name": name, "url": url}}}
	m.families = m.set
	s := &m.set
	m.attempted = each(func(c string) prometheus.Counter {
		return s.counter(c+"_total", "Number of "+c+" in requests to the endpoint, every attempt counted.")
	})
	m.failed = each(func(c string) prometheus.Counter {
		return s.counter(c+"_failed_total", "Number of "+c+" the endpoint refused for good.")
	})
	m.retried = each(func(c string) prometheus.Counter {
		return s.counter(c+"_retried_total", "Number of "+c+" in attempts that failed and are made again.")
	})
	m.dropped = each(func(c string) *prometheus.CounterVec {
		return s.counters(c+"_dropped_total", "Number of "+c+" that were read from the log and deliberately not sent, by reason.", "reason")
	})
	m.pending = each(func(c string) prometheus.Gauge {
		return s.gauge(c+"_pending", "Number of "+c+" in memory that are not acknowledged yet.")
	})
	m.metadata = m.families.counter("metadata_total", "Number of metadata entries in requests to the endpoint.")
	m.metadataFailed = m.families.counter("metadata_failed_total", "Number of metadata entries the endpoint refused for good.")
	m.metadataRetried = m.families.counter("metadata_retried_total", "Number of metadata entries in attempts that failed and are made again.")
	m.waits = s.counter("enqueue_retries_total", "Number of times reading the log found the endpoint's queue full, while it stays full after each time that min_backoff, doubled up to max_backoff, has passed.")
	m.latency = add(s, prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: s.subsystem, ConstLabels: s.labels,
		Name:                            "sent_batch_duration_seconds",
		Help:                            "How long requests to the endpoint took, every attempt counted.",
		Buckets:                         []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 60, 120, 300},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  100,
		NativeHistogramMinResetDuration: time.Hour,
	}))
	m.highest = &highWater{gauge: s.gauge("queue_highest_timestamp_seconds", "Highest timestamp that was taken up for sending to the endpoint, in seconds since the epoch.")}
	m.highestSent = &highWater{gauge: s.gauge("queue_highest_sent_timestamp_seconds", "Highest timestamp the endpoint has acknowledged, in seconds since the epoch.")}
	m.capacity = s.gauge("shard_capacity", "Number of items each sender of the endpoint may hold in memory.")
	m.shards = s.gauge("shards", "Number of senders at work for the endpoint.")
	m.shardsMin = s.gauge("shards_min", "Lowest number of senders for the endpoint.")
	m.shardsMax = s.gauge("shards_max", "Highest number of senders for the endpoint.")
	m.shardsDesired = s.gauge("shards_desired", "Number of senders that the load on the endpoint asks for.")
	m.bytes = s.counter("bytes_total", "Compressed bytes of requests with samples, histograms and exemplars that the endpoint has settled.")
	m.metadataBytes = m.families.counter("metadata_bytes_total", "Compressed bytes of requests with metadata that the endpoint has settled.")
	m.perSend = s.gauge("max_samples_per_send", "Highest number of items in one request.")

	m.refused = s.counters("refused_total", "Number of samples, histograms and exemplars the endpoint refused for good, by status code.", "code")
	for _, code := range refusalCodes {
		m.refused.WithLabelValues(code)
	}
	m.resent = s.counter("resent_total", "Number of samples, histograms and exemplars in requests that the endpoint took and may have had before, because an earlier attempt had no answer or a crash left open whether there was one.")
	m.segmentsMissing = s.counter("segments_missing_total", "Number of segments that vanished before the endpoint had read them.")
	m.unreadable = s.counter("unreadable_total", "About how many samples, histograms and exemplars were in parts of the log that could not be read when it was the endpoint's turn, an estimate by what the log holds around them.")
	m.unreadableBytes = s.counter("unreadable_bytes_total", "Bytes of the log that could not be read when it was the endpoint's turn: damaged, taken out by a repair, refused by the disk, or, by estimate, gone.")
	m.ackedSegment = s.gauge("acked_segment", "Segment of the log up to which the endpoint has acknowledged everything.")
	m.ackedOffset = s.gauge("acked_offset_bytes", "Offset in that segment up to which the endpoint has acknowledged everything.")
	m.unackedBytes = s.gauge("unacked_bytes", "Bytes of the log that the endpoint has not acknowledged.")
	m.unackedSeconds = s.gauge("unacked_seconds", "Age of the oldest sample in memory that the endpoint has not acknowledged, or, if that is longer, for how long it has acknowledged nothing although the log has more; 0 if it has everything.")
	m.refusing = s.gauge("refusing_seconds", "For how long the endpoint has refused everything, which holds what it is sent; 0 if it has taken something since.")
	m.freshActive = s.gauge("fresh_first_active", "Whether the endpoint is sent what is new while a backlog is delivered beside it, 1 or 0.")
	m.freshBacklog = s.gauge("fresh_first_backlog_bytes", "Bytes of the log in that backlog that the endpoint has not acknowledged.")

	m.isolated = s.gauge("isolated_series", "Number of series that are sent apart from others, or wait alone, because the endpoint did not take them together.")
	m.isolationRequests = s.counter("isolation_requests_total", "Number of requests that were sent to find out which series the endpoint does not take, and for those alone.")

	m.records = w.records.MustCurryWith(prometheus.Labels{"consumer": name})
	for t := range m.recordCounters {
		if typ := record.Type(t); typ.String() != record.Unknown.String() {
			m.recordCounters[t] = m.records.WithLabelValues(typ.String())
		}
	}
	m.unknownRecords = m.records.WithLabelValues(record.Unknown.String())
	m.undecodable = w.undecodable.WithLabelValues(name)
	m.preTailing = w.preTailing.WithLabelValues(name)
	m.segment = w.segment.WithLabelValues(name)
	m.skippedNotify = w.skipped.WithLabelValues(name)
	return m
}

// refusalCodes are the statuses for which there is a counter from the start: of one that
// appears with a number, no increase can be seen. All of them together are in the counters
// of what failed.
var refusalCodes = []string{"400", "401", "403", "404", "405", "409", "413", "415", "422"}

// countEnqueued counts a batch that joins the queue.
func (m *endpointMetrics) countEnqueued(b *queue.Batch, preTailing bool) {
	for c := range b.Unknown {
		if b.Unknown[c] > 0 {
			m.dropped[c].WithLabelValues(reasonUnknownRef).Add(float64(b.Unknown[c]))
		}
	}
	for t, n := range b.Records.Types {
		if n > 0 && m.recordCounters[t] != nil {
			m.recordCounters[t].Add(float64(n))
		}
	}
	m.unknownRecords.Add(float64(b.Records.Unknown))
	m.undecodable.Add(float64(b.Records.Undecodable))
	if preTailing {
		m.preTailing.Add(float64(b.Records.Types[record.Samples] + b.Records.Types[record.SamplesV2]))
	}
}

// countUnread counts what is lost to an endpoint: the sums of what could not be read.
func (m *endpointMetrics) countUnread(sums [3]int64) {
	m.unreadableBytes.Add(float64(sums[0]))
	m.unreadable.Add(float64(sums[1]))
	m.segmentsMissing.Add(float64(sums[2]))
}

// watcherMetrics are stock's metrics of reading the log, one consumer an
// endpoint.
type watcherMetrics struct {
	set         metricSet
	records     *prometheus.CounterVec
	undecodable *prometheus.CounterVec
	preTailing  *prometheus.CounterVec
	segment     *prometheus.GaugeVec
	skipped     *prometheus.CounterVec
}

func newWatcherMetrics(reg prometheus.Registerer) *watcherMetrics {
	w := &watcherMetrics{set: metricSet{reg: reg, subsystem: "wal_watcher"}}
	s := &w.set
	w.records = s.counters("records_read_total", "Number of records of the log that an endpoint has received, by type.", "consumer", "type")
	w.undecodable = s.counters("record_decode_failures_total", "Number of records of the log that could not be decoded.", "consumer")
	w.preTailing = s.counters("samples_sent_pre_tailing_total", "Number of records with samples that an endpoint received on its way to the head of the log.", "consumer")
	w.segment = add(s, prometheus.NewGaugeVec(prometheus.GaugeOpts(s.opts("current_segment", "Segment of the log that an endpoint has read to.")), []string{"consumer"}))
	w.skipped = s.counters("notifications_skipped_total", "Number of notifications of a write that came while the log was being read anyway.", "consumer")
	return w
}

func (w *watcherMetrics) forget(name string) {
	w.records.DeletePartialMatch(prometheus.Labels{"consumer": name})
	w.undecodable.DeleteLabelValues(name)
	w.preTailing.DeleteLabelValues(name)
	w.segment.DeleteLabelValues(name)
	w.skipped.DeleteLabelValues(name)
}

// storageMetrics are the metrics of the whole write side.
type storageMetrics struct {
	set              metricSet
	corruption       *prometheus.CounterVec
	highest          *highWater
	savepointWrites  *prometheus.CounterVec
	savepointFails   prometheus.Counter
	savepointWritten instant
	segmentsSkipped  *prometheus.CounterVec
	expired          perClass[*prometheus.CounterVec]
	expiredBytes     *prometheus.CounterVec
	resumed          *prometheus.CounterVec
}

func newStorageMetrics(reg prometheus.Registerer) *storageMetrics {
	m := &storageMetrics{set: metricSet{reg: reg}}
	s := &m.set
	s.subsystem = "tsdb_wal"
	m.corruption = s.counters("reader_corruption_errors_total", "Number of damaged parts of the log that reading passed over.", "error")
	s.subsystem = "remote_storage"
	m.highest = &highWater{gauge: s.gauge("highest_timestamp_in_seconds", "Highest timestamp that was appended, in seconds since the epoch.")}
	m.savepointWrites = s.counters("savepoint_writes_total", "Number of savepoints written; durable ones have been synced to disk.", "durable")
	m.savepointFails = s.counter("savepoint_write_failures_total", "Number of savepoints that could not be written.")
	m.savepointWritten.set(time.Now()) // Until one is found.
	s.gaugeFunc("savepoint_age_seconds", "Time since the savepoint on disk last had the positions as they were, written by an earlier run if need be; since the start if there is none.", m.savepointWritten.age)
	m.segmentsSkipped = s.counters("segments_skipped_total", "Number of segments that the endpoint passes over because another engine has written them.", "remote_name")
	m.expired = each(func(c string) *prometheus.CounterVec {
		return s.counters(c+"_expired_total", "Number of "+c+" that were removed from the log before the endpoint acknowledged them, by reason.", "remote_name", "reason")
	})
	m.expiredBytes = s.counters("expired_bytes_total", "Bytes of the log that were removed before the endpoint acknowledged them, by reason.", "remote_name", "reason")
	m.resumed = s.counters("resumed_positions_total", "Number of saved positions by how they were found in the log after a restart.", "verdict")
	return m
}

// Reasons for which samples are forfeited, as in metrics.
const (
	ReasonMaxTime = "max_time"
	ReasonMaxSize = "max_size"
	// ReasonRemoved is for what an endpoint had not been sent that was removed from the
	// configuration and did not come back in time.
	ReasonRemoved = "endpoint_removed"
	// ReasonRefused is for what is held that the receiver refuses, which is dropped later, and
	// counted as refused then.
	ReasonRefused = "refused_hold"
	// Of an endpoint's own budget.
	reasonEndpointMaxTime = "endpoint_max_time"
	reasonEndpointMaxSize = "endpoint_max_size"
	// reasonOtherEngine is for what another engine removed, or wrote itself.
	reasonOtherEngine = "other_engine"
	// reasonStopped is for what was forfeited in the log while it was still in memory,
	// where a stop, or a kill, then ended its delivery.
	reasonStopped = "stopped_after_limit"
)

// expect has the counters of what an endpoint can forfeit, from the start, so that the
// first loss is an increase.
func (m *storageMetrics) expect(name string) {
	m.segmentsSkipped.WithLabelValues(name)
	for _, reason := range []string{ReasonMaxTime, ReasonMaxSize, reasonEndpointMaxTime, reasonEndpointMaxSize, reasonOtherEngine, reasonStopped, ReasonRemoved} {
		m.expiredBytes.WithLabelValues(name, reason)
		for _, c := range m.expired {
			c.WithLabelValues(name, reason)
		}
	}
}

// atomicMax is a number that only rises, unless it is set. It is safe for
// concurrent use. The zero value is 0.
type atomicMax struct {
	mtx sync.Mutex
	v   int64
}

func (r *atomicMax) load() int64 {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.v
}

// raise sets the number to v if that is more, and reports whether it was.
func (r *atomicMax) raise(v int64) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if v <= r.v {
		return false
	}
	r.v = v
	return true
}

// instant is a moment as this process counts, whatever becomes of the clock on
// the wall. It is safe for concurrent use.
type instant struct {
	mtx sync.Mutex
	at  time.Time
}

// set takes over a time that [time.Now] gave.
func (i *instant) set(at time.Time) {
	i.mtx.Lock()
	defer i.mtx.Unlock()
	i.at = at
}

// age returns the seconds since.
func (i *instant) age() float64 {
	i.mtx.Lock()
	defer i.mtx.Unlock()
	return time.Since(i.at).Seconds()
}
