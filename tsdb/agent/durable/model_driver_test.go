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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/agent"
)

// modelRun carries out one schedule. Its methods belong to the test's goroutine,
// but for write.
type modelRun struct {
	time atomic.Int64 // Timestamp of the next sample in ms. First for 32-bit platforms.

	*ledger
	t        *testing.T
	schedule schedule
	root     string
	dir      string // Of the living agent.
	log      *slog.Logger
	logged   logTail
	clock    *testClock
	series   []*modelSeries
	changes  int // Generations of series so far.
	queue    string
	rules    []bool // Per endpoint, whether droppable series are dropped.

	db *DB
	rs *delivery.Storage

	crashed bool // At least once.
	counted *totals
}

func newModelRun(t *testing.T, s schedule) *modelRun {
	m := &modelRun{
		ledger: &ledger{}, t: t, schedule: s, root: t.TempDir(), clock: newTestClock(),
		counted: newTotals(),
	}
	m.log = slog.New(slog.NewTextHandler(&m.logged, nil))
	m.dir = filepath.Join(m.root, "0")
	m.time.Store(time.Now().UnixMilli())
	m.series = make([]*modelSeries, s.series)
	for i := range m.series {
		m.series[i] = newModelSeries(i, 0)
	}
	m.queue = queueConfig(rand.New(rand.NewSource(s.seed)))
	m.rules = make([]bool, s.endpoints+s.spare)
	for i := range s.endpoints + s.spare {
		e := newModelEndpoint(m.ledger, s.seed+int64(i))
		t.Cleanup(e.server.Close)
		e.window, e.lenient, e.short, e.present = s.windows[i], s.lenient, s.grace > 0, i < s.endpoints
		if !s.unnamed[i] {
			e.name = fmt.Sprintf("endpoint-%d", i)
		}
		m.endpoints = append(m.endpoints, e)
	}
	return m
}

// queueConfig draws a queue_config and a protocol.
func queueConfig(rng *rand.Rand) string {
	least := 1 + rng.Intn(4)
	return fmt.Sprintf(`
  protobuf_message: %s
  queue_config: {capacity: %d, min_shards: %d, max_shards: %d, max_samples_per_send: %d, batch_send_deadline: %dms, min_backoff: 2ms, max_backoff: 30ms}`,
		[]string{"prometheus.WriteRequest", "io.prometheus.write.v2.Request"}[rng.Intn(2)],
		[]int{10, 100, 2500}[rng.Intn(3)], least, least+rng.Intn(8), []int{1, 7, 50, 500}[rng.Intn(4)], 1+rng.Intn(50))
}

// config is the configuration at present.
func (m *modelRun) config() *config.Config {
	b := &strings.Builder{}
	fmt.Fprintf(b, "global: {external_labels: {%s}}\nremote_write:\n", strings.Replace(externalLabels, "=", ": ", 1))
	timeout := "30s"
	if m.schedule.lenient {
		timeout = "300ms"
	}
	some := false
	for i, e := range m.endpoints {
		if !e.present {
			continue
		}
		some = true
		fmt.Fprintf(b, "- url: %s/write\n  name: %q\n  remote_timeout: %s\n  headers: {%s: \"%d\"}\n  send_exemplars: true\n  send_native_histograms: true\n  metadata_config: {send: false}%s\n",
			e.server.URL, e.name, timeout, runHeader, m.agentRun, m.queue)
		if m.rules[i] {
			b.WriteString("  write_relabel_configs: [{source_labels: [class], regex: droppable, action: drop}]\n")
		}
	}
	text := b.String()
	if !some {
		text = strings.TrimSuffix(text, "remote_write:\n")
	}
	conf, err := config.Load(text, promslog.NewNopLogger())
	require.NoError(m.t, err, text)
	return conf
}

// apply applies the configuration.
func (m *modelRun) apply() {
	conf := m.config()
	ids, _, err := identity.Of(conf.RemoteWriteConfigs)
	require.NoError(m.t, err)
	m.mtx.Lock()
	k := 0
	for i, e := range m.endpoints {
		if !e.present {
			continue
		}
		e.urlHash = ids[k].URLHash
		k++
		if e.adding == 0 {
			e.adding = m.now()
		}
		if m.rules[i] {
			e.dropping = true
		}
	}
	m.mtx.Unlock()
	require.NoError(m.t, m.rs.ApplyConfig(conf))
	m.mtx.Lock()
	defer m.mtx.Unlock()
	for i, e := range m.endpoints {
		if !e.present {
			continue
		}
		if e.added == 0 {
			e.added = m.now()
		}
		if e.lapsed == math.MaxInt64 {
			e.lapsed = m.now()
		}
		if !m.rules[i] && e.dropping {
			e.dropping, e.droppedUntil = false, m.now()
		}
	}
}

// start begins a run of the agent in m.dir.
func (m *modelRun) start() {
	m.mtx.Lock()
	if m.agentRun == 0 {
		m.agentRun = 1
	}
	for _, e := range m.endpoints {
		e.stopping = false
		clear(e.inFlight)
	}
	m.mtx.Unlock()
	reg := counters{prometheus.NewRegistry(), m.counted}
	var err error
	m.rs, err = delivery.NewStorage(m.log, reg, func() (int64, error) { return 0, nil }, m.dir, time.Second, nil, false, m.options())
	require.NoError(m.t, err)
	opts := DefaultOptions()
	opts.WALSegmentSize, opts.MaxSize = m.schedule.segment, m.schedule.maxSize
	env := still()
	env.now = m.clock.now
	m.db, err = open(m.log, reg, m.rs, m.dir, opts, env)
	require.NoError(m.t, err)
	m.apply()
}

// options are those of the delivery. What is refused is held only for moments: a schedule
// is short.
func (m *modelRun) options() delivery.Options {
	o := delivery.Options{DropDenied: !m.schedule.holds, RefusedHold: -1, RemovedRetention: m.schedule.grace}
	if m.schedule.holds {
		o.RefusedHold = 200 * time.Millisecond
	}
	return o
}

// run carries the schedule out and returns what was found wrong.
func (m *modelRun) run() string {
	m.start()
	for i, st := range m.schedule.steps {
		if found := m.broken(); found != "" {
			return fmt.Sprintf("found at step %d:\n%s", i, found)
		}
		m.log.Info("STEP", "number", i, "step", st, "run", m.agentRun)
		m.step(st)
		time.Sleep(st.pause)
	}
	m.finish()
	if found := m.broken(); found != "" {
		return "found at the end:\n" + found
	}
	return ""
}

// step carries one step out.
func (m *modelRun) step(st step) {
	var (
		writers sync.WaitGroup
		e       = m.endpoints[st.endpoint]
	)
	if st.kind == "dormant" {
		m.use(e, mode{kind: "503"})
	}
	for w := range min(st.commits, modelWriters) {
		db, run := m.db, m.agentRun
		writers.Go(func() { m.write(db, run, w, st, (st.commits+modelWriters-1)/modelWriters) })
	}
	if !st.beside {
		writers.Wait()
	}
	switch st.kind {
	case "churn":
		rng := rand.New(rand.NewSource(st.seed))
		m.changes++
		for range 1 + len(m.series)/10 {
			i := rng.Intn(len(m.series))
			m.series[i] = newModelSeries(i, m.changes)
		}
	case "idle":
		m.idle(1 + int(st.seed%3))
	case "dormant":
		m.idle(3)
		if st.seed%2 == 0 {
			m.crash(st)
		} else {
			m.restart(st)
		}
	case "truncate":
		db := m.db
		writers.Go(func() { m.check(db.enforceLimits(context.Background())) }) // A goroutine of its own does so.
		m.truncate()
	case "seal":
		_, err := m.db.journal.cutIfOlder(0)
		m.check(err)
		m.check(m.db.enforceLimits(context.Background()))
		m.check(m.db.capture(context.Background(), false))
		m.db.checkNext(context.Background())
	case "fault":
		m.use(e, st.mode)
		if st.mode.every > 0 && e.present && m.schedule.maxSize == 0 {
			writers.Wait()
			// What shows that an endpoint takes something may have to come yet.
			rng := rand.New(rand.NewSource(st.seed))
			m.settleWhile(func() { m.commit(m.db, m.agentRun, rng, 0, 4) }, e)
		}
	case "recover":
		m.use(e, mode{kind: "ok"})
	case "reload":
		m.queue = queueConfig(rand.New(rand.NewSource(st.seed)))
		m.apply()
	case "rules":
		m.rules[st.endpoint] = !m.rules[st.endpoint]
		m.apply()
	case "add":
		m.bring(e)
		m.apply()
	case "remove":
		m.remove(st.endpoint)
	case "restart":
		m.restart(st)
	case "crash":
		m.crash(st)
	case "quiesce":
		m.quiesce()
	}
	writers.Wait()
}

func (m *modelRun) use(e *modelEndpoint, to mode) {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	e.use(to)
}

// idle lets time pass without appends. Series go out of use in one round and out
// of memory in a later one.
func (m *modelRun) idle(rounds int) {
	for range rounds {
		m.clock.add(2 * m.db.opts.minAge())
		m.truncate()
	}
}

func (m *modelRun) truncate() { m.check(m.db.truncate(context.Background())) }

// check notes an error that may not be.
func (m *modelRun) check(err error) {
	if err != nil {
		m.mtx.Lock()
		defer m.mtx.Unlock()
		m.fail("a step of the maintenance failed: %s", err)
	}
}

// shaky notes that requests of an endpoint may be broken off from now on.
// Callers hold mtx.
func (e *modelEndpoint) shaky() {
	if time.Since(e.trouble) < 5*time.Second {
		e.stopping = true
		e.unsettle(time.Now().Add(-time.Second))
	}
}

// remove takes an endpoint out of the configuration, which breaks off what is
// under way.
func (m *modelRun) remove(i int) {
	e := m.endpoints[i]
	if !e.present {
		return
	}
	m.mtx.Lock()
	e.stopping = true
	e.unsettle(time.Now().Add(-time.Second))
	m.mtx.Unlock()
	e.present = false
	m.apply()
	m.mtx.Lock()
	e.stopping = false
	clear(e.inFlight)
	m.mtx.Unlock()
}

// bring puts an endpoint into the configuration. If it had been removed longer
// than it is held for, it is not owed what came before. Callers apply.
func (m *modelRun) bring(e *modelEndpoint) {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	if !e.present && e.short {
		e.lapsed = math.MaxInt64
	}
	e.present = true
}

// restart stops the agent as a process that ends gracefully does, and starts it
// again.
func (m *modelRun) restart(st step) {
	m.stop()
	if st.copied {
		m.openWithStock(m.dir)
	}
	m.start()
}

func (m *modelRun) stop() {
	m.mtx.Lock()
	for _, e := range m.endpoints {
		e.shaky()
	}
	m.mtx.Unlock()
	begin := time.Now()
	require.NoError(m.t, m.db.Close())
	require.NoError(m.t, m.rs.Close())
	m.mtx.Lock()
	defer m.mtx.Unlock()
	for _, e := range m.endpoints {
		if time.Since(begin) > 300*time.Millisecond {
			e.unsettle(begin.Add(-time.Second)) // Something was broken off, in the end.
		}
		e.release()
	}
	m.agentRun++
	require.NoError(m.t, m.inspect(m.dir, m.schedule.maxSize > 0))
}

// crash copies the directory at one instant and goes on in the copy.
func (m *modelRun) crash(st step) {
	m.crashed = true
	to := filepath.Join(m.root, strconv.Itoa(m.agentRun))
	var maintenance sync.WaitGroup
	if rng := rand.New(rand.NewSource(st.seed)); rng.Intn(2) == 0 {
		db := m.db
		maintenance.Go(func() { m.check(db.truncate(context.Background())) })
		time.Sleep(time.Duration(rng.Intn(3000)) * time.Microsecond)
	}
	m.mtx.Lock()
	m.agentRun++
	m.kills++
	err := cloneDirectory(m.t.Context(), m.dir, to)
	if err == nil && st.power {
		// The fallback is what was written durably last. Segments survive: that
		// they are synced too is for others to show.
		err = onlyDurable(to)
	}
	if err == nil {
		err = m.inspect(to, m.schedule.maxSize > 0)
	}
	for _, e := range m.endpoints {
		e.release()
	}
	m.mtx.Unlock()
	require.NoError(m.t, err)

	// The agent that lived on unknowingly. Its requests are turned away.
	maintenance.Wait()
	require.NoError(m.t, m.db.Close())
	_ = m.rs.Close() // It may fail, for its receivers do.
	require.NoError(m.t, os.RemoveAll(m.dir))
	m.dir = to
	if st.copied {
		m.openWithStock(m.dir)
	}
	m.start()
}

// onlyDurable takes a savepoint back to what was synced to disk.
func onlyDurable(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, savepoint.PreviousName))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(filepath.Join(dir, savepoint.CurrentName))
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, savepoint.CurrentName), data, 0o600)
}

// openWithStock checks that the best-effort storage accepts a copy of the
// directory (I7).
func (m *modelRun) openWithStock(dir string) {
	to := filepath.Join(m.root, "stock")
	require.NoError(m.t, cloneDirectory(m.t.Context(), dir, to))
	db := openStock(m.t, prometheus.NewRegistry(), to, *agent.DefaultOptions())
	require.NoError(m.t, db.Close())
	require.NoError(m.t, os.RemoveAll(to))
}
