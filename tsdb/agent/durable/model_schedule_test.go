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
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// step is one step of a schedule. What a step needs of chance is in it, so that
// a schedule is the same each time, up to the timing of goroutines.
type step struct {
	kind     string
	endpoint int
	mode     mode
	commits  int  // Appended by the step.
	beside   bool // Commits while the rest of the step is done.
	width    int  // Series per commit.
	seed     int64
	pause    time.Duration // After the step.
	copied   bool          // A copy is opened with stock's engine.
	power    bool          // Only what was synced of the savepoint survives.
}

func (s step) String() string {
	out := s.kind
	switch s.kind {
	case "fault":
		out += fmt.Sprintf(" endpoint=%d mode=%s", s.endpoint, s.mode.kind)
		if s.mode.limit > 0 {
			out += fmt.Sprintf(" limit=%d", s.mode.limit)
		}
		if s.mode.every > 0 {
			out += fmt.Sprintf(" every=%d", s.mode.every)
		}
	case "recover", "add", "remove", "dormant":
		out += fmt.Sprintf(" endpoint=%d", s.endpoint)
	case "crash":
		if s.power {
			out += " power"
		}
	}
	if s.copied {
		out += " stock"
	}
	if s.commits > 0 {
		out += fmt.Sprintf(" commits=%d width=%d", s.commits, s.width)
		if s.beside {
			out += " beside"
		}
	}
	return out + fmt.Sprintf(" seed=%d pause=%s", s.seed, s.pause)
}

// schedule is one run of the model, made from a seed.
type schedule struct {
	seed      int64
	endpoints int // In the configuration from the start.
	spare     int // Added later, perhaps.
	windows   []int64
	unnamed   []bool
	lenient   bool          // Attempts end by timeouts.
	maxSize   int64         // Of the log in bytes, 0 for no limit.
	holds     bool          // What an endpoint refuses that refuses everything.
	grace     time.Duration // For which a removed endpoint is retained, 0 for long.
	segment   int           // Size in bytes.
	series    int
	calm      bool // No crashes, so that counters live to the end.
	steps     []step
}

func (s schedule) String() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "seed=%d endpoints=%d+%d windows=%v unnamed=%v timeouts=%t max_size=%d hold_denied=%t grace=%s calm=%t segment=%d series=%d\n",
		s.seed, s.endpoints, s.spare, s.windows, s.unnamed, s.lenient, s.maxSize, s.holds, s.grace, s.calm, s.segment, s.series)
	for i, st := range s.steps {
		fmt.Fprintf(b, "%4d %s\n", i, st)
	}
	return b.String()
}

// weights say how often steps of each kind are taken.
var weights = []struct {
	kind   string
	weight int
}{
	{"append", 30},
	{"churn", 4},
	{"idle", 4},
	{"dormant", 4},
	{"truncate", 8},
	{"seal", 5},
	{"fault", 14},
	{"recover", 9},
	{"reload", 6},
	{"rules", 4},
	{"add", 3},
	{"remove", 3},
	{"restart", 6},
	{"crash", 12},
	{"pause", 5},
	{"quiesce", 2},
}

// newSchedule makes the schedule of a seed.
func newSchedule(seed int64, steps int) schedule {
	rng := rand.New(rand.NewSource(seed))
	s := schedule{
		seed: seed, endpoints: 1 + rng.Intn(2), spare: rng.Intn(2),
		lenient: rng.Intn(6) == 0, holds: rng.Intn(2) == 0,
		segment: 32 * 1024 * []int{4, 4, 8, 64}[rng.Intn(4)],
		series:  []int{30, 100, 400}[rng.Intn(3)],
	}
	if rng.Intn(8) == 0 {
		s.maxSize = 128 * 1024
	}
	s.calm = rng.Intn(4) == 0
	if rng.Intn(6) == 0 {
		s.grace = time.Millisecond
	}
	for range s.endpoints + s.spare {
		s.windows = append(s.windows, []int64{0, 0, 1 << 40, 500}[rng.Intn(4)])
		s.unnamed = append(s.unnamed, rng.Intn(3) == 0)
	}
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	for range steps {
		s.steps = append(s.steps, s.step(rng, total))
	}
	return s
}

func (s *schedule) step(rng *rand.Rand, total int) step {
	st := step{seed: rng.Int63n(1 << 32), endpoint: rng.Intn(s.endpoints + s.spare), pause: time.Duration(rng.Intn(20)) * time.Millisecond}
	at := rng.Intn(total)
	for _, w := range weights {
		if at -= w.weight; at < 0 {
			st.kind = w.kind
			break
		}
	}
	if rng.Intn(4) == 0 {
		st.pause = 0
	}
	if s.calm {
		st.seed |= 1 // See dormant.
		if st.kind == "crash" {
			st.kind = "restart"
		}
	}
	st.commits, st.width = 1+rng.Intn(10), 1+rng.Intn(s.series/3)
	switch st.kind {
	case "append":
		if rng.Intn(6) == 0 {
			st.commits *= 8 // Enough to fill segments and queues.
		}
	case "fault":
		st.commits = 0
		st.mode = mode{kind: modes[rng.Intn(len(modes))]}
		if st.mode.kind == "413" {
			st.mode.limit = 1 + rng.Intn(20)
		}
		if _, ok := poison[st.mode.kind]; ok {
			st.mode.every = []int{10, 30, 100}[rng.Intn(3)]
			st.commits = 1 + rng.Intn(10)
		}
	case "dormant":
		// With its commits: series that one endpoint lacks samples of, and
		// that are out of use and of memory by the time it gets them.
	case "truncate", "seal", "crash", "reload":
		st.beside = rng.Intn(2) == 0
		if !st.beside {
			st.commits = 0
		}
		if st.kind == "crash" {
			st.power, st.copied = rng.Intn(3) == 0, rng.Intn(8) == 0
		}
	case "restart":
		st.commits, st.copied = 0, rng.Intn(8) == 0
	case "pause":
		st.commits, st.pause = 0, time.Duration(50+rng.Intn(400))*time.Millisecond
	default:
		st.commits = 0
	}
	return st
}

// The seed that a failure is told with brings its schedule back.
func TestScheduleOfSeed(t *testing.T) {
	for seed := range int64(20) {
		once, again := newSchedule(seed, 60), newSchedule(seed, 60)
		require.Equal(t, once, again)
	}
	require.NotEqual(t, newSchedule(1, 60).steps, newSchedule(2, 60).steps)
}
