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
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// someSeries returns n series of one table.
func someSeries(t testing.TB, n int) []*series.Series {
	t.Helper()
	table := series.New(series.Options{})
	out := make([]*series.Series, n)
	for i := range out {
		lset := labels.FromStrings("__name__", "m", "i", strconv.Itoa(i))
		s, created := table.GetOrCreate(lset, func() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(i + 1) })
		require.True(t, created)
		out[i] = s
	}
	return out
}

func at(segment int, offset int64) cursor.Point {
	return cursor.Point{Position: cursor.Position{Segment: segment, Offset: offset}}
}

// TestGrouping covers how items are put together, with and without samples.
func TestGrouping(t *testing.T) {
	all := someSeries(t, 3)
	it := func(s int, k queue.Kind, ts int64) queue.ItemView {
		return queue.ItemView{Item: &queue.Item{Series: all[s], T: ts}, Detail: &queue.Detail{Kind: k}}
	}
	items := []queue.ItemView{
		it(2, queue.Exemplar, 0), // Nothing comes before it.
		it(0, queue.Float, 1), it(1, queue.Float, 2), it(0, queue.Float, 3),
		it(1, queue.Exemplar, 4), it(0, queue.Exemplar, 5), it(0, queue.Exemplar, 6),
		it(1, queue.Histogram, 7), it(0, queue.Float, 8), it(1, queue.Float, 9),
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
			arranged := g.arrange(append([]queue.ItemView{}, items...), tc.samples)
			var order, starts []int64
			for i, f := range arranged {
				order = append(order, f.T)
				if !joins(arranged, i, tc.samples) {
					starts = append(starts, f.T)
				}
			}
			require.Equal(t, tc.order, order)
			require.Equal(t, tc.starts, starts)
		}
	}
}

// TestGroupingByLabels defends I4 where one label set has several refs, or was
// looked up anew: its samples stay in order although the key of the series
// changes from one to the next.
func TestGroupingByLabels(t *testing.T) {
	lset := labels.FromStrings("__name__", "m")
	one, two, other := series.Detached(1, lset), series.Detached(2, lset), series.Detached(3, labels.FromStrings("__name__", "n"))
	var items []queue.ItemView
	for i, s := range []*series.Series{one, other, two, one, two, other, one} {
		items = append(items, queue.ItemView{Item: &queue.Item{Series: s, T: int64(i)}})
	}
	var g grouping
	var order []int64
	for _, f := range g.arrange(items, true) {
		order = append(order, f.T)
	}
	require.Equal(t, []int64{0, 2, 3, 4, 6, 1, 5}, order)
}

// TestCutBefore covers that a window is cut into full requests, and that no
// sample is parted from its exemplars.
func TestCutBefore(t *testing.T) {
	all := someSeries(t, 2)
	it := func(s int, k queue.Kind) queue.ItemView {
		return queue.ItemView{Item: &queue.Item{Series: all[s]}, Detail: &queue.Detail{Kind: k}}
	}
	f, x := queue.Float, queue.Exemplar
	require.Equal(t, 2, cutBefore([]queue.ItemView{it(0, f), it(0, f), it(0, f)}, 2))
	require.Equal(t, 1, cutBefore([]queue.ItemView{it(0, f), it(1, f), it(1, x)}, 2))
	require.Equal(t, 3, cutBefore([]queue.ItemView{it(0, f), it(0, x), it(0, x), it(1, f)}, 2))
	require.Equal(t, 2, cutBefore([]queue.ItemView{it(0, f), it(1, f)}, 5))
}

// TestWindowFor defends I8: a window ends between two savepoints, and a slow receiver
// gets none of several requests.
func TestWindowFor(t *testing.T) {
	require.Equal(t, 3, windowFor(saveInterval/3))
	require.Zero(t, windowFor(10*saveInterval))
}

// TestMiddle covers that a request is never cut between a sample and its
// exemplars.
func TestMiddle(t *testing.T) {
	all := someSeries(t, 2)
	it := func(s int, k queue.Kind) queue.ItemView {
		return queue.ItemView{Item: &queue.Item{Series: all[s]}, Detail: &queue.Detail{Kind: k}}
	}
	f, x := queue.Float, queue.Exemplar
	require.Equal(t, 2, middle([]queue.ItemView{it(0, f), it(0, x), it(1, f), it(1, x)}))
	require.Equal(t, 3, middle([]queue.ItemView{it(0, f), it(0, x), it(0, x), it(1, f)}))
	require.Equal(t, 1, middle([]queue.ItemView{it(1, f), it(0, f), it(0, x), it(0, x)}))
	require.Equal(t, 1, middle([]queue.ItemView{it(0, f), it(0, f)}), "samples of one series may part")
	require.Zero(t, middle([]queue.ItemView{it(0, f), it(0, x), it(0, x)}))
	require.Zero(t, middle([]queue.ItemView{it(0, f)}))
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
		var items []queue.ItemView
		for i := range rnd.Intn(400) {
			items = append(items, queue.ItemView{Item: &queue.Item{Series: all[rnd.Intn(1+rnd.Intn(len(all)))], T: int64(i + 1)}, Detail: &queue.Detail{Kind: queue.Kind(rnd.Intn(int(queue.Kinds)))}})
		}
		samples := rnd.Intn(2) == 0
		got := g.arrange(append([]queue.ItemView{}, items...), samples)
		require.Len(t, got, len(items))
		last := map[any]int64{}
		for _, f := range got {
			key := any(f.Series)
			if !samples {
				// Then an exemplar may pass samples that came between.
				key = [2]any{f.Series, f.Kind() == queue.Exemplar}
			}
			if f.Kind() != queue.Exemplar || !samples {
				if f.T <= last[key] {
					require.Greater(t, f.T, last[key])
				}
				last[key] = f.T
			}
		}
	}
}
