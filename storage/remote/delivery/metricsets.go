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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// metricSets hands out the metrics of endpoints. Two endpoints can want those of
// one name and URL for a moment during a reload, and names are shared for longer:
// a consumer of the log is known by its name alone, whatever its URL. So each set
// is there until no endpoint uses it any more.
type metricSets struct {
	reg     prometheus.Registerer
	watcher *watcherMetrics

	mtx       sync.Mutex // Guards what follows, and creating and deleting metrics.
	sets      map[setLabels]*sharedSet
	consumers map[string]int // Sets by name.
}

// sharedSet is a set with how many use it.
type sharedSet struct {
	*endpointMetrics
	uses int
}

func newMetricSets(reg prometheus.Registerer, w *watcherMetrics) *metricSets {
	return &metricSets{reg: reg, watcher: w, sets: map[setLabels]*sharedSet{}, consumers: map[string]int{}}
}

// get returns the metrics of a name and URL, which are registered. They are to be
// released once.
func (x *metricSets) get(name, url string) (*endpointMetrics, error) {
	x.mtx.Lock()
	defer x.mtx.Unlock()
	key := setLabels{name, url}
	s := x.sets[key]
	if s == nil {
		m := newEndpointMetrics(x.reg, x.watcher, name, url)
		m.labels = key
		if err := m.set.register(); err != nil {
			if x.consumers[name] == 0 {
				x.watcher.forget(name)
			}
			return nil, err
		}
		s = &sharedSet{endpointMetrics: m}
		x.sets[key] = s
		x.consumers[name]++
	}
	s.uses++
	return s.endpointMetrics, nil
}

// release ends a use of metrics. They are gone with the last one.
func (x *metricSets) release(m *endpointMetrics) {
	x.mtx.Lock()
	defer x.mtx.Unlock()
	s := x.sets[m.labels]
	s.uses--
	if s.uses > 0 {
		return
	}
	delete(x.sets, m.labels)
	m.set.unregister()
	name := m.labels.name
	x.consumers[name]--
	if x.consumers[name] == 0 {
		delete(x.consumers, name)
		x.watcher.forget(name)
	}
}

// showFamilies has the metrics of metadata shown for an endpoint more.
func (x *metricSets) showFamilies(m *endpointMetrics) error {
	x.mtx.Lock()
	defer x.mtx.Unlock()
	if m.shownBy == 0 {
		if err := m.families.register(); err != nil {
			return err
		}
	}
	m.shownBy++
	return nil
}

// hideFamilies ends that for one endpoint.
func (x *metricSets) hideFamilies(m *endpointMetrics) {
	x.mtx.Lock()
	defer x.mtx.Unlock()
	m.shownBy--
	if m.shownBy == 0 {
		m.families.unregister()
	}
}

// inherit takes over what the gauges of an endpoint told that goes on under
// another name or URL. Counters begin anew, as those of any new series do.
func (m *endpointMetrics) inherit(old *endpointMetrics) {
	m.highest.raise(old.highest.max.load())
	m.highestSent.raise(old.highestSent.max.load())
}

// pending counts what an endpoint has in memory that is not acknowledged. It
// belongs to the endpoint and not to its metrics, so that nothing is counted at
// one and taken off another when those are replaced.
type pending struct {
	mtx sync.Mutex // Also orders changes of the metrics that show it.
	n   queue.Counts

	settled int // Items that ever left a queue.
}

// show makes m the endpoint's metrics and puts the numbers there.
func (e *endpoint) show(m *endpointMetrics) {
	e.pending.mtx.Lock()
	defer e.pending.mtx.Unlock()
	e.metrics.Store(m)
	for c, n := range e.pending.n {
		m.pending[c].Set(float64(n))
	}
}

// changePending adds items that joined a queue, or with -1 as the sign takes off
// items that left one.
func (e *endpoint) changePending(t queue.Counts, sign int) {
	e.pending.mtx.Lock()
	defer e.pending.mtx.Unlock()
	m := e.metrics.Load()
	for c, n := range t {
		e.pending.n[c] += sign * n
		if sign < 0 {
			e.pending.settled += n
		}
		m.pending[c].Set(float64(e.pending.n[c]))
	}
}
