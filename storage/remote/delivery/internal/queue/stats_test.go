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
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// TestStatsGroupNothing: asking once a second how far an endpoint is behind makes
// no copy, by partition, of batches that have the order of the log, and the answer
// is the same as for one that is kept by partition.
func TestStatsGroupNothing(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	all := someSeries(300)
	var entries []*Entry
	ordered, parted := New(time.Now), New(time.Now)
	for _, q := range []*Queue{ordered, parted} {
		q.Configure(10_000, 100, 0)
	}
	// Each partition of the second queue gets what it has in the first.
	for n := range 3 {
		for _, q := range []*Queue{ordered, parted} {
			bb := Builder{Ordered: q == ordered}
			bb.Reset(at(0, int64(n)))
			rnd := rand.New(rand.NewSource(seed + int64(n)))
			for range 200 {
				bb.Items.Float(all[rnd.Intn(len(all))], 0, 1+rnd.Int63n(1000), 0)
			}
			bb.End = at(0, int64(n+1))
			e := &Entry{Batch: bb.Build()}
			require.True(t, q.Push(e))
			if q == ordered {
				entries = append(entries, e)
			}
		}
	}
	// Some partitions have come further than others, as if each of their items
	// had been acknowledged alone.
	for range 400 {
		p := rnd.Intn(Partitions)
		for _, q := range []*Queue{ordered, parted} {
			part := &q.parts[p]
			if part.entries.len() == 0 {
				continue
			}
			part.done++
			if part.done == part.entries.first().Batch.length(p) {
				part.popEntry(p)
			}
		}
	}
	got, want := ordered.Stats(), parted.Stats()
	require.Positive(t, want.Oldest)
	require.Equal(t, want.Oldest, got.Oldest)
	require.Equal(t, want.Middle, got.Middle)
	require.False(t, slices.ContainsFunc(entries, func(e *Entry) bool { return e.Batch.byPart.Load() != nil }), "a batch was grouped")
}

// TestMiddleOfFronts: a few series with old timestamps make no endpoint late.
func TestMiddleOfFronts(t *testing.T) {
	q := New(time.Now)
	q.Configure(1000, 100, 0)
	bb := Builder{}
	for i, s := range someSeries(200) {
		at := int64(1000)
		if i%10 == 0 {
			at = 1
		}
		bb.Items.Float(s, 0, at, 0)
	}
	b := bb.Build()
	b.End = cursor.Point{Position: cursor.Position{Offset: 1}}
	require.True(t, q.Push(&Entry{Batch: b}))
	require.Equal(t, int64(1), q.Stats().Oldest)
	require.Equal(t, int64(1000), q.Stats().Middle)
}
