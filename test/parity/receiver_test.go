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
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang/snappy"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// The two messages, as the configuration names them.
const (
	messageV1 = "prometheus.WriteRequest"
	messageV2 = "io.prometheus.write.v2.Request"
)

// event is a sample, histogram or exemplar of a series as it came over the
// wire. What is in content is compared; the time is normalised first.
type event struct {
	time    int64 // In ms.
	content string
}

// recording is a receiver that remembers what it has acknowledged, in order.
type recording struct {
	mtx       sync.Mutex
	faulty    bool          // Refuse some requests.
	seen      int           // Requests so far.
	outage    time.Duration // How long it refuses everything after a few requests.
	back      time.Time     // When that ends.
	samples   map[string][]event
	exemplars map[string][]event
	lsets     map[string]labels.Labels
	families  map[string]string // Metadata messages of v1.
	requests  map[int]int       // By the status they got.
	agents    map[string]int    // Requests by their headers.
	errs      []error

	// described counts series that came with metadata of the log, which alone
	// knows the help text.
	described int
}

func newRecording(faulty bool) *recording {
	return &recording{
		faulty:    faulty,
		samples:   map[string][]event{},
		exemplars: map[string][]event{},
		lsets:     map[string]labels.Labels{},
		families:  map[string]string{},
		requests:  map[int]int{},
		agents:    map[string]int{},
	}
}

// fault decides what a request gets that could be served.
func (r *recording) fault() int {
	r.seen++
	if r.outage > 0 && r.seen == 4 {
		r.back = time.Now().Add(r.outage)
	}
	switch {
	case time.Now().Before(r.back):
		return http.StatusServiceUnavailable
	case r.faulty && r.seen%7 == 3:
		return http.StatusServiceUnavailable
	case r.faulty && r.seen%8 == 5:
		return http.StatusTooManyRequests
	}
	return http.StatusNoContent
}

func (r *recording) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	r.mtx.Lock()
	defer r.mtx.Unlock()
	status := r.fault()
	if err == nil && status/100 == 2 {
		r.agents[headers(request.Header)]++
		err = r.record(w.Header(), request.Header.Get("Content-Type"), body)
	}
	if err != nil {
		r.errs = append(r.errs, err)
		status = http.StatusInternalServerError
	}
	r.requests[status]++
	w.WriteHeader(status)
}

// headers are the ones that say what a request is and how to read it.
func headers(h http.Header) string {
	var b strings.Builder
	for _, name := range []string{"Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version", "X-Own"} {
		fmt.Fprintf(&b, "%s: %q\n", name, h.Values(name))
	}
	product, _, _ := strings.Cut(h.Get("User-Agent"), "/")
	return b.String() + "User-Agent: " + product
}

func (r *recording) record(reply http.Header, contentType string, body []byte) error {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return fmt.Errorf("decompressing: %w", err)
	}
	if !strings.Contains(contentType, messageV2) {
		return r.recordV1(raw)
	}
	written, err := r.recordV2(raw)
	for i, kind := range []string{"Samples", "Histograms", "Exemplars"} {
		reply.Set("X-Prometheus-Remote-Write-"+kind+"-Written", strconv.Itoa(written[i]))
	}
	return err
}

func (r *recording) recordV1(raw []byte) error {
	var message prompb.WriteRequest
	if err := message.Unmarshal(raw); err != nil {
		return fmt.Errorf("decoding v1: %w", err)
	}
	builder := labels.NewScratchBuilder(0)
	for _, m := range message.Metadata {
		r.families[m.MetricFamilyName] = fmt.Sprintf("%s %q %q", m.Type, m.Help, m.Unit)
	}
	for _, ts := range message.Timeseries {
		key := r.key(ts.ToLabels(&builder, nil))
		for _, s := range ts.Samples {
			r.sample(key, s.Timestamp, strconv.FormatUint(math.Float64bits(s.Value), 16))
		}
		for _, h := range ts.Histograms {
			at := h.Timestamp
			h.Timestamp = 0
			r.sample(key, at, h.String())
		}
		for _, e := range ts.Exemplars {
			ex := e.ToExemplar(&builder, nil)
			r.exemplar(key, e.Timestamp, fmt.Sprintf("%s %x", ex.Labels, math.Float64bits(e.Value)))
		}
	}
	return nil
}

func (r *recording) recordV2(raw []byte) (written [3]int, err error) {
	var message writev2.Request
	if err := message.Unmarshal(raw); err != nil {
		return written, fmt.Errorf("decoding v2: %w", err)
	}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range message.Timeseries {
		lset, err := ts.ToLabels(&builder, message.Symbols)
		if err != nil {
			return written, fmt.Errorf("labels in v2: %w", err)
		}
		key := r.key(lset)
		meta, err := ts.ToMetadata(message.Symbols)
		if err != nil {
			return written, fmt.Errorf("metadata in v2: %w", err)
		}
		if meta.Help != "" {
			r.described++
		}
		about := fmt.Sprintf("%s %q %q", meta.Type, meta.Help, meta.Unit)
		for _, s := range ts.Samples {
			r.sample(key, s.Timestamp, fmt.Sprintf("%x since %d, %s", math.Float64bits(s.Value), s.StartTimestamp, about))
		}
		for _, h := range ts.Histograms {
			at := h.Timestamp
			h.Timestamp = 0
			r.sample(key, at, h.String()+", "+about)
		}
		for _, e := range ts.Exemplars {
			ex, err := e.ToExemplar(&builder, message.Symbols)
			if err != nil {
				return written, fmt.Errorf("exemplar in v2: %w", err)
			}
			r.exemplar(key, e.Timestamp, fmt.Sprintf("%s %x", ex.Labels, math.Float64bits(e.Value)))
		}
		written[0] += len(ts.Samples)
		written[1] += len(ts.Histograms)
		written[2] += len(ts.Exemplars)
	}
	return written, nil
}

func (r *recording) key(lset labels.Labels) string {
	key := lset.String()
	r.lsets[key] = lset
	return key
}

func (r *recording) sample(key string, at int64, content string) {
	r.samples[key] = append(r.samples[key], event{at, content})
}

func (r *recording) exemplar(key string, at int64, content string) {
	r.exemplars[key] = append(r.exemplars[key], event{at, content})
}
