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
	"maps"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

// logTail keeps the end of a log.
type logTail struct {
	mtx  sync.Mutex
	text []byte
}

// logKept is how many bytes of logs a failure shows at the most.
const logKept = 1 << 16

func (l *logTail) Write(b []byte) (int, error) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	if l.text = append(l.text, b...); len(l.text) > 2*logKept {
		l.text = append(l.text[:0], l.text[len(l.text)-logKept:]...)
	}
	return len(b), nil
}

func (l *logTail) String() string {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return string(l.text)
}

// quiesce lets everything recover and demands that it settles: all is delivered, and
// what was delivered can go.
func (m *modelRun) quiesce() {
	m.mtx.Lock()
	for _, e := range m.endpoints {
		e.use(mode{kind: "ok"})
	}
	m.mtx.Unlock()
	if m.schedule.maxSize == 0 && !m.settle(m.endpoints...) {
		return // With a limit, what is forfeited is not missed.
	}
	present := false
	for _, e := range m.endpoints {
		present = present || e.present
		if !e.present && e.added > 0 && !e.short {
			return // It holds its part of the log.
		}
	}
	if !present {
		return // The log goes by age.
	}
	if m.broken() == "" && !m.within(func() bool {
		m.truncate()
		// Segment 0 goes only together with the next.
		head, first := m.db.journal.Head().Segment, firstSegment(m.dir)
		return head == first || (head == 1 && first == 0) || m.broken() != ""
	}) {
		m.mtx.Lock()
		defer m.mtx.Unlock()
		m.fail("I1: everything is delivered, and the log in %s begins with segment %d, not %s; the gate is %+v", m.dir, firstSegment(m.dir), m.db.journal.Head(), m.db.gate.Floor())
	}
}

// settle waits until endpoints have what they are owed and do not refuse, as long
// as something still arrives.
func (m *modelRun) settle(endpoints ...*modelEndpoint) bool {
	return m.settleWhile(func() {}, endpoints...)
}

// settleWhile is settle while something is done twice a second.
func (m *modelRun) settleWhile(beat func(), endpoints ...*modelEndpoint) bool {
	least, beaten := math.MaxInt, time.Now()
	for deadline := time.Now().Add(*modelStuckAfter); ; time.Sleep(5 * time.Millisecond) {
		if time.Since(beaten) > time.Second/2 {
			beat()
			beaten = time.Now()
		}
		m.mtx.Lock()
		missing := 0
		for _, e := range endpoints {
			if e.present {
				missing += len(m.missing(e))
			}
		}
		broken := len(m.problems) > 0
		m.mtx.Unlock()
		switch {
		case broken || missing == 0:
			return !broken
		case missing < least:
			least, deadline = missing, time.Now().Add(*modelStuckAfter)
		case time.Now().After(deadline):
			m.mtx.Lock()
			defer m.mtx.Unlock()
			for _, e := range endpoints {
				if lost := m.missing(e); e.present && len(lost) > 0 {
					m.fail("I2: %s does not get %d of the samples committed, the first is %d of %s at %d", e.server.URL, len(lost), lost[0].number, lost[0].name, lost[0].t)
				}
			}
			return false
		}
	}
}

func (*modelRun) within(done func() bool) bool {
	for deadline := time.Now().Add(*modelStuckAfter); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return done()
}

// finish demands that everything arrives after all, also over a last restart,
// and that what did not was counted.
func (m *modelRun) finish() {
	for _, e := range m.endpoints {
		m.bring(e)
	}
	m.apply()
	m.quiesce()
	if m.broken() == "" {
		m.stop()
		m.start()
		m.quiesce()
	}
	require.NoError(m.t, m.db.Close())
	require.NoError(m.t, m.rs.Close())
	if m.crashed {
		return // What that run had counted is not known.
	}
	m.mtx.Lock()
	defer m.mtx.Unlock()
	counted := m.counted.byHost()
	for _, e := range m.endpoints {
		if e.name == "" {
			continue // Its metrics are replaced when its settings change.
		}
		u, err := url.Parse(e.server.URL)
		require.NoError(m.t, err)
		if n := float64(m.without(e)); n > counted[u.Host] && e.lapsed == 0 {
			m.fail("I2: %s lacks %v samples, but only %v were counted as forfeited", e.server.URL, n, counted[u.Host])
		}
	}
}

// counters is a registry that keeps what counters of samples forfeited said when
// they were unregistered.
type counters struct {
	*prometheus.Registry
	kept *totals
}

// totals adds up counters over several runs.
type totals struct {
	mtx   sync.Mutex
	names map[string]string  // Host by name of the endpoint.
	hosts map[string]float64 // Samples refused or dropped, by host.
	lost  map[string]float64 // Samples forfeited to limits, by name.
}

func newTotals() *totals {
	return &totals{names: map[string]string{}, hosts: map[string]float64{}, lost: map[string]float64{}}
}

func (c counters) Unregister(collector prometheus.Collector) bool {
	last := prometheus.NewRegistry()
	if last.Register(collector) == nil {
		if families, err := last.Gather(); err == nil {
			c.kept.add(families)
		}
	}
	return c.Registry.Unregister(collector)
}

func (k *totals) add(families []*dto.MetricFamily) {
	k.mtx.Lock()
	defer k.mtx.Unlock()
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range metric.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			host := ""
			if u, err := url.Parse(have["url"]); err == nil && u.Host != "" {
				host = u.Host
				k.names[have["remote_name"]] = host
			}
			switch f.GetName() {
			case "prometheus_remote_storage_samples_failed_total", "prometheus_remote_storage_histograms_failed_total",
				"prometheus_remote_storage_samples_dropped_total", "prometheus_remote_storage_histograms_dropped_total":
				k.hosts[host] += metric.GetCounter().GetValue()
			case "prometheus_remote_storage_samples_expired_total", "prometheus_remote_storage_histograms_expired_total":
				k.lost[have["remote_name"]] += metric.GetCounter().GetValue()
			}
		}
	}
}

// byHost is all that was counted as forfeited, by host.
func (k *totals) byHost() map[string]float64 {
	k.mtx.Lock()
	defer k.mtx.Unlock()
	out := maps.Clone(k.hosts)
	for name, n := range k.lost {
		out[k.names[name]] += n
	}
	return out
}
