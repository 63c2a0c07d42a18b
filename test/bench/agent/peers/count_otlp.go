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

import "go.opentelemetry.io/collector/pdata/pmetric"

// countMetric counts a metric of OTLP in samples, as pages have them: a point of a classic
// histogram is one for each bucket, its sum and its count.
func (c *Counts) countMetric(metric pmetric.Metric) {
	of := &c.Samples
	if isAutomatic([]byte(metric.Name())) {
		of = &c.Automatic
	}
	note := func(flags pmetric.DataPointFlags, samples, exemplars int) {
		to := of
		if flags.NoRecordedValue() {
			to = &c.Stale
		}
		*to += int64(samples)
		c.Exemplars += int64(exemplars)
	}
	const sumAndCount = 2
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		for _, p := range metric.Gauge().DataPoints().All() {
			note(p.Flags(), 1, p.Exemplars().Len())
		}
	case pmetric.MetricTypeSum:
		for _, p := range metric.Sum().DataPoints().All() {
			note(p.Flags(), 1, p.Exemplars().Len())
		}
	case pmetric.MetricTypeHistogram:
		for _, p := range metric.Histogram().DataPoints().All() {
			note(p.Flags(), p.BucketCounts().Len()+sumAndCount, p.Exemplars().Len())
		}
	case pmetric.MetricTypeSummary:
		for _, p := range metric.Summary().DataPoints().All() {
			note(p.Flags(), p.QuantileValues().Len()+sumAndCount, 0)
		}
	case pmetric.MetricTypeExponentialHistogram:
		for range metric.ExponentialHistogram().DataPoints().All() {
			c.Histograms++
		}
	}
}
