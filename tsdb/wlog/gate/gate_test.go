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

package gate

import (
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

func at(segment int, offset int64) cursor.Position {
	return cursor.Position{Segment: segment, Offset: offset}
}

// holder returns a holder whose ID is its name.
func holder(name string, p cursor.Position) Holder { return Holder{ID: name, Name: name, Position: p} }

// Defends I1: until the first configuration is known everything is held, no
// matter what has been set or removed.
func TestClosedUntilOpen(t *testing.T) {
	g := New()
	require.Equal(t, Floor{State: Closed}, g.Floor())
	g.Set(holder("a", at(5, 100)))
	require.Equal(t, Floor{State: Closed}, g.Floor())
	require.Equal(t, []Holder{holder("a", at(5, 100))}, g.Holders(), "holders are shown before the gate is open")

	g.Open()
	require.Equal(t, Floor{State: Held, Position: at(5, 100), By: []string{"a"}}, g.Floor())
	g.Open()
	require.Equal(t, Held, g.Floor().State, "opening twice changes nothing")

	g.Remove("a")
	require.Equal(t, Floor{State: Free}, g.Floor())
	g.Remove("a")
	require.Equal(t, Floor{State: Free}, g.Floor())
}

func TestFloorNamesTheLowest(t *testing.T) {
	g := New()
	g.Open()
	g.Set(holder("c", at(3, 40)))
	g.Set(holder("a", at(3, 40)))
	g.Set(holder("b", at(3, 41)))
	require.Equal(t, Floor{State: Held, Position: at(3, 40), By: []string{"a", "c"}}, g.Floor())

	g.Set(holder("a", at(4, 0)))
	g.Set(holder("c", at(4, 0)))
	require.Equal(t, Floor{State: Held, Position: at(3, 41), By: []string{"b"}}, g.Floor())

	g.Set(holder("c", at(0, 0)))
	require.Equal(t, Floor{State: Held, By: []string{"c"}}, g.Floor(), "an endpoint that resumes may go back, even to the very start")

	require.Equal(t, []Holder{holder("c", at(0, 0)), holder("b", at(3, 41)), holder("a", at(4, 0))}, g.Holders())
}

// TestHoldersOfOneName defends I1: who holds what goes by ID, whatever holders are called.
func TestHoldersOfOneName(t *testing.T) {
	g := New()
	g.Open()
	g.Set(Holder{ID: "2", Name: "a", Position: at(1, 0)})
	g.Set(Holder{ID: "1", Name: "a", Position: at(1, 0)})
	require.Equal(t, []string{"a", "a"}, g.Floor().By)
	require.Equal(t, []Holder{{"1", "a", at(1, 0)}, {"2", "a", at(1, 0)}}, g.Holders())
	g.Set(Holder{ID: "1", Name: "b", Position: at(3, 0)})
	require.Equal(t, Floor{State: Held, Position: at(1, 0), By: []string{"a"}}, g.Floor(), "the other one needs it still")
	g.Remove("2")
	require.Equal(t, Floor{State: Held, Position: at(3, 0), By: []string{"b"}}, g.Floor())
}

// Defends I1: a segment is only released when the floor lies in a later one.
func TestReleases(t *testing.T) {
	for _, tc := range []struct {
		floor    Floor
		segment  int
		released bool
	}{
		{Floor{State: Closed}, 0, false},
		{Floor{State: Closed, Position: at(9, 0)}, 3, false},
		{Floor{State: Free}, 1 << 30, true},
		{Floor{State: Held, Position: at(7, 0)}, 6, true},
		{Floor{State: Held, Position: at(7, 0)}, 7, false},
		{Floor{State: Held, Position: at(7, 1<<40)}, 7, false},
		{Floor{State: Held}, 0, false},
		{Floor{State: State(9), Position: at(7, 0)}, 6, false},
	} {
		t.Run(fmt.Sprintf("%s %s segment %d", tc.floor.State, tc.floor.Position, tc.segment), func(t *testing.T) {
			require.Equal(t, tc.released, tc.floor.Releases(tc.segment))
		})
	}
}

// Defends I1 against a naive model: whatever the order of calls, the floor is
// the minimum of the positions set last.
func TestAgainstModel(t *testing.T) {
	const seed = 20
	rnd := rand.New(rand.NewSource(seed))
	g, model, open := New(), map[string]cursor.Position{}, false
	for step := range 5000 {
		name := fmt.Sprintf("endpoint-%d", rnd.Intn(6))
		switch r := rnd.Intn(100); {
		case r < 70:
			p := at(rnd.Intn(4), int64(rnd.Intn(4)))
			g.Set(holder(name, p))
			model[name] = p
		case r < 99:
			g.Remove(name)
			delete(model, name)
		default:
			g.Open()
			open = true
		}

		want := Floor{State: Closed}
		if open {
			want.State = Free
			for name, p := range model {
				if want.State == Free || p.Before(want.Position) {
					want = Floor{State: Held, Position: p}
				}
				if p == want.Position {
					want.By = append(want.By, name)
				}
			}
			slices.Sort(want.By)
		}
		require.Equal(t, want, g.Floor(), "seed %d step %d", seed, step)

		holders := g.Holders()
		require.Len(t, holders, len(model), "seed %d step %d", seed, step)
		for i, h := range holders {
			require.Equal(t, model[h.Name], h.Position)
			require.False(t, i > 0 && h.Position.Before(holders[i-1].Position), "seed %d step %d: not sorted", seed, step)
		}
	}
}

// What is returned belongs to the caller: writing to it must not reach the
// gate, and the race detector watches the concurrent calls.
func TestConcurrentUse(t *testing.T) {
	g := New()
	g.Open()
	g.Set(holder("anchor", at(0, 0)))
	var wg sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("endpoint-%d", i)
		wg.Go(func() {
			for n := range 500 {
				g.Set(holder(name, at(n, 1)))
				floor := g.Floor()
				if floor.Position != at(0, 0) || len(floor.By) != 1 || floor.By[0] != "anchor" {
					t.Errorf("floor %v by %v instead of the anchor's", floor.Position, floor.By)
				}
				floor.By[0] = "overwritten"
				for _, h := range g.Holders() {
					if h.Name == "overwritten" {
						t.Error("a returned slice is shared")
					}
				}
				if n%7 == 0 {
					g.Remove(name)
				}
			}
		})
	}
	wg.Wait()
}

func TestStateStrings(t *testing.T) {
	got := []string{}
	for _, s := range []State{Closed, Free, Held, State(7)} {
		got = append(got, s.String())
	}
	require.Equal(t, []string{"closed", "free", "held", "unknown"}, got)
}

func BenchmarkFloor(b *testing.B) {
	for _, holders := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("holders=%d", holders), func(b *testing.B) {
			g := New()
			g.Open()
			for i := range holders {
				g.Set(holder(fmt.Sprintf("endpoint-%d", i), at(holders-i, 0)))
			}
			b.ReportAllocs()
			for b.Loop() {
				g.Floor()
			}
		})
	}
}
