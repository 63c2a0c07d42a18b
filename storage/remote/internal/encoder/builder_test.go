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
	"math/rand"
	"strconv"
	"strings"
	"testing"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

func builders(x *batch) (b1, b2 *Builder) {
	o := Options{TypeAndUnitLabels: x.typeAndUnit}
	return New(V1, o), New(V2, o)
}

// TestWireEquality names the cases that matter one by one (I2).
func TestWireEquality(t *testing.T) {
	lset := labels.FromStrings("__name__", "http_requests_total", "instance", "host:9090", "job", "node")
	stale := math.Float64frombits(value.StaleNaN)
	hinted := tsdbutil.GenerateTestGaugeHistogram(3)
	reset := tsdbutil.GenerateTestHistogram(2)
	reset.CounterResetHint = histogram.CounterReset
	staleHistogram := &histogram.Histogram{Sum: stale}
	staleFloat := &histogram.FloatHistogram{Sum: stale, Count: stale}
	meta := &metadata.Metadata{Type: model.MetricTypeCounter, Unit: "requests", Help: "Requests served."}
	typed := labels.FromStrings("__name__", "x", "__type__", "gauge", "__unit__", "seconds")
	external := []labels.Label{{Name: "cluster", Value: "eu"}, {Name: "job", Value: "ignored"}, {Name: "zone", Value: "a"}}

	one := func(lset labels.Labels, items ...item) []line { return []line{{lset: lset, items: items}} }
	for name, x := range map[string]*batch{
		"nothing":                     {},
		"a sample":                    {lines: one(lset, item{t: 1700000000000, v: 42.5})},
		"zero value and time":         {lines: one(lset, item{})},
		"negative time":               {lines: one(lset, item{t: -5, st: -6, v: -1})},
		"start timestamp":             {lines: one(lset, item{st: 1699999990000, t: 1700000000000, v: 1})},
		"stale marker":                {lines: one(lset, item{t: 1, v: stale})},
		"other NaNs":                  {lines: one(lset, item{t: 1, v: math.NaN()}, item{t: 2, v: math.Float64frombits(0xfff8000000000123)})},
		"infinities and minus zero":   {lines: one(lset, item{v: math.Inf(1)}, item{v: math.Inf(-1)}, item{v: math.Copysign(0, -1)})},
		"no labels":                   {lines: one(labels.EmptyLabels(), item{t: 1, v: 1})},
		"external labels only":        {external: external, lines: one(labels.EmptyLabels(), item{t: 1, v: 1})},
		"external labels":             {external: external, lines: one(lset, item{t: 1, v: 1})},
		"external label of no value":  {external: []labels.Label{{Name: "a"}, {Name: "job"}}, lines: one(lset, item{t: 1, v: 1})},
		"external replaces empty":     {external: external, lines: one(labels.New(labels.Label{Name: "job"}), item{t: 1, v: 1})},
		"empty value":                 {lines: one(labels.New(labels.Label{Name: "a"}, labels.Label{Name: "b", Value: "c"}), item{t: 1})},
		"utf-8 names":                 {lines: one(labels.FromStrings("__name__", "höhe.über.null", "größe in m", "日本"), item{t: 1})},
		"not utf-8":                   {lines: one(labels.FromStrings("__name__", "\xff\xfe"), item{t: 1})},
		"long label":                  {lines: one(labels.FromStrings("__name__", strings.Repeat("n", 70000)), item{t: 1})},
		"exemplar":                    {lines: one(lset, item{exemplar: true, t: 3, v: 0.5, lset: labels.FromStrings("trace_id", "abc")})},
		"exemplar without labels":     {lines: one(lset, item{exemplar: true, v: 0.5})},
		"exemplar with empty value":   {lines: one(lset, item{exemplar: true, v: 0.5, lset: labels.New(labels.Label{Name: "a"})})},
		"exemplar longer than 127":    {lines: one(lset, item{exemplar: true, v: 0.5, lset: labels.FromStrings("trace_id", strings.Repeat("a", 128))})},
		"integer histogram":           {lines: one(lset, item{st: 1, t: 2, whole: tsdbutil.GenerateTestHistogram(1)})},
		"gauge histogram":             {lines: one(lset, item{t: 2, whole: hinted})},
		"histogram after a reset":     {lines: one(lset, item{t: 2, whole: reset})},
		"empty histogram":             {lines: one(lset, item{t: 2, whole: &histogram.Histogram{}})},
		"stale histogram":             {lines: one(lset, item{t: 2, whole: staleHistogram}, item{t: 2, fraction: staleFloat})},
		"custom buckets":              {lines: one(lset, item{t: 2, whole: tsdbutil.GenerateTestCustomBucketsHistogram(1)})},
		"float histogram":             {lines: one(lset, item{st: 1, t: 2, fraction: tsdbutil.GenerateTestFloatHistogram(1)})},
		"float gauge histogram":       {lines: one(lset, item{t: 2, fraction: tsdbutil.GenerateTestGaugeFloatHistogram(1)})},
		"float custom buckets":        {lines: one(lset, item{t: 2, fraction: tsdbutil.GenerateTestCustomBucketsFloatHistogram(1)})},
		"empty float histogram":       {lines: one(lset, item{t: 2, fraction: &histogram.FloatHistogram{}})},
		"everything in mixed order":   {lines: one(lset, item{t: 2, whole: reset}, item{t: 1, v: 1}, item{exemplar: true, t: 1}, item{t: 2, v: 2})},
		"metadata":                    {lines: []line{{lset: lset, meta: meta, items: []item{{t: 1}}}}},
		"metadata of unknown type":    {lines: []line{{lset: lset, meta: &metadata.Metadata{Type: "nonsense"}, items: []item{{t: 1}}}}},
		"metadata then none":          {lines: []line{{lset: lset, meta: meta, items: []item{{t: 1}}}, {lset: lset, items: []item{{t: 2}}}}},
		"type and unit labels":        {typeAndUnit: true, lines: []line{{lset: typed, items: []item{{t: 1}}}}},
		"type and unit, help":         {typeAndUnit: true, lines: []line{{lset: typed, meta: meta, items: []item{{t: 1}}}}},
		"type and unit, none there":   {typeAndUnit: true, lines: []line{{lset: lset, meta: meta, items: []item{{t: 1}}}}},
		"type and unit from external": {typeAndUnit: true, external: []labels.Label{{Name: "__type__", Value: "info"}, {Name: "__unit__", Value: "m"}}, lines: one(lset, item{t: 1})},
		"type label of no value":      {typeAndUnit: true, external: []labels.Label{{Name: "__type__", Value: "info"}}, lines: one(labels.New(labels.Label{Name: "__type__"}, labels.Label{Name: "a", Value: "b"}), item{t: 1})},
	} {
		t.Run(name, func(t *testing.T) {
			b1, b2 := builders(x)
			requireWireEqual(t, x, b1, b2)
			// A Builder that was used before builds the same.
			requireWireEqual(t, x, b1, b2)
		})
	}
}

// TestWireEqualityOfGenerated is the same for generated batches, in Builders
// that have built all the ones before (I2).
func TestWireEqualityOfGenerated(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	used := map[bool][2]*Builder{}
	for _, typeAndUnit := range []bool{false, true} {
		b1, b2 := builders(&batch{typeAndUnit: typeAndUnit})
		used[typeAndUnit] = [2]*Builder{b1, b2}
	}
	for range 3000 {
		script := make([]byte, random.Intn(2000))
		random.Read(script)
		x := (&dice{bytes: script}).batch()
		b := used[x.typeAndUnit]
		requireWireEqual(t, x, b[0], b[1])
	}
}

// TestBytesEqualStock shows that ours is stock's request byte for byte if the
// items of a series come in the order of stock's marshalling; so receivers with
// parsers of their own see nothing new.
func TestBytesEqualStock(t *testing.T) {
	random := rand.New(rand.NewSource(2))
	for range 500 {
		script := make([]byte, random.Intn(2000))
		random.Read(script)
		d := &dice{bytes: script}
		x := &batch{external: d.labelPairs(4)}
		for range d.roll(5) {
			l := line{lset: labels.New(d.labelPairs(6)...)}
			for kind := range 4 {
				l.items = append(l.items, d.item(kind))
			}
			x.lines = append(x.lines, l)
		}
		b1, b2 := builders(x)
		x.build(b1)
		requireSame(t, x.stockV1(t), unpack(t, b1))
		x.build(b2)
		requireSame(t, x.stockV2(t), unpack(t, b2))
	}
}

func TestMetricMetadata(t *testing.T) {
	b := New(V1, Options{})
	b.Series(labels.FromStrings("__name__", "a"), nil, nil)
	b.Float(0, 1, 2)
	b.MetricMetadata("a", "Help of a.", "seconds", model.MetricTypeCounter)
	b.MetricMetadata("b", "", "", model.MetricTypeUnknown)
	b.MetricMetadata("c", strings.Repeat("long ", 100), "", model.MetricTypeStateset)

	var r prompb.WriteRequest
	require.NoError(t, r.Unmarshal(unpack(t, b)))
	require.Len(t, r.Timeseries, 1)
	require.Equal(t, []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "a", Help: "Help of a.", Unit: "seconds"},
		{Type: prompb.MetricMetadata_UNKNOWN, MetricFamilyName: "b"},
		{Type: prompb.MetricMetadata_STATESET, MetricFamilyName: "c", Help: strings.Repeat("long ", 100)},
	}, r.Metadata)

	// V2 has no such message; what was built stays as it is.
	b = New(V2, Options{})
	b.MetricMetadata("a", "Help of a.", "seconds", model.MetricTypeCounter)
	var r2 writev2.Request
	require.NoError(t, r2.Unmarshal(unpack(t, b)))
	require.Equal(t, writev2.Request{Symbols: []string{""}}, r2)
}

// TestOrderIsKept defends I4 within one request.
func TestOrderIsKept(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		t.Run(p.String(), func(t *testing.T) {
			b := New(p, Options{})
			for series := range 50 {
				b.Series(labels.FromStrings("n", string(rune('A'+series))), nil, nil)
				for i := range 100 {
					b.Float(0, int64(100*series+i), float64(i))
				}
			}
			var got []int64
			raw := unpack(t, b)
			if p == V1 {
				var r prompb.WriteRequest
				require.NoError(t, r.Unmarshal(raw))
				for _, s := range r.Timeseries {
					for _, sample := range s.Samples {
						got = append(got, sample.Timestamp)
					}
				}
			} else {
				var r writev2.Request
				require.NoError(t, r.Unmarshal(raw))
				for _, s := range r.Timeseries {
					for _, sample := range s.Samples {
						got = append(got, sample.Timestamp)
					}
				}
			}
			require.Len(t, got, 5000)
			for i, at := range got {
				require.Equal(t, int64(i), at)
			}
		})
	}
}

func TestLenFollowsFinish(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		b := New(p, Options{})
		for i := range 300 {
			before := b.Len()
			b.Series(labels.FromStrings("a", strings.Repeat("v", i)), nil, nil)
			b.Float(1, 2, 3)
			require.Greater(t, b.Len(), before)
			// Short by a longer length and the metadata message at most.
			estimate := b.Len()
			_, size := b.Finish()
			require.InDelta(t, size, estimate, 10)
		}
	}
}

func TestFinishedBytesLiveUntilReset(t *testing.T) {
	b := New(V2, Options{})
	b.Series(labels.FromStrings("a", "b"), nil, nil)
	b.Float(0, 1, 2)
	packed, _ := b.Finish()
	before := append([]byte{}, packed...)
	again, _ := b.Finish()
	require.Equal(t, before, again)
	b.Reset()
	require.Equal(t, len(New(V2, Options{}).finishRaw()), b.Len(), "only the empty symbol is left")
}

func TestSampleOutsideOfSeriesPanics(t *testing.T) {
	for name, call := range map[string]func(b *Builder){
		"float":           func(b *Builder) { b.Float(0, 1, 2) },
		"histogram":       func(b *Builder) { b.Histogram(0, 1, &histogram.Histogram{}) },
		"float histogram": func(b *Builder) { b.FloatHistogram(0, 1, &histogram.FloatHistogram{}) },
		"exemplar":        func(b *Builder) { b.Exemplar(labels.EmptyLabels(), 1, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			b := New(V1, Options{})
			require.Panics(t, func() { call(b) })
			b.Series(labels.EmptyLabels(), nil, nil)
			require.NotPanics(t, func() { call(b) })
			b.Finish()
			require.Panics(t, func() { call(b) }, "the series has ended")
		})
	}
}

func TestProtocolOf(t *testing.T) {
	for message, want := range map[remoteapi.WriteMessageType]Protocol{
		"": V1, remoteapi.WriteV1MessageType: V1, remoteapi.WriteV2MessageType: V2,
	} {
		p, err := ProtocolOf(message)
		require.NoError(t, err)
		require.Equal(t, want, p)
	}
	_, err := ProtocolOf("io.prometheus.write.v3.Request")
	require.ErrorContains(t, err, `"io.prometheus.write.v3.Request" is not known`)
	require.Equal(t, "prometheus.WriteRequest", V1.String())
	require.Equal(t, "io.prometheus.write.v2.Request", V2.String())
}

// TestNestedLengths defends invariant 4 at every size where the length takes
// one byte more, with every size of the reserved room.
func TestNestedLengths(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 129, 16383, 16384, 1<<21 - 1, 1 << 21} {
		for room := 1; room <= 5; room++ {
			var w wire
			w.buf = append(w.buf, "before"...)
			n := w.open(seriesSamples, room)
			w.buf = append(w.buf, make([]byte, size)...)
			w.close(n)
			w.buf = append(w.buf, "after"...)

			var want wire
			want.buf = append(want.buf, "before"...)
			want.element(seriesSamples, string(make([]byte, size)))
			want.buf = append(want.buf, "after"...)
			requireSame(t, want.buf, w.buf)
		}
	}
}

// TestSymbols compares the table with a map, over several growths, with hashes
// that collide on purpose, and after a reset.
func TestSymbols(t *testing.T) {
	var s symbols
	for range 3 {
		s.reset()
		want := map[string]uint32{"": 0}
		random := rand.New(rand.NewSource(4))
		for range 20000 {
			str := strings.Repeat("s", random.Intn(3)) + strconv.Itoa(random.Intn(5000))
			ref, known := want[str]
			if !known {
				ref = uint32(len(want))
				want[str] = ref
			}
			require.Equal(t, ref, s.ref(str))
			require.Equal(t, ref, s.at(random.Intn(40), str))
		}
		require.Equal(t, uint32(0), s.ref(""))
		require.Len(t, s.strs, len(want))
		require.LessOrEqual(t, 2*len(s.strs), len(s.slots))

		var r writev2.Request
		require.NoError(t, r.Unmarshal(s.wire.buf))
		require.Equal(t, s.strs, r.Symbols)
	}

	s.reset()
	for i, str := range []string{"a", "b", "c"} {
		place := s.probe(7, str)
		require.Zero(t, s.slots[place].ref)
		s.slots[place] = slot{hash: 7, ref: uint32(i + 1)}
		s.strs = append(s.strs, str)
	}
	for i, str := range []string{"a", "b", "c"} {
		require.Equal(t, uint32(i+1), s.slots[s.probe(7, str)].ref)
	}
	s.reset()
	require.Equal(t, []string{"", "", "", ""}, s.strs[:4], "strings of the request before are let go")
}

// TestSteadyStateDoesNotAllocate defends invariant 3 (I6): memory depends on the
// largest request only.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	x := load(200)
	for _, p := range []Protocol{V1, V2} {
		t.Run(p.String(), func(t *testing.T) {
			b := New(p, Options{})
			require.Zero(t, testing.AllocsPerRun(50, func() {
				b.Reset()
				x.build(b)
				b.finishRaw()
			}))
		})
	}
}

// FuzzBuilder runs the property of TestWireEqualityOfGenerated on scripts that
// the fuzzer finds.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte{})
	random := rand.New(rand.NewSource(3))
	for range 20 {
		script := make([]byte, 50+random.Intn(400))
		random.Read(script)
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		x := (&dice{bytes: script}).batch()
		b1, b2 := builders(x)
		requireWireEqual(t, x, b1, b2)
		packed, _ := b1.Finish()
		n, err := snappy.DecodedLen(packed)
		require.NoError(t, err)
		require.Equal(t, b1.Len(), n)
	})
}
