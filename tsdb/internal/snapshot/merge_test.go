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

package snapshot

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Defends the promise in doc.go: with 1 % churn a checkpoint writes, on the
// average and all merges included, less than 5 % of the bytes that all series
// take, and the snapshot does not grow.
func TestBytesWrittenFollowChurn(t *testing.T) {
	const lag = 4 // Segments from retirement to release.
	total, appends := 100_000, 200
	if testing.Short() {
		total, appends = 20_000, 120
	}
	churn := total / 100
	for _, order := range []string{"oldest first", "at random"} {
		t.Run(order, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(3, 4))
			dir := t.TempDir()
			written := 0
			s := open(t, dir, Options{Pace: func(_ context.Context, n int) error {
				written += n
				return nil
			}})
			ctx := context.Background()
			require.NoError(t, s.Append(ctx, Update{State: stateOf(0), Series: defs(upTo(1, total+1))}))
			all := s.Bytes()
			start, most := written, 0
			active := slices.Collect(upTo(1, total+1))
			for step := 1; step <= appends; step++ {
				next := 1 + total + (step-1)*churn
				u := Update{State: stateOf(step), Series: defs(upTo(next, next+churn)), Floor: step - lag}
				if order == "at random" {
					rnd.Shuffle(len(active), func(i, j int) { active[i], active[j] = active[j], active[i] })
				}
				for _, i := range active[:churn] {
					u.Retired = append(u.Retired, Retired{ref(i), step})
				}
				active = append(active[churn:], slices.Collect(upTo(next, next+churn))...)
				before := written
				require.NoError(t, s.Append(ctx, u))
				most = max(most, written-before)
				require.LessOrEqual(t, len(s.view.chunks), MaxChunks)
			}
			got, rep := loaded(t, s, false)
			require.Len(t, got, total)
			for _, i := range active {
				if _, ok := got[ref(i)]; !ok {
					t.Fatalf("ref %d is missing", i)
				}
			}
			each := float64(written-start) / float64(appends) / float64(all)
			t.Logf("%d bytes of series; per append %.4f of them, %.3f at most; at the end %d chunks, %d lists, %.2f of the bytes, %d dead or retired",
				all, each, float64(most)/float64(all), len(s.view.chunks), len(s.view.retired), float64(s.Bytes())/float64(all), rep.Retired)
			require.Less(t, each, 0.05)
			require.Less(t, float64(s.Bytes()), 2.5*float64(all))
			require.Empty(t, s.Problems())
		})
	}
}

// However odd the sizes, there are not too many chunks, and choose comes to an
// end.
func TestPolicyBoundsTheNumberOfChunks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var all []*chunk
		for range 2000 {
			bytes := int64(1) << rnd.IntN(40)
			all = append(all, &chunk{meta: chunkMeta{Series: 1, Bytes: bytes}})
			if rnd.IntN(100) == 0 {
				all[len(all)-1].damaged.Store(true)
			}
			merges := 0
			for chosen := choose(all, nil); chosen != nil; chosen = choose(all, nil) {
				merges++
				require.Less(t, merges, 100)
				bytes := int64(0)
				for _, i := range chosen {
					bytes += all[i].meta.Bytes
				}
				// A part is dead.
				bytes = max(1, bytes*int64(1+rnd.IntN(4))/4)
				last := chosen[len(chosen)-1]
				all[last] = &chunk{meta: chunkMeta{Series: 1, Bytes: bytes}}
				for _, i := range slices.Backward(chosen[:len(chosen)-1]) {
					all = slices.Delete(all, i, i+1)
				}
			}
			require.Less(t, len(all), MaxChunks)
			if rnd.IntN(50) == 0 {
				all = all[rnd.IntN(len(all)):] // The oldest died.
			}
		}
	}
}

func TestSizeClass(t *testing.T) {
	for bytes, class := range map[int64]int{
		0: 0, 3: 0, 4: 1, 4*fanIn - 1: 1, 4 * fanIn: 2, 4 * fanIn * fanIn: 3, 1 << 62: 21, 1<<63 - 1: 21,
	} {
		require.Equal(t, class, sizeClass(bytes), "%d bytes", bytes)
	}
}

// Defends the promise in doc.go for an outage, in which nothing dies: however
// small appends are beside what is there, a definition is written at most six
// times, and one append writes no more than twice what is there.
func TestBytesWrittenInAnOutage(t *testing.T) {
	for _, there := range []int64{0, 100 << 20} {
		for _, appended := range []int64{300, 2_000, 100_000} {
			var all []*chunk
			if there > 0 {
				all = append(all, &chunk{meta: chunkMeta{Series: 1, Bytes: there}})
			}
			const appends = 20_000
			written, total := int64(0), there
			for range appends {
				all = append(all, &chunk{meta: chunkMeta{Series: 1, Bytes: appended}})
				total += appended
				before := written
				for chosen := choose(all, nil); chosen != nil; chosen = choose(all, nil) {
					out := &chunk{meta: chunkMeta{Series: 1}}
					for _, i := range slices.Backward(chosen) {
						out.meta.Bytes += all[i].meta.Bytes
						all = slices.Delete(all, i, i+1)
					}
					all = slices.Insert(all, chosen[len(chosen)-1]-len(chosen)+1, out)
					written += out.meta.Bytes
				}
				require.Less(t, len(all), MaxChunks)
				require.LessOrEqual(t, written-before, 2*total)
			}
			require.LessOrEqual(t, float64(written+appended*appends)/float64(appended*appends), 6.0, "%d bytes each on top of %d", appended, there)
		}
	}
}

// Defends I3 against the dead: a series that was retired below the floor is
// left out by a merge, one that was revived, or retired above it, is not.
func TestMergeLeavesOutTheDead(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := context.Background()
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 11))}))
	u := Update{State: stateOf(2), Floor: 2}
	for i := 1; i <= 9; i++ {
		u.Retired = append(u.Retired, Retired{ref(i), 2 + i/9})
	}
	require.NoError(t, s.Append(ctx, u))
	require.NoError(t, s.Append(ctx, Update{State: stateOf(3), Revived: []ref{1}, Floor: 2}))
	all, _ := loaded(t, s, true)
	require.Len(t, all, 10, "nothing was dead yet")
	require.NoError(t, s.Append(ctx, Update{State: stateOf(4), Floor: 3}))
	all, _ = loaded(t, s, true)
	require.Equal(t, []ref{1, 9, 10}, refsOf(all))
	active, rep := loaded(t, s, false)
	require.Equal(t, []ref{1, 10}, refsOf(active))
	require.Equal(t, 1, rep.Retired)

	// A floor that goes back changes nothing, and a retirement that comes too
	// late is as good as one at the floor.
	require.NoError(t, s.Append(ctx, Update{State: stateOf(5), Floor: 0, Retired: []Retired{{10, 0}}}))
	require.Equal(t, 3, s.view.manifest.Floor)
	require.NoError(t, s.Append(ctx, Update{State: stateOf(6), Floor: 4, Retired: []Retired{{1, 3}}}))
	all, _ = loaded(t, s, true)
	require.Empty(t, all)
	require.Empty(t, s.view.chunks)
}
