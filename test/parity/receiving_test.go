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

package parity

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// TestReceiving sends samples to the agent, by remote write and by OTLP, and
// compares what it passes on with stock's engine.
func TestReceiving(t *testing.T) {
	stock, ours := engines(t)
	// Ahead of the start of the agents, since stock sends nothing older.
	at := time.Now().Add(time.Minute).Truncate(time.Second).UnixMilli()
	passed := map[string]map[string][]event{}
	for _, e := range []engine{stock, ours} {
		r := newRecording(false)
		server := httptest.NewServer(r)
		t.Cleanup(server.Close)
		a := e.start(t, fmt.Sprintf(`
global: {external_labels: {agent: a}}
remote_write: [{name: one, url: %q, send_exemplars: true, send_native_histograms: true, metadata_config: {send: false}, queue_config: {batch_send_deadline: 100ms}}]
`, server.URL), "--web.enable-remote-write-receiver", "--web.enable-otlp-receiver")

		for i := range int64(3) {
			a.post(t, "/api/v1/write", map[string]string{
				"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0",
			}, pushed(t, at+i*1000))
			a.post(t, "/api/v1/otlp/v1/metrics", map[string]string{"Content-Type": "application/json"}, fmt.Appendf(nil, `{"resourceMetrics": [{
				"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
				"scopeMetrics": [{"scope": {"name": "s"}, "metrics": [{"name": "otlp_gauge", "gauge": {"dataPoints": [{"timeUnixNano": "%d000000", "asDouble": %d.5}]}}]}]}]}`, at+i*1000, i))
		}
		count := func() (n int) {
			r.mtx.Lock()
			defer r.mtx.Unlock()
			for _, events := range r.samples {
				n += len(events)
			}
			for _, events := range r.exemplars {
				n += len(events)
			}
			return n
		}
		// A float, its exemplar, a histogram and the OTLP gauge each time.
		require.Eventually(t, func() bool { return count() >= 4*3 }, timeout, 50*time.Millisecond)
		before := -1
		require.Eventually(t, func() bool {
			was := before
			before = count()
			return was == before
		}, timeout, time.Second, "more and more arrives")

		r.mtx.Lock()
		require.Empty(t, r.errs)
		passed[e.name] = map[string][]event{}
		for key, events := range r.samples {
			passed[e.name]["sample "+key] = events
		}
		for key, events := range r.exemplars {
			passed[e.name]["exemplar "+key] = events
		}
		r.mtx.Unlock()
	}
	require.GreaterOrEqual(t, len(passed[stock.name]), 4)
	require.Equal(t, passed[stock.name], passed[ours.name])
}

// pushed is a remote-write request of version 1.0 with samples of one instant.
func pushed(t *testing.T, at int64) []byte {
	t.Helper()
	series := func(name string) []prompb.Label {
		return []prompb.Label{{Name: "__name__", Value: name}, {Name: "job", Value: "pushed"}}
	}
	raw, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		{
			Labels:    series("pushed_total"),
			Samples:   []prompb.Sample{{Timestamp: at, Value: float64(at % 1e6)}},
			Exemplars: []prompb.Exemplar{{Labels: []prompb.Label{{Name: "trace_id", Value: strconv.FormatInt(at, 10)}}, Value: 1, Timestamp: at}},
		},
		{Labels: series("pushed_histogram"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(at, tsdbutil.GenerateTestHistogram(at/1000%10))}},
	}}).Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

// post sends a body to the agent.
func (a *agent) post(t *testing.T, page string, header map[string]string, body []byte) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, a.base+page, bytes.NewReader(body))
	require.NoError(t, err)
	for k, v := range header {
		request.Header.Set(k, v)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 2, response.StatusCode/100, "%s: %s", page, response.Status)
}
