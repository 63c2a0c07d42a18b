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
	"log/slog"
	"path/filepath"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Open opens the storage in the data directory dir, whose log is in dir/wal, and
// attaches rs to it. Damage in the log is contained, counted and logged; an
// error means that the directory is in use, that it cannot be read or written,
// or that rs refused it. rs must stay open until the storage is closed. It may
// be nil: then nothing is sent, and segments go by age.
func Open(l *slog.Logger, reg prometheus.Registerer, rs *delivery.Storage, dir string, opts *Options) (*DB, error) {
	var sender Sender
	if rs != nil {
		sender = rs
	}
	return open(l, reg, sender, dir, opts, realEnvironment)
}

func open(l *slog.Logger, reg prometheus.Registerer, sender Sender, dir string, opts *Options, env environment) (_ *DB, err error) {
	if l == nil {
		l = promslog.NewNopLogger()
	}
	if opts == nil {
		opts = DefaultOptions()
	}
	db := &DB{
		environment: env,
		logger:      l,
		opts:        opts.effective(),
		sender:      sender,
		gate:        gate.New(),
		nextRef:     atomic.NewUint64(0),
		maxBytes:    atomic.NewInt64(0),
		registry:    newRegistry(reg),
		walRegistry: newRegistry(reg),
		table:       series.New(series.Options{Now: env.now}),
	}
	undo := []func(){db.registry.clear, db.walRegistry.clear}
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			undo[i]()
		}
	}()

	lock, err := lockDirectory(dir, db.opts.NoLockfile, l, db.registry)
	if err != nil {
		return nil, err
	}
	db.lock, db.release = lock, lock.use()
	undo = append(undo, func() { err = errors.Join(err, db.release()) })

	db.run = ulid.Make()
	if _, total, err := db.diskSpace(dir); err == nil {
		db.opts.WALSegmentSize = int(min(int64(db.opts.WALSegmentSize), fittingSegment(total)))
		if !env.idle {
			db.reserve.init(db.opts.FS, dir, total)
		}
	}
	db.setUp(filepath.Join(dir, WALDir))
	if db.snapshotter.store, err = snapshot.Open(filepath.Join(dir, SeriesDir), snapshot.Options{
		FS: db.opts.FS, Logger: l, Compression: db.opts.WALCompression, Pace: db.snapshotter.pace,
	}); err != nil {
		return nil, fmt.Errorf("open snapshot of series: %w", err)
	}
	db.metrics = makeMetrics(db.registry, db.gauges()) // Which may be read from now on.
	unlock, leave := db.release, db.snapshotter.use()
	db.release = func() error { return errors.Join(leave(), unlock()) }
	if err := db.load(); err != nil {
		return nil, err
	}
	undo = append(undo, func() { err = errors.Join(err, db.journal.close()) })
	if err := db.beginLog(); err != nil {
		return nil, err
	}
	u, err := db.measure()
	if err == nil {
		limit, _ := db.maxSize(u)
		db.maxBytes.Store(limit)
	}
	db.openedBytes.Store(u.segments())
	db.openedAt.Store(db.now())
	if sender == nil {
		db.gate.Open()
	} else {
		unlock, leave := lock.use(), db.snapshotter.use()
		source := delivery.Source{
			WALDir: db.journal.dir, DataDir: dir,
			Table: db.table, Evicted: &db.snapshotter, Gate: db.gate, Head: db.journal.Head,
			Size: db.sizeOf, Run: db.run, Release: func() error { return errors.Join(leave(), unlock()) },
		}
		if err := sender.Attach(source); err != nil {
			err = errors.Join(err, source.Release())
			return nil, fmt.Errorf("attach remote write to %s: %w", db.journal.dir, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	db.stop = cancel
	if !env.idle {
		db.stopped.Go(func() { db.maintain(ctx) })
		db.stopped.Go(func() { db.keepLimits(ctx) })
		db.stopped.Go(func() { db.snapshotLoop(ctx) })
		if db.opts.SyncInterval > 0 {
			db.stopped.Go(func() { db.keepSynced(ctx) })
		}
	}
	signal(db.journal.sealed)
	return db, nil
}

// beginLog opens the log for writing. If the disk has no room for that, or refuses
// to be written to, the storage comes up all the same: what it holds is delivered,
// which may be what makes room. Commits fail meanwhile, and the maintenance tries
// again.
func (db *DB) beginLog() error {
	if err := db.journal.startAtEnd(); err != nil {
		return fmt.Errorf("find the end of the write-ahead log in %s: %w", db.journal.dir, err)
	}
	err := db.journal.begin()
	if err == nil || (!vfs.NoRoom(err) && !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EIO)) {
		return err
	}
	db.journal.mtx.Lock()
	defer db.journal.mtx.Unlock()
	db.logger.Error("The write-ahead log cannot be written to; what it has is delivered, and samples are refused until it can", "err", err)
	_ = db.journal.fail(err) // It is what commits answer.
	return nil
}

// setUp makes everything that needs no I/O.
func (db *DB) setUp(walDir string) {
	db.crowded, db.freed = make(chan struct{}, 1), make(chan struct{}, 1)
	db.snapshotter = snapshotter{wanted: make(chan struct{}, 1), state: snapshot.State{Covered: -1, Checkpoint: -1}, rebuild: true}
	db.encoder = record.Encoder{EnableSTStorage: db.opts.EnableSTStorage}
	db.recordLimit = min(maxRecord, db.opts.WALSegmentSize/4)
	db.itemLimit = db.opts.WALSegmentSize / 2
	db.journal = journal{
		dir:         walDir,
		fs:          db.opts.FS,
		segmentSize: int64(db.opts.WALSegmentSize),
		recordLimit: db.recordLimit,
		marker:      epoch.Marker(db.run),
		encoder:     db.encoder,
		now:         db.now,
		failed:      make(chan struct{}, 1),
		sealed:      make(chan struct{}, 1),
		ends:        map[int]int64{},
		open: func() (segmentLog, error) {
			w, err := wlog.NewSize(db.logger, db.walRegistry.registerer(), walDir, db.opts.WALSegmentSize, db.opts.WALCompression)
			if err != nil {
				return nil, err
			}
			return db.wrap(w), nil
		},
	}
	db.syncer.init(&db.journal)
	db.appenders.New = func() any { return &appender{batch{db: db}} }
	db.appendersV2.New = func() any { return &appenderV2{batch{db: db}} }
}

// gauges are the metrics that are worked out when they are asked for.
func (db *DB) gauges() gauges {
	return gauges{
		active:  func() float64 { n, _ := db.table.Len(); return float64(n) },
		retired: func() float64 { _, n := db.table.Len(); return float64(n) },
		retainedBytes: func() float64 {
			u, err := measure(db.journal.dir, nil)
			if err != nil {
				db.logger.Error("The size of the write-ahead log is not known", "err", err)
			}
			return float64(u.segments())
		},
		snapshotBytes: func() float64 { return float64(db.snapshotter.store.Bytes()) },
		maxBytes:      func() float64 { return float64(db.maxBytes.Load()) },
		holdings:      newHoldingsCollector(db),
		broken: func() float64 {
			if db.journal.broken() != nil {
				return 1
			}
			return 0
		},
	}
}

// lastCapture bounds the snapshot that is written at a stop.
const lastCapture = 3 * time.Second

// Close ends the maintenance, closes the log and writes a last snapshot; commits
// fail from now on. The lock of the directory is released, unless the delivery
// still needs it, which may resolve series until it is closed.
func (db *DB) Close() (err error) {
	db.closing.Do(func() {
		db.stop()
		db.stopped.Wait()
		db.keepInPlace()
		err = db.journal.close()
		if db.opts.SyncInterval > 0 {
			err = errors.Join(err, db.syncLog())
		}
		defer db.snapshotter.unpaced()()
		// The next start reads what a slow disk leaves out here.
		ctx, cancel := context.WithTimeout(context.Background(), lastCapture)
		defer cancel()
		if e := db.capture(ctx, true); e != nil {
			// The next start reads a little more of the log instead.
			db.logger.Warn("The snapshot of series could not be written", "err", e)
		}
		err = errors.Join(err, db.release())
		db.walRegistry.clear()
		db.registry.clear()
	})
	return err
}
