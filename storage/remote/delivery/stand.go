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
	"github.com/ackwal/ackwal/tsdb/wlog/mutation"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// markAhead is how far, in bytes of the log, the dispatch mark is raised
// beyond what is about to be sent. Raising it costs a sync.
const markAhead = 8 << 20

// saveInterval is how often positions are written without a sync. It bounds
// what is sent again after a crash (I8). Each costs a small file, and only if
// something changed.
const saveInterval = 250 * time.Millisecond

// stand is where an endpoint stands while it is not at work: loaded from a
// savepoint, or removed from the configuration and held for a while.
type stand struct {
	id       string
	identity savepoint.Identity
	name     string // Last known name, for logs and metrics.
	marks    []savepoint.Mark
	mark     cursor.Position // Dispatch mark.
	removed  *time.Time
}

// floor returns the lowest mark.
func (st *stand) floor() savepoint.Mark {
	floor := st.marks[0]
	for _, m := range st.marks[1:] {
		if m.Before(floor.Position) {
			floor = m
		}
	}
	floor.Skip = 0
	return floor
}

// dispatchMark keeps ahead, on disk, of everything that is sent: after a crash
// nothing at or after it can have reached the receiver.
type dispatchMark struct {
	mtx     sync.Mutex
	wanted  cursor.Position // Goes into the next savepoint.
	durable cursor.Position // Is in one that is synced to disk.
	failed  time.Time       // When raising it failed last.
}

// covers reports whether everything before end may be sent; if not, the next
// savepoint raises the mark so that it may.
func (d *dispatchMark) covers(end cursor.Position) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.durable.Before(end) || mutation.On(mutation.SendUnmarked) {
		return true
	}
	if ahead := (cursor.Position{Segment: end.Segment, Offset: end.Offset + markAhead}); d.wanted.Before(ahead) {
		d.wanted = ahead
	}
	return false
}

func (d *dispatchMark) get() cursor.Position {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return d.wanted
}

// synced notes that p is on disk.
func (d *dispatchMark) synced(p cursor.Position) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if d.durable.Before(p) {
		d.durable = p
	}
}

func standAt(id string, ident savepoint.Identity, name string, at cursor.Point, mark cursor.Position) *stand {
	st := &stand{id: id, identity: ident, name: name, mark: mark, marks: make([]savepoint.Mark, partitions)}
	for p := range st.marks {
		st.marks[p] = savepoint.Mark{Point: at}
	}
	return st
}
