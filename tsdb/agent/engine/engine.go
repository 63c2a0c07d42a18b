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

package engine

import (
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/ackwal/ackwal/tsdb/agent/scrapecache"
	"github.com/ackwal/ackwal/tsdb/agent/statuspage"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// The values of the flag --storage.agent.delivery.
const (
	Durable    = "durable"
	BestEffort = "best-effort"
)

// Flags are what the command line says about delivery.
type Flags struct {
	// Delivery is Durable or BestEffort; empty means BestEffort.
	Delivery string
	// MaxSize limits the bytes of the WAL in durable mode. 0 leaves it to the
	// engine, which goes by the free disk space.
	MaxSize units.Base2Bytes
	// EndpointMaxSize and EndpointMaxTime limit what one endpoint keeps in the
	// WAL in durable mode. 0 is no limit.
	EndpointMaxSize units.Base2Bytes
	EndpointMaxTime model.Duration
	// SyncInterval is how often the WAL is synced to its disk in durable mode,
	// 0 for never, see durable.Options.
	SyncInterval model.Duration
	// MaxTimeSet tells whether agent.Options.MaxWALTime comes from the user.
	// Its default must not make durable mode forfeit samples.
	MaxTimeSet bool
	// DropDenied and ResumeAfterBestEffort are as in delivery.Options.
	DropDenied, ResumeAfterBestEffort bool
	// RefusedHold is for how long what an endpoint refuses is held if it refuses
	// everything. Without RefusedHoldSet 0 stands for the default, with it for not at all.
	RefusedHold    model.Duration
	RefusedHoldSet bool
	// MaxRequestSize is about how large a request of remote write may be before
	// compression, 0 for the default.
	MaxRequestSize units.Base2Bytes
	// FreshFirst are the endpoints that get new samples before a backlog.
	FreshFirst FreshFirst
	// RemovedEndpointRetention is how long an endpoint that was removed from the
	// configuration holds its samples. Without RemovedEndpointRetentionSet 0 means
	// the default, with it for no time at all.
	RemovedEndpointRetention    model.Duration
	RemovedEndpointRetentionSet bool
}

// Durable tells whether the durable engine is asked for.
func (f Flags) Durable() bool { return f.Delivery == Durable }

// Remote is the remote half of an engine.
type Remote interface {
	storage.Storage
	wlog.WriteNotified
	// ApplyConfig takes over a configuration, as at start and on reload.
	ApplyConfig(conf *config.Config) error
}

// DB is the database half of an engine.
type DB interface {
	storage.Storage
	// SetWriteNotified has wn notified of every commit.
	SetWriteNotified(wn wlog.WriteNotified)
}

// durableRemote is the remote half of the durable engine.
type durableRemote struct {
	*delivery.Storage
	db atomic.Pointer[durable.DB] // Nil until it is open.
}

// NewRemote builds the remote half, stock's unless an agent is asked to deliver
// durably. The parameters after f are those of remote.NewStorage, and as that it
// panics if reg has its metrics already.
func NewRemote(agentMode bool, f Flags, l *slog.Logger, reg prometheus.Registerer, stCallback func() (int64, error), walDir string, flushDeadline time.Duration, sm remote.ReadyScrapeManager, typeAndUnitLabels bool) Remote {
	if agentMode && f.Durable() {
		opts := deliveryOptions(f)
		opts.ReadStorage = remote.NewStorage(l, nil, stCallback, walDir, flushDeadline, nil, typeAndUnitLabels)
		rs, err := delivery.NewStorage(l, reg, stCallback, walDir, flushDeadline, sm, typeAndUnitLabels, opts)
		if err != nil {
			panic(err)
		}
		return &durableRemote{Storage: rs}
	}
	return remote.NewStorage(l, reg, stCallback, walDir, flushDeadline, sm, typeAndUnitLabels)
}

// SeriesRefs returns what scraping asks which series the engine knows by their refs, nil
// if it keeps labels itself.
func SeriesRefs(rs Remote) scrapecache.Refs {
	if rs, ok := rs.(*durableRemote); ok {
		return rs
	}
	return nil
}

// Status returns what tells the status of the engine, nil if that is not durable.
func Status(rs Remote) statuspage.Source {
	r, ok := rs.(*durableRemote)
	if !ok {
		return nil
	}
	return func() (*statuspage.Status, error) {
		db := r.db.Load()
		if db == nil {
			return nil, statuspage.ErrStarting
		}
		return statuspage.Of(r.Storage, db)
	}
}

// Epoch implements [scrapecache.Refs].
func (r *durableRemote) Epoch() uint64 {
	if db := r.db.Load(); db != nil {
		return db.Epoch()
	}
	return 0
}

// Knows implements [scrapecache.Refs].
func (r *durableRemote) Knows(ref storage.SeriesRef) bool {
	db := r.db.Load()
	return db != nil && db.Knows(ref)
}

// Open opens the database that belongs to the remote half rs in dir. opts
// serves both engines; of f only the limits are read here.
func Open(l *slog.Logger, reg prometheus.Registerer, rs Remote, dir string, opts *agent.Options, f Flags) (DB, error) {
	switch rs := rs.(type) {
	case *durableRemote:
		limits := durableOptions(opts, f)
		db, err := durable.Open(l, reg, rs.Storage, dir, limits)
		if err != nil {
			return nil, err // Not a DB that is a nil pointer.
		}
		l.Info("Agent delivers durably: the WAL keeps what an endpoint has not acknowledged", "delivery", Durable, "max_time", limits.MaxTime, "max_size", units.Base2Bytes(db.MaxBytes()))
		rs.db.Store(db)
		return db, nil
	case *remote.Storage:
		l.Info("Agent delivers with best effort: the WAL is truncated by age", "delivery", BestEffort)
		if f.MaxSize > 0 || f.EndpointMaxSize > 0 || f.EndpointMaxTime > 0 {
			l.Warn("Limits of the WAL apply to durable delivery only", "max_size", f.MaxSize, "endpoint_max_size", f.EndpointMaxSize, "endpoint_max_time", f.EndpointMaxTime)
		}
		db, err := agent.Open(l, reg, rs, dir, opts)
		if err != nil {
			return nil, err
		}
		return db, nil
	}
	return nil, fmt.Errorf("no agent database belongs to a remote storage of type %T", rs)
}

// durableOptions adds the limits to the options that both engines have. The
// age limit counts only if the user has set it, because stock's default of a
// few hours would break the promise to keep what is not acknowledged.
func durableOptions(opts *agent.Options, f Flags) *durable.Options {
	o := &durable.Options{
		Options: *opts, MaxSize: int64(f.MaxSize), SyncInterval: time.Duration(f.SyncInterval),
		EndpointMaxSize: int64(f.EndpointMaxSize), EndpointMaxTime: time.Duration(f.EndpointMaxTime),
	}
	if f.MaxTimeSet {
		o.MaxTime = time.Duration(opts.MaxWALTime) * time.Millisecond
	}
	return o
}

func deliveryOptions(f Flags) delivery.Options {
	o := delivery.Options{RemovedRetention: time.Duration(f.RemovedEndpointRetention), DropDenied: f.DropDenied, RefusedHold: time.Duration(f.RefusedHold), ResumeAfterBestEffort: f.ResumeAfterBestEffort, FreshFirst: f.FreshFirst, MaxRequestBytes: int(min(f.MaxRequestSize, math.MaxInt32))}
	// There 0 is the default.
	if f.RefusedHoldSet && o.RefusedHold == 0 {
		o.RefusedHold = -1
	}
	if f.RemovedEndpointRetentionSet {
		o.RemovedRetention = max(o.RemovedRetention, time.Nanosecond)
	}
	return o
}
