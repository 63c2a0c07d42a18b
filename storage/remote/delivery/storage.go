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
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
)

// Storage delivers a write-ahead log to the configured remote-write endpoints.
// It takes the place of stock's remote storage; what that does beside remote write
// is left to [ReadStorage].
//
// mtx orders changes of the configuration and the life-cycle, saveMtx orders
// savepoints; these two are held across I/O. listMtx guards the lists and is held for a
// moment only. Order: mtx, saveMtx, listMtx.
type Storage struct {
	logger      *slog.Logger
	losses      *slog.Logger // Each counts: nothing of it is left out for being alike.
	reg         prometheus.Registerer
	reads       ReadStorage
	dataDir     string
	scrape      ScrapeManager
	flush       time.Duration
	typeAndUnit bool
	opts        Options
	metrics     *storageMetrics
	watcher     *watcherMetrics
	sets        *metricSets

	mtx        sync.Mutex
	src        *Source // Set once, by Attach.
	dispatcher *dispatcher
	rules      rulebook
	// requestCaches has a lock of its own.
	caches    requestCaches
	encoders  encoders
	tallies   tallies        // Likewise.
	conf      *config.Config // Applied before there was a log.
	lost      bool           // Positions were lost: endpoints begin at oldest.
	fromStart bool           // They do, because nothing of the log was ever sent.
	resumeOld bool           // They do, because the log of another engine is to be resumed.
	// firstAfter says that this is the first start of ours with a log of another engine.
	firstAfter bool
	unsaved    atomic.Bool // There is no savepoint yet.
	oldest     cursor.Position
	closed     bool
	// configured is set with the first configuration: the gate opens with the
	// first savepoint from then on.
	configured atomic.Bool
	cancel     context.CancelFunc
	// closing ends, by beginClose, when Close is called: what holds mtx is not to keep it waiting.
	closing    context.Context
	beginClose context.CancelFunc
	wg         sync.WaitGroup

	listMtx  sync.Mutex
	wake     func() bool // Tells the follower, or else the dispatcher.
	gate     *gate.Gate
	running  []*endpoint      // Replaced, never changed in place.
	retained []*endpointState // Likewise.

	saveMtx sync.Mutex
	store   *savepoint.Store
	last    lastSave // Of the newest savepoint.
	prints  map[int]uint32
	sums    map[cursor.Position]uint32 // Checksums that were looked up for it.
}

// NewStorage returns a storage that waits for its log, see Attach. dataDir is
// the directory that holds wal/. flushDeadline bounds closing, which needs no
// more than a few seconds in any case. sm gives access to scraped metadata and
// may be nil. Close it even if nothing was attached. The parameters before opts
// are those of stock's; the one without a name is for remote read, see [ReadStorage].
func NewStorage(l *slog.Logger, reg prometheus.Registerer, _ func() (int64, error), dataDir string, flushDeadline time.Duration, sm ScrapeManager, enableTypeAndUnitLabels bool, opts Options) (*Storage, error) {
	if l == nil {
		l = promslog.NewNopLogger()
	}
	opts.setDefaults()
	for name, share := range opts.FreshFirst {
		if !(share > 0 && share < 1) {
			err := fmt.Errorf("remote write endpoint %q: the share of a backlog beside fresh samples has to be above 0 and below 1, it is %v", name, share)
			return nil, errors.Join(err, opts.ReadStorage.Close())
		}
	}
	s := &Storage{
		logger:      slog.New(newSparse(l.Handler())),
		losses:      l,
		reg:         reg,
		reads:       opts.ReadStorage,
		dataDir:     dataDir,
		scrape:      sm,
		flush:       flushDeadline,
		typeAndUnit: enableTypeAndUnitLabels,
		opts:        opts,
		metrics:     newStorageMetrics(reg),
		watcher:     newWatcherMetrics(reg),
		store:       savepoint.NewStore(dataDir, savepoint.WithFS(opts.FS)),
		encoders:    newEncoders(),
	}
	s.closing, s.beginClose = context.WithCancel(context.Background())
	s.sets = newMetricSets(reg, s.watcher)
	if err := errors.Join(s.metrics.set.register(), s.watcher.set.register()); err != nil {
		return nil, errors.Join(fmt.Errorf("register metrics of remote write: %w", err), s.reads.Close())
	}
	return s, nil
}

// Notify tells that something was committed. It never blocks.
func (s *Storage) Notify() {
	s.listMtx.Lock()
	wake, running := s.wake, s.running
	s.listMtx.Unlock()
	if wake == nil || wake() {
		return
	}
	for _, e := range running {
		e.metrics.Load().skippedNotify.Inc()
	}
}

func (s *Storage) setLists(running []*endpoint, retained []*endpointState) {
	for _, st := range retained {
		s.metrics.expect(st.name) // One that was removed before the start can lose something, too.
	}
	s.listMtx.Lock()
	defer s.listMtx.Unlock()
	s.running, s.retained = running, retained
}

// LowestSentTimestamp returns the lowest of the times, in ms, up to which endpoints have
// acknowledged what they take, 0 if there is none or one has acknowledged nothing since
// the start. It is what stock's remote storage tells writers of logs that truncate by
// time; what may be removed is told by Floor.
func (s *Storage) LowestSentTimestamp() int64 {
	s.listMtx.Lock()
	running := s.running
	s.listMtx.Unlock()
	lowest := int64(math.MaxInt64)
	for _, e := range running {
		lowest = min(lowest, e.sentUpTo())
	}
	if len(running) == 0 {
		return 0
	}
	return lowest
}

// Persist writes a savepoint that is synced to disk, and moves the gate. It
// returns when that is done, or with the reason why it could not be.
func (s *Storage) Persist(context.Context) error {
	s.listMtx.Lock()
	attached := s.dispatcher != nil
	s.listMtx.Unlock()
	if !attached {
		return errors.New("no log is attached")
	}
	return s.save(true)
}

// NewCommit returns a commit to fill with so many items at most, and nil if none is
// wanted: because no endpoint keeps up with the log, because too much waits
// already, or because it is too large. Endpoints that are behind read the log.
func (s *Storage) NewCommit(items int) *Commit {
	s.listMtx.Lock()
	d := s.dispatcher
	s.listMtx.Unlock()
	if d == nil || d.reader.dec.follow != nil {
		return nil
	}
	return d.commits.newCommit(items)
}

// Committed takes a commit that was written between two positions of one
// segment. Calls are made in the order of the log, before Notify and never at
// the same time. It does not block.
func (*Storage) Committed(c *Commit, start, end cursor.Position) {
	c.start, c.end = start, end
	c.to.put(c)
}

func (s *Storage) damaged(*cursor.Corruption) {
	s.metrics.corruption.WithLabelValues("skipped").Inc()
}
