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
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
)

var (
	freshRuns = flag.Int("fresh.runs", 12, "number of random schedules of TestFreshModel")
	freshWait = flag.Duration("fresh.timeout", 30*time.Second, "how long TestFreshModel waits for what has to come")
	freshSeed = flag.Int64("fresh.seed", 0, "seed of the first of them")
)

// freshModel runs one random schedule against an endpoint that has fresh samples
// first.
type freshModel struct {
	*freshRig
	rnd    *rand.Rand
	conf   *config.RemoteWriteConfig
	opts   Options
	lost   int  // Forfeited in runs that are over.
	unsure bool // Something may have been stored without being acknowledged.

	poisoned bool // Some series were not taken for a while.

	mtx    sync.Mutex // Guards what follows.
	answer *rand.Rand
	bad    int  // Of 100 requests, how many fail without being stored.
	lose   int  // Of 100 requests, how many fail after they were stored.
	dead   bool // The process has crashed: nothing arrives any more.
}

func (m *freshModel) before(context.Context, int64, int64) *client.Result {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	switch {
	case m.dead:
		return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
	case m.answer.Intn(100) < m.bad:
		return unavailable(0)
	}
	return nil
}

func (m *freshModel) after(context.Context, int64, int64) *client.Result {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	if m.answer.Intn(100) < m.lose {
		return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
	}
	return nil
}

func (m *freshModel) condition(bad, lose int) {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	m.bad, m.lose = bad, lose
	m.unsure = m.unsure || lose > 0
}

// poison makes the receiver take no request with some of the series.
func (m *freshModel) poison(classes int) {
	poison := map[uint64]bool{}
	m.poisoned = m.poisoned || classes > 0
	for range classes {
		poison[uint64(m.rnd.Intn(poisonOf))] = true
	}
	m.rc.refuse(poison)
}

// start begins a run.
func (m *freshModel) start() {
	m.mtx.Lock()
	m.dead = false
	m.mtx.Unlock()
	opts := m.opts
	if m.rnd.Intn(4) == 0 {
		opts.FreshFirst = nil
	}
	m.freshRig = newFreshRig(m.t, m.journal, m.rc, opts, m.conf)
}

// limit takes the log up to a segment, as the owner of the directory does.
func (m *freshModel) limit(segment int) {
	require.NoError(m.t, m.Forfeit(m.t.Context(), cursor.Position{Segment: segment}, "max_size"))
	require.NoError(m.t, m.journal.wal.Truncate(segment))
}

// addForfeited adds what a run that is over has forfeited.
func (m *freshModel) addForfeited() {
	for _, reason := range []string{"max_size", reasonStopped} {
		m.lost += int(testutil.ToFloat64(m.metrics.expired[queue.Samples].WithLabelValues("a", reason)))
	}
}

// stop ends a run gracefully.
func (m *freshModel) stop() {
	require.NoError(m.t, m.Close())
	m.addForfeited()
	f, _, err := savepoint.NewStore(m.journal.dir).Load()
	require.NoError(m.t, err)
	require.True(m.t, f.Clean)
}

// crash ends a run as SIGKILL does: from one instant on, nothing reaches the
// receiver, and what is on the disk then is all there is.
func (m *freshModel) crash() {
	m.unsure = true
	m.rc.mtx.Lock() // No request is being stored.
	m.mtx.Lock()
	m.dead = true
	m.mtx.Unlock()
	saved, err := os.ReadFile(filepath.Join(m.journal.dir, savepoint.CurrentName))
	require.NoError(m.t, err)
	m.rc.frozen = true
	m.rc.mtx.Unlock()
	require.NoError(m.t, m.Close())
	m.addForfeited()
	require.NoError(m.t, os.WriteFile(filepath.Join(m.journal.dir, savepoint.CurrentName), saved, 0o600))
	m.rc.mtx.Lock()
	m.rc.frozen = false
	m.rc.mtx.Unlock()
}

// check demands what holds at every moment.
func (m *freshModel) check() {
	if len(m.running) == 0 {
		return
	}
	require.LessOrEqual(m.t, len(m.running[0].streams()), 2)
	require.NoError(m.t, m.Persist(m.t.Context()))
	floor := m.journal.gate.Floor().Position
	f, _, err := savepoint.NewStore(m.journal.dir).Load()
	require.NoError(m.t, err)
	saved := f.Endpoints[0].Floor.Position
	if forfeited := (cursor.Position{Segment: f.Endpoints[0].ForfeitedBefore}); saved.Before(forfeited) {
		saved = forfeited
	}
	require.False(m.t, saved.Before(floor), "I1: the gate is at %s, the savepoint at %s", floor, saved)
}

// live lets everything that can arrive do so.
func (m *freshModel) live() {
	m.condition(0, 0)
	m.poison(0)
	require.Eventually(m.t, func() bool {
		require.NoError(m.t, m.Persist(m.t.Context()))
		return m.journal.gate.Floor().Position == *m.journal.head.Load()
	}, *freshWait, time.Millisecond, "%s", stringer(m.state))
}

// divide has the receiver come back from an outage, so that there are two streams, and
// refuse some series, which are isolated on both, unless the backlog ends first.
func (m *freshModel) divide() {
	m.outage()
	release := m.blockOld(2)
	m.divided()
	m.poisoned = true
	m.rc.refuse(map[uint64]bool{0: true, poisonOf / 2: true})
	m.rc.set(m.before)
	release()
	m.isolateOnBoth()
}

func (m *freshModel) step() {
	switch n := m.rnd.Intn(100); {
	case n < 45:
		for range m.rnd.Intn(25) {
			m.commit(50)
		}
	case n < 60:
		m.journal.cut()
	case n < 67:
		m.condition(100, 0)
	case n < 78:
		m.condition(m.rnd.Intn(30), 0)
	case n < 80:
		m.condition(0, m.rnd.Intn(30))
	case n < 84:
		m.poison(m.rnd.Intn(4))
	case n < 86:
		changed := *m.conf
		changed.QueueConfig.MaxShards = 1 + m.rnd.Intn(5)
		changed.QueueConfig.MaxSamplesPerSend = 20 + m.rnd.Intn(200)
		m.conf = &changed
		m.apply(m.conf)
	case n < 89:
		m.apply()
		m.commit(50)
		m.apply(m.conf)
	case n < 92:
		m.limit(m.journal.head.Load().Segment - m.rnd.Intn(3))
	case n < 95:
		m.stop()
		m.start()
	case n < 98:
		m.crash()
		m.start()
	default:
		m.live()
	}
}

// TestFreshModel defends I1, I2 and I8 with two streams: whatever is committed
// arrives or is counted as forfeited, whatever happens in between; and where no
// answer was lost and nothing crashed, it arrives or is counted exactly once. Every
// other schedule begins with two streams, and series that are isolated on both.
func TestFreshModel(t *testing.T) {
	for seed := *freshSeed; seed < *freshSeed+int64(*freshRuns); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { freshSchedule(t, seed) })
	}
}

func freshSchedule(t *testing.T, seed int64) {
	m := &freshModel{rnd: rand.New(rand.NewSource(seed)), answer: rand.New(rand.NewSource(seed)), conf: remoteWrite("a"), opts: freshOptions()}
	j := openJournal(t, t.TempDir(), nil)
	rc := newLateReceiver()
	rc.before, rc.after = m.before, m.after
	m.freshRig = &freshRig{rig: &rig{t: t, journal: j}, rc: rc}
	if seed%2 == 0 {
		m.freshRig = newFreshRig(t, j, rc, m.opts, m.conf)
		m.divide()
	} else {
		m.start()
	}
	for range 60 {
		m.step()
		m.check()
	}
	m.live()
	require.NoError(t, m.Close())
	m.addForfeited()
	n, again := rc.counts()
	require.GreaterOrEqual(t, n+m.lost, j.count, "I2: samples are missing")
	// What a series of the backlog waits with in the log comes before what the other
	// stream had delivered of it, which is sent again. What isolated series have in memory
	// of what a limit takes is delivered, and can count as taken.
	if !m.unsure && !m.poisoned {
		require.Equal(t, j.count, n+m.lost, "I2")
		require.Zero(t, again, "I2")
	}
	require.NoError(t, j.wal.Close())
}
