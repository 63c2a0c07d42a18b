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
	"sync"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// saveInterval is how often positions are written without a sync. It bounds
// what is sent again after a crash (I8). Each costs a small file, and only if
// something changed.
const saveInterval = 250 * time.Millisecond

// readCursor is where a stream reads on. A limit may move it while the reader is at
// work; what the reader had claimed before then is delivered all the same. Once
// it has an end, nothing behind that can be claimed.
type readCursor struct {
	mu    sync.Mutex
	pos   cursor.Point
	moves int
	until *cursor.Point // Where the stream ends, nil for nowhere.
	// skip says how many items of each partition behind pos an earlier run had
	// acknowledged, where the partition's mark is before pos.
	skip [partitions]int
}

func (p *readCursor) get() (cursor.Point, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pos, p.moves
}

// start returns the position alone.
func (p *readCursor) start() cursor.Position {
	pos, _ := p.get()
	return pos.Position
}

// end returns where the stream ends, if it does.
func (p *readCursor) end() (until cursor.Point, bounded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until == nil {
		return cursor.Point{}, false
	}
	return *p.until, true
}

// bound gives the stream an end, unless it has one or is behind that already.
func (p *readCursor) bound(until cursor.Point) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until != nil || until.Before(p.pos.Position) {
		return false
	}
	p.until = &until
	return true
}

// advance moves the cursor from one position to the next, unless a limit has moved
// it meanwhile or the stream ends before that. skip is what is left to be skipped
// then.
func (p *readCursor) advance(moves int, to cursor.Point, skip *[partitions]int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moves != moves || (p.until != nil && p.until.Before(to.Position)) {
		return false
	}
	p.pos, p.skip = to, *skip
	return true
}

// skipTo moves the cursor forward to a position, or to the end of the stream if
// that is before it, and returns where it was and is, and what would have been
// skipped in between.
func (p *readCursor) skipTo(before cursor.Position) (from cursor.Point, to cursor.Position, skip [partitions]int, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from, skip = p.pos, p.skip
	target := cursor.Point{Position: before}
	if p.until != nil && p.until.Before(before) {
		target = *p.until
	}
	if !from.Before(target.Position) {
		return from, from.Position, skip, false
	}
	p.pos, p.skip = target, [partitions]int{}
	p.moves++
	return from, target.Position, skip, true
}

// resumption filters what an earlier run had acknowledged already, per
// partition, out of what is read again.
type resumption struct {
	marks  []savepoint.Mark
	places map[cursor.Position]bool // Of all marks.
	skip   [partitions]int
	beyond cursor.Position // No mark lies after it.
}

func newResumption(marks []savepoint.Mark) *resumption {
	r := &resumption{marks: marks, places: map[cursor.Position]bool{}}
	for p, m := range marks {
		r.skip[p] = m.Skip
		r.places[m.Position] = true
		if r.beyond.Before(m.Position) {
			r.beyond = m.Position
		}
	}
	return r
}

// at reports whether a mark lies at pos. A batch that is filtered must end
// there, so that each partition's mark is at or before its start, or at or after
// its end.
func (r *resumption) at(pos cursor.Position) bool { return r.places[pos] }

// active reports whether something may have to be filtered at or after pos.
func (r *resumption) active(pos cursor.Position) bool {
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

// jump forgets what was to be skipped before a position, and so does not lie
// behind it: a count would pass over others in its place.
func (r *resumption) jump(to cursor.Position) {
	for p := range r.skip {
		if r.marks[p].Before(to) {
			r.skip[p] = 0
		}
	}
}

// filter returns b without the items that are acknowledged, and how many of
// each partition it skipped behind the partition's mark.
func (r *resumption) filter(b *batch) (*batch, map[int]int) {
	var (
		drop    [partitions]int
		skipped map[int]int
		dropped bool
	)
	if b.gap {
		// What was acknowledged may be among what is missing, so that a count
		// would pass over others.
		r.skip = [partitions]int{}
	}
	for p := range drop {
		n := b.length(p)
		if n == 0 {
			continue
		}
		if b.end.Compare(r.marks[p].Position) <= 0 {
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
	out := &batch{summary: summary{start: b.start, end: b.end, labels: b.labels, unknown: b.unknown, unread: b.unread, records: b.records, gap: b.gap, waited: b.waited}}
	var left [partitions]list
	for p := range drop {
		part := b.part(p)
		left[p] = part.from(drop[p], len(part.items))
		out.lengths[p] = uint32(len(left[p].items))
		out.note(&left[p])
	}
	out.byPart.Store(&left)
	out.weigh()
	return out, skipped
}
