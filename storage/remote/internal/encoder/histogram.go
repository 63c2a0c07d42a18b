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

package encoder

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/prometheus/prometheus/model/histogram"
)

// Fields of a histogram, the same in both protocols. Counts and buckets come as
// a pair each: one field for integers and the next number for floats.
const (
	histogramCount      = 1<<3 | varint
	histogramCountFloat = 2<<3 | fixed64
	histogramSum        = 3<<3 | fixed64
	histogramSchema     = 4<<3 | varint
	histogramThreshold  = 5<<3 | fixed64
	histogramZero       = 6<<3 | varint
	histogramZeroFloat  = 7<<3 | fixed64
	negativeSpans       = 8<<3 | delimited
	negativeDeltas      = 9<<3 | delimited
	negativeCounts      = 10<<3 | delimited
	positiveSpans       = 11<<3 | delimited
	positiveDeltas      = 12<<3 | delimited
	positiveCounts      = 13<<3 | delimited
	histogramHint       = 14<<3 | varint
	histogramTime       = 15<<3 | varint
	histogramCustom     = 16<<3 | delimited
	histogramStart      = 17<<3 | varint // V2 only.

	spanOffset = 1<<3 | varint
	spanLength = 2<<3 | varint
)

// side is one half of the buckets; of deltas and counts only one is set.
type side struct {
	spans  []histogram.Span
	deltas []int64
	counts []float64
}

// native is what integer and float histograms have in common on the wire.
type native struct {
	hint               histogram.CounterResetHint
	schema             int32
	sum, threshold     float64
	isFloat            bool
	count, zero        uint64 // Integers, or the bits of floats.
	negative, positive side
	custom             []float64
}

// Histogram adds an integer histogram to the series. Times are in milliseconds;
// st is the start timestamp, 0 if unknown.
func (b *Builder) Histogram(st, t int64, h *histogram.Histogram) {
	b.native(st, t, &native{
		hint: h.CounterResetHint, schema: h.Schema, sum: h.Sum, threshold: h.ZeroThreshold,
		count: h.Count, zero: h.ZeroCount,
		negative: side{spans: h.NegativeSpans, deltas: h.NegativeBuckets},
		positive: side{spans: h.PositiveSpans, deltas: h.PositiveBuckets},
		custom:   h.CustomValues,
	})
}

// FloatHistogram adds a float histogram to the series. Times are in
// milliseconds; st is the start timestamp, 0 if unknown.
func (b *Builder) FloatHistogram(st, t int64, h *histogram.FloatHistogram) {
	b.native(st, t, &native{
		hint: h.CounterResetHint, schema: h.Schema, sum: h.Sum, threshold: h.ZeroThreshold,
		isFloat: true, count: math.Float64bits(h.Count), zero: math.Float64bits(h.ZeroCount),
		negative: side{spans: h.NegativeSpans, counts: h.NegativeBuckets},
		positive: side{spans: h.PositiveSpans, counts: h.PositiveBuckets},
		custom:   h.CustomValues,
	})
}

func (b *Builder) native(st, t int64, h *native) {
	b.mustBeInSeries()
	w := &b.body
	message := w.open(b.shape.histograms, b.histogramRoom)
	w.oneof(h.isFloat, histogramCount, histogramCountFloat, h.count)
	w.double(histogramSum, h.sum)
	w.number(histogramSchema, protowire.EncodeZigZag(int64(h.schema)))
	w.double(histogramThreshold, h.threshold)
	w.oneof(h.isFloat, histogramZero, histogramZeroFloat, h.zero)
	w.spans(negativeSpans, h.negative.spans)
	w.signed(negativeDeltas, h.negative.deltas)
	w.doubles(negativeCounts, h.negative.counts)
	w.spans(positiveSpans, h.positive.spans)
	w.signed(positiveDeltas, h.positive.deltas)
	w.doubles(positiveCounts, h.positive.counts)
	w.number(histogramHint, uint64(h.hint))
	w.number(histogramTime, uint64(t))
	w.doubles(histogramCustom, h.custom)
	if b.shape.start {
		w.number(histogramStart, uint64(st))
	}
	b.histogramRoom = w.close(message)
}

// oneof writes a count as the member that says whether it is a float. It is
// written even if it is zero: the member tells receivers the histogram's kind.
func (w *wire) oneof(isFloat bool, integer, float tag, v uint64) {
	if isFloat {
		w.memberBits(float, v)
		return
	}
	w.member(integer, v)
}

func (w *wire) spans(t tag, list []histogram.Span) {
	for _, s := range list {
		span := w.open(t, 1)
		w.number(spanOffset, protowire.EncodeZigZag(int64(s.Offset)))
		w.number(spanLength, uint64(s.Length))
		w.close(span)
	}
}
