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
// remote.NewStorage. With the first configuration after the log is there, a [Write]
// follows it as [delivery.Storage.Follow] does: every endpoint is sent everything, and
// after a restart from where it was. The log's writer is kept from removing what an
// endpoint has not acknowledged: where it makes a checkpoint first, by that being
// refused (package hold), up to a limit in size and age. Nothing is ever written to
// the log.
//
// A server's database is left to stock's remote write: one that was opened by this
// process, or has a chunks_head directory. So is everything else if [EnvDelivery] or
// [Write.BestEffort] say so.
//
// # Concurrency
//
// mtx orders configurations and Close, and is held while they work. What commits call,
// Notify and Highest, and what the log's writer asks, LowestSentTimestamp and the
// hold, takes no lock that is held across I/O of delivery. One goroutine runs while a
// configuration waits for its log, and ends with Close.
package dropin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/storage/remote/delivery/identity"
	"github.com/ackwal/ackwal/tsdb/wlog/hold"

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
	storage atomic.Pointer[delivery.Storage] // Set once, with the log.

	mtx     sync.Mutex // Guards what follows.
	err     error      // Of the environment's variables.
	leave   bool       // Everything is stock's.
	closed  bool
	conf    *config.Config // Waits for its log.
	trying  *config.Config // What the goroutine that waits for it applies.
	waits   bool           // That goroutine runs.
	waited  bool           // There was no log with the first configuration.
	release func()
	quit    chan struct{}
	wg      sync.WaitGroup
}

// New returns a Write for the log in dir/wal, and the registerer that stock's metrics
// are to be given to: they are registered when it is known that they are needed, for
// ours have the same names. The parameters are those of
// remote.NewWriteStorage.
func New(l *slog.Logger, reg prometheus.Registerer, dir string, flush time.Duration, sm delivery.ScrapeManager, typeAndUnit bool) (*Write, prometheus.Registerer) {
	w := &Write{
		dir: dir, wal: filepath.Join(dir, "wal"), reg: reg, stocks: waitingRegisterer{inner: reg},
		flush: flush, scrape: sm, typeAndUnit: typeAndUnit, quit: make(chan struct{}),
	}
	w.SetLogger(l)
	w.leave, w.err = w.limits.fromEnvironment(os.Getenv)
	if reg == nil || w.leave {
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
	w.leave = true
	if err := w.stocks.register(); err != nil {
		panic(err)
	}
}

// ApplyConfig makes conf the configuration, and reports whether that was done here. If
// it was not, it is stock's to apply. While there is no log, conf waits for one, which
// stock is then called with if it turns out to be a server's.
func (w *Write) ApplyConfig(conf *config.Config, stock func(*config.Config) error) (taken bool, err error) {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	switch s := w.storage.Load(); {
	case w.closed:
		return true, errors.New("remote write is closed")
	case w.trying == conf && w.conf != conf:
		return true, nil // Another was applied since.
	case w.leave:
		return false, nil
	case w.err != nil:
		return true, w.err
	case s != nil:
		return true, s.ApplyConfig(conf)
	}
	switch w.whose() {
	case servers:
		if err := w.stocks.register(); err != nil {
			return true, fmt.Errorf("register metrics of remote write: %w", err)
		}
		w.leave, w.conf = true, nil
		return false, nil
	case nobodys:
		if _, _, err := identity.Of(conf.RemoteWriteConfigs); err != nil {
			return true, err
		}
		w.conf, w.waited = conf, true
		if !w.waits {
			w.waits = true
			w.wg.Go(func() { w.await(stock) })
		}
		return true, nil
	}
	if err := w.begin(conf); err != nil {
		return true, fmt.Errorf("deliver the write-ahead log in %s durably: %w", w.wal, err)
	}
	w.conf = nil
	return true, nil
}

// begin follows the log. Callers hold mtx.
func (w *Write) begin(conf *config.Config) (err error) {
	release, err := hold.Register(w.wal, w.mayRemove)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	s, err := delivery.NewStorage(w.logger.Load(), w.reg, nil, w.dir, w.flush, w.scrape, w.typeAndUnit, delivery.Options{})
	if err != nil {
		return err
	}
	if err = s.Follow(delivery.FollowOptions{WALDir: w.wal, FromStart: w.waited}); err == nil {
		err = s.ApplyConfig(conf)
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	w.release = release
	w.storage.Store(s)
	w.logger.Load().Info("Remote write delivers durably: it follows the write-ahead log, which is kept until all endpoints have acknowledged it", "dir", w.wal)
	return nil
}

// Whose log there is.
const (
	nobodys = iota
	agents
	servers
)

func (w *Write) whose() int {
	if _, err := os.Stat(filepath.Join(w.dir, "chunks_head")); err == nil || hold.IsServer(w.dir) {
		return servers
	}
	if _, last, err := wlog.Segments(w.wal); errors.Is(err, os.ErrNotExist) || (err == nil && last < 0) {
		return nobodys
	}
	return agents
}

const (
	// lookEvery is how soon a log that appears is seen.
	lookEvery = 100 * time.Millisecond
	// againAfter is how long after a failure it is tried again.
	againAfter = 5 * time.Second
)

// await applies the configuration that waits as soon as there is a log.
func (w *Write) await(apply func(*config.Config) error) {
	for pause := lookEvery; ; {
		select {
		case <-w.quit:
			return
		case <-time.After(pause):
		}
		w.mtx.Lock()
		conf := w.conf
		w.trying, w.waits = conf, conf != nil
		there := w.whose() != nobodys
		w.mtx.Unlock()
		if conf == nil {
			return
		}
		if !there {
			continue
		}
		err := apply(conf)
		w.mtx.Lock()
		w.trying = nil
		closed := w.closed
		w.mtx.Unlock()
		if err != nil && !closed {
			w.logger.Load().Error("Remote write cannot begin and tries again", "err", err)
			pause = againAfter
		}
	}
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

// Close stops delivery, as [delivery.Storage.Close] does, and lets the log go. It
// waits for what ApplyConfig calls: no lock that this needs may be held.
func (w *Write) Close() error {
	w.mtx.Lock()
	if w.closed {
		w.mtx.Unlock()
		return nil
	}
	w.closed = true
	close(w.quit)
	w.mtx.Unlock()
	w.wg.Wait()
	s := w.storage.Load()
	if s == nil {
		return nil
	}
	err := s.Close()
	w.release()
	return err
}

// mayRemove is asked before the log's segments up to last are removed. What an endpoint
// has not acknowledged durably may go only if a limit is exceeded, and is counted.
func (w *Write) mayRemove(last int) error {
	s := w.storage.Load()
	if s == nil {
		return errors.New("remote write has not begun to read the write-ahead log; nothing is removed before")
	}
	return w.limits.mayRemove(context.Background(), s, w.wal, last)
}

// waitingRegisterer keeps what is given to it until register is called.
type waitingRegisterer struct {
	inner prometheus.Registerer

	mtx        sync.Mutex // Guards what follows.
	registered bool
	waiting    []prometheus.Collector
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
// same names may be somebody else's.
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
