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
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/model"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/room"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// DB is the storage of an agent, see the package's documentation. It implements
// storage.Storage and is safe for concurrent use.
type DB struct {
	// These are first for the sake of platforms with 32 bits.
	other       atomic.Int64 // What checkpoints and the snapshot took up when that was looked at last.
	openedBytes atomic.Int64 // How large the log was when it was opened, less what was removed since.

	environment
	logger  *slog.Logger
	opts    Options
	sender  Sender // May be nil.
	gate    *gate.Gate
	table   *series.Table
	nextRef *atomic.Uint64
	encoder record.Encoder

	recordLimit, itemLimit int // Bytes.

	registry    *registry // Own metrics.
	walRegistry *registry // Those of the WL.
	metrics     *metrics
	maxBytes    *atomic.Int64
	openedAt    atomic.Time // When the log was; zero until it is.
	reserve     reserve
	room        pacedRoom
	limit       room.DefaultLimit
	clock       steadyClock
	crowded     chan struct{} // Has an element when a write failed.
	freed       chan struct{} // Has an element when room was made.
	pressed     atomic.Bool   // The log is beyond a limit, as far as is known.
	exemplars   latestExemplars
	firstSample firstSample // For Status.

	run           ulid.ULID
	journal       journal
	syncer        syncer
	snapshotter   snapshotter
	unread        []int // Finished segments that the start did not read; the snapshot loop's.
	appenders     sync.Pool
	appendersV2   sync.Pool
	writeNotified wlog.WriteNotified // Set before the first append.

	lock        *directoryLock
	release     func() error // Ends this storage's use of lock.
	maintenance sync.Mutex   // Held through a removal, and what decides on it.
	recovery    sync.Mutex   // Held through a recovery of the log.
	away        time.Time    // Since when the log's directory is. Guarded by recovery.
	stop        context.CancelFunc
	stopped     sync.WaitGroup
	closing     sync.Once
}

// environment is what tests replace.
type environment struct {
	now       func() time.Time
	diskSpace func(dir string) (free, total int64, err error)
	wrap      func(segmentLog) segmentLog
	idle      bool // No goroutines.
	// uptime is a clock that cannot be set; nil if now is one.
	uptime func() time.Duration
}

var realEnvironment = environment{
	now:       time.Now,
	diskSpace: room.Space,
	wrap:      func(l segmentLog) segmentLog { return l },
	uptime:    func() time.Duration { return time.Since(processStart) },
}

var processStart = time.Now()

// newRef returns the next unused ref.
func (db *DB) newRef() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(db.nextRef.Inc()) }

// SetWriteNotified has wn notified after each commit, in place of the delivery
// that was given to Open. It must not be called once there are appenders.
func (db *DB) SetWriteNotified(wn wlog.WriteNotified) { db.writeNotified = wn }

// Epoch implements scrapecache.Refs, for scrape.Options.SeriesRefs in the fork.
func (db *DB) Epoch() uint64 { return db.table.Epoch() }

// Knows implements scrapecache.Refs.
func (db *DB) Knows(ref storage.SeriesRef) bool { return db.table.Keep(chunks.HeadSeriesRef(ref)) }

func (db *DB) notify() {
	switch {
	case db.writeNotified != nil:
		db.writeNotified.Notify()
	case db.sender != nil:
		db.sender.Notify()
	}
}

// Appender implements storage.Storage.
func (db *DB) Appender(context.Context) storage.Appender {
	return db.appenders.Get().(*appender)
}

// AppenderV2 implements storage.Storage.
func (db *DB) AppenderV2(context.Context) storage.AppenderV2 {
	return db.appendersV2.Get().(*appenderV2)
}

// StartTime implements storage.Storage: there is nothing to be queried.
func (*DB) StartTime() (int64, error) { return int64(model.Latest), nil }

// Querier implements storage.Storage, always with agent.ErrUnsupported.
func (*DB) Querier(int64, int64) (storage.Querier, error) { return nil, agent.ErrUnsupported }

// ChunkQuerier implements storage.Storage, always with agent.ErrUnsupported.
func (*DB) ChunkQuerier(int64, int64) (storage.ChunkQuerier, error) {
	return nil, agent.ErrUnsupported
}

// ExemplarQuerier always returns agent.ErrUnsupported.
func (*DB) ExemplarQuerier(context.Context) (storage.ExemplarQuerier, error) {
	return nil, agent.ErrUnsupported
}
