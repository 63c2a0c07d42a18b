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

package wire

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"mime"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/prometheus/prometheus/model/labels"
)

// CheckOTLP returns an error if a request with these headers is not one of metrics
// in OTLP, in the form of protobuf.
func CheckOTLP(contentType, encoding string) error {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/x-protobuf" {
		return fmt.Errorf("the content type %q is not that of OTLP in protobuf", contentType)
	}
	if encoding != "" && encoding != "gzip" {
		return fmt.Errorf("the encoding %q is not taken, send gzip", encoding)
	}
	return nil
}

// DecodeOTLP calls visit for every point of a gauge or a sum in a request, in its
// order, with the name of the metric and the attributes of the point as labels,
// and leaves out all other points, and those that say that there is no value.
func DecodeOTLP(encoding string, body []byte, visit func(Item)) error {
	return EachOTLP(encoding, body, func(metric pmetric.Metric) { visitMetric(metric, visit) })
}

// EachOTLP calls visit for every metric of a request, in its order.
func EachOTLP(encoding string, body []byte, visit func(pmetric.Metric)) error {
	if encoding == "gzip" {
		r, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(io.LimitReader(r, maxDecoded+1))
		}
		if err == nil && len(body) > maxDecoded {
			err = fmt.Errorf("it has more than %d bytes", maxDecoded)
		}
		if err != nil {
			return fmt.Errorf("decompressing an OTLP request: %w", err)
		}
	}
	request := pmetricotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		return fmt.Errorf("decoding an OTLP request: %w", err)
	}
	for _, resource := range request.Metrics().ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				visit(metric)
			}
		}
	}
	return nil
}

func visitMetric(metric pmetric.Metric, visit func(Item)) {
	var points pmetric.NumberDataPointSlice
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		points = metric.Gauge().DataPoints()
	case pmetric.MetricTypeSum:
		points = metric.Sum().DataPoints()
	default:
		return
	}
	of := labels.NewScratchBuilder(0)
	for _, p := range points.All() {
		if p.Flags().NoRecordedValue() {
			continue
		}
		of.Reset()
		of.Add(labels.MetricName, metric.Name())
		for name, value := range p.Attributes().All() {
			of.Add(name, value.AsString())
		}
		of.Sort()
		v := p.DoubleValue()
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			v = float64(p.IntValue())
		}
		visit(Item{Labels: of.Labels(), T: p.Timestamp().AsTime().UnixMilli(), Float: v})
	}
}
