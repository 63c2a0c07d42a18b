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
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStatsGroupNothing: who asks once a second how far an endpoint is behind
// makes no copy, by partition, of batches that have the order of the log; and is
// told the same as of one that is kept by partition.
func TestStatsGroupNothing(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	all := someSeries(t, 300)
	var entries []*entry
	ordered, parted := newQueue(time.Now), newQueue(time.Now)
	for _, q := range []*queue{ordered, parted} {
		q.configure(10_000, 100, 0)
	}
	// Each partition of the second queue gets what it has in the first.
	for n := range 3 {
		for _, q := range []*queue{ordered, parted} {
			bb := batchBuilder{summary: summary{ordered: q == ordered}}
			bb.reset(at(0, int64(n)))
			rnd := rand.New(rand.NewSource(seed + int64(n)))
			for range 200 {
				bb.float(all[rnd.Intn(len(all))], 0, 1+rnd.Int63n(1000), 0)
			}
			bb.end = at(0, int64(n+1))
			e := &entry{batch: bb.build()}
			require.True(t, q.push(e))
			if q == ordered {
				entries = append(entries, e)
			}
		}
	}
	// Some partitions have come further than others, as if each of their items
	// had been acknowledged alone.
	for range 400 {
		p := rnd.Intn(partitions)
		for _, q := range []*queue{ordered, parted} {
			part := &q.parts[p]
			if part.fifo.len() == 0 {
				continue
			}
			part.done++
			if part.done == part.fifo.all()[0].length(p) {
				part.pass(p)
			}
		}
	}
	got, want := ordered.stats(), parted.stats()
	require.Positive(t, want.oldest)
	require.Equal(t, want.oldest, got.oldest)
	require.Equal(t, want.middle, got.middle)
	require.False(t, slices.ContainsFunc(entries, func(e *entry) bool { return e.byPart.Load() != nil }), "a batch was grouped")
}
