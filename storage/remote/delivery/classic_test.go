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
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// ledger notes what comes for each series, in order: samples, histograms and
// exemplars, each on a list of its own, since they may come in requests or series
// of their own.
type ledger struct {
	v2      bool
	mu      sync.Mutex
	got     map[string][]string
	largest int
	refuse  func(samples int) *client.Result // Before anything is taken.
}

func newLedger(message remoteapi.WriteMessageType) *ledger {
	return &ledger{v2: message == remoteapi.WriteV2MessageType, got: map[string][]string{}}
}

func (*ledger) Close() {}

// Store takes a request of ours, ServeHTTP one of stock's.
func (l *ledger) Store(_ context.Context, body []byte, _ int) client.Result {
	stats, res := l.take(body)
	if res != nil {
		return *res
	}
	return client.Result{Status: 200, Outcome: client.Delivered, Written: stats}
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	stats, res := l.take(body)
	if res != nil {
		http.Error(w, res.Err.Error(), http.StatusBadRequest)
		return
	}
	for name, n := range map[string]int{"Samples": stats.Samples, "Histograms": stats.Histograms, "Exemplars": stats.Exemplars} {
		w.Header().Set("X-Prometheus-Remote-Write-"+name+"-Written", strconv.Itoa(n))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (l *ledger) take(body []byte) (client.Written, *client.Result) {
	stats := client.Written{Confirmed: true}
	var notes [][2]string
	note := func(series labels.Labels, kind, format string, args ...any) {
		notes = append(notes, [2]string{kind + " " + series.String(), fmt.Sprintf(format, args...)})
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return stats, &client.Result{Status: 400, Outcome: client.Refused, Err: err}
	}
	b := labels.NewScratchBuilder(8)
	if l.v2 {
		var req writev2.Request
		err = req.Unmarshal(raw)
		for i := range req.Timeseries {
			ts := &req.Timeseries[i]
			lset, labelErr := ts.ToLabels(&b, req.Symbols)
			if labelErr != nil {
				err = labelErr
				break
			}
			for _, s := range ts.Samples {
				stats.Samples++
				note(lset, "sample", "%d from %d: %x", s.Timestamp, s.StartTimestamp, math.Float64bits(s.Value))
			}
			for _, h := range ts.Histograms {
				stats.Histograms++
				note(lset, "histogram", "%d from %d: %v", h.Timestamp, h.StartTimestamp, h.Sum)
			}
			for _, e := range ts.Exemplars {
				stats.Exemplars++
				note(lset, "exemplar", "%d: %v", e.Timestamp, e.Value)
			}
		}
	} else {
		var req prompb.WriteRequest
		err = req.Unmarshal(raw)
		for _, ts := range req.Timeseries {
			lset := ts.ToLabels(&b, nil)
			for _, s := range ts.Samples {
				stats.Samples++
				note(lset, "sample", "%d: %x", s.Timestamp, math.Float64bits(s.Value))
			}
			for _, h := range ts.Histograms {
				stats.Histograms++
				note(lset, "histogram", "%d: %v", h.Timestamp, h.Sum)
			}
			for _, e := range ts.Exemplars {
				stats.Exemplars++
				note(lset, "exemplar", "%d: %v", e.Timestamp, e.Value)
			}
		}
	}
	if err != nil {
		return stats, &client.Result{Status: 400, Outcome: client.Refused, Err: err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		if res := l.refuse(stats.Samples); res != nil {
			return stats, res
		}
	}
	l.largest = max(l.largest, stats.Samples)
	for _, n := range notes {
		l.got[n[0]] = append(l.got[n[0]], n[1])
	}
	return stats, nil
}

// custom returns a histogram with custom buckets whose counts depend on n.
func custom(n int64, bounds ...float64) *histogram.Histogram {
	h := &histogram.Histogram{
		Schema: histogram.CustomBucketsSchema, CustomValues: bounds, Sum: float64(n),
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: uint32(len(bounds))}},
		PositiveBuckets: make([]int64, len(bounds)),
	}
	h.PositiveBuckets[0] = n // Deltas: n in every bucket.
	h.Count = uint64(n) * uint64(len(bounds))
	return h
}

// histories is what happens to the series in the test below: each step is one
// record, and may have exemplars.
func histories(ref chunks.HeadSeriesRef, t int64) (recs [][]byte) {
	var enc record.Encoder
	step := func() int64 { t += 1000; return t }
	nhcb := func(h *histogram.Histogram) {
		_, all := enc.HistogramSamples([]record.RefHistogramSample{{Ref: ref, ST: t - 500, T: step(), H: h}}, nil)
		recs = append(recs, enc.CustomBucketsHistogramSamples(all, nil))
	}
	native := func(h *histogram.Histogram) {
		rec, _ := enc.HistogramSamples([]record.RefHistogramSample{{Ref: ref, T: step(), H: h}}, nil)
		recs = append(recs, rec)
	}
	nhcbFloat := func(h *histogram.FloatHistogram) {
		_, all := enc.FloatHistogramSamples([]record.RefFloatHistogramSample{{Ref: ref, T: step(), FH: h}}, nil)
		recs = append(recs, enc.CustomBucketsFloatHistogramSamples(all, nil))
	}
	float := func(v float64) {
		recs = append(recs, enc.Samples([]record.RefSample{{Ref: ref, T: step(), V: v}}, nil))
	}
	exemplars := func(vs ...float64) {
		var es []record.RefExemplar
		for _, v := range vs {
			es = append(es, record.RefExemplar{Ref: ref, T: t, V: v, Labels: labels.FromStrings("trace_id", fmt.Sprint(v))})
		}
		recs = append(recs, enc.Exemplars(es, nil))
	}
	stale := math.Float64frombits(value.StaleNaN)

	nhcb(custom(1, 1, 2, 5))
	exemplars(0.5, 2, 3, 100)
	nhcb(custom(2, 1, 2, 5))
	nhcb(custom(3, 1, 5, 10)) // 2 ends.
	nhcbFloat(custom(4, 1, 5, 10).ToFloat(nil))
	exemplars(7)
	native(tsdbutil.GenerateTestHistogram(1)) // All end.
	native(tsdbutil.GenerateTestHistogram(2))
	nhcb(custom(5, 1, 2))
	float(42) // It goes on as a float.
	float(43)
	nhcb(custom(6, 1, 2))
	float(stale)
	float(stale) // Not a classic histogram any more.
	nhcb(custom(7, 3))
	nhcb(&histogram.Histogram{Schema: histogram.CustomBucketsSchema, CustomValues: []float64{3}, Sum: stale})
	nhcbFloat(custom(8, 4, 8).ToFloat(nil))
	native(&histogram.Histogram{Sum: stale})
	return recs
}

// What an endpoint with convert_nhcb_to_classic gets of native histograms with
// custom buckets is what stock sends: the same series, values, start timestamps,
// exemplars and stale markers, whatever it takes to deliver them.
func TestClassicAsStock(t *testing.T) {
	flaky := func() func(int) *client.Result {
		n := 0
		return func(samples int) *client.Result {
			n++
			if n%3 == 1 {
				return unavailable(0)
			}
			if samples > 8 { // One histogram has no more.
				t.Errorf("a request of %d samples", samples)
			}
			return nil
		}
	}
	for _, message := range []remoteapi.WriteMessageType{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType} {
		for _, native := range []bool{true, false} {
			for _, relabelled := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/native=%t/rules=%t", message, native, relabelled), func(t *testing.T) {
					conf := func(at *url.URL) *config.Config {
						c := remoteWrite("a")
						c.URL = &commonconfig.URL{URL: at}
						c.ProtobufMessage, c.ConvertNHCBToClassic = message, true
						c.SendExemplars, c.SendNativeHistograms = true, native
						c.QueueConfig.MinShards, c.QueueConfig.MaxShards = 1, 1
						conf := (*rig)(nil).confWith(c)
						conf.GlobalConfig.ExternalLabels = labels.FromStrings("cluster", "c", "job", "not used")
						if relabelled {
							c.WriteRelabelConfigs = []*relabel.Config{{
								SourceLabels: model.LabelNames{"job"}, Regex: relabel.MustNewRegexp("(.+)"), Separator: ";",
								TargetLabel: "task", Replacement: "$1", Action: relabel.Replace, NameValidationScheme: model.UTF8Validation,
							}}
						}
						return conf
					}
					want := stockLedger(t, message, conf)
					for name, refuse := range map[string]func(int) *client.Result{"at once": nil, "with retries, in small requests": flaky()} {
						t.Run(name, func(t *testing.T) {
							j := openJournal(t, t.TempDir(), nil)
							defer func() { require.NoError(t, j.wal.Close()) }()
							got := newLedger(message)
							got.refuse = refuse
							r := newRig(t, j, nil, Options{newClient: func(client.Config) (storer, error) { return got, nil }})
							defer r.Close()
							require.NoError(t, r.Attach(j.source()))
							c := conf(&url.URL{Scheme: "http", Host: "a"})
							if refuse != nil {
								c.RemoteWriteConfigs[0].QueueConfig.MaxSamplesPerSend = 8
							}
							require.NoError(t, r.ApplyConfig(c))
							first, _ := j.table.GetOrCreate(classicSeries, func() chunks.HeadSeriesRef { j.next++; return j.next })
							last, _ := j.table.GetOrCreate(lastSeries, func() chunks.HeadSeriesRef { j.next++; return j.next })
							logHistories(j, first.Ref(), last.Ref())
							r.Notify()
							// Remote write 2.0 has no exemplars without a sample in
							// the same request.
							compared := func(all map[string][]string) map[string][]string {
								all = maps.Clone(all)
								if refuse != nil && message == remoteapi.WriteV2MessageType {
									maps.DeleteFunc(all, func(key string, _ []string) bool { return strings.HasPrefix(key, "exemplar ") })
								}
								return all
							}
							count := func(all map[string][]string) (n int) {
								for _, list := range compared(all) {
									n += len(list)
								}
								return n
							}
							require.Eventually(t, func() bool {
								got.mu.Lock()
								defer got.mu.Unlock()
								return count(got.got) >= count(want)
							}, time.Minute, time.Millisecond)
							require.NoError(t, r.Persist(t.Context()))
							got.mu.Lock()
							defer got.mu.Unlock()
							require.Equal(t, compared(want), compared(got.got))
						})
					}
				})
			}
		}
	}
}

var (
	classicSeries = labels.FromStrings("__name__", "request_seconds", "job", "j")
	lastSeries    = labels.FromStrings("__name__", "last")
)

// historiesBegin lies after the time at which stock's queues begin.
var historiesBegin = time.Now().Add(time.Hour).UnixMilli()

// logHistories logs everything at once: with remote write 2.0, exemplars that are read
// after the request of their sample was made have none to go with.
func logHistories(j *journal, ref, last chunks.HeadSeriesRef) {
	var enc record.Encoder
	recs := [][]byte{enc.Series([]record.RefSeries{{Ref: ref, Labels: classicSeries}, {Ref: last, Labels: lastSeries}}, nil)}
	recs = append(recs, histories(ref, historiesBegin)...)
	j.log(append(recs, enc.Samples([]record.RefSample{{Ref: last, T: historiesBegin, V: 1}}, nil))...)
}

// stockLedger returns what stock sends of the histories.
func stockLedger(t *testing.T, message remoteapi.WriteMessageType, conf func(*url.URL) *config.Config) map[string][]string {
	t.Helper()
	l := newLedger(message)
	server := httptest.NewServer(l)
	defer server.Close()
	at, err := url.Parse(server.URL)
	require.NoError(t, err)
	j := openJournal(t, t.TempDir(), nil)
	defer func() { require.NoError(t, j.wal.Close()) }()
	reg := prometheus.NewRegistry()
	stock := Stock.NewWriteStorage(reg, j.dir)
	require.NoError(t, stock.ApplyConfig(conf(at)))
	// It sends what is logged after it has begun to read: a sample that it
	// sends says so.
	var enc record.Encoder
	probe := labels.FromStrings("__name__", "probe")
	j.log(enc.Series([]record.RefSeries{{Ref: 99, Labels: probe}}, nil))
	lastKey, probeKey := "", ""
	ends := func(key *string, name string) bool {
		stock.Notify()
		l.mu.Lock()
		defer l.mu.Unlock()
		for k := range l.got {
			if strings.HasPrefix(k, "sample ") && strings.Contains(k, name) {
				*key = k
			}
		}
		return *key != ""
	}
	n := int64(0)
	require.Eventually(t, func() bool {
		n++
		j.log(enc.Samples([]record.RefSample{{Ref: 99, T: historiesBegin + n, V: 1}}, nil))
		return ends(&probeKey, `__name__="probe"`)
	}, time.Minute, 10*time.Millisecond)
	logHistories(j, 1, 2)
	stock.Notify()
	require.Eventually(t, func() bool { return ends(&lastKey, `__name__="last"`) }, time.Minute, time.Millisecond)
	require.NoError(t, stock.Close())
	delete(l.got, probeKey)
	require.NotEmpty(t, l.got)
	return l.got
}

// Requests of classic histograms hold to max_samples_per_send, as far as one
// histogram does, and what cannot be converted is dropped and counted.
func TestClassicRequests(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	defer func() { require.NoError(t, j.wal.Close()) }()
	got := newLedger(remoteapi.WriteV1MessageType)
	r := newRig(t, j, nil, Options{newClient: func(client.Config) (storer, error) { return got, nil }})
	defer r.Close()
	c := remoteWrite("a")
	c.ConvertNHCBToClassic = true
	c.QueueConfig.MaxSamplesPerSend = 25
	r.attach(c)
	var (
		enc     record.Encoder
		defined []record.RefSeries
		hists   []record.RefHistogramSample
	)
	for i := range 100 {
		lset := labels.FromStrings("__name__", "h", "i", strconv.Itoa(i))
		if i == 7 {
			lset = labels.FromStrings("i", "nameless")
		}
		s, _ := j.table.GetOrCreate(lset, func() chunks.HeadSeriesRef { j.next++; return j.next })
		defined = append(defined, record.RefSeries{Ref: s.Ref(), Labels: lset})
		hists = append(hists, record.RefHistogramSample{Ref: s.Ref(), T: 1, H: custom(1, 1, 2, 3, 4, 5, 6, 7)}) // 10 samples.
	}
	j.log(enc.Series(defined, nil), enc.CustomBucketsHistogramSamples(hists, nil))
	r.Notify()
	require.Eventually(t, func() bool {
		got.mu.Lock()
		defer got.mu.Unlock()
		return len(got.got) == 99*10
	}, time.Minute, time.Millisecond)
	require.LessOrEqual(t, got.largest, 25)
	require.EqualValues(t, 1, r.value("prometheus_remote_storage_histograms_dropped_total", map[string]string{"reason": "nhcb_to_classic_conversion_error"}))
	require.EqualValues(t, 990, r.value("prometheus_remote_storage_samples_total", nil))
	require.Zero(t, r.value("prometheus_remote_storage_histograms_failed_total", nil))
}

// Layouts of series that have left the table are forgotten (I6).
func TestLayoutsAreForgotten(t *testing.T) {
	var l layouts
	here := func(ref chunks.HeadSeriesRef) bool { return ref%100 == 0 }
	shared := newLayout([]float64{1})
	for ref := range chunks.HeadSeriesRef(100_000) {
		l.settle(map[chunks.HeadSeriesRef]active{ref: {layout: shared}}, here)
	}
	require.Less(t, len(l.active), 5000)
	require.Contains(t, l.active, chunks.HeadSeriesRef(99_900))
	l.settle(map[chunks.HeadSeriesRef]active{99_900: {}}, here)
	require.NotContains(t, l.active, chunks.HeadSeriesRef(99_900))
}
