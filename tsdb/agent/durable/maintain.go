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
	"iter"
	"os"
	"time"

	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// maintain is the maintenance goroutine.
func (db *DB) maintain(ctx context.Context) {
	truncation := time.NewTicker(db.opts.TruncateFrequency)
	defer truncation.Stop()
	age := time.NewTicker(max(10*time.Millisecond, min(db.opts.SegmentMaxAge/10, time.Minute)))
	defer age.Stop()
	var (
		retry     <-chan time.Time
		delay     = firstRetry
		recovered time.Time
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-truncation.C:
			if err := db.truncate(ctx); err != nil && ctx.Err() == nil {
				db.logger.Warn("Truncating the write-ahead log failed and is tried again later", "err", err)
			}
		case <-age.C:
			if _, err := db.journal.cutIfOlder(db.opts.SegmentMaxAge); err != nil && retry == nil {
				db.logger.Debug("No segment can be started", "err", err)
			}
			if db.opts.MaxTime > 0 {
				signal(db.journal.sealed)
			}
		case <-db.journal.sealed:
			if err := db.enforceLimits(ctx); err != nil && ctx.Err() == nil {
				db.logger.Warn("Keeping the write-ahead log within its limits failed and is tried again later", "err", err)
			}
		case <-db.journal.failed:
			db.metrics.writeFailures.Inc()
			db.logger.Error("The write-ahead log is broken", "err", db.journal.broken())
			// A log that fails again and again, each time beginning a segment,
			// is recovered less and less often.
			delay = min(2*delay, lastRetry)
			if time.Since(recovered) > 2*lastRetry {
				delay = firstRetry
			}
			retry = time.After(delay)
		case <-retry:
			retry = nil
			recovered = time.Now()
			if err := db.recoverNow(); err != nil && !errors.Is(err, errClosed) {
				delay = min(2*delay, lastRetry)
				retry = time.After(delay)
				db.logger.Warn("The write-ahead log is still broken", "err", err, "next_attempt_in", delay)
			}
		}
	}
}

// recoverNow is recoverLog as a step of the maintenance.
func (db *DB) recoverNow() error {
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	return db.recoverLog()
}

// truncate retires series that nothing was appended to for a while, finishes
// the active segment, has the positions of all endpoints saved, and removes what
// nobody needs, or what the limits demand.
func (db *DB) truncate(ctx context.Context) error {
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	begin := time.Now()
	defer func() { db.metrics.truncateDuration.Observe(since(begin, time.Now())) }()

	gone := db.table.Retire(db.now().Add(-db.opts.minAge()), func() int { return db.journal.Head().Segment })
	db.exemplars.forget(gone)

	// Neither of the two failing is a reason to keep what can go: the gate
	// knows only of positions that are on the disk, and on a full disk removing
	// is what helps.
	_, cutErr := db.journal.cutIfOlder(0)
	var persistErr error
	if db.sender != nil {
		if err := db.sender.Persist(ctx); err != nil {
			persistErr = fmt.Errorf("save positions of remote endpoints: %w", err)
		}
	}
	return errors.Join(cutErr, persistErr, db.removeWhatMay(ctx, true))
}

// enforceLimits removes segments only as far as a limit demands it.
func (db *DB) enforceLimits(ctx context.Context) error {
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	return db.removeWhatMay(ctx, false)
}

// removeWhatMay decides and removes. Unless all is set, it removes nothing as
// long as the limits are kept. The caller holds maintenance.
func (db *DB) removeWhatMay(ctx context.Context, all bool) error {
	u, err := measure(db.journal.dir)
	if err != nil {
		return err
	}
	lim := limits{maxTime: db.opts.MaxTime, maxSize: db.maxSize(u)}
	db.maxBytes.Store(lim.maxSize)
	pick := func() removal {
		return decide(u.sealed, u.active, u.activeSize, u.other, db.gate.Floor(), db.opts.minAge(), lim, db.now())
	}
	what := pick()
	if what.forced != "" && !all && db.sender != nil {
		// The saved positions may be behind what was delivered.
		if err := db.sender.Persist(ctx); err != nil {
			db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
		}
		what = pick()
	}
	defer func() { db.showHolders(u) }()
	if !all && what.forced == "" {
		return nil
	}
	if what.forced != "" && db.sender != nil {
		if db.gate.Floor().State == gate.Held {
			db.metrics.forfeits.WithLabelValues(what.forced).Inc()
			db.logger.Error("A limit of the write-ahead log demands samples that have not been delivered", "limit", what.forced, "max_size", lim.maxSize, "max_time", lim.maxTime, "segments", what.first-what.free, "holders", db.gate.Floor().By)
		}
		if err := db.sender.Forfeit(cursor.Position{Segment: what.first}, what.forced); err != nil {
			return fmt.Errorf("give up samples before segment %d: %w", what.first, err)
		}
		// After a crash the positions should not be those from before.
		if err := db.sender.Persist(ctx); err != nil {
			db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
		}
	}
	return db.remove(u, what)
}

// remove deletes the segments that were decided upon, after a checkpoint.
func (db *DB) remove(u usage, what removal) error {
	if len(u.sealed) == 0 || what.first <= u.sealed[0].number {
		return nil
	}
	oldest := u.sealed[0].number
	// Series that nothing mentions any more go first, for they must not come
	// back between the checkpoint, in which they are not, and the removal. The
	// segments that do mention them are read by nobody.
	db.table.Drop(what.first)
	l := db.journal.log
	if l == nil {
		return fmt.Errorf("remove segments before %s: %w", wlog.SegmentName(db.journal.dir, what.first), errNotWritable)
	}
	if err := db.checkpoint(l, what.first-1); err != nil {
		return err
	}
	if err := l.Truncate(what.first); err != nil {
		return fmt.Errorf("remove segments before %s: %w", wlog.SegmentName(db.journal.dir, what.first), err)
	}
	if n := what.free - oldest; n > 0 {
		db.metrics.segmentsRemoved.WithLabelValues(what.freeReason).Add(float64(n))
	}
	if n := what.first - what.free; n > 0 {
		db.metrics.segmentsRemoved.WithLabelValues(what.forced).Add(float64(n))
	}
	db.metrics.checkpointsDeleted.Inc()
	if err := wlog.DeleteCheckpoints(db.journal.dir, what.first-1); err != nil {
		// They take up room, and are ignored otherwise.
		db.metrics.checkpointsUndeleted.Inc()
		db.logger.Error("Superseded checkpoints could not be deleted", "dir", db.journal.dir, "err", err)
	}
	db.logger.Info("Segments removed", "from", oldest, "to", what.first-1, "by_limit", what.forced)
	return nil
}

// checkpoint writes checkpoint.<last>, which has all series that segments after
// last can mention.
func (db *DB) checkpoint(l segmentLog, last int) error {
	active, retired := db.table.Snapshot()
	db.metrics.checkpoints.Inc()
	err := agent.Checkpoint(db.logger, l.Underlying(), last, db.opts.CheckpointBatchSize,
		each[agent.ActiveSeries](active), each[agent.DeletedSeries](retired))
	if err == nil {
		// Trusting it blindly would cost the labels of all series.
		_, err = os.Stat(wlog.CheckpointDir(db.journal.dir, last))
	}
	if err != nil {
		db.metrics.checkpointsFailed.Inc()
		return fmt.Errorf("write %s: %w", wlog.CheckpointDir(db.journal.dir, last), err)
	}
	return nil
}

// each is a sequence of series as one of an interface that series have.
func each[T any](seq iter.Seq[*series.Series]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for s := range seq {
			if !yield(any(s).(T)) {
				return
			}
		}
	}
}

// maxSize is the limit that counts at present, 0 if there is none.
func (db *DB) maxSize(u usage) int64 {
	if db.opts.MaxSize > 0 {
		return db.opts.MaxSize
	}
	free, err := db.freeSpace(db.journal.dir)
	if err != nil {
		db.logger.Debug("No default limit for the write-ahead log", "err", err)
		return 0
	}
	return defaultMaxSize(u.segments()+u.other, free)
}

// showHolders sets the gauge of who keeps how many finished segments.
func (db *DB) showHolders(u usage) {
	db.metrics.segmentsHeld.Reset()
	for _, h := range db.gate.Holders() {
		held := 0
		for _, s := range u.sealed {
			if s.number >= h.Position.Segment {
				held++
			}
		}
		db.metrics.segmentsHeld.WithLabelValues(h.Name).Set(float64(held))
	}
}
