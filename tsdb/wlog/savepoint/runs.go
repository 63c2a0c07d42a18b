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
	"errors"
	"fmt"
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

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

// encodeRange returns the marks of a range as every release reads them, and what
// releases that know isolated series read beside them.
func encodeRange(acked []Mark, series []Isolated, points []cursor.Point) runs {
	if len(series) == 0 {
		return runs{Runs: encodeMarks(acked, points)}
	}
	extra := &apart{Runs: encodeMarks(acked, points)}
	extra.Series = make([][]int64, 0, len(series))
	for _, s := range series {
		extra.Series = append(extra.Series, []int64{place(points, s.Mark.Point), int64(s.Mark.Skip), int64(s.Series >> 32), int64(s.Series & (1<<32 - 1))})
	}
	return runs{Runs: encodeMarks(Cautious(acked, series), points), Apart: extra}
}

func decodeMarks(runs [][]int64, points []cursor.Point, partitions int) ([]Mark, error) {
	marks := make([]Mark, 0, partitions)
	for i, run := range runs {
		if len(run) < 1 || len(run) > 3 {
			return nil, fmt.Errorf("run %d has %d elements, not 1 to 3", i, len(run))
		}
		point, count, skip := run[0], int64(1), int64(0)
		if len(run) > 1 {
			count = run[1]
		}
		if len(run) > 2 {
			skip = run[2]
		}
		if point < 0 || point >= int64(len(points)) {
			return nil, fmt.Errorf("run %d: there is no point %d", i, point)
		}
		if count < 1 || count > int64(partitions-len(marks)) {
			return nil, fmt.Errorf("run %d: %d marks are out of range", i, count)
		}
		if skip < 0 || skip > maxSkip {
			return nil, fmt.Errorf("run %d: skip %d is out of range", i, skip)
		}
		for range count {
			marks = append(marks, Mark{Point: points[point], Skip: int(skip)})
		}
	}
	return marks, nil
}

// decodeRange is the reverse of encodeRange.
func decodeRange(r runs, points []cursor.Point, partitions int) ([]Mark, []Isolated, error) {
	if r.Apart == nil {
		marks, err := decodeMarks(r.Runs, points, partitions)
		return marks, nil, err
	}
	marks, err := decodeMarks(r.Apart.Runs, points, partitions)
	if err != nil {
		return nil, nil, fmt.Errorf("isolated: %w", err)
	}
	if len(r.Apart.Series) == 0 {
		return nil, nil, errors.New("isolated: there is no series")
	}
	series := make([]Isolated, 0, len(r.Apart.Series))
	for i, t := range r.Apart.Series {
		const half = 1<<32 - 1
		if len(t) != 4 || t[0] < 0 || t[0] >= int64(len(points)) || t[1] < 0 || t[1] > maxSkip || t[2] < 0 || t[2] > half || t[3] < 0 || t[3] > half {
			return nil, nil, fmt.Errorf("isolated: %v, number %d, is no series", t, i)
		}
		series = append(series, Isolated{Series: uint64(t[2])<<32 | uint64(t[3]), Mark: Mark{Point: points[t[0]], Skip: int(t[1])}})
	}
	return marks, series, nil
}
