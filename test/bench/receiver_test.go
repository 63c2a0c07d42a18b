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
	"bytes"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/golang/snappy"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/prompb"
)

// receiver is an endpoint in process: it reads requests, counts them, and
// answers after a time.
type receiver struct {
	requests atomic.Int64 // Taken.
	bytes    atomic.Int64 // On the wire, of those taken.
	underWay atomic.Int64
	down     atomic.Bool
	latency  atomic.Duration

	// delays, if kept, are the times in ms from a sample's timestamp to its
	// arrival.
	keepDelays atomic.Bool
	mtx        sync.Mutex
	delays     []float64
}

// acceptance confirms more of everything than any request has: senders of
// remote write 2.0 look for less than they sent only.
var acceptance = http.Header{
	"X-Prometheus-Remote-Write-Samples-Written":    {"1000000000"},
	"X-Prometheus-Remote-Write-Histograms-Written": {"1000000000"},
	"X-Prometheus-Remote-Write-Exemplars-Written":  {"1000000000"},
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// take does to a request what a transport and a server have in common.
func (r *receiver) take(body io.Reader) (status int, err error) {
	r.underWay.Inc()
	defer r.underWay.Dec()
	if r.keepDelays.Load() {
		return r.note(body)
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, *buf)
	if err != nil {
		return 0, err
	}
	if d := r.latency.Load(); d > 0 {
		time.Sleep(d)
	}
	if r.down.Load() {
		return http.StatusServiceUnavailable, nil
	}
	r.requests.Inc()
	r.bytes.Add(n)
	return http.StatusNoContent, nil
}

// note decodes a request of remote write 1.0 for the delays of its samples.
func (r *receiver) note(body io.Reader) (int, error) {
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(body); err != nil {
		return 0, err
	}
	now := float64(time.Now().UnixMicro()) / 1000
	plain, err := snappy.Decode(nil, raw.Bytes())
	if err != nil {
		return 0, err
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(plain); err != nil {
		return 0, err
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, ts := range req.Timeseries {
		for _, s := range ts.Samples {
			r.delays = append(r.delays, now-float64(s.Timestamp))
		}
	}
	return http.StatusNoContent, nil
}

// network takes the place of the transports and of what is behind them.
type network map[string]*receiver // By host.

// RoundTrip implements http.RoundTripper.
func (n network) RoundTrip(req *http.Request) (*http.Response, error) {
	status, err := n[req.URL.Host].take(req.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: acceptance, Body: http.NoBody, Request: req,
	}, nil
}

// ServeHTTP is for the benchmarks that need a real server.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	status, err := r.take(req.Body)
	if err != nil {
		status = http.StatusBadRequest
	}
	maps.Copy(w.Header(), acceptance)
	w.WriteHeader(status)
}
