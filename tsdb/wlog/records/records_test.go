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

package records

import (
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/prometheus/prometheus/util/testutil"
)

// counts is how much of each kind a decoder holds.
func counts(d *Decoder) [6]int {
	return [6]int{len(d.Series), len(d.Metadata), len(d.Samples), len(d.Histograms), len(d.FloatHistograms), len(d.Exemplars)}
}

// Each type of record is decoded into what it holds, and nothing is left of the one
// before. This fails when upstream adds a type that a writer of the pinned version uses.
func TestDecode(t *testing.T) {
	var (
		enc    record.Encoder
		withST = record.Encoder{EnableSTStorage: true}
		h      = []record.RefHistogramSample{{Ref: 1, T: 2, H: &histogram.Histogram{Count: 3}}}
		fh     = []record.RefFloatHistogramSample{{Ref: 1, T: 2, FH: &histogram.FloatHistogram{Count: 3}}}
		custom = []record.RefHistogramSample{{Ref: 1, T: 2, H: &histogram.Histogram{Schema: histogram.CustomBucketsSchema, CustomValues: []float64{1}}}}
		floats = []record.RefSample{{Ref: 1, ST: 1, T: 2, V: 3}, {Ref: 2, T: 2, V: 4}}
	)
	histograms, _ := enc.HistogramSamples(h, nil)
	histogramsST, _ := withST.HistogramSamples(h, nil)
	floatHistograms, _ := enc.FloatHistogramSamples(fh, nil)
	floatHistogramsST, _ := withST.FloatHistogramSamples(fh, nil)
	d := NewDecoder(promslog.NewNopLogger())
	for name, c := range map[string]struct {
		rec  []byte
		want [6]int
	}{
		"series":              {enc.Series([]record.RefSeries{{Ref: 1, Labels: labels.FromStrings("a", "b")}}, nil), [6]int{1}},
		"metadata":            {enc.Metadata([]record.RefMetadata{{Ref: 1, Help: "help"}}, nil), [6]int{1: 1}},
		"samples":             {enc.Samples(floats, nil), [6]int{2: 2}},
		"samples, starts":     {withST.Samples(floats, nil), [6]int{2: 2}},
		"histograms":          {histograms, [6]int{3: 1}},
		"histograms, starts":  {histogramsST, [6]int{3: 1}},
		"custom buckets":      {enc.CustomBucketsHistogramSamples(custom, nil), [6]int{3: 1}},
		"float histograms":    {floatHistograms, [6]int{4: 1}},
		"float hist., starts": {floatHistogramsST, [6]int{4: 1}},
		"exemplars":           {enc.Exemplars([]record.RefExemplar{{Ref: 1, Labels: labels.FromStrings("id", "x")}}, nil), [6]int{5: 1}},
		"tombstones":          {enc.Tombstones([]tombstones.Stone{{Ref: 1}}, nil), [6]int{}},
		"unknown":             {[]byte{200, 1, 2}, [6]int{}},
		"empty":               {nil, [6]int{}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, d.DecodeItems(c.rec))
			items := c.want
			items[0], items[1] = 0, 0
			require.Equal(t, items, counts(d))
			require.NoError(t, d.Decode(c.rec))
			require.Equal(t, c.want, counts(d))
			if c.want != [6]int{} {
				require.Error(t, d.Decode(c.rec[:len(c.rec)-1]), "its end is missing")
				require.Equal(t, [6]int{}, counts(d))
				require.NoError(t, d.Decode(c.rec))
			}
		})
	}
	require.NoError(t, d.Decode(enc.Series([]record.RefSeries{{Ref: 7, Labels: labels.FromStrings("a", "c")}}, nil)))
	testutil.RequireEqual(t, []record.RefSeries{{Ref: 7, Labels: labels.FromStrings("a", "c")}}, d.Series)
	require.Equal(t, record.Series, d.Type)
	d.Release()
	require.Equal(t, [6]int{}, counts(d))
	require.Zero(t, d.Series[:1][0], "it would keep labels in memory")
}
