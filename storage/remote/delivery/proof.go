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

// A receiver that has what it is sent may refuse it with the same words as one that
// refuses everything, and takes nothing else before it has: all that is new comes behind
// that. To tell the two, one series goes ahead, the witness. What it has that the receiver
// may have is sent sample by sample, and then its first that the receiver cannot have:
//
//	the witness    may be there            ╷ is new
//	in the log   ──▶ refused ▶ refused ▶ … ┼▶ taken: the others were there
//	                                       └▶ refused: so is everything
//
// Its samples keep their order. They are not settled by it: they come again in their
// turn, as what the receiver may have. If the endpoint is mended in the midst of it,
// what was refused of the one witness before is lost.

// proofPace is how many times as long as a proof took there is none after it.
const proofPace = 9

// proof is what a stream knows of witnesses. It is safe for concurrent use.
type proof struct {
	mtx   sync.Mutex
	busy  bool
	due   time.Time
	ahead cursor.Position // A witness was sent what begins before this.
	last  testimony       // Of the last witness of which something new was taken, if any.
}

// testimony is what of one series is sent as a witness's.
type testimony struct {
	hash uint64
	from savepoint.Mark  // From here on,
	new  cursor.Position // and from here on nothing was sent before.
}

// begin reports whether a proof may be looked for now, by one sender at a time.
func (p *proof) begin() (last testimony, ok bool) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.busy || time.Now().Before(p.due) {
		return last, false
	}
	p.busy = true
	return p.last, true
}

func (p *proof) end(took time.Duration) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.busy, p.due = false, time.Now().Add(proofPace*took)
}

// goAhead notes that a witness is about to be sent what ends at a position.
func (p *proof) goAhead(end cursor.Position) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.ahead.Before(end) {
		p.ahead = end
	}
}

func (p *proof) sentAhead() cursor.Position {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	return p.ahead
}

func (p *proof) note(t testimony) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.last = t
}
