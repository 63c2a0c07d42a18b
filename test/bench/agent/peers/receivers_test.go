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

package peers

import (
	"bytes"
	"compress/gzip"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/conformance/wire"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// names of series, three of which agents add.
var names = []string{"http_requests_total", "up", "uptime", "scrape_duration_seconds", "scrape_samples_scraped", "scraper"}

var marker = math.Float64frombits(value.StaleNaN)

// carried is what both requests below carry.
var carried = Counts{Samples: 3, Histograms: 6, Automatic: 3, Stale: 12, Exemplars: 6}

func labelsOf(name string) labels.Labels {
	return labels.FromStrings("Above", "up", "__name__", name, "job", "scrape_job")
}

func requestV1(t *testing.T) []byte {
	r := prompb.WriteRequest{Metadata: []prompb.MetricMetadata{{MetricFamilyName: "a"}, {MetricFamilyName: "b"}}}
	for i, name := range names {
		series := prompb.TimeSeries{
			Labels:    prompb.FromLabels(labelsOf(name), nil),
			Samples:   []prompb.Sample{{Value: 1, Timestamp: 1}, {Value: marker, Timestamp: 2}},
			Exemplars: []prompb.Exemplar{{Value: 1, Timestamp: 1}},
			Histograms: []prompb.Histogram{
				prompb.FromIntHistogram(1, tsdbutil.GenerateTestHistogram(int64(i))),
				prompb.FromIntHistogram(2, &histogram.Histogram{Sum: marker}),
				prompb.FromFloatHistogram(3, tsdbutil.GenerateTestFloatHistogram(int64(i))),
			},
		}
		if isAutomatic([]byte(name)) {
			series.Histograms = series.Histograms[1:2] // Agents add floats only.
		}
		r.Timeseries = append(r.Timeseries, series)
	}
	raw, err := r.Marshal()
	require.NoError(t, err)
	return raw
}

func requestV2(t *testing.T) []byte {
	symbols := writev2.NewSymbolTable()
	r := writev2.Request{}
	for i, name := range names {
		series := writev2.TimeSeries{
			LabelsRefs: symbols.SymbolizeLabels(labelsOf(name), nil),
			Samples:    []writev2.Sample{{Value: 1, Timestamp: 1}, {Value: marker, Timestamp: 2}},
			Exemplars:  []writev2.Exemplar{{Value: 1, Timestamp: 1}},
			Histograms: []writev2.Histogram{
				writev2.FromIntHistogram(0, 1, tsdbutil.GenerateTestHistogram(int64(i))),
				writev2.FromIntHistogram(0, 2, &histogram.Histogram{Sum: marker}),
				writev2.FromFloatHistogram(0, 3, tsdbutil.GenerateTestFloatHistogram(int64(i))),
			},
		}
		if isAutomatic([]byte(name)) {
			series.Histograms = series.Histograms[1:2]
		}
		r.Timeseries = append(r.Timeseries, series)
	}
	r.Symbols = symbols.Symbols()
	raw, err := r.Marshal()
	require.NoError(t, err)
	return raw
}

// decoded counts with a decoder that builds everything.
func decoded(t *testing.T, contentType string, body []byte) (c Counts) {
	_, err := wire.Decode(contentType, body, func(i wire.Item) {
		switch {
		case i.Exemplar != nil:
			c.Exemplars++
		case i.Histogram != nil && value.IsStaleNaN(i.Histogram.Sum), i.Histogram == nil && value.IsStaleNaN(i.Float):
			c.Stale++
		case isAutomatic([]byte(i.Labels.Get("__name__"))):
			c.Automatic++
		case i.Histogram != nil:
			c.Histograms++
		default:
			c.Samples++
		}
	})
	require.NoError(t, err)
	return c
}

func post(r *receiver, contentType string, body []byte) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Content-Encoding", "snappy")
	answer := httptest.NewRecorder()
	r.ServeHTTP(answer, request)
	return answer
}

const typeV1, typeV2 = "application/x-protobuf", "application/x-protobuf;proto=io.prometheus.write.v2.Request"

func TestReceiverCountsAsADecoderDoes(t *testing.T) {
	r := newReceiver(atomic.NewBool(false))
	v1, v2 := snappy.Encode(nil, requestV1(t)), snappy.Encode(nil, requestV2(t))
	require.Equal(t, carried, decoded(t, typeV1, v1))
	require.Equal(t, carried, decoded(t, typeV2, v2))

	require.Equal(t, http.StatusNoContent, post(r, typeV1, v1).Code)
	want := carried
	want.Metadata = 2
	require.Equal(t, ReceiverStats{Counts: want, Requests: 1, Bytes: int64(len(v1))}, r.stats)
	require.Equal(t, int64(9), r.stats.Scraped())

	// What is left of the first request in a buffer does not show.
	answer := post(r, typeV2, v2)
	require.Equal(t, http.StatusNoContent, answer.Code)
	want.add(carried)
	require.Equal(t, ReceiverStats{Counts: want, Requests: 2, Bytes: int64(len(v1) + len(v2))}, r.stats)
	// Senders take fewer for a loss, so that everything counts here.
	require.Equal(t, "12", answer.Header().Get("X-Prometheus-Remote-Write-Samples-Written"))
	require.Equal(t, "12", answer.Header().Get("X-Prometheus-Remote-Write-Histograms-Written"))
	require.Equal(t, "6", answer.Header().Get("X-Prometheus-Remote-Write-Exemplars-Written"))
}

func TestReceiverCountsNothingOfWhatItRefuses(t *testing.T) {
	away := atomic.NewBool(true)
	r := newReceiver(away)
	v1 := snappy.Encode(nil, requestV1(t))
	require.Equal(t, http.StatusServiceUnavailable, post(r, typeV1, v1).Code)
	require.Equal(t, ReceiverStats{Away: 1}, r.stats)

	away.Store(false)
	torn := requestV1(t)
	for _, bad := range []*httptest.ResponseRecorder{
		post(r, "text/plain", v1),
		post(r, typeV1, []byte("not snappy")),
		post(r, typeV1, snappy.Encode(nil, torn[:len(torn)-1])),
		post(r, typeV2, snappy.Encode(nil, []byte{5<<3 | 2, 4, 1<<3 | 2, 2, 7, 8})), // Symbols that are not there.
	} {
		require.Equal(t, http.StatusUnsupportedMediaType, bad.Code)
	}
	require.Equal(t, ReceiverStats{Away: 1, Bad: 4}, r.stats)
	require.Equal(t, http.StatusNoContent, post(r, typeV1, v1).Code)
}

// requestOTLP has points of all kinds, each with one that says that there is no value.
func requestOTLP(t *testing.T) []byte {
	request := pmetricotlp.NewExportRequest()
	all := request.Metrics().ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	none := pmetric.DefaultDataPointFlags.WithNoRecordedValue(true)
	for _, name := range []string{"temperature", "up"} {
		gauge := all.AppendEmpty()
		gauge.SetName(name)
		points := gauge.SetEmptyGauge().DataPoints()
		points.AppendEmpty().SetDoubleValue(1)
		points.AppendEmpty().SetFlags(none)
	}
	sums := all.AppendEmpty().SetEmptySum().DataPoints()
	sums.AppendEmpty().Exemplars().AppendEmpty()
	sums.AppendEmpty().SetFlags(none)
	histograms := all.AppendEmpty().SetEmptyHistogram().DataPoints()
	histograms.AppendEmpty().BucketCounts().FromRaw([]uint64{1, 2, 3})
	summaries := all.AppendEmpty().SetEmptySummary().DataPoints()
	summaries.AppendEmpty().QuantileValues().AppendEmpty()
	all.AppendEmpty().SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	raw, err := request.MarshalProto()
	require.NoError(t, err)
	return raw
}

func TestReceiverCountsOTLP(t *testing.T) {
	raw := requestOTLP(t)
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, err := zip.Write(raw)
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	r := newReceiver(atomic.NewBool(false))
	for encoding, body := range map[string][]byte{"": raw, "gzip": zipped.Bytes()} {
		q := httptest.NewRequest(http.MethodPost, OTLPPath, bytes.NewReader(body))
		q.Header.Set("Content-Type", "application/x-protobuf")
		q.Header.Set("Content-Encoding", encoding)
		answer := httptest.NewRecorder()
		r.ServeHTTP(answer, q)
		require.Equal(t, http.StatusOK, answer.Code)
		require.Equal(t, Counts{Samples: 1 + 1 + 5 + 3, Histograms: 1, Automatic: 1, Stale: 3, Exemplars: 1}, r.stats.Counts)
		require.EqualValues(t, len(body), r.stats.Bytes)
		r.stats = ReceiverStats{}
	}
}
