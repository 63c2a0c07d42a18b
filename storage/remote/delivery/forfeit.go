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
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Holder is what keeps a part of the log: an endpoint, be it that it is kept for one that
// was removed from the configuration.
type Holder struct {
	// ID is that of the holder at the gate.
	ID string
	// Name and URL are as in metrics, and together no other's; a removed one has no URL.
	Name, URL string
	// Position is from where on it needs the log, whether that is on the disk or not.
	Position cursor.Position
	// Stuck is for how long it has come no further although there is more of the log.
	Stuck time.Duration
	// KeepsUp says that it has acknowledged what was written more than a moment ago.
	KeepsUp bool
	// Retained is for how long a removed one still keeps what it has not been sent, nil if
	// that has no end or it has been sent all.
	Retained *time.Duration
	// Refused is for how long it still holds what its receiver refuses, all of it, before that
	// is dropped, nil if nothing is to be.
	Refused *time.Duration
}

// Holders returns what keeps parts of the log, as it is now. It does not block.
func (s *Storage) Holders() (all []Holder) {
	s.listMtx.Lock()
	running, retained := s.running, s.retained
	s.listMtx.Unlock()
	now := time.Now()
	// While a configuration is applied, an endpoint can be in both lists, and names can be
	// shared for a moment.
	add := func(h Holder) {
		for i, o := range all {
			switch {
			case o.ID == h.ID:
				all[i].Position = cursor.Earlier(o.Position, h.Position)
				return
			case o.Name == h.Name && o.URL == h.URL:
				h.Name = holderName(h.Name, h.ID)
			}
		}
		all = append(all, h)
	}
	for _, e := range running {
		set, floor := e.settings.Load(), e.floor()
		keepsUp, _ := e.keepsUp(now)
		add(Holder{
			ID: e.id, Name: set.name, URL: set.url, Position: neededFrom(floor, int(e.forfeitedBefore.Load())),
			Stuck: e.standstill.stuck(floor, e.src.Head(), now), KeepsUp: keepsUp, Refused: e.dropsIn(now),
		})
	}
	for _, st := range retained {
		h := Holder{ID: st.id, Name: st.name, Position: st.neededFrom()}
		if st.removed != nil {
			h.Stuck = now.Sub(*st.removed)
			if st.floor().Before(st.owedTo(s.src.Head())) && !s.opts.LeaveOthers {
				left := max(s.opts.RemovedRetention-h.Stuck, 0)
				h.Retained = &left
			}
		}
		add(h)
	}
	return all
}

// holderName tells holders of one name apart.
func holderName(name, id string) string { return name + " (" + id + ")" }

// Forfeit takes everything before a position from endpoints, because a limit forces
// its removal: from the holders of the gate with the given IDs, or all if there are
// none. What an endpoint has read already it delivers all the same. The rest is
// counted, by reading it once more, and logged (I1); what that takes too long for,
// or ctx ends before, is estimated. The caller removes segments after it has
// returned.
func (s *Storage) Forfeit(ctx context.Context, before cursor.Position, reason string, ids ...string) error {
	ctx, cancel := context.WithTimeout(ctx, CountForfeitsFor)
	defer cancel()
	s.mtx.Lock()
	src := s.src
	s.mtx.Unlock()
	if src != nil && src.follow != nil {
		// What has not been seen yet cannot be counted.
		seen, cancel := context.WithTimeout(ctx, CountForfeitsFor/2)
		src.follow.CatchUp(seen)
		cancel()
	}
	all, err := s.forfeitBefore(before, ids)
	if err != nil {
		return err
	}
	s.countForfeits(ctx, all, s.src.beyond)
	for _, f := range all {
		s.reportForfeited(f, reason, s.src.bytes(f.from, f.to))
	}
	return nil
}

// forfeitBefore has endpoints skip to a position, and returns what they forfeit by it.
// Nothing is read, since others wait for the lock.
func (s *Storage) forfeitBefore(before cursor.Position, ids []string) (all []*forfeit, err error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.src == nil {
		return nil, errors.New("no log is attached")
	}
	meant := func(id string) bool { return len(ids) == 0 || slices.Contains(ids, id) }
	for _, e := range s.running {
		if name := e.settings.Load().name; meant(e.id) {
			e.forfeitedBefore.Store(max(e.forfeitedBefore.Load(), int64(before.Segment)))
			for _, f := range e.forfeitBefore(before) {
				all = append(all, newForfeit(name, f, &e.counted))
			}
		}
	}
	retained := make([]*endpointState, len(s.retained))
	for i, st := range s.retained {
		retained[i] = st
		if !st.floor().Before(before) || !meant(st.id) {
			continue
		}
		moved, ranges := st.forfeitBefore(before)
		for _, f := range ranges {
			all = append(all, newForfeit(st.name, f, &counted{parts: st.counted}))
		}
		retained[i] = moved
	}
	s.setLists(s.running, retained)
	return all, nil
}

// forfeitMemory counts what an endpoint that has stopped, or whose run was killed, had in
// memory of what was forfeited in the log. It goes on in the log at a segment.
func (s *Storage) forfeitMemory(name string, memory queue.Counts, from cursor.Position, at int) {
	if memory.Total() > 0 && from.Segment < at {
		s.reportForfeited(&forfeit{forfeitedRange: forfeitedRange{from: from, to: cursor.Position{Segment: at}}, name: name, items: memory}, reasonStopped, 0)
	}
}

// without returns the state without what was forfeited before a segment, as it is once
// that has been counted. It is the same one if there is none.
func (st *endpointState) without(segment int) *endpointState {
	if segment == 0 {
		return st
	}
	moved, _ := st.forfeitBefore(cursor.Position{Segment: segment})
	moved.memory, moved.forfeitedBefore = queue.Counts{}, 0
	return moved
}
