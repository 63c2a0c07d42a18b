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

package delivery

import (
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
)

// TestGrouping covers how items are put together, with and without samples.
func TestGrouping(t *testing.T) {
	all := someSeries(t, 3)
	it := func(s int, k kind, ts int64) flat {
		return flat{item: &item{series: all[s], t: ts}, detail: &detail{kind: k}}
	}
	items := []flat{
		it(2, kindExemplar, 0), // Nothing comes before it.
		it(0, kindFloat, 1), it(1, kindFloat, 2), it(0, kindFloat, 3),
		it(1, kindExemplar, 4), it(0, kindExemplar, 5), it(0, kindExemplar, 6),
		it(1, kindHistogram, 7), it(0, kindFloat, 8), it(1, kindFloat, 9),
	}
	var g grouping
	for _, tc := range []struct {
		samples bool
		order   []int64
		starts  []int64 // First items of the time series.
	}{
		{samples: false, order: []int64{0, 1, 2, 4, 3, 5, 6, 7, 8, 9}, starts: []int64{0, 1, 2, 3, 7, 8, 9}},
		{samples: true, order: []int64{0, 1, 3, 5, 6, 8, 2, 4, 7, 9}, starts: []int64{0, 1, 2, 7, 9}},
	} {
		for range 2 {
			arranged := g.arrange(append([]flat{}, items...), tc.samples)
			var order, starts []int64
			for i, f := range arranged {
				order = append(order, f.t)
				if !joins(arranged, i, tc.samples) {
					starts = append(starts, f.t)
				}
			}
			require.Equal(t, tc.order, order)
			require.Equal(t, tc.starts, starts)
		}
	}
}

// TestGroupingByLabels defends I4 where one label set has several refs, or was
// looked up anew: its samples stay in order although what stands for the series
// changes from one to the next.
func TestGroupingByLabels(t *testing.T) {
	lset := labels.FromStrings("__name__", "m")
	one, two, other := series.Detached(1, lset), series.Detached(2, lset), series.Detached(3, labels.FromStrings("__name__", "n"))
	var items []flat
	for i, s := range []*series.Series{one, other, two, one, two, other, one} {
		items = append(items, flat{item: &item{series: s, t: int64(i)}})
	}
	var g grouping
	var order []int64
	for _, f := range g.arrange(items, true) {
		order = append(order, f.t)
	}
	require.Equal(t, []int64{0, 2, 3, 4, 6, 1, 5}, order)
}

// TestCutBefore covers that a window is cut into full requests, and that no
// sample is parted from its exemplars.
func TestCutBefore(t *testing.T) {
	all := someSeries(t, 2)
	it := func(s int, k kind) flat { return flat{item: &item{series: all[s]}, detail: &detail{kind: k}} }
	f, x := kindFloat, kindExemplar
	require.Equal(t, 2, cutBefore([]flat{it(0, f), it(0, f), it(0, f)}, 2))
	require.Equal(t, 1, cutBefore([]flat{it(0, f), it(1, f), it(1, x)}, 2))
	require.Equal(t, 3, cutBefore([]flat{it(0, f), it(0, x), it(0, x), it(1, f)}, 2))
	require.Equal(t, 2, cutBefore([]flat{it(0, f), it(1, f)}, 5))
}

// TestMiddle covers that a request is never cut between a sample and its
// exemplars.
func TestMiddle(t *testing.T) {
	all := someSeries(t, 2)
	it := func(s int, k kind) flat { return flat{item: &item{series: all[s]}, detail: &detail{kind: k}} }
	f, x := kindFloat, kindExemplar
	require.Equal(t, 2, middle([]flat{it(0, f), it(0, x), it(1, f), it(1, x)}))
	require.Equal(t, 3, middle([]flat{it(0, f), it(0, x), it(0, x), it(1, f)}))
	require.Equal(t, 1, middle([]flat{it(1, f), it(0, f), it(0, x), it(0, x)}))
	require.Equal(t, 1, middle([]flat{it(0, f), it(0, f)}), "samples of one series may part")
	require.Zero(t, middle([]flat{it(0, f), it(0, x), it(0, x)}))
	require.Zero(t, middle([]flat{it(0, f)}))
}

// TestGroupingKeepsOrder defends I4: whatever moves, the items of one series
// stay in the order of the log, and none is lost.
func TestGroupingKeepsOrder(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	all := someSeries(t, 50)
	var g grouping
	for range 300 {
		var items []flat
		for i := range rnd.Intn(400) {
			items = append(items, flat{item: &item{series: all[rnd.Intn(1+rnd.Intn(len(all)))], t: int64(i + 1)}, detail: &detail{kind: kind(rnd.Intn(int(kinds)))}})
		}
		samples := rnd.Intn(2) == 0
		got := g.arrange(append([]flat{}, items...), samples)
		require.Len(t, got, len(items))
		last := map[any]int64{}
		for _, f := range got {
			key := any(f.series)
			if !samples {
				// Then an exemplar may pass samples that came between.
				key = [2]any{f.series, f.kind() == kindExemplar}
			}
			if f.kind() != kindExemplar || !samples {
				if f.t <= last[key] {
					require.Greater(t, f.t, last[key])
				}
				last[key] = f.t
			}
		}
	}
}
