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

package durable

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// modelSample is a sample that a schedule has appended. Its number is its
// value, so that a receiver can look it up here.
type modelSample struct {
	number    int
	name      string // The series' labels, without what a configuration adds.
	hash      uint64 // Of the series, labels.StableHash.
	t         int64  // In ms.
	histogram bool
	droppable bool // A rule of some configurations drops the series.

	begun  int64 // Tick at which the append began.
	done   int64 // Tick at which Commit had returned, 0 if it did not or failed.
	rolled bool  // Rolled back: no receiver may ever get it.
	run    int   // Of the agent that it was appended to.
}

// flags is what one endpoint has done with a sample.
type flags uint8

const (
	// flagSeen: it arrived, whatever became of it.
	flagSeen flags = 1 << iota
	// flagStored: the endpoint has it.
	flagStored
	// flagSettled: the agent was told so, and may not send it again.
	flagSettled
	// flagExcused: the endpoint refused it, so that it may be missing.
	flagExcused
)

// ledger is what is known, independently of the storage, about what was
// committed and what arrived. One lock guards it all, so that holding the lock
// stops the world as the receivers see it.
type ledger struct {
	mtx       sync.Mutex
	tick      int64
	agentRun  int // The number of the agent's run, one more with each start.
	samples   []*modelSample
	endpoints []*modelEndpoint
	problems  []string
	kills     int
	repeated  int // Samples that were sent again after a crash, as they may be.
}

func (m *ledger) now() int64 {
	m.tick++
	return m.tick
}

// fail notes that an invariant is broken. Callers hold mtx.
func (m *ledger) fail(format string, args ...any) {
	if len(m.problems) < 20 {
		m.problems = append(m.problems, fmt.Sprintf(format, args...))
	}
}

// broken returns what was found wrong so far.
func (m *ledger) broken() string {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	return strings.Join(m.problems, "\n")
}

// add registers a sample that is about to be appended in a run.
func (m *ledger) add(s *modelSeries, run int, t int64) *modelSample {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	sample := &modelSample{
		number: len(m.samples), name: s.name, hash: labels.StableHash(s.lset), droppable: s.droppable, histogram: s.histogram,
		t: t, begun: m.now(), run: run,
	}
	m.samples = append(m.samples, sample)
	return sample
}

// committed notes that a Commit has returned. If the agent crashed meanwhile,
// either may have come first.
func (m *ledger) committed(samples []*modelSample) {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	for _, s := range samples {
		if s.run == m.agentRun {
			s.done = m.now()
		}
	}
}

func (m *ledger) rolledBack(samples []*modelSample) {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	for _, s := range samples {
		s.rolled = true
	}
}

// owed reports whether the endpoint has to get a sample: one that was committed
// after the endpoint came to be known.
func (e *modelEndpoint) owed(s *modelSample) bool {
	return s.done > 0 && e.added > 0 && s.begun > e.added
}

// excused reports whether the sample may be missing.
func (e *modelEndpoint) excused(s *modelSample) bool {
	if e.at(s.number)&flagExcused != 0 || s.begun < e.lapsed {
		return true
	}
	return s.droppable && (e.dropping || e.droppedUntil > s.begun)
}

func (e *modelEndpoint) at(number int) flags {
	if number >= len(e.flags) {
		return 0
	}
	return e.flags[number]
}

func (e *modelEndpoint) set(number int, f flags) {
	for number >= len(e.flags) {
		e.flags = append(e.flags, 0)
	}
	e.flags[number] |= f
}

// settle notes that the agent is about to be told that a sample is stored.
func (e *modelEndpoint) settle(number int) {
	if e.stopping {
		return // The answer may be lost.
	}
	e.set(number, flagSettled)
	e.settled = append(e.settled, settlement{number, time.Now()})
}

// settlement is an answer that the agent may not have got if it was broken off
// a moment later.
type settlement struct {
	number int
	at     time.Time
}

// unsettle forgets answers given since a moment: the agent broke off what was
// under way and may not have got them.
func (e *modelEndpoint) unsettle(since time.Time) {
	for _, s := range e.settled {
		if s.at.After(since) {
			e.flags[s.number] &^= flagSettled
		}
	}
	e.settled = nil
}

// missing lists what the endpoint is owed, lacks without an excuse and would take
// now. Callers hold mtx.
func (m *ledger) missing(e *modelEndpoint) (out []*modelSample) {
	for _, s := range m.samples {
		if e.owed(s) && e.at(s.number)&flagStored == 0 && !e.excused(s) && !e.mode.poisons(s.name) {
			out = append(out, s)
		}
	}
	return out
}

// without counts what the endpoint is owed and lacks, with an excuse or not.
// Callers hold mtx.
func (m *ledger) without(e *modelEndpoint) (n int) {
	for _, s := range m.samples {
		if e.owed(s) && e.at(s.number)&flagStored == 0 {
			n++
		}
	}
	return n
}
