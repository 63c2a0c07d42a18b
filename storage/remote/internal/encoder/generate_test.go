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
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
)

// dice makes decisions from a string of bytes, so that the fuzzer and the
// property test generate batches in the same way. Once the bytes are used up it
// decides for 0.
type dice struct{ bytes []byte }

func (d *dice) roll(n int) int {
	if len(d.bytes) == 0 {
		return 0
	}
	b := d.bytes[0]
	d.bytes = d.bytes[1:]
	return int(b) % n
}

func (d *dice) bits() uint64 {
	var b [8]byte
	d.bytes = d.bytes[copy(b[:], d.bytes):]
	return binary.LittleEndian.Uint64(b[:])
}

func (d *dice) integer() int64 {
	return []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1700000000000, int64(d.bits()), int64(d.roll(256))}[d.roll(8)]
}

func (d *dice) float() float64 {
	return []float64{
		0, math.Copysign(0, -1), 1.5, math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64,
		math.Float64frombits(value.StaleNaN), math.Float64frombits(value.NormalNaN),
		math.Float64frombits(0x7ff0000000000f00 | d.bits()), math.Float64frombits(d.bits()),
	}[d.roll(11)]
}

func (d *dice) str() string {
	length := d.roll(20)
	return []string{
		"", "a", "instance", "日本語.名前", "with spaces and \"quotes\"", "\xff\xfe not utf-8", "\x00",
		strings.Repeat("x", 127), strings.Repeat("y", 128), strings.Repeat("z", 300), strings.Repeat("w", 20000),
		string(d.bytes[:min(len(d.bytes), length)]),
	}[d.roll(12)]
}

// names for labels; a few, so that they meet in lset and external labels.
var names = []string{"__name__", model.MetricTypeLabel, model.MetricUnitLabel, "instance", "job", "région.日本", "le", "z"}

func (d *dice) labelPairs(most int) []labels.Label {
	var list []labels.Label
	for range d.roll(most + 1) {
		name := names[d.roll(len(names))]
		if !slices.ContainsFunc(list, func(l labels.Label) bool { return l.Name == name }) {
			v := d.str()
			if name == model.MetricTypeLabel && d.roll(2) == 0 {
				v = string(d.metricType())
			}
			list = append(list, labels.Label{Name: name, Value: v})
		}
	}
	slices.SortFunc(list, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (d *dice) metricType() model.MetricType {
	return []model.MetricType{
		model.MetricTypeCounter, model.MetricTypeGauge, model.MetricTypeHistogram, model.MetricTypeGaugeHistogram,
		model.MetricTypeSummary, model.MetricTypeInfo, model.MetricTypeStateset, model.MetricTypeUnknown, "", "nonsense",
	}[d.roll(10)]
}

func (d *dice) spans() []histogram.Span {
	var list []histogram.Span
	for range d.roll(4) {
		list = append(list, histogram.Span{Offset: int32(d.integer()), Length: uint32(d.integer())})
	}
	return list
}

func (d *dice) floats(most int) []float64 {
	var list []float64
	for range d.roll(most) {
		list = append(list, d.float())
	}
	return list
}

func (d *dice) integers() []int64 {
	var list []int64
	for range d.roll(30) {
		list = append(list, d.integer())
	}
	return list
}

func (d *dice) schema() int32 {
	return []int32{0, 3, -4, 8, histogram.CustomBucketsSchema, math.MaxInt32, math.MinInt32}[d.roll(7)]
}

func (d *dice) item(kind int) item {
	i := item{st: d.integer(), t: d.integer()}
	hint := histogram.CounterResetHint(d.roll(5))
	switch kind {
	case 0:
		i.v = d.float()
	case 1:
		i.v, i.exemplar, i.lset = d.float(), true, labels.New(d.labelPairs(3)...)
	case 2:
		i.whole = &histogram.Histogram{
			CounterResetHint: hint, Schema: d.schema(), ZeroThreshold: d.float(), Sum: d.float(),
			ZeroCount: uint64(d.integer()), Count: uint64(d.integer()),
			PositiveSpans: d.spans(), PositiveBuckets: d.integers(),
			NegativeSpans: d.spans(), NegativeBuckets: d.integers(), CustomValues: d.floats(20),
		}
	default:
		i.fraction = &histogram.FloatHistogram{
			CounterResetHint: hint, Schema: d.schema(), ZeroThreshold: d.float(), Sum: d.float(),
			ZeroCount: d.float(), Count: d.float(),
			PositiveSpans: d.spans(), PositiveBuckets: d.floats(20),
			NegativeSpans: d.spans(), NegativeBuckets: d.floats(20), CustomValues: d.floats(20),
		}
	}
	return i
}

func (d *dice) batch() *batch {
	x := &batch{external: d.labelPairs(4), typeAndUnit: d.roll(2) == 1}
	for range d.roll(6) {
		l := line{lset: labels.New(d.labelPairs(6)...)}
		if d.roll(2) == 1 {
			l.meta = &metadata.Metadata{Type: d.metricType(), Unit: d.str(), Help: d.str()}
		}
		for range d.roll(5) {
			l.items = append(l.items, d.item(d.roll(4)))
		}
		x.lines = append(x.lines, l)
	}
	return x
}
