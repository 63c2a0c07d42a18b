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

// Package dropin puts durable delivery behind the constructors of stock's remote-write
// storage, for programs that were written for those and are not changed.
//
// Such a program keeps its samples in a write-ahead log in stock's format in
// <dir>/wal, be it stock's agent that writes it or code of its own, and gives dir to
// remote.NewStorage. With the first configuration that has endpoints, when the program
// has opened the log, a [Write] follows it as [delivery.Storage.Follow] does: every
// endpoint is sent everything, and after a restart from where it was. The log's writer
// is kept from removing what an endpoint has not acknowledged: where it makes a
// checkpoint first, by that being refused (package interlock), up to a limit in size and age.
// Nothing is ever written to the log but what takes the place of damage, in stock's
// format, before the writer opens it: see repairFirst.
//
// A server's database is left to stock's remote write: one that was opened by this
// process, or has a chunks_head directory. So is everything else if [EnvDelivery] or
// [Write.BestEffort] say so.
//
// # Concurrency
//
// mtx orders configurations, repairs and Close, and is held while they work. What
// commits call, Notify and Highest, takes no lock. checks is held for reading while the
// log's writer asks whether it may remove something, which takes no other lock that is
// held across I/O of delivery but that of savepoints. One goroutine runs while a
// configuration waits for its log, and ends with Close.
package dropin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/interlock"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Write delivers in the place of a stock WriteStorage, or leaves everything to it.
type Write struct {
	dir, wal    string
	reg         prometheus.Registerer // Of the program, may be nil.
	stocks      waitingRegisterer     // What stock's registers.
	flush       time.Duration
	scrape      delivery.ScrapeManager
	typeAndUnit bool
	limits      limits

	logger  atomic.Pointer[slog.Logger]
	storage atomic.Pointer[delivery.Storage] // While the log is followed.
	checks  sync.RWMutex                     // Comes after mtx, and guards delivered.
	look    chan struct{}                    // Has an element when the log may be there.

	delivered *delivery.Storage // What Close closed.

	mtx       sync.Mutex // Guards what follows.
	err       error      // Of the environment's variables.
	ignored   bool       // It has been said that err is not used.
	useStock  bool       // Everything is stock's.
	off       bool       // Because the environment says so.
	closed    bool
	repairing bool
	lost      []repair.Damage         // What repairs took of the log since it was followed.
	applied   *config.Config          // What storage has.
	pending   *config.Config          // Waits for its log.
	waiting   bool                    // The goroutine that waits for the log runs.
	hadNoLog  bool                    // There was no log with the first configuration that has endpoints.
	since     time.Time               // When that was.
	guards    *interlock.Registration // Nil without.
	quit      chan struct{}
	wg        sync.WaitGroup

	// trying is the copy of tryingFor that the goroutine applies.
	trying, tryingFor *config.Config
}

// New returns a Write for the log in dir/wal, and the registerer that stock's metrics
// are to be given to: they are registered when it is known that they are needed, for
// ours have the same names, and shown while there are no endpoints. The parameters are those of remote.NewWriteStorage.
//
// If endpoints are known from before, the log is kept from now on.
func New(l *slog.Logger, reg prometheus.Registerer, dir string, flush time.Duration, sm delivery.ScrapeManager, typeAndUnit bool) (*Write, prometheus.Registerer) {
	if dir == "" {
		dir = "."
	}
	w := &Write{
		dir: dir, wal: filepath.Join(dir, "wal"), reg: reg, stocks: waitingRegisterer{inner: reg},
		flush: flush, scrape: sm, typeAndUnit: typeAndUnit, look: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	w.SetLogger(l)
	w.off, w.err = w.limits.fromEnvironment(os.Getenv)
	w.useStock = w.off
	if delivered(dir) && !w.useStock {
		// If another storage has it, it may be closed until there is a configuration.
		_ = w.guard()
	}
	if reg == nil || w.useStock {
		return w, reg
	}
	return w, &w.stocks
}

// SetLogger replaces the logger. Stock's remote storage gives its write half one that
// drops repeated messages, and with it all but the first loss in a minute.
func (w *Write) SetLogger(l *slog.Logger) { w.logger.Store(l) }

// BestEffort leaves everything to stock's storage. Call it before the first
// configuration is applied. As stock's constructor it panics if there are metrics with
// the names of stock's.
func (w *Write) BestEffort() {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	w.useStock = true
	w.letGo()
	if err := w.stocks.register(); err != nil {
		panic(err)
	}
}

// guard keeps the log's segments. Callers hold mtx, or are alone.
func (w *Write) guard() (err error) {
	if w.guards == nil {
		w.guards, err = interlock.Register(w.wal, w)
	}
	return err
}

// letGo undoes guard. Callers hold mtx.
func (w *Write) letGo() {
	if w.guards != nil {
		w.guards.Release()
		w.guards = nil
	}
}

// ApplyConfig makes conf the configuration, and reports whether that was done here. If
// it was not, it is stock's to apply. While the log is not there, conf waits for it, and
// stock is called with a copy when its owner is known.
func (w *Write) ApplyConfig(conf *config.Config, stock func(*config.Config) error) (taken bool, err error) {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	switch {
	case w.closed:
		return true, errors.New("remote write is closed")
	case conf == w.trying && w.pending != w.tryingFor:
		return true, nil // Another was applied since.
	case w.off:
		w.setAside()
		return false, nil
	case w.useStock:
		return false, nil
	}
	if w.since.IsZero() && len(conf.RemoteWriteConfigs) > 0 {
		w.since = time.Now()
	}
	s, owner := w.storage.Load(), w.owner()
	switch {
	case owner == ownerServer:
		w.ignoreEnvironment()
		if err := w.stocks.register(); err != nil {
			return true, fmt.Errorf("register metrics of remote write: %w", err)
		}
		w.useStock, w.pending = true, nil
		w.letGo()
		return false, nil
	case s != nil:
		if err := s.ApplyConfig(conf); err != nil {
			return true, err
		}
		w.applied = conf
		return true, nil
	case len(conf.RemoteWriteConfigs) == 0:
		// There is nothing to deliver, and may be another that does.
		w.ignoreEnvironment()
		w.pending = nil
		w.letGo()
		w.stocks.show(true)
		return true, nil
	case w.err != nil:
		return true, w.err
	}
	if err := w.guard(); err != nil {
		return true, err
	}
	if owner == ownerNone {
		if _, _, err := identity.Of(conf.RemoteWriteConfigs); err != nil {
			return true, err
		}
		w.await(conf, stock)
		return true, nil
	}
	if err := w.begin(conf); err != nil {
		return true, fmt.Errorf("deliver the write-ahead log in %s durably: %w", w.wal, err)
	}
	return true, nil
}

// ignoreEnvironment says that a wrong variable is of no consequence. Callers hold mtx.
func (w *Write) ignoreEnvironment() {
	if w.err != nil && !w.ignored {
		w.ignored = true
		w.logger.Load().Warn("What the environment says of remote write is wrong and not used, as there is nothing to deliver durably", "err", w.err)
	}
}

// setAside puts the positions of an earlier run away, since stock's storage delivers
// from now on. Callers hold mtx.
func (w *Write) setAside() {
	for _, name := range []string{savepoint.CurrentName, savepoint.PreviousName} {
		path := filepath.Join(w.dir, name)
		if err := os.Rename(path, path+"."+BestEffort); err == nil {
			w.logger.Load().Warn("Remote write is not durable any more, and what it had not delivered is not resumed; its positions are set aside", "path", path)
		}
	}
}

// begin follows the log. Callers hold mtx.
func (w *Write) begin(conf *config.Config) error {
	w.stocks.show(false)
	s, err := delivery.NewStorage(w.logger.Load(), w.reg, nil, w.dir, w.flush, w.scrape, w.typeAndUnit, delivery.Options{})
	if err != nil {
		return err
	}
	if err = s.Follow(delivery.FollowOptions{WALDir: w.wal, FromStart: w.hadNoLog, Lost: w.lost}); err == nil && interlock.IsOpen(w.wal) {
		s.Reopened()
	}
	if err == nil {
		err = s.ApplyConfig(conf)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	w.storage.Store(s)
	w.applied, w.pending, w.lost = conf, nil, nil
	w.limits.observe(w.wal)
	w.logger.Load().Info("Remote write delivers durably: it follows the write-ahead log, which is kept until all endpoints have acknowledged it", "dir", w.wal)
	return nil
}

// Which kind of process writes the log that is there.
const (
	ownerNone = iota
	ownerAgent
	ownerServer
)

// othersAfter is how long a log that this process does not write to is waited for to be
// opened by it, before it is taken to be written by another.
const othersAfter = 10 * time.Second

// owner says what writes the log, ownerNone if it is not known yet or there is nothing
// to follow. Callers hold mtx.
func (w *Write) owner() int {
	if isServers(w.dir) {
		return ownerServer
	}
	if w.repairing {
		return ownerNone
	}
	_, last, err := wlog.Segments(w.wal)
	switch there := err == nil && last >= 0 || err != nil && !errors.Is(err, os.ErrNotExist); {
	case !there:
		w.hadNoLog = w.hadNoLog || !w.since.IsZero() && w.applied == nil && w.pending == nil
		return ownerNone
	case interlock.IsOpen(w.wal), !w.since.IsZero() && time.Since(w.since) > othersAfter:
		return ownerAgent
	}
	return ownerNone
}

const (
	// lookEvery is how often it is looked whether another process has made the log.
	lookEvery = time.Second
	// againAfter is how long after a failure it is tried again.
	againAfter = 5 * time.Second
)

// await makes conf wait for the log, and apply it then. Callers hold mtx.
func (w *Write) await(conf *config.Config, apply func(*config.Config) error) {
	w.pending = conf
	if w.waiting {
		return
	}
	w.waiting = true
	w.wg.Go(func() {
		for pause := lookEvery; ; {
			select {
			case <-w.quit:
				return
			case <-w.look:
			case <-time.After(pause):
			}
			pause = lookEvery
			w.mtx.Lock()
			if w.pending == nil {
				w.waiting = false
				w.mtx.Unlock()
				return
			}
			if w.owner() == ownerNone {
				w.mtx.Unlock()
				continue
			}
			// By its address the copy is told from what the program applies.
			conf := *w.pending
			w.trying, w.tryingFor = &conf, w.pending
			w.mtx.Unlock()
			err := apply(&conf)
			w.mtx.Lock()
			closed := w.closed
			w.trying, w.tryingFor = nil, nil
			w.mtx.Unlock()
			if err != nil && !closed {
				w.logger.Load().Error("Remote write cannot begin and tries again", "err", err)
				pause = againAfter
			}
		}
	})
}

// Opened implements [interlock.Guard].
func (w *Write) Opened() {
	if s := w.storage.Load(); s != nil {
		s.Reopened()
	}
	select {
	case w.look <- struct{}{}:
	default:
	}
}

// Repair implements [interlock.Guard]. Delivery ends, and begins again from the saved
// positions with what the repair leaves.
func (w *Write) Repair() (done func()) {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	s := w.storage.Load()
	if s == nil || w.closed {
		return func() {}
	}
	w.repairing = true
	w.pending, w.applied = w.applied, nil // Unless another is applied meanwhile.
	w.checks.Lock()
	w.storage.Store(nil)
	w.checks.Unlock()
	if err := s.Close(); err != nil {
		w.logger.Load().Error("Remote write stops for a repair of the write-ahead log", "err", err)
	}
	before := sizes(w.wal)
	return func() {
		w.mtx.Lock()
		defer w.mtx.Unlock()
		w.repairing = false
		after := sizes(w.wal)
		for segment, size := range before {
			if left := after[segment]; left < size {
				w.lost = append(w.lost, repair.Damage{Segment: segment, Offset: left, Bytes: size - left})
			}
		}
		if w.closed || w.pending == nil {
			return
		}
		// Nothing of it is stock's, so stock need not be called.
		w.await(w.pending, func(conf *config.Config) error {
			_, err := w.ApplyConfig(conf, nil)
			return err
		})
		w.Opened()
	}
}

// sizes returns how large the segments of a log are, in bytes by their numbers.
func sizes(wal string) map[int]int64 {
	out := map[int]int64{}
	first, last, err := wlog.Segments(wal)
	for segment := first; err == nil && segment >= 0 && segment <= last; segment++ {
		if info, err := os.Stat(wlog.SegmentName(wal, segment)); err == nil {
			out[segment] = info.Size()
		}
	}
	return out
}

// Notify tells of a commit, and reports whether stock's storage need not be told.
func (w *Write) Notify() bool {
	s := w.storage.Load()
	if s != nil {
		s.Notify()
	}
	return s != nil
}

// Highest notes the timestamp in ms of a sample that was appended.
func (w *Write) Highest(t int64) {
	if s := w.storage.Load(); s != nil {
		s.Highest(t)
	}
}

// LowestSentTimestamp is [delivery.Storage.LowestSentTimestamp]; it is stock's to
// answer if here is false.
func (w *Write) LowestSentTimestamp() (ms int64, here bool) {
	if s := w.storage.Load(); s != nil {
		return s.LowestSentTimestamp(), true
	}
	return 0, false
}

// HighestAckedSegment returns the last segment that no endpoint needs any more, -1 if
// there is none and math.MaxInt if all may go; it is stock's to answer if here is false.
func (w *Write) HighestAckedSegment() (segment int, here bool) {
	s := w.storage.Load()
	if s == nil {
		return 0, false
	}
	switch floor := s.Floor(); floor.State {
	case gate.Free:
		return math.MaxInt, true
	case gate.Held:
		return floor.Position.Segment - 1, true
	}
	return -1, true
}

// Close stops delivery, as [delivery.Storage.Close] does. If the log is open still, it
// stays kept until it is closed. Close waits for what ApplyConfig calls: no lock that
// this needs may be held.
func (w *Write) Close() error {
	w.mtx.Lock()
	if w.closed {
		w.mtx.Unlock()
		return nil
	}
	w.closed = true
	close(w.quit)
	w.stocks.show(false)
	w.mtx.Unlock()
	w.wg.Wait()
	w.mtx.Lock()
	defer w.mtx.Unlock()
	w.checks.Lock() // No check makes a savepoint after the last.
	s := w.storage.Swap(nil)
	w.delivered = s
	w.checks.Unlock()
	if w.guards != nil {
		defer w.guards.Leave()
	}
	if s == nil {
		return nil
	}
	return s.Close()
}

// MayRemove implements [interlock.Guard]. What an endpoint has not acknowledged durably may
// go only if a limit is exceeded, and is counted.
func (w *Write) MayRemove(last int) error {
	w.checks.RLock()
	defer w.checks.RUnlock()
	if w.delivered != nil {
		return w.limits.mayRemoveClosed(w.logger.Load(), w.delivered.Floor(), w.wal, last)
	}
	return w.limits.mayRemove(context.Background(), w.logger.Load(), w.storage.Load(), w.wal, last)
}

// waitingRegisterer keeps what is given to it until register is called.
type waitingRegisterer struct {
	inner prometheus.Registerer

	mtx        sync.Mutex // Guards what follows.
	registered bool
	waiting    []prometheus.Collector
	there      bool // The registerer is a collector of inner.
	shown      bool // It collects what waits.
}

// Register implements prometheus.Registerer.
func (r *waitingRegisterer) Register(c prometheus.Collector) error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.registered {
		return r.inner.Register(c)
	}
	r.waiting = append(r.waiting, c)
	return nil
}

// MustRegister implements prometheus.Registerer.
func (r *waitingRegisterer) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister implements prometheus.Registerer. What waits is not there: metrics of the
// same names may belong to another component.
func (r *waitingRegisterer) Unregister(c prometheus.Collector) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.registered && r.inner.Unregister(c)
}

// register registers what waits, and from then on everything at once. After an error
// nothing is registered.
func (r *waitingRegisterer) register() error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for i, c := range r.waiting {
		if err := r.inner.Register(c); err != nil {
			for _, c := range r.waiting[:i] {
				r.inner.Unregister(c)
			}
			return err
		}
	}
	r.registered, r.waiting = true, nil
	return nil
}

// show has what waits collected, or not any more. It is not registered for that: a
// registry knows the help of a metric for ever, and ours have another.
func (r *waitingRegisterer) show(what bool) {
	r.mtx.Lock()
	r.shown = what
	first := what && !r.there && r.inner != nil
	r.there = r.there || first
	r.mtx.Unlock()
	if first {
		// It describes nothing, so no registry refuses it, or lets go of it.
		_ = r.inner.Register(r)
	}
}

// Describe implements prometheus.Collector.
func (*waitingRegisterer) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *waitingRegisterer) Collect(to chan<- prometheus.Metric) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.shown {
		for _, c := range r.waiting {
			c.Collect(to)
		}
	}
}
