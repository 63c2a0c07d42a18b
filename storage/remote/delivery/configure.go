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
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/config"
)

// ApplyConfig makes conf the configuration. Endpoints that are in it, by what
// identifies them, take new settings over without stopping; new ones begin at
// the present end of the log; removed ones stop and keep their hold for a
// while. On an error nothing has changed: whatever can fail is done first. It is
// one if a new endpoint's place cannot be written to disk.
//
// Scraping does not wait for it, and it does not wait for endpoints.
func (s *Storage) ApplyConfig(conf *config.Config) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.closed {
		return errors.New("remote write is closed")
	}
	sets, warnings, err := s.prepare(conf)
	if err != nil {
		return err
	}
	reading := *conf
	reading.RemoteWriteConfigs = nil
	read := func() error { return s.beside.ApplyConfig(&reading) }
	switch {
	case s.src != nil:
		err = s.apply(sets, read)
	default:
		closeClients(sets)
		if err = read(); err == nil {
			s.conf = conf
		}
	}
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.logger.Warn("Endpoints without a name are hard to tell apart", "warning", w.String())
	}
	s.checkFreshFirst(sets)
	return nil
}

// checkFreshFirst tells of options that no endpoint has, which is most likely a
// mistake in a name, or a reload away from being none.
func (s *Storage) checkFreshFirst(sets []*settings) {
	for name := range s.opts.FreshFirst {
		if !slices.ContainsFunc(sets, func(set *settings) bool { return set.name == name }) {
			s.logger.Warn("An endpoint that is to have fresh samples first is not in the configuration", "remote_name", name)
		}
	}
}

// prepare builds the settings of all endpoints in conf. Nothing of them takes
// effect yet. Callers hold mtx.
func (s *Storage) prepare(conf *config.Config) ([]*settings, []identity.Warning, error) {
	ids, warnings, err := identity.Of(conf.RemoteWriteConfigs)
	if err != nil {
		return nil, nil, err
	}
	sets := make([]*settings, 0, len(ids))
	former := identity.Former(conf.RemoteWriteConfigs)
	for i, c := range conf.RemoteWriteConfigs {
		set, err := newSettings(ids[i], c, conf.GlobalConfig.ExternalLabels, &s.rules, s.opts, s.typeAndUnit)
		if err != nil {
			closeClients(sets)
			return nil, nil, err
		}
		set.former = former[i]
		sets = append(sets, set)
	}
	return sets, warnings, nil
}

// closeClients lets go of settings that no endpoint adopts.
func closeClients(sets []*settings) {
	for _, set := range sets {
		set.client.Close()
	}
}

// plan says which endpoint each of some settings is for. Callers hold mtx.
func (s *Storage) plan(sets []*settings) *plan {
	ids, former := make([]savepoint.Identity, len(sets)), make([]savepoint.Identity, len(sets))
	for i, set := range sets {
		ids[i], former[i] = set.identity, set.former
	}
	known := make([]savepoint.Identity, 0, len(s.running)+len(s.held))
	for _, e := range s.running {
		known = append(known, e.settings.Load().identity)
	}
	for _, st := range s.held {
		known = append(known, st.identity)
	}
	match := identity.Match(known, ids, former)

	p := &plan{
		sets: sets, match: match, previous: s.running, held: s.held,
		metrics: make([]*endpointMetrics, len(sets)), begin: make([]*endpointState, len(sets)),
	}
	for i, k := range match {
		switch {
		case k < 0:
			p.begin[i] = s.newState(ids[i], sets[i].name)
		case k >= len(p.previous):
			resumed := *p.held[k-len(p.previous)]
			resumed.identity, resumed.name, resumed.removed = ids[i], sets[i].name, nil
			p.begin[i] = &resumed
		}
	}
	return p
}

// plan is a configuration that has not taken effect.
type plan struct {
	sets     []*settings
	match    []int // The endpoint of each, among those at work and then those held; -1 for a new one.
	previous []*endpoint
	held     []*endpointState
	metrics  []*endpointMetrics // Of each that has not got its own already, or nil.
	begin    []*endpointState   // Where each begins that is not at work, or nil.
}

// apply puts settings to work. Everything that can fail is done before anything
// changes, the caller's part of it too. Callers hold mtx.
func (s *Storage) apply(sets []*settings, also func() error) error {
	p := s.plan(sets)
	err := s.equip(p)
	if err == nil {
		err = s.announce(p)
	}
	if err == nil {
		err = also()
	}
	if err != nil {
		s.abandon(p)
		return err
	}
	s.commit(p)
	return nil
}

// equip registers the metrics that endpoints will have.
func (s *Storage) equip(p *plan) (err error) {
	for i, set := range p.sets {
		if k := p.match[i]; k >= 0 && k < len(p.previous) {
			if now := p.previous[k].settings.Load(); now.name == set.name && now.url == set.url {
				continue
			}
		}
		if p.metrics[i], err = s.sets.get(set.name, set.url); err != nil {
			return fmt.Errorf("remote_write %q: %w", set.name, err)
		}
	}
	return nil
}

// announce writes where new endpoints begin to disk: before anything may be removed
// from there on, and before anything is sent. Those that are known already have a
// place there; delivering to them, which is what makes room on a disk that is
// full, does not depend on it.
func (s *Storage) announce(p *plan) error {
	fresh := slices.Clone(p.held)
	for i, st := range p.begin {
		if p.match[i] < 0 {
			fresh = append(fresh, st)
		}
	}
	if len(fresh) == len(p.held) {
		return nil
	}
	s.setLists(p.previous, fresh)
	err := s.save(true)
	if s.unsaved.Load() && s.src.follow == nil && vfs.NoRoom(err) {
		// As long as there is no savepoint, a start begins at the oldest segment that
		// a run of ours has written to.
		s.logger.Error("There is no room to save where delivery begins, which is tried again", "err", err)
		return nil
	}
	return err
}

// abandon leaves everything as it was.
func (s *Storage) abandon(p *plan) {
	s.setLists(p.previous, p.held)
	for _, m := range p.metrics {
		if m != nil {
			s.sets.release(m)
		}
	}
	closeClients(p.sets)
}

// commit makes a plan what is. Nothing of it can fail.
func (s *Storage) commit(p *plan) {
	var (
		kept     = make([]bool, len(p.previous)+len(p.held))
		running  []*endpoint
		starting []*endpoint
		rules    = map[*rules]bool{}
		now      = time.Now()
	)
	for i, k := range p.match {
		rules[p.sets[i].rules] = true
		if k >= 0 {
			kept[k] = true
		}
	}
	held := s.halt(p.previous, kept[:len(p.previous)], now)
	for i, st := range p.held {
		if kept[len(p.previous)+i] {
			continue
		}
		if st.removed == nil {
			removed := *st
			removed.removed = &now
			st = &removed
		}
		held = append(held, st)
	}
	waiting := slices.Clone(held)
	for i, set := range p.sets {
		var e *endpoint
		if st := p.begin[i]; st != nil {
			e = newEndpoint(s, st, set, p.metrics[i])
			counted := *st // States may be shared.
			counted.uncounted = [3]int64{}
			starting = append(starting, e)
			waiting = append(waiting, &counted)
			s.logger.Info("Delivering to endpoint", "remote_name", set.name, "url", set.url,
				"position", st.floor().String(), "resumed", p.match[i] >= 0 || s.lost)
		} else {
			e = p.previous[p.match[i]]
			e.adopt(set, p.metrics[i])
			e.watchMetadata()
			running = append(running, e)
		}
	}
	s.configured.Store(true)
	s.setLists(running, waiting)
	if err := s.save(true); err != nil {
		s.logger.Error("Cannot write the savepoint with the new configuration; nothing is removed from the log before it can be written", "err", err)
	}
	for _, e := range starting {
		e.start()
		e.watchMetadata()
	}
	s.setLists(append(running, starting...), held)
	s.dispatcher.setDelay(batchDelayFor(p.sets))
	s.rules.retain(rules)
	s.lost, s.fromStart = false, false
}

// newState is where an endpoint begins that has no position: at the end of the
// log, or at the oldest record if positions were lost or the log is new. Callers hold
// mtx.
func (s *Storage) newState(id savepoint.Identity, name string) *endpointState {
	head := s.src.Head()
	at := head
	if s.lost || s.fromStart {
		at = s.oldest
	}
	mark := head
	if s.fromStart {
		mark = at
	}
	return stateAt(ulid.Make().String(), id, name, s.pointAt(s.src.WALDir, at), mark)
}

// halt stops those of all that are not kept and returns where they stand.
func (s *Storage) halt(all []*endpoint, kept []bool, now time.Time) (states []*endpointState) {
	for i, e := range all {
		if !kept[i] {
			e.stopMetadata()
			e.beginStop()
			e.halt()
			e.cancel()
		}
	}
	for i, e := range all {
		if kept[i] {
			continue
		}
		st := e.finishStop(context.Background())
		s.forfeitMemory(st.name, st.memory, st.floor().Position, st.givenUp)
		st = st.without(st.givenUp)
		st.removed = &now
		states = append(states, st)
		s.logger.Info("Endpoint was removed from the configuration; its part of the log is kept for a while", "remote_name", st.name, "grace", s.opts.Grace)
	}
	return states
}

// newEndpoint returns an endpoint that is to begin where st says.
func newEndpoint(s *Storage, st *endpointState, set *settings, m *endpointMetrics) *endpoint {
	e := &endpoint{
		id:         st.id,
		names:      newNamed(s.logger),
		src:        s.src,
		dispatcher: s.dispatcher,
		persist:    s.saveUnless,
		pointAt:    func(at cursor.Position) cursor.Point { return s.pointAt(s.src.WALDir, at) },
		damaged:    s.damaged,
		sm:         s.scrape,
		sets:       s.sets,
		freshAfter: s.opts.FreshAfter,
		paceEvery:  s.opts.pace,
		caches:     &s.caches,
		stop:       make(chan struct{}),
	}
	e.logger = slog.New(e.names)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.counted.parts = st.counted
	e.at = []*stream{e.newStream(st.marks, st.apart, st.mark)}
	if st.acked != nil {
		e.at[0].acked = st.acked
	}
	if st.fresh != nil {
		e.at[0].cursor.bound(st.fresh.from)
		e.at = append(e.at, e.newStream(st.fresh.marks, st.fresh.apart, st.fresh.mark))
	}
	e.adopt(set, m)
	e.metrics.Load().countUnread(st.uncounted)
	return e
}

// start puts an endpoint to work.
func (e *endpoint) start() {
	for _, l := range e.streams() {
		l.begin()
	}
	e.observe()
	e.wg.Go(e.pace)
}
