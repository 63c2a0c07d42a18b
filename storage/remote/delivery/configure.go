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
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/config"
)

// ApplyConfig makes conf the configuration. Endpoints that are in it, by what
// identifies them, take new settings over without stopping; new ones begin at
// the present end of the log; removed ones stop and are retained for a
// while. On an error nothing has changed: whatever can fail is done first. It is
// one if a new endpoint's position cannot be written to disk.
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
	read := func() error { return s.reads.ApplyConfig(&reading) }
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

// plan is a configuration on its way:
//
//	plan ──▶ equip ──▶ announce ──▶ commit
//	             └──────────┴──▶ abandon, if one fails: everything is as before
type plan struct {
	entries  []planned
	running  []*endpoint      // Those at work before it,
	retained []*endpointState // and those retained.
}

// planned is an entry of the configuration: settings for an endpoint that is at work, for
// one that is retained and resumes, or for a new one.
type planned struct {
	set      *settings
	running  *endpoint        // Nil if it is not at work.
	retained *endpointState   // What it resumes, nil if that is nothing.
	begin    *endpointState   // Where it begins if it is not at work.
	metrics  *endpointMetrics // Nil if it is at work and has got its own already.
}

// isNew reports whether nothing was known of the endpoint.
func (e *planned) isNew() bool { return e.running == nil && e.retained == nil }

// plan says which endpoint each of some settings is for. Callers hold mtx.
func (s *Storage) plan(sets []*settings) *plan {
	ids, former := make([]savepoint.Identity, len(sets)), make([]savepoint.Identity, len(sets))
	for i, set := range sets {
		ids[i], former[i] = set.identity, set.former
	}
	known := make([]savepoint.Identity, 0, len(s.running)+len(s.retained))
	for _, e := range s.running {
		known = append(known, e.settings.Load().identity)
	}
	for _, st := range s.retained {
		known = append(known, st.identity)
	}
	p := &plan{entries: make([]planned, len(sets)), running: s.running, retained: s.retained}
	for i, k := range identity.Match(known, ids, former) {
		e := &p.entries[i]
		e.set = sets[i]
		switch {
		case k < 0:
			e.begin = s.newState(ids[i], e.set.name)
		case k < len(p.running):
			e.running = p.running[k]
		default:
			e.retained = p.retained[k-len(p.running)]
			resumed := *e.retained
			resumed.identity, resumed.name, resumed.removed, resumed.removedAt = ids[i], e.set.name, nil, cursor.Position{}
			e.begin = &resumed
		}
	}
	return p
}

// keeps reports whether an endpoint that is at work stays so.
func (p *plan) keeps(e *endpoint) bool {
	return slices.ContainsFunc(p.entries, func(o planned) bool { return o.running == e })
}

// resumes reports whether an endpoint that is retained comes back.
func (p *plan) resumes(st *endpointState) bool {
	return slices.ContainsFunc(p.entries, func(o planned) bool { return o.retained == st })
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
	for i := range p.entries {
		e := &p.entries[i]
		if e.running != nil {
			if now := e.running.settings.Load(); now.name == e.set.name && now.url == e.set.url {
				continue
			}
		}
		if e.metrics, err = s.sets.get(e.set.name, e.set.url); err != nil {
			return fmt.Errorf("remote_write %q: %w", e.set.name, err)
		}
	}
	return nil
}

// announce writes where new endpoints begin to disk: before anything may be removed
// from there on, and before anything is sent. Those that are known already have a
// position there; delivering to them, which is what makes room on a disk that is
// full, does not depend on it.
func (s *Storage) announce(p *plan) error {
	retained := slices.Clone(p.retained)
	for i := range p.entries {
		if e := &p.entries[i]; e.isNew() {
			retained = append(retained, e.begin)
		}
	}
	if len(retained) == len(p.retained) {
		return nil
	}
	s.setLists(p.running, retained)
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
	s.setLists(p.running, p.retained)
	for _, e := range p.entries {
		if e.metrics != nil {
			s.sets.release(e.metrics)
		}
		e.set.client.Close()
	}
}

// commit carries out a plan. It cannot fail.
func (s *Storage) commit(p *plan) {
	var (
		running  []*endpoint
		starting []*endpoint
		rules    = map[*rules]bool{}
		sets     = make([]*settings, 0, len(p.entries))
		retained = s.retain(p)
		waiting  = slices.Clone(retained) // With those that are about to start.
	)
	for _, e := range p.entries {
		sets = append(sets, e.set)
		rules[e.set.rules] = true
		s.metrics.expect(e.set.name)
		if e.running != nil {
			e.running.applySettings(e.set, e.metrics)
			e.running.watchMetadata()
			running = append(running, e.running)
			continue
		}
		starting = append(starting, newEndpoint(s, e.begin, e.set, e.metrics))
		waiting = append(waiting, e.begin.whenCounted())
		s.logger.Info("Delivering to endpoint", "remote_name", e.set.name, "url", e.set.shown,
			"position", e.begin.floor().String(), "resumed", !e.isNew() || s.lost,
			"backlog_bytes", s.src.bytes(e.begin.floor().Position, s.src.Head()))
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
	s.setLists(append(running, starting...), retained)
	s.dispatcher.setDelay(batchDelayFor(sets))
	s.rules.retain(rules)
	s.lost, s.fromStart, s.resumeOld = false, false, false
}

// retain stops the endpoints that a plan does not have, and returns those that are retained
// from now on.
func (s *Storage) retain(p *plan) []*endpointState {
	now := time.Now()
	retained := s.halt(slices.DeleteFunc(slices.Clone(p.running), p.keeps), now)
	for _, st := range p.retained {
		if p.resumes(st) {
			continue
		}
		if st.removed == nil && !s.opts.LeaveOthers {
			removed := *st
			removed.removed, removed.removedAt = &now, s.src.Head()
			st = &removed
		}
		retained = append(retained, st)
	}
	return retained
}

// newState is where an endpoint begins that has no position: at the end of the
// log, or at the oldest record if positions were lost, the log is new, or that of
// another engine is to be resumed. Callers hold mtx.
func (s *Storage) newState(id savepoint.Identity, name string) *endpointState {
	head := s.src.Head()
	at := head
	if s.lost || s.fromStart {
		at = s.oldest
	}
	mark := head
	switch {
	case s.fromStart:
		mark = at
	case s.resumeOld:
		at = s.oldest // What of it may have been sent, only the other engine knew.
	}
	st := stateAt(ulid.Make().String(), id, name, s.pointAt(s.src.WALDir, at), mark)
	st.passed = passedBy(s.src, st)
	s.tellPassed([]*endpointState{st})
	return st
}

// halt stops endpoints and returns their states.
func (s *Storage) halt(all []*endpoint, now time.Time) (states []*endpointState) {
	for _, e := range all {
		e.stopMetadata()
		e.beginStop()
		e.halt()
		e.cancel()
	}
	for _, e := range all {
		st := e.finishStop(context.Background())
		s.forfeitMemory(st.name, st.memory, st.floor().Position, st.forfeitedBefore)
		st = st.without(st.forfeitedBefore)
		st.removed, st.removedAt = &now, s.src.Head()
		states = append(states, st)
		s.logger.Info("Endpoint was removed from the configuration; its part of the log is kept for a while", "remote_name", st.name, "kept_for", s.opts.RemovedRetention)
	}
	return states
}

// newEndpoint returns an endpoint that is to begin where st says.
func newEndpoint(s *Storage, st *endpointState, set *settings, m *endpointMetrics) *endpoint {
	now := time.Now()
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
		encoders:   s.encoders,
		noted:      noted{tallies: &s.tallies, activity: activity{at: now, turned: now}},
		stop:       make(chan struct{}),
	}
	e.logger, e.losses = slog.New(e.names), s.losses
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.counted.parts = st.whenCounted().counted
	e.at = []*stream{e.newStream(st.acked, st.apart, st.dispatched)}
	if st.countedAcked != nil {
		e.at[0].countedAcked = st.countedAcked
	}
	if st.fresh != nil {
		e.at[0].cursor.bound(st.fresh.from)
		e.at = append(e.at, e.newStream(st.fresh.acked, st.fresh.apart, st.fresh.dispatched))
	}
	e.applySettings(set, m)
	e.metrics.Load().countUnread(st.uncounted)
	e.tally(DropUnreadable, reasonGone, queue.Counts{queue.Samples: int(st.uncounted[1])}, st.uncounted[0])
	s.countPassed(e.metrics.Load(), st)
	return e
}

// start puts an endpoint to work.
func (e *endpoint) start() {
	e.note(time.Now(), e.observe()) // Before anything is taken: what is before this is a backlog.
	for _, s := range e.streams() {
		s.begin()
	}
	e.wg.Go(e.pace)
}
