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
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/util/logging"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// Source is the log that is delivered, as whoever writes it describes it.
type Source struct {
	// WALDir holds the segments, DataDir the savepoints beside it.
	WALDir, DataDir string
	// Table resolves every ref that a retained segment mentions.
	Table *series.Table
	// Gate learns what is durably acknowledged.
	Gate *gate.Gate
	// Head returns the end of the last committed record. It must not block.
	Head func() cursor.Position
	// Run identifies the run of the engine; its marker begins every segment
	// the engine opens.
	Run ulid.ULID
	// Release is called once when the storage is closed, may be nil.
	Release func() error
}

// Options of a Storage. The zero value is what the binary uses.
type Options struct {
	// Grace is how long an endpoint that was removed from the configuration
	// keeps its hold on the log, DefaultGrace if 0.
	Grace time.Duration
	// HoldDenied retries requests that were answered 401 or 403 instead of
	// dropping them, so that rotating credentials loses nothing.
	HoldDenied bool
	// ResumeForeign resumes from savepoints although another engine wrote to
	// the log since. What that engine delivered is then sent again.
	ResumeForeign bool

	newClient func(client.Config) (storer, error)
}

func (o *Options) setDefaults() {
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.newClient == nil {
		o.newClient = func(c client.Config) (storer, error) { return client.New(c) }
	}
}

// stopBudget is how long requests under way may take to finish when the storage
// closes. What is not acknowledged by then is in the log.
const stopBudget = 3 * time.Second

// Storage delivers a write-ahead log to the configured remote-write endpoints.
// It stands where stock's remote storage does; reading is left to that.
//
// mtx orders changes of the configuration and the life-cycle, and is the only
// lock held across I/O. listMtx guards the lists and is held for a moment only.
// saveMtx orders savepoints. Order: mtx, saveMtx, listMtx.
type Storage struct {
	deduper     *logging.Deduper
	logger      *slog.Logger
	reg         prometheus.Registerer
	read        *remote.Storage // Remote read only.
	scrape      remote.ReadyScrapeManager
	flush       time.Duration
	typeAndUnit bool
	opts        Options
	metrics     *storageMetrics
	watcher     *watcherMetrics

	mtx    sync.Mutex
	src    *Source // Set once, by Attach.
	feed   *feed
	rules  rulebook
	conf   *config.Config // Applied before there was a log.
	lost   bool           // Positions were lost: endpoints begin at oldest.
	oldest cursor.Position
	closed bool
	cancel context.CancelFunc
	wg     sync.WaitGroup

	listMtx sync.Mutex
	running []*endpoint // Replaced, never changed in place.
	held    []*stand    // Likewise.

	saveMtx sync.Mutex
	store   *savepoint.Store
	saved   *savepoint.File // As last written, without the time.
	prints  map[int]uint32
}

var _ storage.Storage = (*Storage)(nil)

// NewStorage returns a storage that waits for its log, see Attach. dataDir is
// the directory that holds wal/. flushDeadline bounds closing, which needs no
// more than a few seconds in any case. sm gives access to scraped metadata and
// may be nil. Close it even if nothing was attached.
func NewStorage(l *slog.Logger, reg prometheus.Registerer, stCallback func() (int64, error), dataDir string, flushDeadline time.Duration, sm remote.ReadyScrapeManager, enableTypeAndUnitLabels bool, opts Options) (*Storage, error) {
	if l == nil {
		l = promslog.NewNopLogger()
	}
	opts.setDefaults()
	deduper := logging.Dedupe(l, time.Minute)
	s := &Storage{
		deduper:     deduper,
		logger:      slog.New(deduper),
		reg:         reg,
		read:        remote.NewStorage(l, nil, stCallback, dataDir, flushDeadline, sm, enableTypeAndUnitLabels),
		scrape:      sm,
		flush:       flushDeadline,
		typeAndUnit: enableTypeAndUnitLabels,
		opts:        opts,
		metrics:     newStorageMetrics(reg),
		watcher:     newWatcherMetrics(reg),
		store:       savepoint.NewStore(dataDir),
	}
	if err := errors.Join(s.metrics.set.register(), s.watcher.set.register()); err != nil {
		deduper.Stop()
		return nil, errors.Join(fmt.Errorf("register metrics of remote write: %w", err), s.read.Close())
	}
	return s, nil
}

// Notify tells that something was committed. It never blocks.
func (s *Storage) Notify() {
	s.listMtx.Lock()
	f, running := s.feed, s.running
	s.listMtx.Unlock()
	if f == nil || f.poke() {
		return
	}
	for _, e := range running {
		e.metrics.Load().skippedNotify.Inc()
	}
}

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
	ids, warnings, err := identity.Of(conf.RemoteWriteConfigs)
	if err != nil {
		return err
	}
	sets := make([]*settings, 0, len(ids))
	for _, c := range conf.RemoteWriteConfigs {
		set, err := newSettings(c, conf.GlobalConfig.ExternalLabels, &s.rules, s.opts, s.typeAndUnit)
		if err != nil {
			for _, done := range sets {
				done.client.Close()
			}
			return err
		}
		sets = append(sets, set)
	}
	reading := *conf
	reading.RemoteWriteConfigs = nil
	if err := s.read.ApplyConfig(&reading); err != nil {
		for _, done := range sets {
			done.client.Close()
		}
		return err
	}
	for _, w := range warnings {
		s.logger.Warn("Endpoints without a name are hard to tell apart", "warning", w.String())
	}
	if s.src == nil {
		for _, done := range sets {
			done.client.Close()
		}
		s.conf = conf
		return nil
	}
	return s.apply(ids, sets)
}

// apply puts settings to work. Callers hold mtx.
func (s *Storage) apply(ids []savepoint.Identity, sets []*settings) error {
	known := make([]savepoint.Identity, 0, len(s.running)+len(s.held))
	for _, e := range s.running {
		known = append(known, e.identity)
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
		e.identity = ids[i]
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
	from, err := cursor.PointAt(s.src.WALDir, at)
	if err != nil {
		// After a restart before anything was read, the segment's start is
		// what is found: more is sent, nothing is skipped.
		from = cursor.Point{Position: at}
		s.logger.Warn("The position a new endpoint begins at cannot be identified", "remote_name", name, "err", err)
	}
	return standAt(ulid.Make().String(), id, name, from, head)
}

func standAt(id string, ident savepoint.Identity, name string, at cursor.Point, mark cursor.Position) *stand {
	st := &stand{id: id, identity: ident, name: name, mark: mark, marks: make([]savepoint.Mark, partitions)}
	for p := range st.marks {
		st.marks[p] = savepoint.Mark{Point: at}
	}
	return st
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
		st.removed = &now
		stands = append(stands, st)
		s.logger.Info("Endpoint was removed from the configuration; its part of the log is kept for a while", "remote_name", st.name, "grace", s.opts.Grace)
	}
	return stands
}

func (s *Storage) setLists(running []*endpoint, held []*stand) {
	s.listMtx.Lock()
	defer s.listMtx.Unlock()
	s.running, s.held = running, held
}

// Persist writes a savepoint that is synced to disk, and moves the gate. It
// returns when that is done, or with the reason why it could not be.
func (s *Storage) Persist(context.Context) error {
	s.listMtx.Lock()
	attached := s.feed != nil
	s.listMtx.Unlock()
	if !attached {
		return errors.New("no log is attached")
	}
	return s.save(true)
}

// Close stops delivery: endpoints that have kept up are sent what was committed
// last, what is under way may finish, all within a few seconds, and positions
// are written. What is not delivered is in the log and will be after the next
// start. Close the log's writer first.
func (s *Storage) Close() error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	errs := []error{}
	if s.src != nil {
		errs = append(errs, s.stop())
	}
	s.metrics.set.unregister()
	s.watcher.set.unregister()
	errs = append(errs, s.read.Close())
	s.deduper.Stop()
	if s.src != nil && s.src.Release != nil {
		errs = append(errs, s.src.Release())
	}
	return errors.Join(errs...)
}

// stop ends everything that works on the log. Callers hold mtx.
func (s *Storage) stop() error {
	budget := stopBudget
	if s.flush > 0 {
		budget = min(budget, s.flush)
	}
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	// What was committed last may still be sent, in two thirds of the time;
	// the rest is for what is under way then.
	drain, cancelDrain := context.WithTimeout(ctx, budget*2/3)
	defer cancelDrain()
	var drained sync.WaitGroup
	for _, e := range s.running {
		e.stopMetadata()
		e.beginStop()
		drained.Go(func() { e.drain(drain) })
	}
	drained.Wait()
	stands := make([]*stand, 0, len(s.running)+len(s.held))
	for _, e := range s.running {
		stands = append(stands, e.finishStop(ctx))
		s.forfeitMemory(e)
	}
	stands = append(stands, s.held...)
	s.cancel()
	s.wg.Wait()
	s.setLists(nil, stands)
	return s.saveStands(func() []*stand { return stands }, true, true)
}
