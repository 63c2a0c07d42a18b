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
	"hash/crc32"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// bodies keeps the bodies it is sent.
type bodies struct{ c chan []byte }

// next returns the next request, and fails with the stacks of all goroutines if
// none comes.
func (b bodies) next(t testing.TB) []byte {
	t.Helper()
	select {
	case raw := <-b.c:
		return raw
	case <-time.After(time.Minute):
		all := make([]byte, 1<<20)
		t.Fatalf("no request came\n%s", all[:runtime.Stack(all, true)])
		return nil
	}
}

func (b bodies) Store(_ context.Context, body []byte, _ int) client.Result {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return client.Result{Status: 400, Outcome: client.Refused, Err: err}
	}
	b.c <- raw
	return client.Result{Status: 204, Outcome: client.Delivered}
}

func (bodies) Close() {}

// kindsOfRecords logs one item of every kind and returns the labels.
func (j *journal) kindsOfRecords() labels.Labels {
	var enc record.Encoder
	lset := labels.FromStrings("__name__", "all_kinds")
	s, _ := j.table.GetOrCreate(lset, func() chunks.HeadSeriesRef { j.next++; return j.next })
	ref := s.Ref()
	hists, custom := enc.HistogramSamples([]record.RefHistogramSample{
		{Ref: ref, T: 2, H: tsdbutil.GenerateTestHistogram(1)},
		{Ref: ref, T: 3, H: tsdbutil.GenerateTestCustomBucketsHistogram(1)},
	}, nil)
	floats, customFloats := enc.FloatHistogramSamples([]record.RefFloatHistogramSample{
		{Ref: ref, T: 4, FH: tsdbutil.GenerateTestFloatHistogram(1)},
		{Ref: ref, T: 5, FH: tsdbutil.GenerateTestCustomBucketsFloatHistogram(1)},
	}, nil)
	j.log(
		enc.Series([]record.RefSeries{{Ref: ref, Labels: lset}}, nil),
		enc.Samples([]record.RefSample{{Ref: ref, T: 1, V: 42}, {Ref: 9999, T: 1, V: 1}}, nil),
		hists, enc.CustomBucketsHistogramSamples(custom, nil),
		floats, enc.CustomBucketsFloatHistogramSamples(customFloats, nil),
		enc.Exemplars([]record.RefExemplar{{Ref: ref, T: 6, V: 7, Labels: labels.FromStrings("trace_id", "x")}}, nil),
		[]byte{200, 1, 2}, // A type of a later release.
	)
	return lset
}

// TestKinds sends every kind of item through both protocols, with and without
// what the configuration switches off; I2: what is not sent is counted.
func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		message               remoteapi.WriteMessageType
		exemplars, histograms bool
		samples, hists, exes  int
		nhcb                  float64
	}{
		{name: "v1", message: remoteapi.WriteV1MessageType, exemplars: true, histograms: true, samples: 1, hists: 2, exes: 1, nhcb: 2},
		{name: "v2", message: remoteapi.WriteV2MessageType, exemplars: true, histograms: true, samples: 1, hists: 4, exes: 1},
		{name: "v1 floats only", message: remoteapi.WriteV1MessageType, samples: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := openJournal(t, t.TempDir(), nil)
			got := bodies{make(chan []byte, 10)}
			r := newRig(t, j, nil, Options{})
			r.opts.newClient = func(client.Config) (storer, error) { return got, nil }
			c := remoteWrite("a")
			c.ProtobufMessage, c.SendExemplars, c.SendNativeHistograms = tc.message, tc.exemplars, tc.histograms
			conf := r.confWith(c)
			conf.GlobalConfig.ExternalLabels = labels.FromStrings("replica", "1")
			require.NoError(t, r.Attach(j.source()))
			require.NoError(t, r.ApplyConfig(conf))
			lset := j.kindsOfRecords()
			r.Notify()

			want := labels.NewBuilder(lset).Set("replica", "1").Labels()
			samples, hists, exes := 0, 0, 0
			for samples+hists+exes < tc.samples+tc.hists+tc.exes {
				raw := got.next(t)
				builder := labels.NewScratchBuilder(0)
				if tc.message == remoteapi.WriteV1MessageType {
					var req prompb.WriteRequest
					require.NoError(t, req.Unmarshal(raw))
					for _, ts := range req.Timeseries {
						require.Equal(t, want, ts.ToLabels(&builder, nil))
						samples, hists, exes = samples+len(ts.Samples), hists+len(ts.Histograms), exes+len(ts.Exemplars)
					}
					continue
				}
				var req writev2.Request
				require.NoError(t, req.Unmarshal(raw))
				for _, ts := range req.Timeseries {
					have, err := ts.ToLabels(&builder, req.Symbols)
					require.NoError(t, err)
					require.Equal(t, want, have)
					samples, hists, exes = samples+len(ts.Samples), hists+len(ts.Histograms), exes+len(ts.Exemplars)
				}
			}
			require.Equal(t, []int{tc.samples, tc.hists, tc.exes}, []int{samples, hists, exes})
			require.Equal(t, tc.nhcb, r.value("prometheus_remote_storage_histograms_dropped_total", map[string]string{"reason": reasonNHCB}))
			require.Equal(t, 1.0, r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"reason": reasonUnknownRef}))
			require.Equal(t, 1.0, r.value("prometheus_wal_watcher_records_read_total", map[string]string{"consumer": "a", "type": "unknown"}))
			r.end()
		})
	}
}

// TestForeignSegments defends that nothing which another engine has delivered
// is delivered again, that what was there before is, and that a flag has both sent.
func TestForeignSegments(t *testing.T) {
	for _, resume := range []bool{false, true} {
		dir := t.TempDir()
		j := openJournal(t, dir, nil)
		rc := newReceiver()
		rc.set(unavailable)
		r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
		r.attach(remoteWrite("a"))
		r.commit(100)
		r.end()

		// Stock begins segments without a marker.
		w, err := wlog.New(nil, nil, dir+"/wal", "none")
		require.NoError(t, err)
		var enc record.Encoder
		require.NoError(t, w.Log(enc.Samples([]record.RefSample{{Ref: 1, T: j.time + 1, V: 1}}, nil)))
		require.NoError(t, w.Close())

		rc.set(nil)
		again := openJournal(t, dir, j.table)
		again.next, again.time = j.next, j.time+1
		r = newRig(t, again, map[string]*receiver{"a": rc}, Options{ResumeAfterBestEffort: resume})
		r.attach(remoteWrite("a"))
		again.commit(7)
		r.Notify()
		passed := map[bool]int{false: 1}[resume]
		r.complete("a", 100+1-passed+7)
		require.Equal(t, float64(passed), r.value("prometheus_remote_storage_segments_skipped_total", map[string]string{"remote_name": "a"}))
		require.Equal(t, float64(passed), r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"remote_name": "a", "reason": "other_engine"}))
		require.Zero(t, r.expired(nil))
		require.NoError(t, r.Close())
		require.NoError(t, again.wal.Close())
	}
}

// TestDamageWhileRunning defends I9: a damaged page costs its records, and
// delivery goes on behind it.
func TestDamageWhileRunning(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir, nil)
	rc := newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	require.NoError(t, r.Attach(j.source()))
	require.NoError(t, r.save(true))
	start := *j.head.Load()
	for range 300 {
		j.commit(100)
	}
	j.cut()
	f, err := os.OpenFile(wlog.SegmentName(dir+"/wal", 0), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), 2*cursor.PageSize+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	r.lost, r.oldest = true, start
	r.apply(remoteWrite("a"))
	j.commit(100)
	r.Notify()
	require.Eventually(t, func() bool {
		rc.mtx.Lock()
		defer rc.mtx.Unlock()
		return len(rc.last) == 100 && rc.last[labels.FromStrings("__name__", "m", "i", "0").String()] == j.time
	}, time.Minute, 5*time.Millisecond, "delivery does not get past the damage")
	stored, _ := rc.counts()
	require.Less(t, stored, j.count)
	require.Greater(t, stored, j.count/4)
	require.Positive(t, r.value("prometheus_tsdb_wal_reader_corruption_errors_total", nil))
	r.end()
}

// TestForfeitOfHeld defends I1 for an endpoint that is not at work.
func TestForfeitOfHeld(t *testing.T) {
	j, rc, r := failingRig(t)
	r.apply()
	for range 4 {
		r.commit(100)
		j.cut()
	}
	require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 3}, "max_time"))
	require.Equal(t, 300.0, r.expired(map[string]string{"remote_name": "a", "reason": "max_time", "type": "samples"}))
	require.NoError(t, r.Persist(t.Context()))
	require.Equal(t, 3, j.gate.Floor().Position.Segment)
	rc.set(nil)
	r.apply(remoteWrite("a"))
	r.complete("a", 100)
	r.end()
}

// TestNewerSavepoint defends that what a later release saved is not touched.
func TestNewerSavepoint(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newRig(t, j, nil, Options{})
	sum := crc32.Checksum([]byte("99\n{}"), crc32.MakeTable(crc32.Castagnoli))
	later := fmt.Sprintf(`{"version":99,"crc32c":"%08x","body":{}}`, sum)
	require.NoError(t, os.WriteFile(j.dir+"/"+savepoint.CurrentName, []byte(later), 0o600))
	var newer *savepoint.VersionError
	require.ErrorAs(t, r.Attach(j.source()), &newer)
	r.end()
}

// TestConfigurationBeforeLog: the binary applies the configuration after the
// log is open; embedders need not.
func TestConfigurationBeforeLog(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	require.Error(t, r.Persist(t.Context()))
	require.Error(t, r.Forfeit(t.Context(), cursor.Position{}, "none"))
	r.apply(remoteWrite("a"))
	require.NoError(t, r.Attach(j.source()))
	require.Error(t, r.Attach(j.source()))
	r.commit(10)
	r.complete("a", 10)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Error(t, r.ApplyConfig(&config.DefaultConfig))
	require.NoError(t, j.wal.Close())
}

// TestMetadata covers what is sent of what scraping knows.
func TestMetadata(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	got := bodies{make(chan []byte, 10)}
	r := newRig(t, j, nil, Options{})
	r.opts.newClient = func(client.Config) (storer, error) { return got, nil }
	c := remoteWrite("a")
	c.MetadataConfig = config.MetadataConfig{Send: true, SendInterval: model.Duration(time.Hour), MaxSamplesPerSend: 2}
	r.attach(c)
	m := r.running[0].metadata
	require.NotNil(t, m)
	m.sendAll([]scrape.MetricMetadata{
		{MetricFamily: "a", Type: model.MetricTypeCounter, Help: "A.", Unit: "bytes"}, {MetricFamily: "b"}, {MetricFamily: "c"},
	})
	var names []string
	for range 2 {
		var req prompb.WriteRequest
		require.NoError(t, req.Unmarshal(<-got.c))
		for _, md := range req.Metadata {
			names = append(names, md.MetricFamilyName)
		}
	}
	require.Equal(t, []string{"a", "b", "c"}, names)
	require.Equal(t, 3.0, r.value("prometheus_remote_storage_metadata_total", nil))
	c.MetadataConfig.Send = false
	r.apply(c)
	require.Nil(t, r.running[0].metadata)
	r.end()
}

// TestAppendersCount covers the only thing the storage's appenders do.
func TestAppendersCount(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	r := newRig(t, j, nil, Options{})
	lset := labels.FromStrings("__name__", "m")
	app := r.Appender(t.Context())
	_, err := app.Append(0, lset, 7000, 1)
	require.NoError(t, err)
	_, err = app.AppendExemplar(0, lset, exemplar.Exemplar{})
	require.NoError(t, err)
	require.NoError(t, app.Commit())
	require.Equal(t, 7.0, r.value("prometheus_remote_storage_highest_timestamp_in_seconds", nil))
	app2 := r.AppenderV2(t.Context())
	_, err = app2.Append(0, lset, 0, 9000, 1, nil, nil, storage.AOptions{})
	require.NoError(t, err)
	require.NoError(t, app2.Commit())
	require.Equal(t, 9.0, r.value("prometheus_remote_storage_highest_timestamp_in_seconds", nil))
	r.end()
}
