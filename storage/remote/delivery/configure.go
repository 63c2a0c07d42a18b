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
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/prometheus/prometheus/config"

	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// ApplyConfig makes conf the configuration. Endpoints that are in it, by what
// identifies them, take new settings over without stopping; new ones begin at
// the present end of the log; removed ones stop and keep their hold for a
// while. On an error nothing has changed.
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
	if err := s.read.ApplyConfig(&reading); err != nil {
		closeClients(sets)
		return err
	}
	for _, w := range warnings {
		s.logger.Warn("Endpoints without a name are hard to tell apart", "warning", w.String())
	}
	s.checkFreshFirst(sets)
	if s.src == nil {
		closeClients(sets)
		s.conf = conf
		return nil
	}
	return s.apply(sets)
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
	for i, c := range conf.RemoteWriteConfigs {
		set, err := newSettings(ids[i], c, conf.GlobalConfig.ExternalLabels, &s.rules, s.opts, s.typeAndUnit)
		if err != nil {
			closeClients(sets)
			return nil, nil, err
		}
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

// apply puts settings to work. Callers hold mtx.
func (s *Storage) apply(sets []*settings) error {
	ids := make([]savepoint.Identity, len(sets))
	for i, set := range sets {
		ids[i] = set.identity
	}
	known := make([]savepoint.Identity, 0, len(s.running)+len(s.held))
	for _, e := range s.running {
		known = append(known, e.settings.Load().identity)
	}
	for _, st := range s.held {
		known = append(known, st.identity)
	}
	match := identity.Match(known, ids)

	var (
		errs     []error
		used     = make([]bool, len(known))
		running  []*endpoint
		begin    []int // Settings of endpoints that are to be started.
		rules    = map[*rules]bool{}
		now      = time.Now()
		previous = s.running
	)
	for i, k := range match {
		rules[sets[i].rules] = true
		if k < 0 || k >= len(previous) {
			if k >= 0 {
				used[k] = true
			}
			begin = append(begin, i)
			continue
		}
		used[k] = true
	}
	// Endpoints that go stop first: they give back names that others may want.
	var held []*stand
	held = append(held, s.halt(previous, used[:len(previous)], now)...)
	for i, st := range s.held {
		if !used[len(previous)+i] {
			if st.removed == nil {
				removed := *st
				removed.removed = &now
				st = &removed
			}
			held = append(held, st)
		}
	}
	for i, k := range match {
		if k < 0 || k >= len(previous) {
			continue
		}
		e := previous[k]
		if err := e.adopt(sets[i]); err != nil {
			errs = append(errs, fmt.Errorf("remote_write %q: %w", sets[i].name, err))
		}
		e.watchMetadata(s.flush)
		running = append(running, e)
	}
	fresh := make([]*stand, len(begin))
	for n, i := range begin {
		fresh[n] = s.newStand(ids[i], sets[i].name)
		if k := match[i]; k >= 0 {
			resumed := *s.held[k-len(previous)]
			resumed.identity, resumed.name, resumed.removed = ids[i], sets[i].name, nil
			fresh[n] = &resumed
		}
	}
	// Where endpoints begin must be on disk before anything may be removed
	// from there on, and before anything is sent.
	s.setLists(running, append(slices.Clone(held), fresh...))
	if err := s.save(true); err != nil {
		errs = append(errs, err)
	} else {
		s.src.Gate.Open()
	}
	for n, i := range begin {
		e, err := startEndpoint(s, fresh[n], sets[i])
		if err != nil {
			// It keeps its place, so that a corrected configuration finds it.
			sets[i].client.Close()
			held = append(held, fresh[n])
			errs = append(errs, fmt.Errorf("remote_write %q: %w", sets[i].name, err))
			continue
		}
		e.watchMetadata(s.flush)
		running = append(running, e)
		s.logger.Info("Delivering to endpoint", "remote_name", sets[i].name, "url", sets[i].url,
			"position", fresh[n].floor().String(), "resumed", match[i] >= 0 || s.lost)
	}
	s.setLists(running, held)
	s.feed.be(patienceFor(sets))
	s.rules.retain(rules)
	s.lost = false
	return errors.Join(errs...)
}

// newStand is where an endpoint begins that has no position: at the end of the
// log, or at the oldest record if positions were lost. Callers hold mtx.
func (s *Storage) newStand(id savepoint.Identity, name string) *stand {
	head := s.src.Head()
	at := head
	if s.lost {
		at = s.oldest
	}
	return standAt(ulid.Make().String(), id, name, s.pointAt(s.src.WALDir, at), head)
}

// halt stops those of all that are not kept and returns where they stand.
func (s *Storage) halt(all []*endpoint, kept []bool, now time.Time) (stands []*stand) {
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
		s.forfeitMemory(e)
		st.removed = &now
		stands = append(stands, st)
		s.logger.Info("Endpoint was removed from the configuration; its part of the log is kept for a while", "remote_name", st.name, "grace", s.opts.Grace)
	}
	return stands
}

// startEndpoint puts an endpoint to work where st says.
func startEndpoint(s *Storage, st *stand, set *settings) (*endpoint, error) {
	e := &endpoint{
		id:         st.id,
		logger:     s.logger.With("remote_name", set.name, "url", set.url),
		src:        s.src,
		feed:       s.feed,
		persist:    s.saveUnless,
		pointAt:    func(at cursor.Position) cursor.Point { return s.pointAt(s.src.WALDir, at) },
		damaged:    s.damaged,
		sm:         s.scrape,
		reg:        registry{s.reg, s.watcher},
		freshAfter: s.opts.FreshAfter,
		paceEvery:  s.opts.pace,
		exchanges:  &s.exchanges,
		stop:       make(chan struct{}),
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.at = []*lane{e.newLane(st.marks, st.mark)}
	if st.fresh != nil {
		e.at[0].place.bound(st.fresh.from)
		e.at = append(e.at, e.newLane(st.fresh.marks, st.fresh.mark))
	}
	if err := e.adopt(set); err != nil {
		e.exchanges.leave(e.exchange.Swap(nil))
		e.cancel()
		return nil, err
	}
	for _, l := range e.at {
		l.begin()
	}
	e.observe()
	e.wg.Go(e.pace)
	return e, nil
}
