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

package exposition

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

// messages is a page as messages, which are made once and given new values for
// each scrape. Their metrics are in the order of the lines.
type messages struct {
	page     *Page
	families []*dto.MetricFamily
}

// spans say which buckets of a native histogram are in use.
var spans = []*dto.BucketSpan{
	{Offset: proto.Int32(-24), Length: proto.Uint32(14)},
	{Offset: proto.Int32(2), Length: proto.Uint32(10)},
}

// nativeBuckets is how many those are.
const nativeBuckets = 24

func newMessages(p *Page) *messages {
	m := &messages{page: p}
	for _, b := range p.blocks {
		f := &dto.MetricFamily{Name: proto.String(b.name), Help: proto.String(b.help)}
		for range b.lines {
			f.Metric = append(f.Metric, b.message(f))
		}
		m.families = append(m.families, f)
	}
	m.relabel(p)
	return m
}

// message returns an empty metric of the block and sets the type of its family.
func (b *block) message(f *dto.MetricFamily) *dto.Metric {
	switch b.typ {
	case counter:
		f.Type = dto.MetricType_COUNTER.Enum()
		return &dto.Metric{Counter: &dto.Counter{Value: proto.Float64(0)}}
	case native:
		f.Type = dto.MetricType_HISTOGRAM.Enum()
		return &dto.Metric{Histogram: &dto.Histogram{
			SampleCount: proto.Uint64(0), SampleSum: proto.Float64(0),
			Schema: proto.Int32(3), ZeroThreshold: proto.Float64(0x1p-128), ZeroCount: proto.Uint64(0),
			PositiveSpan: spans, PositiveDelta: make([]int64, nativeBuckets),
		}}
	case gauge, summary: // Quantiles of the one summary are shown as gauges.
		f.Type = dto.MetricType_GAUGE.Enum()
		return &dto.Metric{Gauge: &dto.Gauge{Value: proto.Float64(0)}}
	default:
		panic(fmt.Sprintf("%s has the type %s, which pages in protobuf do not", b.name, b.typ))
	}
}

// relabel takes over the labels of all lines.
func (m *messages) relabel(p *Page) {
	for i, b := range p.blocks {
		for j := range b.lines {
			m.families[i].Metric[j].Label = pairs(b.lines[j].text)
		}
	}
}

// pairs returns the labels of a line.
func pairs(text []byte) (labels []*dto.LabelPair) {
	_, rest, _ := bytes.Cut(text, []byte("{"))
	for left := string(rest); strings.Contains(left, "="); {
		name, value, _ := strings.Cut(left, "=")
		quoted, err := strconv.QuotedPrefix(value)
		if err != nil {
			panic(fmt.Sprintf("the labels %s: %v", text, err))
		}
		left = strings.TrimPrefix(value[len(quoted):], ",")
		value, _ = strconv.Unquote(quoted)
		labels = append(labels, &dto.LabelPair{Name: proto.String(name), Value: proto.String(value)})
	}
	return labels
}

// appendTo appends all families with the values that the lines have.
func (m *messages) appendTo(out []byte) []byte {
	buf := bytes.NewBuffer(out)
	for i, b := range m.page.blocks {
		if len(b.lines) == 0 {
			continue
		}
		for j := range b.lines {
			set(m.families[i].Metric[j], b.lines[j].value)
		}
		if _, err := protodelim.MarshalTo(buf, m.families[i]); err != nil {
			panic(fmt.Sprintf("encoding %s: %v", b.name, err))
		}
	}
	return buf.Bytes()
}

// set gives a metric a value; that of a histogram is how much was observed.
func set(m *dto.Metric, v float64) {
	switch {
	case m.Counter != nil:
		*m.Counter.Value = v
	case m.Gauge != nil:
		*m.Gauge.Value = v
	default:
		h, count, before := m.Histogram, int64(0), int64(0)
		for i := range h.PositiveDelta {
			// The middle is hit most; nothing ever becomes less.
			n := int64(v) * int64(min(i+1, nativeBuckets-i)) / (nativeBuckets * nativeBuckets / 4)
			h.PositiveDelta[i], before = n-before, n
			count += n
		}
		*h.SampleCount = uint64(count)
		*h.SampleSum = v * 0.08
	}
}
