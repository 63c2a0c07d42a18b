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
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// item is one thing that a series carries: a histogram if one is set, an
// exemplar if it says so, else a sample.
type item struct {
	st, t    int64
	v        float64
	whole    *histogram.Histogram
	fraction *histogram.FloatHistogram
	exemplar bool
	lset     labels.Labels // Of the exemplar.
}

type line struct {
	lset  labels.Labels
	meta  *metadata.Metadata
	items []item
}

// batch is what one request is made of.
type batch struct {
	external    []labels.Label
	typeAndUnit bool
	lines       []line
}

// build hands the batch to a Builder.
func (x *batch) build(b *Builder) {
	x.buildWith(b, func(l line) { b.Series(l.lset, x.external, l.meta) })
}

// spell does the same with series of a table.
func (x *batch) spell(b *Builder, table *series.Table) {
	x.buildWith(b, func(l line) {
		s, _ := table.GetOrCreate(l.lset, func() chunks.HeadSeriesRef { active, _ := table.Len(); return chunks.HeadSeriesRef(active + 1) })
		b.TableSeries(s, x.external, l.meta)
	})
}

func (x *batch) buildWith(b *Builder, begin func(line)) {
	for _, l := range x.lines {
		begin(l)
		for _, i := range l.items {
			switch {
			case i.whole != nil:
				b.Histogram(i.st, i.t, i.whole)
			case i.fraction != nil:
				b.FloatHistogram(i.st, i.t, i.fraction)
			case i.exemplar:
				b.Exemplar(i.lset, i.t, i.v)
			default:
				b.Float(i.st, i.t, i.v)
			}
		}
	}
}

// merged is stock's way of adding external labels.
func (x *batch) merged(lset labels.Labels) labels.Labels {
	b := labels.NewBuilder(lset)
	for _, e := range x.external {
		if b.Get(e.Name) == "" {
			b.Set(e.Name, e.Value)
		}
	}
	return b.Labels()
}

// stockV1 is the batch as stock's conversions and generated code put it.
func (x *batch) stockV1(t testing.TB) []byte {
	var r prompb.WriteRequest
	for _, l := range x.lines {
		s := prompb.TimeSeries{Labels: prompb.FromLabels(x.merged(l.lset), nil)}
		for _, i := range l.items {
			switch {
			case i.whole != nil:
				s.Histograms = append(s.Histograms, prompb.FromIntHistogram(i.t, i.whole))
			case i.fraction != nil:
				s.Histograms = append(s.Histograms, prompb.FromFloatHistogram(i.t, i.fraction))
			case i.exemplar:
				s.Exemplars = append(s.Exemplars, prompb.Exemplar{Labels: prompb.FromLabels(i.lset, nil), Value: i.v, Timestamp: i.t})
			default:
				s.Samples = append(s.Samples, prompb.Sample{Value: i.v, Timestamp: i.t})
			}
		}
		r.Timeseries = append(r.Timeseries, s)
	}
	raw, err := r.Marshal()
	require.NoError(t, err)
	return raw
}

// stockV2 is the same for remote write 2.0.
func (x *batch) stockV2(t testing.TB) []byte {
	table := writev2.NewSymbolTable()
	var r writev2.Request
	for _, l := range x.lines {
		var s writev2.TimeSeries
		lset := x.merged(l.lset)
		if l.meta != nil {
			s.Metadata.HelpRef = table.Symbolize(l.meta.Help)
		}
		if x.typeAndUnit {
			m := schema.NewMetadataFromLabels(lset)
			s.Metadata.Type, s.Metadata.UnitRef = writev2.FromMetadataType(m.Type), table.Symbolize(m.Unit)
		} else if l.meta != nil {
			s.Metadata.Type, s.Metadata.UnitRef = writev2.FromMetadataType(l.meta.Type), table.Symbolize(l.meta.Unit)
		}
		s.LabelsRefs = table.SymbolizeLabels(lset, nil)
		for _, i := range l.items {
			switch {
			case i.whole != nil:
				s.Histograms = append(s.Histograms, writev2.FromIntHistogram(i.st, i.t, i.whole))
			case i.fraction != nil:
				s.Histograms = append(s.Histograms, writev2.FromFloatHistogram(i.st, i.t, i.fraction))
			case i.exemplar:
				s.Exemplars = append(s.Exemplars, writev2.Exemplar{LabelsRefs: table.SymbolizeLabels(i.lset, nil), Value: i.v, Timestamp: i.t})
			default:
				s.Samples = append(s.Samples, writev2.Sample{Value: i.v, Timestamp: i.t, StartTimestamp: i.st})
			}
		}
		r.Timeseries = append(r.Timeseries, s)
	}
	r.Symbols = table.Symbols()
	raw, err := r.OptimizedMarshal(nil)
	require.NoError(t, err)
	return raw
}

// requireWireEqual defends invariant 1 of the package (I2): what a receiver
// decodes from ours, marshalled again, is what stock marshals for the batch.
// Comparing bytes and not structs keeps NaNs apart by their bits.
func requireWireEqual(t testing.TB, x *batch, b1, b2 *Builder) {
	t.Helper()
	for _, b := range []*Builder{b1, b2} {
		b.Reset()
		x.build(b)
	}

	var r1 prompb.WriteRequest
	require.NoError(t, r1.Unmarshal(unpack(t, b1)))
	again, err := r1.Marshal()
	require.NoError(t, err)
	requireSame(t, x.stockV1(t), again)

	var r2 writev2.Request
	require.NoError(t, r2.Unmarshal(unpack(t, b2)))
	require.Empty(t, r2.Symbols[0])
	again, err = r2.OptimizedMarshal(nil)
	require.NoError(t, err)
	requireSame(t, x.stockV2(t), again)

	// Label sets in numbers, of tables that give the same strings other numbers.
	for _, b := range []*Builder{b1, b2} {
		want := slices.Clone(unpack(t, b))
		for range 2 {
			b.Reset()
			x.spell(b, series.New(series.Options{}))
			requireSame(t, want, unpack(t, b))
		}
	}
}

// requireSame compares without printing two long messages in full.
func requireSame(t testing.TB, want, got []byte) {
	t.Helper()
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	near := func(b []byte) string { return fmt.Sprintf("% x", b[max(at-30, 0):min(at+30, len(b))]) }
	require.Equal(t, near(want), near(got), "around byte %d", at)
	require.Len(t, got, len(want))
}

// unpack finishes the request and decompresses it with stock's decompressor.
func unpack(t testing.TB, b *Builder) []byte {
	t.Helper()
	packed, size := b.Finish()
	raw, err := snappy.Decode(nil, packed)
	require.NoError(t, err)
	require.Len(t, raw, size)
	require.Equal(t, size, b.Len())
	return raw
}

// A request that is being built may outlast series it has written, whose numbers
// then are those of other strings: no series is sent with the labels of another.
func TestNumbersChangeWithinARequest(t *testing.T) {
	for _, p := range []Protocol{V1, V2} {
		var (
			table = series.New(series.Options{})
			next  chunks.HeadSeriesRef
			dummy *series.Series
		)
		add := func(str string) *series.Series {
			s, _ := table.GetOrCreate(labels.FromStrings("a", str), func() chunks.HeadSeriesRef { next++; return next })
			return s
		}
		names, _ := add("stays").Encoded() // It is pinned: the number of "a" stays.

		got, want := New(p, Options{}), New(p, Options{})
		for round := range 3 {
			for i := range 2000 {
				s := add(fmt.Sprintf("%d-%d", round, i))
				got.TableSeries(s, nil, nil)
				want.Series(s.Labels(), nil, nil)
				s.Unpin()
			}
			was := names.Numbering()
			require.Eventually(t, func() bool {
				runtime.GC()
				// The same each time, and held, so that its number is not the first
				// to be given out again.
				dummy = add("dummy")
				dummy.Unpin()
				table.Retire(time.Now().Add(time.Hour), func() int { return 0 })
				table.Drop(1)
				return names.Numbering() != was
			}, time.Minute, time.Millisecond)
		}
		require.True(t, dummy.Gone())
		require.Equal(t, want.finishRaw(), got.finishRaw())
	}
}
