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
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Encode returns the bytes of the file that holds f. Equal files have equal
// bytes.
func Encode(f File) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("invalid content: %w", err)
	}
	written := f.Written.UTC()
	b := body{
		Run: &f.Run, Segment: &f.Segment, Checkpoint: &f.Checkpoint, Clean: &f.Clean, Written: &written, Partitions: &f.Partitions,
		End: f.End, Fingerprints: map[string]uint32{}, Endpoints: make([]endpoint, 0, len(f.Endpoints)),
	}
	for _, s := range f.Referenced() {
		if fp, known := f.Segments[s]; known {
			b.Fingerprints[strconv.Itoa(s)] = fp
		}
	}
	points := pointsOf(&f)
	b.Points = make([][]int64, 0, len(points))
	for _, p := range points {
		b.Points = append(b.Points, pointTuple(p))
	}
	for i := range f.Endpoints {
		b.Endpoints = append(b.Endpoints, f.Endpoints[i].encode(points))
	}
	content, err := json.Marshal(&b)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(make([]byte, 0, len(content)+64), `{"version":%d,"crc32c":%q,"body":%s}`+"\n", Version, checksum(Version, content), content), nil
}

// encode returns e as it is written. points are those of the whole file.
func (e *Endpoint) encode(points []cursor.Point) endpoint {
	out := endpoint{
		ID: &e.ID, Identity: &e.Identity, Removed: inUTC(e.Removed),
		Floor: pointTuple(e.Floor.Point), Dispatched: positionTuple(e.Dispatched),
	}
	out.Acked, out.Isolated = encodeRange(e.Acked, e.Isolated, points)
	if e.Memory != [3]int{} {
		out.Memory = &e.Memory
	}
	for _, c := range e.Counted {
		out.Counted = append(out.Counted, []int64{int64(c.Segment), c.From, c.To})
	}
	if r := e.Fresh; r != nil {
		out.Fresh = &fresh{From: pointTuple(r.From), Dispatched: positionTuple(r.Dispatched), BacklogDispatched: positionTuple(r.BacklogDispatched)}
		out.Fresh.Acked, out.Fresh.Isolated = encodeRange(r.Acked, r.Isolated, points)
	}
	return out
}

// pointsOf lists the points of all marks, ascending and each once. Endpoints
// that keep up share nearly all of them.
func pointsOf(f *File) (points []cursor.Point) {
	for i := range f.Endpoints {
		for m := range f.Endpoints[i].marks {
			if n := len(points); n == 0 || points[n-1] != m.Point {
				points = append(points, m.Point)
			}
		}
	}
	slices.SortFunc(points, comparePoints)
	return slices.Compact(points)
}

func comparePoints(a, b cursor.Point) int {
	if c := a.Compare(b.Position); c != 0 {
		return c
	}
	return cmp.Compare(a.CRC, b.CRC)
}

// place returns the index of a point that is among points.
func place(points []cursor.Point, p cursor.Point) int64 {
	i, _ := slices.BinarySearchFunc(points, p, comparePoints)
	return int64(i)
}

// encodeMarks returns runs of equal marks as [point], [point, count] or [point,
// count, skip], the shortest that says it.
func encodeMarks(marks []Mark, points []cursor.Point) [][]int64 {
	runs := [][]int64{}
	for start := 0; start < len(marks); {
		m, end := marks[start], start+1
		for end < len(marks) && marks[end] == m {
			end++
		}
		run := []int64{place(points, m.Point), int64(end - start), int64(m.Skip)}
		switch {
		case m.Skip == 0 && end-start == 1:
			run = run[:1]
		case m.Skip == 0:
			run = run[:2]
		}
		runs = append(runs, run)
		start = end
	}
	return runs
}

func pointTuple(p cursor.Point) []int64 {
	return []int64{int64(p.Segment), p.Offset, int64(p.CRC)}
}

func positionTuple(p cursor.Position) []int64 { return []int64{int64(p.Segment), p.Offset} }

// encodeRange returns the marks of a range as every reader understands them, and
// what those who know isolated series find beside them.
func encodeRange(acked []Mark, series []Isolated, points []cursor.Point) ([][]int64, *isolated) {
	if len(series) == 0 {
		return encodeMarks(acked, points), nil
	}
	extra := &isolated{Acked: encodeMarks(acked, points)}
	for _, s := range series {
		extra.Series = append(extra.Series, []int64{place(points, s.Mark.Point), int64(s.Mark.Skip), int64(s.Series >> 32), int64(s.Series & (1<<32 - 1))})
	}
	return encodeMarks(Cautious(acked, series), points), extra
}
