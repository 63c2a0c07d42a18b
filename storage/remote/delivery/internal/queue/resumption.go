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
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// Resumption filters what an earlier run had acknowledged already, per
// partition, out of what is read again. One goroutine owns it; its marks never change.
type Resumption struct {
	marks     []savepoint.Mark
	positions map[cursor.Position]bool // Of all marks.
	skip      [Partitions]int
	beyond    cursor.Position // No mark lies after it.
}

// NewResumption returns one that goes on where marks say.
func NewResumption(marks []savepoint.Mark) *Resumption {
	r := &Resumption{marks: marks, positions: map[cursor.Position]bool{}}
	for p, m := range marks {
		r.skip[p] = m.Skip
		r.positions[m.Position] = true
		if r.beyond.Before(m.Position) {
			r.beyond = m.Position
		}
	}
	return r
}

// Marks returns the marks that it goes on from.
func (r *Resumption) Marks() []savepoint.Mark { return r.marks }

// At reports whether a mark lies at pos. A batch that is filtered must end
// there, so that each partition's mark is at or before its start, or at or after
// its end.
func (r *Resumption) At(pos cursor.Position) bool { return r.positions[pos] }

// Active reports whether something may have to be filtered at or after pos.
func (r *Resumption) Active(pos cursor.Position) bool {
	if pos.Before(r.beyond) {
		return true
	}
	for _, n := range &r.skip {
		if n > 0 {
			return true
		}
	}
	return false
}

// Jump forgets what was to be skipped before a position, and so does not lie
// behind it: a count would pass over others in its place.
func (r *Resumption) Jump(to cursor.Position) {
	for p := range r.skip {
		if r.marks[p].Before(to) {
			r.skip[p] = 0
		}
	}
}

// End says that the log ends before all that was acknowledged: nothing is filtered any
// more.
func (r *Resumption) End() {
	r.beyond, r.skip = cursor.Position{}, [Partitions]int{}
}

// Left returns how many items of each partition are still to be skipped. Restore takes
// it back to that, if a batch that was filtered is not used.
func (r *Resumption) Left() [Partitions]int { return r.skip }

// Restore undoes what was filtered since Left.
func (r *Resumption) Restore(left [Partitions]int) { r.skip = left }

// Filter returns b without the items that are acknowledged, and how many of
// each partition it skipped behind the partition's mark.
func (r *Resumption) Filter(b *Batch) (*Batch, map[int]int) {
	var (
		drop    [Partitions]int
		skipped map[int]int
		dropped bool
	)
	if b.Gap {
		// What was acknowledged may be among what is missing, so that a count
		// would pass over others.
		r.skip = [Partitions]int{}
	}
	for p := range drop {
		n := b.length(p)
		if n == 0 {
			continue
		}
		if b.End.Compare(r.marks[p].Position) <= 0 {
			drop[p] = n
		} else {
			drop[p] = min(r.skip[p], n)
			r.skip[p] -= drop[p]
			if drop[p] > 0 {
				if skipped == nil {
					skipped = map[int]int{}
				}
				skipped[p] = drop[p]
			}
		}
		dropped = dropped || drop[p] > 0
	}
	if !dropped {
		return b, nil
	}
	var left [Partitions]List
	for p := range drop {
		part := b.Part(p)
		left[p] = part.Slice(drop[p], len(part.Items))
	}
	return b.only(&left), skipped
}
