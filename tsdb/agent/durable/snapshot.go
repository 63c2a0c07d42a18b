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
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/heal"
	"github.com/ackwal/ackwal/tsdb/wlog/mutation"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
	"github.com/ackwal/ackwal/tsdb/wlog/snapshot"
)

// seriesDir is where the snapshot is kept, in the data directory.
const seriesDir = "series"

// checkInterval is how often a segment is read that was taken to be whole at the
// start. Nobody waits for it.
const checkInterval = 5 * time.Second

// snapshotRate is how fast snapshots are written, in bytes per second, unless
// something waits for them: a rate that nobody else on the disk notices.
const snapshotRate = 512 << 10

// archive keeps the snapshot of the series, which is what checkpoints are made
// of and what a start reads instead of finished segments.
type archive struct {
	wanted chan struct{} // Has an element when a segment was finished.
	urgent atomic.Bool   // Somebody waits: no pauses between writes.
	users  atomic.Int32  // Those who need the store open.

	mtx   sync.Mutex // Guards what follows; held through an update.
	store *snapshot.Store
	state snapshot.State
	// rebuild says that the store has nothing to go on from: the next update
	// takes the whole table.
	rebuild bool
	// salvaged says that the table has series that the checkpoint may lack.
	salvaged bool
	// retired are series that went out of use and are not noted as such in the
	// snapshot yet, with the last segment that can mention them.
	retired []retiree
	// evict is the segment below which series that are retired may leave
	// memory: they are in the snapshot, and have been for a whole round.
	evict int
}

type retiree struct {
	*series.Series
	segment int
}

// pace makes the writing of n bytes take the time that the rate asks for.
func (a *archive) pace(ctx context.Context, n int) error {
	if a.urgent.Load() {
		return nil
	}
	t := time.NewTimer(time.Duration(n) * time.Second / snapshotRate)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Resolve implements delivery.Resolver.
func (a *archive) Resolve(ref chunks.HeadSeriesRef) (labels.Labels, bool, error) {
	if mutation.On(mutation.ForgetRetired) {
		return labels.EmptyLabels(), false, nil
	}
	return a.store.Resolve(ref)
}

// use keeps the store open until the function it returns is called.
func (a *archive) use() func() error {
	a.users.Inc()
	var once sync.Once
	return func() (err error) {
		once.Do(func() {
			if a.users.Dec() == 0 {
				err = a.store.Close()
			}
		})
		return err
	}
}

// covered is the last segment whose series are all in the snapshot on disk, -1
// for none.
func (a *archive) covered() int {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	if a.rebuild {
		return -1
	}
	return a.state.Covered
}

// chunks returns the chunk files, of which checkpoints have links.
func (a *archive) chunks() []fs.FileInfo {
	var out []fs.FileInfo
	for _, f := range a.store.Files() {
		if !f.Chunk {
			continue
		}
		if info, err := os.Stat(f.Path); err == nil {
			out = append(out, info)
		}
	}
	return out
}

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

// checkNext mends the oldest segment that was not read at the start, because
// nothing but its content can have changed: in the end the log is as whole as if
// all had been read (I7, I9).
func (db *DB) checkNext() {
	if len(db.unread) == 0 {
		return
	}
	segment := db.unread[0]
	db.unread = db.unread[1:]
	damages, err := heal.SegmentFS(db.opts.FS, db.journal.dir, segment, db.logger)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		db.logger.Error("A segment of the write-ahead log cannot be checked", "err", err)
	}
	for _, d := range damages {
		db.damaged(d)
	}
}

// capture brings the snapshot up to the last finished segment, with the last
// timestamps and the metadata too if withTimes is set.
func (db *DB) capture(ctx context.Context, withTimes bool) error {
	a := &db.archive
	a.mtx.Lock()
	defer a.mtx.Unlock()
	fresh, covered := db.journal.takeFresh()
	slices.SortFunc(fresh, func(a, b *series.Series) int { return cmp.Compare(a.Ref(), b.Ref()) })
	fresh = slices.Compact(fresh)
	if !a.rebuild && !withTimes && covered == a.state.Covered && len(fresh)+len(a.retired) == 0 {
		return nil
	}
	db.metrics.snapshots.Inc()
	begin := time.Now()
	if err := db.update(ctx, fresh, covered, withTimes); err != nil {
		db.journal.putBack(fresh)
		db.metrics.snapshotsFailed.Inc()
		return fmt.Errorf("write snapshot of series in %s: %w", seriesDir, err)
	}
	db.logger.Debug("Snapshot of series written", "up_to_segment", covered, "series", len(fresh), "duration", time.Since(begin))
	return nil
}

// update writes a snapshot. The caller holds the archive's lock.
func (db *DB) update(ctx context.Context, fresh []*series.Series, covered int, withTimes bool) error {
	a := &db.archive
	first, _, err := wlog.Segments(db.journal.dir)
	if err != nil {
		return fmt.Errorf("list segments in %s: %w", db.journal.dir, err)
	}
	u := snapshot.Update{State: snapshot.State{
		Run:        db.run,
		Covered:    covered,
		Checkpoint: a.state.Checkpoint,
		HighRef:    chunks.HeadSeriesRef(db.nextRef.Load()),
	}, Floor: max(first, 0)}
	if u.State.Segments, err = db.finished(first, covered); err != nil {
		return err
	}
	if covered >= first && first >= 0 {
		if u.State.Fingerprint, err = cursor.Fingerprint(db.journal.dir, covered); err != nil {
			return fmt.Errorf("read fingerprint of segment %s: %w", wlog.SegmentName(db.journal.dir, covered), err)
		}
	}
	if withTimes {
		u.Timestamps, u.Metadata = db.lastTimestamps, db.allMetadata
	}
	if a.rebuild {
		// The list of fresh series may miss some, the table does not. What is
		// retired is walked twice, and may have changed in between; whoever
		// came back until then is on the list of the next update.
		u.Series = func(yield func(record.RefSeries) bool) {
			for s := range db.table.All() {
				if s.LoggedOnce() && !yield(record.RefSeries{Ref: s.Ref(), Labels: s.Labels()}) {
					return
				}
			}
		}
		for s := range db.table.All() {
			if s.Idle() {
				u.Retired = append(u.Retired, snapshot.Retired{Ref: s.Ref(), Segment: s.RetiredAt()})
			}
		}
		if err := a.store.Replace(ctx, u); err != nil {
			return err
		}
		if _, last, err := wlog.LastCheckpoint(db.journal.dir); err == nil && a.salvaged {
			if err := a.store.Checkpoint(ctx, db.journal.dir, last); err != nil {
				return err
			}
		}
		a.salvaged = false
	} else {
		u.Series = func(yield func(record.RefSeries) bool) {
			for _, s := range fresh {
				if !yield(record.RefSeries{Ref: s.Ref(), Labels: s.Labels()}) {
					return
				}
			}
		}
		for _, s := range fresh {
			// Refs are handed out in order, so this one had a record before.
			if s.Ref() <= a.state.HighRef && !s.Idle() {
				u.Revived = append(u.Revived, s.Ref())
			}
		}
		for _, r := range a.retired {
			if r.Idle() {
				u.Retired = append(u.Retired, snapshot.Retired{Ref: r.Ref(), Segment: r.segment})
			}
		}
		if err := a.store.Append(ctx, u); err != nil {
			return err
		}
	}
	a.state, a.rebuild, a.retired = u.State, false, nil
	return nil
}

// finished lists the segments from first to last as they are on the disk, so
// that a start can tell that nobody touched them since.
func (db *DB) finished(first, last int) ([]snapshot.SegmentInfo, error) {
	known := map[int]snapshot.SegmentInfo{}
	for _, s := range db.archive.state.Segments {
		known[s.Index] = s
	}
	var out []snapshot.SegmentInfo
	for k := max(first, 0); k <= last; k++ {
		s, ok := known[k]
		if !ok {
			info, err := db.secure(wlog.SegmentName(db.journal.dir, k))
			if errors.Is(err, os.ErrNotExist) {
				continue // Truncation runs at the same time.
			}
			if err != nil {
				return nil, fmt.Errorf("look at finished segment: %w", err)
			}
			s = snapshot.SegmentInfo{Index: k, Size: info.Size(), ModTime: info.ModTime().UnixNano()}
		}
		out = append(out, s)
	}
	return out, nil
}

// secure syncs a finished segment and returns how it is then. A start takes it
// for whole if it is still so, which must be right after a loss of power too.
func (db *DB) secure(path string) (fs.FileInfo, error) {
	if err := syncFile(db.opts.FS, path); err != nil {
		return nil, err
	}
	return db.opts.FS.Stat(path)
}

// lastTimestamps walks the last timestamps of the series in use.
func (db *DB) lastTimestamps(yield func(chunks.HeadSeriesRef, int64) bool) {
	for s := range db.table.All() {
		if s.Idle() || !s.HasTimestamp() {
			continue
		}
		if !yield(s.Ref(), s.LastSampleTimestamp()) {
			return
		}
	}
}

// allMetadata walks the metadata of the series in use.
func (db *DB) allMetadata(yield func(chunks.HeadSeriesRef, metadata.Metadata) bool) {
	db.table.Describe(func(s *series.Series, m *metadata.Metadata) bool { return yield(s.Ref(), *m) })
}

// retire takes series out of use that nothing was appended to for a while.
func (db *DB) retire() {
	a := &db.archive
	a.mtx.Lock()
	defer a.mtx.Unlock()
	gone := db.table.Retire(db.now().Add(-db.opts.minAge()), func() int { return db.journal.Head().Segment })
	for _, s := range gone {
		a.retired = append(a.retired, retiree{s, s.RetiredAt()})
	}
	db.exemplars.forget(gone)
}

// forget lets series leave memory that went out of use in an earlier round and
// that the snapshot has. Readers that are behind find them there (I6).
func (db *DB) forget() {
	a := &db.archive
	a.mtx.Lock()
	defer a.mtx.Unlock()
	if a.rebuild {
		return
	}
	db.table.Drop(a.evict)
	a.evict = a.state.Covered + 1
}

// checkpoint makes checkpoint.<last> of the snapshot.
func (db *DB) checkpoint(last int) error {
	a := &db.archive
	a.mtx.Lock()
	defer a.mtx.Unlock()
	db.metrics.checkpoints.Inc()
	if err := a.store.Checkpoint(context.Background(), db.journal.dir, last); err != nil {
		db.metrics.checkpointsFailed.Inc()
		return fmt.Errorf("make %s: %w", wlog.CheckpointDir(db.journal.dir, last), err)
	}
	a.state.Checkpoint = last
	return nil
}
