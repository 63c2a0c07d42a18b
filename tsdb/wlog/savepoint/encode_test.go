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
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// spelled is what encoding/json makes of a file: the format in other words.
func spelled(f File) ([]byte, error) {
	index := map[cursor.Point]int64{}
	for i := range f.Endpoints {
		for m := range f.Endpoints[i].marks {
			index[m.Point] = 0
		}
	}
	points := make([]cursor.Point, 0, len(index))
	for p := range index {
		points = append(points, p)
	}
	slices.SortFunc(points, comparePoints)
	point := func(p cursor.Point) []int64 { return []int64{int64(p.Segment), p.Offset, int64(p.CRC)} }
	position := func(p cursor.Position) []int64 { return []int64{int64(p.Segment), p.Offset} }
	written := f.Written.UTC()
	b := body{
		Run: &f.Run, Segment: &f.Segment, Checkpoint: &f.Checkpoint, Clean: &f.Clean, Written: &written, Partitions: &f.Partitions,
		Fingerprints: map[string]uint32{}, Points: [][]int64{}, Endpoints: []endpoint{},
	}
	for _, s := range f.Referenced() {
		if fp, ok := f.Segments[s]; ok {
			b.Fingerprints[strconv.Itoa(s)] = fp
		}
	}
	for i, p := range points {
		index[p] = int64(i)
		b.Points = append(b.Points, point(p))
	}
	runs := func(marks []Mark) [][]int64 {
		out := [][]int64{}
		for i, m := range marks {
			if i > 0 && m == marks[i-1] {
				last := out[len(out)-1]
				if len(last) == 1 {
					last = append(last, 1)
				}
				last[1]++
				out[len(out)-1] = last
				continue
			}
			run := []int64{index[m.Point]}
			if m.Skip > 0 {
				run = append(run, 1, int64(m.Skip))
			}
			out = append(out, run)
		}
		return out
	}
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		one := endpoint{
			ID: &e.ID, Identity: &e.Identity, Removed: inUTC(e.Removed),
			Floor: point(e.Floor.Point), Dispatched: position(e.Dispatched), Acked: runs(e.Acked),
		}
		if r := e.Fresh; r != nil {
			one.Fresh = &fresh{From: point(r.From), Dispatched: position(r.Dispatched), Acked: runs(r.Acked), BacklogDispatched: position(r.BacklogDispatched)}
		}
		b.Endpoints = append(b.Endpoints, one)
	}
	content, err := json.Marshal(&b)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"version":%d,"crc32c":%q,"body":%s}`+"\n", Version, checksum(Version, content), content), nil
}

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
		Run: ulid.Make().String(), Segment: rnd.Intn(100) - 1, Checkpoint: rnd.Intn(100) - 1, Partitions: 1 + rnd.Intn(70),
		Written: when(), Clean: rnd.Intn(2) == 0, Segments: map[int]uint32{},
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
		e.Floor.Point = cursor.Point{Position: lowest, CRC: rnd.Uint32()}
		e.Dispatched = point().Position
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

// TestBytesOfEncodingJSON: what is put together by hand is what encoding/json
// would write, byte for byte, and a writer that has written before writes the
// same as a new one.
func TestBytesOfEncodingJSON(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	var w writer
	for range 2000 {
		f := anyFile(rnd)
		want, err := spelled(f)
		require.NoError(t, err)
		got, err := w.encode(&f)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
		alone, err := Encode(f)
		require.NoError(t, err)
		require.Equal(t, string(want), string(alone))
	}
}

// TestTimesThatCannotBeWritten: JSON has no form of years beyond 9999.
func TestTimesThatCannotBeWritten(t *testing.T) {
	late := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	f := example()
	f.Written = late
	_, err := Encode(f)
	require.ErrorContains(t, err, "time of writing")
	f = example()
	f.Endpoints[0].Removed = &late
	_, err = Encode(f)
	require.ErrorContains(t, err, "time of removal")
}

// TestWriterAllocations: what is saved four times a second leaves nearly nothing
// to the garbage collector.
func TestWriterAllocations(t *testing.T) {
	f := example()
	f.Endpoints = f.Endpoints[:1]
	var w writer
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if _, err := w.encode(&f); err != nil {
			t.Fail()
		}
	}), 1.0)
}
