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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// lookInterval is how often it is looked whether the active segment is in its place, and
// whether there is room: what has been delivered by then goes if there is little.
const lookInterval = time.Second

// maintain is the goroutine that finishes segments by age and recovers a broken
// log. It does not wait for the removal of segments.
func (db *DB) maintain(ctx context.Context) {
	age := time.NewTicker(max(10*time.Millisecond, min(db.opts.SegmentMaxAge/10, time.Minute)))
	defer age.Stop()
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	var (
		retry       <-chan time.Time
		recovered   time.Time
		delay, free = firstRetry, int64(-1) // Free bytes at the last look at a log that is broken.
	)
	attempt := func() {
		retry, recovered = nil, time.Now()
		if err := db.recoverNow(); err != nil && !errors.Is(err, errClosed) {
			delay = min(2*delay, lastRetry)
			retry = time.After(delay)
			db.logger.Warn("The write-ahead log is still broken", "err", err, "next_attempt_in", delay)
		}
	}
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
		case <-look.C:
			db.keepInPlace()
			if retry != nil && db.roomGrew(&free) {
				attempt()
			}
		case <-db.journal.failed:
			db.metrics.writeFailures.Inc()
			db.logger.Error("The write-ahead log is broken", "err", db.journal.broken())
			signal(db.crowded)
			// A log that fails again and again, each time beginning a segment,
			// is recovered less and less often.
			delay = min(2*delay, lastRetry)
			if time.Since(recovered) > 2*lastRetry {
				delay = firstRetry
			}
			retry = time.After(delay)
		case <-db.freed:
			if retry != nil {
				attempt()
			}
		case <-retry:
			attempt()
		}
	}
}

// keepLimits is the goroutine that removes segments as soon as a limit, or a disk
// with little room, asks for it.
func (db *DB) keepLimits(ctx context.Context) {
	if err := db.reserve.keep(); err != nil {
		db.logger.Warn("No room can be kept for removing segments when the disk is full", "err", err)
	}
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		limits := false
		select {
		case <-ctx.Done():
			return
		case <-db.crowded:
		case <-db.journal.sealed:
			limits = true
		case <-look.C:
			limits = db.underPressure()
		}
		if failure := db.journal.broken(); failure != nil && !errors.Is(failure, errClosed) {
			if err := db.makeRoom(ctx); err != nil && ctx.Err() == nil {
				db.logger.Warn("No room can be made on the disk of the write-ahead log", "err", err)
			}
			continue
		}
		if !limits {
			continue
		}
		if err := db.enforceLimits(ctx); err != nil && ctx.Err() == nil {
			db.logger.Warn("Keeping the write-ahead log within its limits failed and is tried again later", "err", err)
		}
		signal(db.snapshotter.wanted)
	}
}

// underPressure reports whether something may have to go: the log was beyond a limit
// at the last look, or there is little room.
func (db *DB) underPressure() bool {
	if db.pressed.Load() {
		return true
	}
	free, total, err := db.diskSpace(db.journal.dir)
	if err != nil || free >= lowSpace(total) {
		return false
	}
	// Finished segments are what can go.
	first, last, err := wlog.Segments(db.journal.dir)
	return err == nil && first < last
}

// makeRoom removes everything that was delivered, with the room kept for that, since
// the log could not be written to. What was not delivered stays, but for the limits
// that the user set.
func (db *DB) makeRoom(ctx context.Context) (err error) {
	if time.Now().Before(db.room.next) {
		return nil
	}
	defer db.snapshotter.unpaced()()
	db.maintenance.Lock()
	defer db.maintenance.Unlock()
	db.fillHoles(db.journal.Head().Segment)
	if err := db.persist(ctx); vfs.NoRoom(err) {
		// Positions of many places take up more than those before did.
		if err := db.reserve.release(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.reserve.keep()) }()
		if err := db.persist(ctx); err != nil {
			db.room.failed()
			return err
		}
	} else if err != nil {
		db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
	}
	u, err := db.measure()
	if err != nil {
		return err
	}
	maxSize, _ := db.maxSize(u)
	lim := limits{maxTime: db.opts.MaxTime, maxSize: maxSize}
	oldest := u.oldest()
	if db.decide(u, lim).first <= oldest && len(db.overBudget(u)) == 0 {
		return nil // Nothing can go, and the room stays kept for when it can.
	}
	err = errors.Join(db.reserve.release(), db.removeWhatMay(ctx, true))
	if now, _, e := wlog.Segments(db.journal.dir); e == nil && now > oldest {
		db.room = pacedRoom{}
		signal(db.freed)
	} else {
		db.room.failed()
	}
	// If this fails the log is not written to before it works.
	return errors.Join(err, db.reserve.keep())
}

// persist makes the positions of all endpoints durable.
func (db *DB) persist(ctx context.Context) error {
	if db.sender == nil {
		return nil
	}
	if err := db.sender.Persist(ctx); err != nil {
		return fmt.Errorf("save positions of remote endpoints: %w", err)
	}
	return nil
}

// recoverNow is recoverLog as a step of the maintenance.
func (db *DB) recoverNow() error {
	db.recovery.Lock()
	defer db.recovery.Unlock()
	return db.recoverLog()
}

// truncate retires series that nothing was appended to for a while, finishes
// the active segment, has the positions of all endpoints saved, brings the
// snapshot up to date, and removes what no holder needs, or what the limits demand.
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
	db.fillHoles(db.journal.Head().Segment)
	db.retire()
	_, err := db.journal.cutIfOlder(0)
	return errors.Join(err, db.persist(ctx))
}

// enforceLimits removes segments only as far as a limit, or a disk with little
// room, demands it.
func (db *DB) enforceLimits(ctx context.Context) error {
	if !db.maintenance.TryLock() {
		// The goroutine that holds it may be writing at leisure.
		defer db.snapshotter.unpaced()()
		db.maintenance.Lock()
	}
	defer db.maintenance.Unlock()
	return db.removeWhatMay(ctx, false)
}

// removeWhatMay decides and removes: what no holder needs if all is set or if a limit
// is reached, and then only as much of the rest as it takes. The caller holds maintenance.
func (db *DB) removeWhatMay(ctx context.Context, all bool) error {
	db.fillHoles(db.journal.Head().Segment)
	u, err := db.measure()
	if err != nil {
		return err
	}
	maxSize, low := db.maxSize(u)
	lim := limits{maxTime: db.opts.MaxTime, maxSize: maxSize}
	db.maxBytes.Store(lim.maxSize)
	forfeited, err := db.enforceBudgets(ctx, u)
	if err != nil {
		return err
	}
	what := db.decide(u, lim)
	over := lim.maxSize > 0 && u.segments()+charged(u.other, lim.maxSize) > lim.maxSize
	db.pressed.Store(over || low)
	if !all && !forfeited && !over && !low && what.forced == "" {
		return nil
	}
	if !all {
		// The saved positions may be behind what was delivered.
		if err := db.persist(ctx); err != nil {
			db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
		}
		what = db.decide(u, lim)
	}
	return db.remove(ctx, u, lim, what)
}

// decide is what may go now.
func (db *DB) decide(u usage, lim limits) removal {
	return decide(u.sealed, u.active, u.activeSize, u.other, db.gate.Floor(), db.opts.minAge(), lim, db.now())
}

// prepare sees to it that the segments before first can be removed, as far as that is
// possible, and returns the first one that cannot: a checkpoint has every series
// that the others mention.
func (db *DB) prepare(ctx context.Context, oldest, first int) (int, error) {
	// What waits for the snapshot waits for room on the disk.
	defer db.snapshotter.unpaced()()
	var captureErr error
	if first > db.snapshotter.covered()+1 {
		captureErr = db.capture(ctx, false)
		first = min(first, db.snapshotter.covered()+1)
	}
	if first <= oldest {
		return oldest, captureErr
	}
	if err := db.checkpoint(ctx, first-1); err != nil {
		return oldest, errors.Join(captureErr, err)
	}
	return first, captureErr
}

// remove deletes the segments that were decided upon, after a checkpoint. No endpoint
// has to forfeit samples before it is known that their segments can go.
func (db *DB) remove(ctx context.Context, u usage, lim limits, what removal) error {
	if len(u.sealed) == 0 || what.first <= u.sealed[0].number {
		return nil
	}
	oldest := u.sealed[0].number
	first, err := db.prepare(ctx, oldest, what.first)
	if err != nil {
		err = fmt.Errorf("remove segments before %s: %w", wlog.SegmentName(db.journal.dir, what.first), err)
	}
	if first <= oldest {
		return err
	}
	what.first, what.free = first, min(first, what.free)
	if what.first > what.free && db.sender != nil {
		if db.gate.Floor().State == gate.Held {
			db.metrics.forfeits.WithLabelValues(what.forced).Inc()
			db.logger.Error("A limit of the write-ahead log demands samples that have not been delivered", "limit", what.forced, "max_size", lim.maxSize, "max_time", lim.maxTime, "segments", what.first-what.free, "holders", db.gate.Floor().By)
		}
		if err := db.sender.Forfeit(ctx, cursor.Position{Segment: what.first}, what.forced); err != nil {
			return fmt.Errorf("forfeit samples before segment %d: %w", what.first, err)
		}
		// After a crash the positions should not be those from before.
		if err := db.persist(ctx); err != nil {
			db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
		}
	}
	if err := db.removeSegments(oldest, what.first); err != nil {
		return fmt.Errorf("remove segments before %s: %w", wlog.SegmentName(db.journal.dir, what.first), err)
	}
	db.openedBytes.Add(-u.before(what.first)) // What is removed was written, too.
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
	level := slog.LevelInfo
	if what.forced == "" && !isLarge(what.first-oldest) {
		level = slog.LevelDebug // It is what happens all the time.
	}
	db.logger.Log(ctx, level, "Segments removed", "from", oldest, "to", what.first-1, "by_limit", what.forced)
	return err
}

// isLarge reports whether it takes so long to remove so many segments that it is said before.
func isLarge(segments int) bool { return segments >= 4*segmentsAtOnce }

// segmentsAtOnce is how many segments are removed at a time: nothing is written meanwhile.
const segmentsAtOnce = 8

// removeSegments removes the segments from one up to another.
func (db *DB) removeSegments(from, to int) error {
	if isLarge(to - from) {
		db.logger.Info("Removing segments", "from", from, "to", to-1, "segments", to-from)
	}
	goes := newProgress(db.logger, db.now, "Removing segments goes on", "segments")
	for k := from; k < to; goes.at(int64(k-from), int64(to-from)) {
		k = min(k+segmentsAtOnce, to)
		if err := db.journal.truncate(k); err != nil {
			return err
		}
	}
	return nil
}

// maxSize is the limit that counts at present, 0 if there is none, and whether room
// is low whatever it says.
func (db *DB) maxSize(u usage) (limit int64, low bool) {
	free, total, err := db.diskSpace(db.journal.dir)
	if err != nil {
		db.logger.Debug("No default limit for the write-ahead log", "err", err)
		return db.opts.MaxSize, false
	}
	if db.opts.MaxSize > 0 {
		return db.opts.MaxSize, free < lowSpace(total)
	}
	limit, low = db.limit.Of(u.segments()+u.other, free, total, int64(db.opts.WALSegmentSize))
	return limit, low || free < lowSpace(total)
}

// overBudget returns what each holder claims that claims more than it may.
func (db *DB) overBudget(u usage) map[gate.Holder]claim {
	own, all := db.budget(), map[gate.Holder]claim{}
	if own == (limits{}) || db.sender == nil || db.gate.Floor().State != gate.Held {
		return all
	}
	for _, h := range db.gate.Holders() {
		if c := claimOf(u, h.Position.Segment, own, db.now()); c.reason != "" {
			all[h] = c
		}
	}
	return all
}

// enforceBudgets has endpoints that hold more than their budget forfeit the
// oldest of it, whatever the others claim. It reports whether there was one. The
// caller holds maintenance.
func (db *DB) enforceBudgets(ctx context.Context, u usage) (forfeited bool, err error) {
	if len(db.overBudget(u)) == 0 {
		return false, nil
	}
	own := db.budget()
	// The saved positions may be behind what was delivered.
	if err := db.sender.Persist(ctx); err != nil {
		db.logger.Warn("Saving positions of remote endpoints failed", "err", err)
	}
	// What all of them forfeit is counted in this time, or estimated.
	counting, cancel := context.WithTimeout(ctx, delivery.CountForfeitsFor)
	defer cancel()
	for h, c := range db.overBudget(u) {
		db.metrics.forfeits.WithLabelValues(c.reason).Inc()
		db.logger.Error("An endpoint exceeds its budget of the write-ahead log and forfeits the oldest samples it was not sent", "remote_name", h.Name, "limit", c.reason, "max_size", own.maxSize, "max_time", own.maxTime, "claimed", c.bytes)
		if err := db.sender.Forfeit(counting, cursor.Position{Segment: c.keepFrom}, c.reason, h.ID); err != nil {
			return true, fmt.Errorf("forfeit samples of endpoint %s before segment %d: %w", h.Name, c.keepFrom, err)
		}
	}
	// The gate goes by what is on the disk.
	return true, db.persist(ctx)
}

// measure is what the log and the snapshot take up. A file with several names
// counts once.
func (db *DB) measure() (usage, error) {
	u, err := measure(db.journal.dir, db.snapshotter.chunks())
	u.other += db.snapshotter.store.Bytes()
	db.other.Store(u.other)
	db.steady(&u)
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

// checkInterval is how often a segment that the start took to be whole is read.
// Nothing waits for it.
const checkInterval = 5 * time.Second

// snapshotLoop is the goroutine of the snapshot and of truncation.
func (db *DB) snapshotLoop(ctx context.Context) {
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
			db.checkNext(ctx)
		case <-db.snapshotter.wanted:
			if err := db.capture(ctx, false); err != nil && ctx.Err() == nil {
				db.logger.Warn("The snapshot of series could not be written and is tried again later; until then no segment is removed", "err", err)
			}
		}
	}
}
