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
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// forfeitedRange is what lies between two positions and behind the marks, or what of
// isolated series does.
type forfeitedRange struct {
	from, to cursor.Position
	acked    []savepoint.Mark
	apart    []*seriesRange // In place of acked.
}

// forfeit is a range that is taken from an endpoint, and what is in it.
type forfeit struct {
	forfeitedRange
	name      string // Of the endpoint.
	res       *queue.Resumption
	reread    *rereader // In place of it, for isolated series.
	counted   *counted  // Before, as unreadable.
	items     queue.Counts
	span      timeSpan // Of those of them that were read.
	estimated int      // Of the samples in items.
}

func newForfeit(name string, r forfeitedRange, before *counted) *forfeit {
	f := &forfeit{forfeitedRange: r, name: name, counted: before}
	if r.apart != nil {
		f.reread = newRereader(nil, r.apart)
	} else {
		f.res = queue.NewResumption(r.acked)
	}
	return f
}

// rangesBefore returns what is forfeited of a range before a position.
func rangesBefore(before cursor.Position, marks []savepoint.Mark, apart []isolatedMark) (forfeited []forfeitedRange) {
	if floor := lowest(marks).Position; floor.Before(before) {
		forfeited = append(forfeited, forfeitedRange{from: floor, to: before, acked: marks})
	}
	var series []*seriesRange
	for _, is := range apart {
		until := marks[is.Series%queue.Partitions]
		if before.Before(until.Position) {
			until = savepoint.Mark{Point: cursor.Point{Position: before}}
		}
		if is.Mark.Before(before) {
			series = append(series, &seriesRange{hash: is.Series, from: is.Mark, until: until})
		}
	}
	return append(forfeited, isolatedBefore(series, before)...)
}

// isolatedBefore returns what isolated series forfeit, as a range.
func isolatedBefore(series []*seriesRange, before cursor.Position) []forfeitedRange {
	if len(series) == 0 {
		return nil
	}
	l := forfeitedRange{from: series[0].from.Position, to: before, apart: series}
	for _, m := range series {
		l.from = cursor.Earlier(l.from, m.from.Position)
	}
	return []forfeitedRange{l}
}

// isolatedFrom returns isolated series as they are when everything before a
// position is forfeited. marks are those of the partitions before that.
func isolatedFrom(apart []isolatedMark, marks []savepoint.Mark, to cursor.Position) (out []isolatedMark) {
	for _, is := range apart {
		if is.Mark.Before(to) {
			if m := marks[is.Series%queue.Partitions]; m.Before(to) || (m.Position == to && m.Skip == 0) {
				continue // Nothing of it is left but what its partition has to send anyway.
			}
			is.Mark = savepoint.Mark{Point: cursor.Point{Position: to}}
		}
		out = append(out, is)
	}
	return out
}

// marksFrom returns a copy of marks with none before a position.
func marksFrom(marks []savepoint.Mark, to cursor.Position) []savepoint.Mark {
	out := slices.Clone(marks)
	for p, m := range out {
		if m.Before(to) {
			out[p] = savepoint.Mark{Point: cursor.Point{Position: to}}
		}
	}
	return out
}

func lowest(marks []savepoint.Mark) savepoint.Mark {
	floor := marks[0]
	for _, m := range marks[1:] {
		if m.Before(floor.Position) {
			floor = m
		}
	}
	floor.Skip = 0
	return floor
}

// lowestOf returns the lowest mark of a range, isolated series included.
func lowestOf(marks []savepoint.Mark, apart []isolatedMark) savepoint.Mark {
	floor := lowest(marks)
	for _, is := range apart {
		if is.Mark.Before(floor.Position) {
			floor = savepoint.Mark{Point: is.Mark.Point}
		}
	}
	return floor
}
