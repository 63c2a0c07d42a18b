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

package savepoint

import (
	"math/rand"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// anyFile returns a random file that is fit to be stored.
func anyFile(rnd *rand.Rand) File {
	texts := []string{"", "a", "with \"quotes\"", "back\\slash", "<a&b>", "line\nfeed", "Zürich", "sep\u2028arator", "\x7f", "0123456789abcdef0123456789abcdef"}
	when := func() time.Time {
		return time.Unix(rnd.Int63n(1<<33), rnd.Int63n(1e9)/[]int64{1, 1e3, 1e9}[rnd.Intn(3)]).In(time.FixedZone("", rnd.Intn(7200)))
	}
	point := func() cursor.Point {
		return cursor.Point{Position: cursor.Position{Segment: rnd.Intn(3) * rnd.Intn(40), Offset: int64(rnd.Intn(4))}, CRC: uint32(rnd.Intn(2)) * rnd.Uint32()}
	}
	f := File{
		Run: ulid.Make().String(), Segment: rnd.Intn(100) - 1, End: rnd.Int63n(2) * rnd.Int63n(maxOffset), Density: [2]int64{rnd.Int63n(2), rnd.Int63n(2) * rnd.Int63n(maxOffset)}, Checkpoint: rnd.Intn(100) - 1, Partitions: 1 + rnd.Intn(70),
		Written: when(), Clean: rnd.Intn(2) == 0, Segments: map[int]uint32{},
	}
	for range rnd.Intn(2) * rnd.Intn(9) {
		f.Sizes = append(f.Sizes, rnd.Int63n(maxOffset))
	}
	for range rnd.Intn(4) {
		e := Endpoint{
			ID:       ulid.Make().String(),
			Identity: Identity{Name: texts[rnd.Intn(len(texts))], URLHash: "u" + texts[rnd.Intn(len(texts))], RulesHash: texts[rnd.Intn(len(texts))], TenantHash: texts[rnd.Intn(len(texts))]},
		}
		lowest := cursor.Position{Segment: maxSegment}
		marks := func() (out []Mark) {
			few := []Mark{{Point: point(), Skip: rnd.Intn(2) * rnd.Intn(1000)}, {Point: point()}, {Point: point()}}
			for len(out) < f.Partitions {
				m := few[rnd.Intn(len(few))]
				for range min(1+rnd.Intn(30), f.Partitions-len(out)) {
					out = append(out, m)
				}
			}
			return out
		}
		e.Acked = marks()
		for _, m := range e.Acked {
			if m.Before(lowest) {
				lowest = m.Position
			}
		}
		isolated := func(base int) (out []Isolated) {
			for range rnd.Intn(3) {
				m := Mark{Point: point(), Skip: rnd.Intn(2) * rnd.Intn(1000)}
				m.Segment += base
				out = append(out, Isolated{Series: rnd.Uint64(), Mark: m})
			}
			return out
		}
		e.Isolated = isolated(0)
		for _, s := range e.Isolated {
			if s.Mark.Before(lowest) {
				lowest = s.Mark.Position
			}
		}
		e.Floor.Point = cursor.Point{Position: lowest, CRC: rnd.Uint32()}
		e.Label = []string{"", "983837"}[rnd.Intn(2)]
		e.Memory[rnd.Intn(3)] = rnd.Intn(2) * rnd.Intn(1000)
		e.Uncounted[rnd.Intn(3)] = rnd.Int63n(2) * rnd.Int63n(1000)
		e.ForfeitedBefore = rnd.Intn(2) * rnd.Intn(100)
		e.Dispatched = point().Position
		for range rnd.Intn(3) {
			e.Counted = append(e.Counted, Range{Segment: rnd.Intn(100), From: rnd.Int63n(9), To: 9 + rnd.Int63n(9)})
		}
		if rnd.Intn(2) == 0 {
			t := when()
			e.Removed = &t
		}
		if rnd.Intn(2) == 0 {
			from := cursor.Point{Position: cursor.Position{Segment: 100}}
			second := marks()
			for p := range second {
				second[p].Segment += 100
			}
			e.Fresh = &Fresh{From: from, Dispatched: cursor.Position{Segment: 101}, Acked: second, BacklogDispatched: cursor.Position{Segment: rnd.Intn(100)}}
			e.Fresh.Isolated = isolated(100)
			e.Dispatched = e.Fresh.Dispatched
		}
		f.Endpoints = append(f.Endpoints, e)
	}
	for _, s := range f.Referenced() {
		if rnd.Intn(4) > 0 {
			f.Segments[s] = rnd.Uint32()
		}
	}
	f.Segments[maxSegment] = 1 // Not stored.
	return f
}

// TestAnyFile: whatever is fit to be stored is read back, and equal files have
// equal bytes.
func TestAnyFile(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	for range 2000 {
		f := anyFile(rnd)
		data, err := Encode(f)
		require.NoError(t, err)
		got, err := Decode(data)
		require.NoError(t, err)
		again, err := Encode(got)
		require.NoError(t, err)
		require.Equal(t, string(data), string(again))
		require.Equal(t, f.End, got.End)
		require.Equal(t, f.Density, got.Density)
		require.Equal(t, f.Sizes, got.Sizes)
		for i, e := range f.Endpoints {
			require.Equal(t, e.Acked, got.Endpoints[i].Acked)
			require.Equal(t, e.Isolated, got.Endpoints[i].Isolated)
			require.Equal(t, e.Counted, got.Endpoints[i].Counted)
			require.Equal(t, e.Label, got.Endpoints[i].Label)
			require.Equal(t, e.Memory, got.Endpoints[i].Memory)
			require.Equal(t, e.Uncounted, got.Endpoints[i].Uncounted)
			require.Equal(t, e.ForfeitedBefore, got.Endpoints[i].ForfeitedBefore)
			if e.Fresh != nil {
				require.Equal(t, *e.Fresh, *got.Endpoints[i].Fresh)
			}
		}
	}
}

// TestReadersWithoutIsolated defends I2: a release that does not know isolated
// series takes up each partition where the first of them is.
func TestReadersWithoutIsolated(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	for met := 0; met < 500; {
		f := anyFile(rnd)
		data, err := Encode(f)
		require.NoError(t, err)
		old, err := Decode(without(t, data, func(e map[string]any) {
			delete(e, "isolated")
			if r, ok := e["fresh"].(map[string]any); ok {
				delete(r, "isolated")
			}
		}))
		require.NoError(t, err)
		require.NoError(t, old.Validate())
		for i, e := range f.Endpoints {
			for _, s := range e.Isolated {
				met++
				mark := old.Endpoints[i].Acked[s.Series%uint64(f.Partitions)]
				require.False(t, s.Mark.Less(mark))
			}
			require.Equal(t, Cautious(e.Acked, e.Isolated), old.Endpoints[i].Acked)
		}
	}
}

// TestTimesThatCannotBeWritten: JSON has no form of years beyond 9999.
func TestTimesThatCannotBeWritten(t *testing.T) {
	late := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	f := example()
	f.Written = late
	_, err := Encode(f)
	require.ErrorContains(t, err, "year outside of range")
	f = example()
	f.Endpoints[0].Removed = &late
	_, err = Encode(f)
	require.ErrorContains(t, err, "year outside of range")
}
