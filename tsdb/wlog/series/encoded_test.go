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

package series

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// randomLabels returns a label set of few names and values, so that many are
// equal, among them ones that records of a log can have and appends cannot.
func randomLabels(r *rand.Rand) labels.Labels {
	var list []labels.Label
	for i := range r.IntN(6) {
		value := strconv.Itoa(r.IntN(4))
		switch r.IntN(12) {
		case 0:
			value = ""
		case 1:
			value = strings.Repeat("long ", 100*r.IntN(4))
		case 2:
			value = "\xff\x00" + value
		}
		list = append(list, labels.Label{Name: string(rune('a' + i + r.IntN(2))), Value: value})
	}
	b := labels.NewScratchBuilder(len(list))
	for _, l := range list {
		b.Add(l.Name, l.Value)
	}
	return b.Labels() // Neither sorted nor without duplicates.
}

// What comes out is what went in, and label sets are equal where their numbers
// are (invariant 1).
func TestSpelling(t *testing.T) {
	tbl, other := New(Options{}), New(Options{})
	r := rand.New(rand.NewPCG(1, 2))
	all := map[string]*Series{}
	for i := range 5000 {
		lset := randomLabels(r)
		ref := chunks.HeadSeriesRef(i + 1)
		s, _ := tbl.Insert(ref, lset, 0)
		if old := all[lset.String()]; old != nil {
			require.Same(t, old, s)
		}
		all[lset.String()] = s
		require.True(t, labels.Equal(lset, s.Labels()))
		require.Equal(t, int(labels.StableHash(lset)%Partitions), s.Partition())
		require.Same(t, s, tbl.Find(lset))
		require.Same(t, s, tbl.First(tbl.Resolve(ref)))
		require.True(t, s.Has(lset))
		foreign, _ := other.Insert(ref, lset, 0)
		detached := Detached(ref, lset)
		require.Equal(t, s.Partition(), detached.Partition())
		for _, same := range []*Series{s, tbl.Resolve(ref), foreign, detached} {
			require.True(t, SameLabels(s, same) && SameLabels(same, s))
			require.Same(t, s, tbl.First(same))
		}
		different := randomLabels(r)
		require.Equal(t, labels.Equal(lset, different), s.Has(different))
		require.Equal(t, labels.Equal(lset, different), SameLabels(detached, Detached(1, different)))
		names, values := s.Encoded()
		place := 0
		lset.Range(func(l labels.Label) {
			require.Equal(t, l.Name, names.All()[place])
			require.Equal(t, l.Value, s.Value(place))
			require.Equal(t, l.Value == "", values[place] == 0)
			place++
		})
		require.Len(t, values, place)
	}
	names, _ := Detached(1, name(1)).Encoded()
	require.Nil(t, names)
	require.Nil(t, tbl.Find(labels.FromStrings("never", "seen")))
	require.Nil(t, tbl.Find(labels.FromStrings("a", "never seen")))
}

// churning returns labels of the i-th series of a round: some strings are those of
// all rounds, some are the round's own.
func churning(round, i int) labels.Labels {
	return labels.FromStrings("__name__", fmt.Sprint("m", i%10), "i", strconv.Itoa(i), "pod", fmt.Sprintf("pod-%d-%d", round, i%50), fmt.Sprint("round_", round%7), "x")
}

// collect runs the garbage collector until n leases were closed since the last
// sweep.
func collect(t *testing.T, tbl *Table, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		runtime.GC()
		return int(tbl.symbols.sweep.closed.Load()) >= n
	}, time.Minute, time.Millisecond)
}

// Strings go with the series that have them, however many come and go (I6), and
// not before the last reader that holds such a series has let go of it.
func TestStringsGoWithTheirSeries(t *testing.T) {
	c := newClock()
	tbl, next := New(Options{Now: c.now.Load}), atomic.NewUint64(0)
	const n = 2000
	var held *Series
	highest := symbol(0)
	for round := range 12 {
		for i := range n {
			s, _ := tbl.GetOrCreate(churning(round, i), refs(next))
			s.Unpin()
		}
		if round == 1 {
			held = tbl.Find(churning(1, 3))
		}
		c.add(time.Hour)
		require.Len(t, tbl.Retire(c.now.Load(), func() int { return round }), n)
		require.Len(t, tbl.Drop(round+1), n)
		gone := n
		if round == 1 {
			gone-- // The one that is held.
		}
		collect(t, tbl, gone)
		if round == 3 {
			highest = tbl.symbols.next
		}
		if round > 3 {
			require.LessOrEqual(t, tbl.symbols.next, highest, "numbers are given out again")
		}
		if held != nil {
			require.Equal(t, churning(1, 3), held.Labels())
			require.Nil(t, tbl.Find(churning(1, 3)))
		}
	}
	tbl.sweep()
	require.Equal(t, 2*held.Labels().Len(), tbl.symbols.count, "the strings of the series that is held")
	require.Equal(t, churning(1, 3), held.Labels())
	held = nil
	collect(t, tbl, 1)
	tbl.sweep()
	require.Zero(t, tbl.symbols.count)
	require.Empty(t, tbl.symbols.names)
	require.Empty(t, tbl.symbols.sweep.leases)
	s, created := tbl.GetOrCreate(churning(1, 3), refs(next))
	require.True(t, created)
	require.Equal(t, churning(1, 3), s.Labels())
}

// Sweeps beside everything else: a lookup that finds a series finds it with its
// labels (invariant 3).
func TestSweepBesideWriters(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	var (
		wg   sync.WaitGroup
		stop atomic.Bool
	)
	for worker := range 3 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			var kept []*Series
			var want []labels.Labels
			for round := 0; !stop.Load(); round++ {
				lset := churning(r.IntN(20), r.IntN(100))
				s, _ := tbl.GetOrCreate(lset, refs(next))
				kept, want = append(kept, s), append(want, lset)
				s.Unpin()
				if len(kept) < 50 {
					continue
				}
				for i, s := range kept {
					if !labels.Equal(want[i], s.Labels()) {
						t.Errorf("%s became %s", want[i], s.Labels())
						stop.Store(true)
					}
				}
				clear(kept)
				kept, want = kept[:0], want[:0]
			}
		})
	}
	for i := range 300 {
		tbl.Retire(time.Now().Add(time.Hour), func() int { return i })
		tbl.Drop(i + 1)
		if i%10 == 0 {
			runtime.GC()
		}
		tbl.sweep()
	}
	stop.Store(true)
	wg.Wait()
	for s := range tbl.All() {
		require.Same(t, s, tbl.Find(s.Labels()))
	}
}

// BenchmarkInsert fills tables with series of ten labels, of which neighbours
// share most.
func BenchmarkInsert(b *testing.B) {
	const n = 100_000
	all := make([]labels.Labels, n)
	for i := range all {
		list := []labels.Label{{Name: "metric", Value: fmt.Sprint("metric_", i%500/20)}, {Name: "path", Value: fmt.Sprint("/path/", i%20)}}
		for l := range 8 {
			list = append(list, labels.Label{Name: fmt.Sprint("label_", l), Value: fmt.Sprint("value of target ", i/500, " in place ", l)})
		}
		all[i] = labels.New(list...)
	}
	b.ReportAllocs()
	for b.Loop() {
		tbl := New(Options{})
		tbl.Reserve(n)
		for i := range all {
			tbl.Insert(chunks.HeadSeriesRef(i+1), all[i], 0)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/n, "ns/series")
}
