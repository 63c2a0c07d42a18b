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

// Package wire decodes requests of both versions of remote write, and of OTLP, into
// one form, for programs that play the receiver. It keeps no state and may be used
// concurrently.
package wire

import (
	"fmt"
	"mime"

	"github.com/golang/snappy"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Protocol is a version of remote write, or OTLP.
type Protocol string

// The protocols by the names of their protobuf messages.
const (
	V1 Protocol = "prometheus.WriteRequest"
	V2 Protocol = "io.prometheus.write.v2.Request"
	// OTLP is that of the OpenTelemetry protocol, over HTTP.
	OTLP Protocol = "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest"
)

// Short returns the protocol as v1, v2 or otlp.
func (p Protocol) Short() string {
	switch p {
	case V2:
		return "v2"
	case OTLP:
		return "otlp"
	}
	return "v1"
}

// Item is one thing that a request carries: an exemplar if that is set, else a
// histogram if that is set, else a float sample. Histograms with integer counts
// are converted. The labels may be kept.
type Item struct {
	Labels    labels.Labels
	T         int64 // Milliseconds since the epoch.
	Float     float64
	Histogram *histogram.FloatHistogram
	Exemplar  *exemplar.Exemplar
}

// maxDecoded bounds what a request may decompress to, in bytes.
const maxDecoded = 256 << 20

// ProtocolOf returns the protocol that a content type states. Without a
// parameter that is the first version, as the specification has it.
func ProtocolOf(contentType string) (Protocol, error) {
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/x-protobuf" {
		return "", fmt.Errorf("the content type %q is not that of a write request", contentType)
	}
	switch p := Protocol(parameters["proto"]); p {
	case "", V1:
		return V1, nil
	case V2:
		return V2, nil
	default:
		return "", fmt.Errorf("the content type names an unknown message %q", p)
	}
}

// Decode calls visit for every item of a request in its order: by time series,
// and in each first samples, then histograms, then exemplars. The body is
// compressed with snappy. An error may come after some items were visited.
func Decode(contentType string, body []byte, visit func(Item)) (Protocol, error) {
	protocol, err := ProtocolOf(contentType)
	if err != nil {
		return "", err
	}
	size, err := snappy.DecodedLen(body)
	if err == nil && size > maxDecoded {
		err = fmt.Errorf("it has %d bytes, at most %d are taken", size, maxDecoded)
	}
	var raw []byte
	if err == nil {
		raw, err = snappy.Decode(nil, body)
	}
	if err != nil {
		return protocol, fmt.Errorf("decompressing a write request: %w", err)
	}
	if protocol == V2 {
		return protocol, decodeV2(raw, visit)
	}
	return protocol, decodeV1(raw, visit)
}

// Message is what a histogram offers in both protocols.
type Message interface {
	IsFloatHistogram() bool
	ToIntHistogram() *histogram.Histogram
	ToFloatHistogram() *histogram.FloatHistogram
}

// FloatHistogram returns a histogram in the form of an [Item].
func FloatHistogram(h Message) *histogram.FloatHistogram {
	if h.IsFloatHistogram() {
		return h.ToFloatHistogram()
	}
	return h.ToIntHistogram().ToFloat(nil)
}

func decodeV1(raw []byte, visit func(Item)) error {
	var req prompb.WriteRequest
	if err := req.Unmarshal(raw); err != nil {
		return fmt.Errorf("decoding a v1 request: %w", err)
	}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		of := ts.ToLabels(&builder, nil)
		for _, s := range ts.Samples {
			visit(Item{Labels: of, T: s.Timestamp, Float: s.Value})
		}
		for _, h := range ts.Histograms {
			visit(Item{Labels: of, T: h.Timestamp, Histogram: FloatHistogram(h)})
		}
		for _, e := range ts.Exemplars {
			ex := e.ToExemplar(&builder, nil)
			visit(Item{Labels: of, T: e.Timestamp, Exemplar: &ex})
		}
	}
	return nil
}

func decodeV2(raw []byte, visit func(Item)) error {
	var req writev2.Request
	if err := req.Unmarshal(raw); err != nil {
		return fmt.Errorf("decoding a v2 request: %w", err)
	}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		of, err := ts.ToLabels(&builder, req.Symbols)
		if err != nil {
			return fmt.Errorf("labels in a v2 request: %w", err)
		}
		for _, s := range ts.Samples {
			visit(Item{Labels: of, T: s.Timestamp, Float: s.Value})
		}
		for _, h := range ts.Histograms {
			visit(Item{Labels: of, T: h.Timestamp, Histogram: FloatHistogram(h)})
		}
		for _, e := range ts.Exemplars {
			ex, err := e.ToExemplar(&builder, req.Symbols)
			if err != nil {
				return fmt.Errorf("exemplar in a v2 request: %w", err)
			}
			visit(Item{Labels: of, T: e.Timestamp, Exemplar: &ex})
		}
	}
	return nil
}
