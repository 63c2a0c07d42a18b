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

package queue

import (
	"math/rand"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// TestAcknowledgedIsForgotten defends I6: of a batch that an endpoint has read far
// behind, what a partition has had acknowledged is not kept in memory until the
// others are through.
func TestAcknowledgedIsForgotten(t *testing.T) {
	all := someSeries(1000)
	q := New(time.Now)
	q.Resume(at(0, 0), make([]savepoint.Mark, Partitions))
	q.Configure(10000, 50, 0)
	var kept [Partitions]weak.Pointer[Item]
	func() {
		bb := Builder{}
		bb.Reset(at(0, 0))
		for i, s := range all {
			bb.Items.Float(s, 0, int64(i+1), 0)
		}
		bb.End = at(0, 1)
		b := bb.Build()
		for p := range kept {
			kept[p] = weak.Make(&b.Part(p).Items[0])
		}
		require.True(t, q.Push(&Entry{Batch: b, Behind: true}))
	}()
	acknowledged := map[int]bool{}
	for len(acknowledged) < Partitions {
		var r Request
		require.True(t, q.Take(&r, always))
		for _, sp := range r.byPart {
			if sp.to == sp.entry.Batch.length(sp.part) {
				acknowledged[sp.part] = true
			}
		}
		q.Ack(&r)
		r = Request{}
		runtime.GC()
		for p := range kept {
			require.Equal(t, acknowledged[p], kept[p].Value() == nil, "partition %d", p)
		}
	}
	require.Zero(t, q.Stats().Queued)
}

// TestHeldIsReleased: what a queue counts as held is what its entries have that
// some partition is not through with, and nothing when all is acknowledged.
func TestHeldIsReleased(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	all := someSeries(200)
	for range 50 {
		q := New(time.Now)
		q.Configure(100_000, 50, 0)
		q.SetSenders(2)
		var entries []*Entry
		for n := range 5 {
			bb := Builder{Ordered: rnd.Intn(2) == 0}
			bb.Reset(at(0, int64(n)))
			for range rnd.Intn(300) {
				if s := all[rnd.Intn(len(all))]; rnd.Intn(3) == 0 {
					bb.Items.Histogram(s, 0, 1, &histogram.Histogram{PositiveBuckets: make([]int64, 160)})
				} else {
					bb.Items.Float(s, 0, 1, 0)
				}
			}
			bb.Labels = rnd.Intn(1000)
			bb.End = at(0, int64(n+1))
			e := &Entry{Batch: bb.Build()}
			require.True(t, q.Push(e))
			entries = append(entries, e)
		}
		for q.Stats().Ready > 0 {
			var r Request
			require.True(t, q.Take(&r, always))
			if rnd.Intn(4) == 0 {
				q.Release(&r)
				continue
			}
			q.Ack(&r)
			want := 0
			for _, e := range entries {
				had := 0
				for p := range q.parts {
					for _, waits := range q.parts[p].entries.all() {
						if waits == e && e.left != nil {
							had += e.left[p].bytes()
						} else if waits == e {
							had = e.Batch.Bytes
						}
					}
				}
				if e.left != nil && had > 0 {
					had += e.Batch.Labels
				}
				want += had
			}
			require.Equal(t, want, q.held)
		}
		require.Zero(t, q.held)
	}
}

// TestExemplarsBehindTheCut covers that exemplars go with their samples where a
// request ends within an entry, once each.
func TestExemplarsBehindTheCut(t *testing.T) {
	all := someSeries(1)
	bb := Builder{}
	bb.Reset(at(0, 0))
	for i := range 10 {
		bb.Items.Float(all[0], 0, int64(i+1), 0)
	}
	bb.Items.Exemplar(all[0], 11, 0, labels.FromStrings("a", "b"))
	bb.End = at(0, 10)
	q := New(time.Now)
	q.Configure(100, 4, 0)
	require.True(t, q.Push(&Entry{Batch: bb.Build()}))
	var r Request
	var got [][]int64
	for range 3 {
		require.True(t, q.Take(&r, always))
		items := r.AppendItems(nil)
		var ts []int64
		for _, it := range items {
			ts = append(ts, it.T)
		}
		got = append(got, ts)
		q.Ack(&r)
	}
	// The exemplar belongs to the last sample, which the third request has.
	require.Equal(t, [][]int64{{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11}}, got)

	two := someSeries(200)
	var same []*series.Series // Two series of one partition.
	for _, a := range two {
		if len(same) == 0 || a.Partition() == same[0].Partition() {
			same = append(same, a)
		}
	}
	bb.Reset(at(0, 10))
	for i, sr := range same[:2] {
		bb.Items.Float(sr, 0, int64(i+1), 0)
	}
	for i, sr := range same[:2] {
		bb.Items.Exemplar(sr, int64(i+11), 0, labels.EmptyLabels())
	}
	bb.End = at(0, 20)
	q.Configure(100, 1, 0)
	require.True(t, q.Push(&Entry{Batch: bb.Build()}))
	got = nil
	for range 4 {
		require.True(t, q.Take(&r, always))
		items := r.AppendItems(nil)
		var ts []int64
		for _, it := range items {
			ts = append(ts, it.T)
		}
		got = append(got, ts)
		q.Ack(&r)
	}
	require.Equal(t, [][]int64{{1, 11}, {2, 12}, nil, nil}, got)
}

// TestFifo covers that the list keeps its order and, as long as it is short, its
// array.
func TestFifo(t *testing.T) {
	var f fifo
	in, out := 0, 0
	entries := make([]*Entry, 10_000)
	for i := range entries {
		entries[i] = &Entry{}
	}
	for in < len(entries) {
		for n := in % 7; n >= 0 && in < len(entries); n-- {
			f.push(entries[in])
			in++
		}
		for f.len() > in%5 {
			require.Same(t, entries[out], f.all()[0])
			f.pop()
			out++
		}
	}
	require.LessOrEqual(t, cap(f.list), 64)
}
