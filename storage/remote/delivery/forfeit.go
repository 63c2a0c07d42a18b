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

// countFor is how long a limit waits for what it takes to be counted.
const countFor = 2 * time.Second

// Forfeit makes endpoints give up everything before a position, because a limit
// forces its removal: the holders of the gate that are named, or all if none
// is. What an endpoint has read already it delivers all the same. The rest is
// counted, by reading it once more, and logged (I1); what that takes too long for,
// or ctx ends before, is estimated. The caller removes segments after it has
// returned.
func (s *Storage) Forfeit(ctx context.Context, before cursor.Position, reason string, holders ...string) error {
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	s.mtx.Lock()
	src := s.src
	s.mtx.Unlock()
	if src != nil && src.follow != nil {
		// What has not been seen yet cannot be counted.
		seen, cancel := context.WithTimeout(ctx, countFor/2)
		src.follow.CatchUp(seen)
		cancel()
	}
	all, err := s.giveUp(before, holders)
	if err != nil {
		return err
	}
	s.count(ctx, all)
	for _, l := range all {
		s.forfeited(l, reason, logBytes(s.src.WALDir, l.from, l.to))
	}
	return nil
}

// giveUp moves endpoints, and returns what they lose by it. Nothing is read, since
// others wait for the lock.
func (s *Storage) giveUp(before cursor.Position, holders []string) (all []*loss, err error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.src == nil {
		return nil, errors.New("no log is attached")
	}
	meant := func(name, id string) bool {
		return len(holders) == 0 || slices.Contains(holders, name) || slices.Contains(holders, holderName(name, id))
	}
	for _, e := range s.running {
		if name := e.settings.Load().name; meant(name, e.id) {
			e.gone.Store(max(e.gone.Load(), int64(before.Segment)))
			for _, l := range e.skipTo(before) {
				all = append(all, newLoss(name, l, &e.counted))
			}
		}
	}
	held := make([]*endpointState, len(s.held))
	for i, st := range s.held {
		held[i] = st
		if !st.floor().Before(before) || !meant(st.name, st.id) {
			continue
		}
		moved, lost := st.forfeit(before)
		for _, l := range lost {
			all = append(all, newLoss(st.name, l, &counted{parts: st.counted}))
		}
		held[i] = moved
	}
	s.setLists(s.running, held)
	return all, nil
}

// Reasons for which limits give up samples, as in metrics.
const (
	ReasonMaxTime = "max_time"
	ReasonMaxSize = "max_size"
)

// reasonStopped is for what a limit had given up in the log while it was still in
// memory, and that a stop, or a kill, then ended the delivery of.
const reasonStopped = "stopped_after_limit"

// forfeitMemory counts what an endpoint that has stopped, or whose run was killed, had in
// memory of what was given up in the log, and which is not sent from there: the log goes
// on for it at a segment.
func (s *Storage) forfeitMemory(name string, memory queue.Counts, from cursor.Position, at int) {
	if memory.Total() > 0 && from.Segment < at {
		s.forfeited(&loss{lostRange: lostRange{from: from, to: cursor.Position{Segment: at}}, name: name, lost: memory}, reasonStopped, 0)
	}
}

// without returns the state without what a limit had made the endpoint give up, before a
// segment, as it is once that has been counted. It is the same one if there is none.
func (st *endpointState) without(segment int) *endpointState {
	if segment == 0 {
		return st
	}
	moved, _ := st.forfeit(cursor.Position{Segment: segment})
	moved.memory, moved.forfeitedBefore = queue.Counts{}, 0
	return moved
}

func (s *Storage) forfeited(l *loss, reason string, bytes int64) {
	s.countForfeited(l.name, reason, l.lost, bytes)
	what := "A limit removes a part of the log before it was delivered"
	if reason == reasonStopped {
		what = "What a limit had given up in the log, and was still in memory, is lost by the end of the process"
	}
	s.losses.Error(what, "remote_name", l.name, "reason", reason,
		"from", l.from.String(), "to", l.to.String(), "bytes", bytes, "samples", l.lost[queue.Samples], "histograms", l.lost[queue.Histograms], "exemplars", l.lost[queue.Exemplars],
		"samples_estimated", l.estimated)
}

// countForfeited counts what an endpoint gives up.
func (s *Storage) countForfeited(name, reason string, lost queue.Counts, bytes int64) {
	s.metrics.forfeitedBytes.WithLabelValues(name, reason).Add(float64(bytes))
	for c, n := range lost {
		s.metrics.forfeited.WithLabelValues(name, reason, queue.Class(c).String()).Add(float64(n))
	}
}
