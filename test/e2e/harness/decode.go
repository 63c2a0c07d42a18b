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

package harness

import (
	"fmt"
	"strings"

	"github.com/golang/snappy"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Protocol is a version of remote write.
type Protocol string

// The protocols by the names of their protobuf messages.
const (
	V1 Protocol = "prometheus.WriteRequest"
	V2 Protocol = "io.prometheus.write.v2.Request"
)

// Short returns the protocol as v1 or v2.
func (p Protocol) Short() string {
	if p == V2 {
		return "v2"
	}
	return "v1"
}

// Protocols lists what every suite runs with.
func Protocols() []Protocol { return []Protocol{V1, V2} }

// entry is one point with its value, in the order of the request.
type entry struct {
	point Point
	value Value
}

// wireHistogram is what the messages of both protocols offer.
type wireHistogram interface {
	IsFloatHistogram() bool
	ToIntHistogram() *histogram.Histogram
	ToFloatHistogram() *histogram.FloatHistogram
}

func wireHistogramValue(h wireHistogram) Value {
	if h.IsFloatHistogram() {
		return HistogramValue(h.ToFloatHistogram())
	}
	return HistogramValue(h.ToIntHistogram().ToFloat(nil))
}

// decodeRequest turns the body of a write request into entries.
func decodeRequest(contentType string, body []byte, symbols *Symbols) (Protocol, []entry, error) {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return "", nil, fmt.Errorf("decompressing a write request: %w", err)
	}
	if strings.Contains(contentType, string(V2)) {
		entries, err := decodeV2(raw, symbols)
		return V2, entries, err
	}
	entries, err := decodeV1(raw, symbols)
	return V1, entries, err
}

func decodeV1(raw []byte, symbols *Symbols) (entries []entry, err error) {
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("decoding a v1 request: %w", err)
	}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		id := symbols.ID(ts.ToLabels(&builder, nil))
		for _, s := range ts.Samples {
			entries = append(entries, entry{Point{id, SampleKind, s.Timestamp}, FloatValue(s.Value)})
		}
		for _, h := range ts.Histograms {
			entries = append(entries, entry{Point{id, SampleKind, h.Timestamp}, wireHistogramValue(h)})
		}
		for _, e := range ts.Exemplars {
			entries = append(entries, entry{Point{id, ExemplarKind, e.Timestamp}, ExemplarValue(e.ToExemplar(&builder, nil))})
		}
	}
	return entries, nil
}

func decodeV2(raw []byte, symbols *Symbols) (entries []entry, err error) {
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("decoding a v2 request: %w", err)
	}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		lset, err := ts.ToLabels(&builder, req.Symbols)
		if err != nil {
			return nil, fmt.Errorf("labels in a v2 request: %w", err)
		}
		id := symbols.ID(lset)
		for _, s := range ts.Samples {
			entries = append(entries, entry{Point{id, SampleKind, s.Timestamp}, FloatValue(s.Value)})
		}
		for _, h := range ts.Histograms {
			entries = append(entries, entry{Point{id, SampleKind, h.Timestamp}, wireHistogramValue(h)})
		}
		for _, e := range ts.Exemplars {
			ex, err := e.ToExemplar(&builder, req.Symbols)
			if err != nil {
				return nil, fmt.Errorf("exemplar in a v2 request: %w", err)
			}
			entries = append(entries, entry{Point{id, ExemplarKind, e.Timestamp}, ExemplarValue(ex)})
		}
	}
	return entries, nil
}
