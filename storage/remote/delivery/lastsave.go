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
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// lastSave is what the newest savepoint was made of. It tells that nothing has
// changed since, which four times a second is mostly so, without making another.
// It is guarded by saveMtx.
type lastSave struct {
	done   bool
	whole  bool     // All of its segments had fingerprints.
	stands []*stand // As they were, without checksums that were looked up.
	clean  bool

	head       cursor.Position
	checkpoint int
}

// holds reports whether a savepoint made now would be the same.
func (l *lastSave) holds(stands []*stand, head cursor.Position, clean bool) bool {
	return l.done && l.whole && l.head == head && l.clean == clean &&
		slices.EqualFunc(l.stands, stands, (*stand).equal)
}

// equal reports whether the same is saved of two stands.
func (st *stand) equal(o *stand) bool {
	return st == o || st.id == o.id && st.identity == o.identity && st.mark == o.mark && sameTime(st.removed, o.removed) &&
		slices.Equal(st.marks, o.marks) && slices.Equal(st.apart, o.apart) && slices.Equal(st.counted, o.counted) && st.memory == o.memory && st.fresh.equal(o.fresh)
}

func (r *freshRange) equal(o *freshRange) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.from == o.from && r.mark == o.mark && slices.Equal(r.marks, o.marks) && slices.Equal(r.apart, o.apart)
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
}

// checkpoint returns the number of the newest checkpoint, -1 for none. To list
// the directory costs as much as to write the file, so it is done for durable
// savepoints, which go with every truncation, and for new segments.
func (s *Storage) checkpoint(segment int, durable bool) int {
	if s.last.done && !durable && segment == s.last.head.Segment {
		return s.last.checkpoint
	}
	if _, n, err := wlog.LastCheckpoint(s.src.WALDir); err == nil {
		return n
	}
	return -1
}
