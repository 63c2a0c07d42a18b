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

package conformance

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/ackwal/ackwal/conformance/wire"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const (
	contentV1 = "application/x-protobuf"
	contentV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

func bodyV1(t *testing.T, number float64, at int64) []byte {
	t.Helper()
	request := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: Metric}, {Name: SeriesLabel, Value: "3"}},
		Samples: []prompb.Sample{{Timestamp: at, Value: number}},
	}}}
	raw, err := request.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

func bodyV2(t *testing.T, number float64, at int64) []byte {
	t.Helper()
	request := writev2.Request{
		Symbols: []string{"", "__name__", Metric, SeriesLabel, "3"},
		Timeseries: []writev2.TimeSeries{{
			LabelsRefs: []uint32{1, 2, 3, 4},
			Samples:    []writev2.Sample{{Timestamp: at, Value: number}},
		}},
	}
	raw, err := request.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

// post returns the response to a request, nil if there was none.
func post(t *testing.T, r *Receiver, content, encoding string, body []byte) *http.Response {
	t.Helper()
	return postTo(t, r.URL(writePath), content, encoding, body)
}

func postTo(t *testing.T, url, content, encoding string, body []byte) *http.Response {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	q.Header.Set("Content-Type", content)
	q.Header.Set("Content-Encoding", encoding)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
	if err != nil {
		return nil
	}
	response.Body.Close()
	return response
}

// TestReceiver: both versions are negotiated, and every answer and fault shows
// in the log or not at all.
func TestReceiver(t *testing.T) {
	r, err := newReceiver("main", Strict, "", func() int64 { return 7 })
	require.NoError(t, err)
	defer r.Refuse()

	require.Equal(t, 204, post(t, r, contentV1, "snappy", bodyV1(t, 1, 10)).StatusCode)
	answer := post(t, r, contentV2, "snappy", bodyV2(t, 2, 20))
	require.Equal(t, 204, answer.StatusCode)
	require.Equal(t, "1", answer.Header.Get("X-Prometheus-Remote-Write-Samples-Written"))
	require.Equal(t, 400, post(t, r, contentV1, "snappy", bodyV1(t, 1, 15)).StatusCode)
	require.Equal(t, 415, post(t, r, contentV1, "zstd", bodyV1(t, 3, 30)).StatusCode)
	require.Equal(t, 415, post(t, r, "text/plain", "snappy", bodyV1(t, 3, 30)).StatusCode)

	r.Say(503)
	require.Equal(t, 503, post(t, r, contentV1, "snappy", bodyV1(t, 3, 30)).StatusCode)
	r.Say(0)
	url := r.URL(writePath)
	r.Refuse()
	require.Nil(t, post(t, r, contentV1, "snappy", bodyV1(t, 3, 30)))
	require.NoError(t, r.Accept())
	require.NoError(t, r.Accept())
	require.Equal(t, url, r.URL(writePath))
	r.Delay(time.Millisecond)
	require.Equal(t, 204, post(t, r, contentV1, "snappy", bodyV1(t, 3, 30)).StatusCode)
	require.NoError(t, r.trouble())
	require.Equal(t, 400, post(t, r, contentV1, "snappy", []byte("nonsense")).StatusCode)
	require.ErrorContains(t, r.trouble(), "decompressing")

	got := r.Log()
	for i := range got {
		require.False(t, got[i].At.IsZero())
		got[i].At = time.Time{}
	}
	require.Equal(t, []Request{
		{Protocol: wire.V1, Status: 204, Served: 7, Arrivals: []Arrival{{3, 1, 10, Stored}}},
		{Protocol: wire.V2, Status: 204, Served: 7, Arrivals: []Arrival{{3, 2, 20, Stored}}},
		{Protocol: wire.V1, Status: 400, Served: 7, Arrivals: []Arrival{{3, 1, 15, Overtaken}}},
		{Protocol: wire.V1, Status: 204, Served: 7, Arrivals: []Arrival{{3, 3, 30, Stored}}},
	}, got)
}

// TestOneProtocol: a receiver of one version tells senders of the other.
func TestOneProtocol(t *testing.T) {
	r, err := newReceiver("main", Strict, wire.V1, func() int64 { return 0 })
	require.NoError(t, err)
	defer r.Refuse()
	require.Equal(t, 415, post(t, r, contentV2, "snappy", bodyV2(t, 1, 10)).StatusCode)
	require.Equal(t, 204, post(t, r, contentV1, "snappy", bodyV1(t, 1, 10)).StatusCode)
}

func bodyOTLP(t *testing.T, numbers ...int64) []byte {
	t.Helper()
	request := pmetricotlp.NewExportRequest()
	metrics := request.Metrics().ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	metrics.AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty() // Is left out.
	sum := metrics.AppendEmpty()
	sum.SetName(Metric)
	points := sum.SetEmptySum().DataPoints()
	for i, number := range numbers {
		p := points.AppendEmpty()
		p.Attributes().PutStr(SeriesLabel, "3")
		p.SetTimestamp(pcommon.NewTimestampFromTime(time.UnixMilli(10 * number)))
		if i%2 == 0 {
			p.SetIntValue(number)
		} else {
			p.SetDoubleValue(float64(number))
		}
	}
	points.AppendEmpty().SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	raw, err := request.MarshalProto()
	require.NoError(t, err)
	return raw
}

// TestOTLP: metrics in OTLP are stored by the rules of the first version of remote
// write, as Prometheus has it.
func TestOTLP(t *testing.T) {
	r, err := newReceiver("main", Strict, "", func() int64 { return 7 })
	require.NoError(t, err)
	defer r.Refuse()
	const content = "application/x-protobuf"
	url := r.URL(otlpPath)

	zipped := bytes.Buffer{}
	zip := gzip.NewWriter(&zipped)
	_, err = zip.Write(bodyOTLP(t, 1, 2))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	require.Equal(t, 200, postTo(t, url, content, "gzip", zipped.Bytes()).StatusCode)
	require.Equal(t, 400, postTo(t, url, content, "", bodyOTLP(t, 4, 3)).StatusCode)
	require.Equal(t, 415, postTo(t, url, content, "zstd", bodyOTLP(t, 5)).StatusCode)
	require.Equal(t, 415, postTo(t, url, "application/json", "", bodyOTLP(t, 5)).StatusCode)

	arrivals := [][]Arrival{}
	for _, request := range r.Log() {
		require.Equal(t, wire.OTLP, request.Protocol)
		arrivals = append(arrivals, request.Arrivals)
	}
	require.Equal(t, [][]Arrival{{{3, 1, 10, Stored}, {3, 2, 20, Stored}}, {{3, 4, 40, Undone}, {3, 3, 30, Overtaken}}}, arrivals)
	require.NoError(t, r.trouble())
	require.Equal(t, 400, postTo(t, url, content, "gzip", []byte("nonsense")).StatusCode)
	require.ErrorContains(t, r.trouble(), "decompressing")
}
