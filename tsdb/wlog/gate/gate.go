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

package gate

import (
	"cmp"
	"slices"
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// State is what the gate allows.
type State uint8

const (
	// Closed says that nothing may be removed, since the holders are not all known yet.
	Closed State = iota
	// Free says that there are no holders.
	Free
	// Held says that everything from the floor's position on is needed.
	Held
)

// String returns the state as a word, fit for a label value.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Free:
		return "free"
	case Held:
		return "held"
	default:
		return "unknown"
	}
}

// Holder is an endpoint and the position from which on it needs the log.
type Holder struct {
	// ID tells it from all others. Name is for people, and may be another's too.
	ID, Name string
	Position cursor.Position
}

// Floor is the gate's answer to how much of the log may go.
type Floor struct {
	State State
	// Position is the lowest of all holders', and the zero position, which is
	// before everything, unless the state is Held.
	Position cursor.Position
	// By has the names of the holders whose position that is, sorted. The caller owns it.
	By []string
}

// Releases reports whether no holder needs any record of the segment: the
// floor is in a later one, and so at or past the segment's end.
func (f Floor) Releases(segment int) bool {
	switch f.State {
	case Free:
		return true
	case Held:
		return segment < f.Position.Segment
	default:
		return false
	}
}

// Gate collects the durable positions of all endpoints. It is safe for
// concurrent use and never blocks for longer than a look at each holder. Make
// one with [New].
type Gate struct {
	mtx     sync.Mutex // Guards everything below.
	open    bool
	holders map[string]Holder // By ID.
}

// New returns a gate that is closed.
func New() *Gate {
	return &Gate{holders: map[string]Holder{}}
}

// Set records that the savepoint of an endpoint is on the disk and that it needs
// the log from its position on. A position lower than the one before is taken as
// told: an endpoint that resumes knows best, and holding more is never wrong.
func (g *Gate) Set(h Holder) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	g.holders[h.ID] = h
}

// Remove ends what the endpoint with an ID holds. Unknown ones are fine.
func (g *Gate) Remove(id string) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	delete(g.holders, id)
}

// Open says that the first configuration has been applied, so that the holders
// are all there are. It cannot be taken back.
func (g *Gate) Open() {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	g.open = true
}

// Floor returns what may be removed at this instant. It may only rise while
// the caller looks at it, except where Set lowers a position or adds an
// endpoint; the caller of Set then makes sure that the log there still exists.
func (g *Gate) Floor() Floor {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	if !g.open {
		return Floor{State: Closed}
	}
	if len(g.holders) == 0 {
		return Floor{State: Free}
	}
	floor := Floor{State: Held}
	for _, h := range g.holders {
		switch c := h.Position.Compare(floor.Position); {
		case len(floor.By) == 0 || c < 0:
			floor.Position = h.Position
			floor.By = append(floor.By[:0], h.Name)
		case c == 0:
			floor.By = append(floor.By, h.Name)
		}
	}
	slices.Sort(floor.By)
	return floor
}

// Holders returns all holders, lowest position first and by name and ID among equals,
// whether the gate is open or not. The caller owns the slice.
func (g *Gate) Holders() []Holder {
	g.mtx.Lock()
	holders := make([]Holder, 0, len(g.holders))
	for _, h := range g.holders {
		holders = append(holders, h)
	}
	g.mtx.Unlock()

	slices.SortFunc(holders, func(a, b Holder) int {
		return cmp.Or(a.Position.Compare(b.Position), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return holders
}
