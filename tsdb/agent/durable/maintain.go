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
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// maintain is the maintenance goroutine.
func (db *DB) maintain(ctx context.Context) {
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
		case <-age.C:
			if _, err := db.journal.cutIfOlder(db.opts.SegmentMaxAge); err != nil && retry == nil {
				db.logger.Debug("No segment can be started", "err", err)
			}
			if db.opts.MaxTime > 0 || db.opts.EndpointMaxTime > 0 {
				signal(db.journal.sealed)
			}
		case <-db.journal.sealed:
			if err := db.enforceLimits(ctx); err != nil && ctx.Err() == nil {
				db.logger.Warn("Keeping the write-ahead log within its limits failed and is tried again later", "err", err)
			}
			signal(db.archive.wanted)
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
// the active segment, has the positions of all endpoints saved, brings the
// snapshot up to date, and removes what nobody needs, or what the limits demand.
// The snapshot is written at leisure, and without a lock that others wait for.
func (db *DB) truncate(ctx context.Context) error {
	begin := time.Now()
	defer func() { db.metrics.truncateDuration.Observe(since(begin, time.Now())) }()

	// None of the steps failing is a reason to keep what can go: the gate
	// knows only of positions that are on the disk, the snapshot what it
	// covers, and on a full disk removing is what helps.
	retireErr := db.retireAndPersist(ctx)
	captureErr := db.capture(ctx, true)
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	db.forget()
	return errors.Join(retireErr, captureErr, db.removeWhatMay(ctx, true))
}

func (db *DB) retireAndPersist(ctx context.Context) error {
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	db.retire()
	_, err := db.journal.cutIfOlder(0)
	if db.sender == nil {
		return err
	}
	if e := db.sender.Persist(ctx); e != nil {
		err = errors.Join(err, fmt.Errorf("save positions of remote endpoints: %w", e))
	}
	return err
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
	u, err := db.measure()
	if err != nil {
		return err
	}
	lim := limits{maxTime: db.opts.MaxTime, maxSize: db.maxSize(u)}
	db.maxBytes.Store(lim.maxSize)
	given, err := db.enforceBudgets(ctx, u)
	if err != nil {
		return err
	}
	all = all || given
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
	defer func() { db.showHolders(u, lim) }()
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
	return db.remove(ctx, u, what)
}

// remove deletes the segments that were decided upon, after a checkpoint.
func (db *DB) remove(ctx context.Context, u usage, what removal) error {
	if len(u.sealed) == 0 || what.first <= u.sealed[0].number {
		return nil
	}
	oldest := u.sealed[0].number
	if what.first > db.archive.covered()+1 {
		// What waits for the snapshot waits for room on the disk.
		db.archive.urgent.Store(true)
		err := db.capture(ctx, false)
		db.archive.urgent.Store(false)
		if err != nil {
			return err
		}
	}
	if db.journal.log == nil {
		return fmt.Errorf("remove segments before %s: %w", wlog.SegmentName(db.journal.dir, what.first), errNotWritable)
	}
	if err := db.checkpoint(what.first - 1); err != nil {
		return err
	}
	if err := db.journal.log.Truncate(what.first); err != nil {
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

// budget is what each endpoint may keep for itself.
func (db *DB) budget() limits {
	return limits{maxTime: db.opts.EndpointMaxTime, maxSize: db.opts.EndpointMaxSize}
}

// enforceBudgets makes endpoints that claim more than their budget give up the
// oldest of it, whatever the others claim. It reports whether there was one. The
// caller holds maintenance.
func (db *DB) enforceBudgets(ctx context.Context, u usage) (given bool, err error) {
	own := db.budget()
	if own == (limits{}) || db.sender == nil || db.gate.Floor().State != gate.Held {
		return false, nil
	}
	over := func() map[string]claim {
		all := map[string]claim{}
		for _, h := range db.gate.Holders() {
			if c := claimOf(u, h.Position.Segment, own, db.now()); c.reason != "" {
				all[h.Name] = c
			}
		}
		return all
	}
	if len(over()) == 0 {
		return false, nil
	}
	// The saved positions may be behind what was delivered.
	if err := db.sender.Persist(ctx); err != nil {
		db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
	}
	for name, c := range over() {
		db.metrics.forfeits.WithLabelValues(c.reason).Inc()
		db.logger.Error("An endpoint exceeds its budget of the write-ahead log and gives up the oldest samples it was not sent", "remote_name", name, "limit", c.reason, "max_size", own.maxSize, "max_time", own.maxTime, "claimed", c.bytes)
		if err := db.sender.Forfeit(cursor.Position{Segment: c.give}, c.reason, name); err != nil {
			return true, fmt.Errorf("give up samples of endpoint %s before segment %d: %w", name, c.give, err)
		}
	}
	// The gate goes by what is on the disk.
	if err := db.sender.Persist(ctx); err != nil {
		return true, fmt.Errorf("save positions of remote endpoints: %w", err)
	}
	return true, nil
}

// showHolders sets the gauges of who keeps how much, and for how long that can
// go on.
func (db *DB) showHolders(u usage, total limits) {
	m := db.metrics
	for _, v := range []*prometheus.GaugeVec{m.segmentsHeld, m.bytesHeld, m.secondsHeld, m.secondsUntilLoss} {
		v.Reset()
	}
	now, own := db.now(), db.budget()
	for _, h := range db.gate.Holders() {
		c := claimOf(u, h.Position.Segment, own, now)
		age := 0.0
		if !c.since.IsZero() {
			age = now.Sub(c.since).Seconds()
		}
		m.segmentsHeld.WithLabelValues(h.Name).Set(float64(c.segments))
		m.bytesHeld.WithLabelValues(h.Name).Set(float64(c.bytes))
		m.secondsHeld.WithLabelValues(h.Name).Set(max(age, 0))
		m.secondsUntilLoss.WithLabelValues(h.Name).Set(untilLoss(u, c, total, own, now))
	}
}

// measure is what the log and the snapshot take up. A file with several names
// counts once.
func (db *DB) measure() (usage, error) {
	u, err := measure(db.journal.dir, db.archive.chunks())
	u.other += db.archive.store.Bytes()
	return u, err
}

// syncLog is a step of the syncing.
func (db *DB) syncLog() error {
	done, err := db.syncer.sync()
	switch {
	case err != nil:
		db.metrics.syncsFailed.Inc()
	case done:
		db.metrics.syncs.Inc()
	}
	return err
}

// keepSynced is the goroutine that syncs the log, if that is wanted.
func (db *DB) keepSynced(ctx context.Context) {
	due := time.NewTicker(db.opts.SyncInterval)
	defer due.Stop()
	for ctx.Err() == nil {
		select {
		case <-due.C:
		case <-ctx.Done():
			return
		}
		if err := db.syncLog(); err != nil {
			db.logger.Error("The write-ahead log cannot be synced to its disk; a loss of power may cost more than the sync interval", "err", err)
		}
	}
}

// checkInterval is how often a segment is read that was taken to be whole at the
// start. Nobody waits for it.
const checkInterval = 5 * time.Second

// upkeep is the goroutine of the snapshot and of truncation.
func (db *DB) upkeep(ctx context.Context) {
	truncation := time.NewTicker(db.opts.TruncateFrequency)
	defer truncation.Stop()
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-truncation.C:
			if err := db.truncate(ctx); err != nil && ctx.Err() == nil {
				db.logger.Warn("Truncating the write-ahead log failed and is tried again later", "err", err)
			}
		case <-check.C:
			db.checkNext()
		case <-db.archive.wanted:
			if err := db.capture(ctx, false); err != nil && ctx.Err() == nil {
				db.logger.Warn("The snapshot of series could not be written and is tried again later; until then no segment is removed", "err", err)
			}
		}
	}
}
