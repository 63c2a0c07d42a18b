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
)

// markAhead is how far, in bytes of the log, the dispatch mark is raised
// beyond what is about to be sent. Raising it costs a sync.
const markAhead = 8 << 20

// dispatchMark keeps ahead, on disk, of everything that is sent: after a crash
// nothing at or after it can have reached the receiver.
type dispatchMark struct {
	mtx     sync.Mutex
	wanted  cursor.Position // Goes into the next savepoint.
	durable cursor.Position // Is in one that is synced to disk.
	failed  time.Time       // When raising it failed last.
	stale   bool            // What is saved now does not count, see renew.
}

// renew makes sure that nothing more is sent before a savepoint is written that begins
// now: what was left out under settings that have changed meanwhile would be sent after
// a crash, behind what is newer (I4).
func (d *dispatchMark) renew() {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.durable, d.stale = cursor.Position{}, true
}

// covers reports whether everything before end may be sent; if not, the next
// savepoint raises the mark so that it may.
func (d *dispatchMark) covers(end cursor.Position) bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.durable.Before(end) {
		return true
	}
	if ahead := (cursor.Position{Segment: end.Segment, Offset: end.Offset + markAhead}); d.wanted.Before(ahead) {
		d.wanted = ahead
	}
	return false
}

// get returns the mark for a savepoint, whose positions are read after it.
func (d *dispatchMark) get() cursor.Position {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.stale = false
	return d.wanted
}

// synced notes that p is on disk.
func (d *dispatchMark) synced(p cursor.Position) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if !d.stale && d.durable.Before(p) {
		d.durable = p
	}
}
