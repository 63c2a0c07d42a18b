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
	"time"

	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// checkNext repairs the oldest segment that was not read at the start, because
// nothing but its content can have changed: in the end the log is as whole as if
// all had been read (I7, I9).
func (db *DB) checkNext(ctx context.Context) {
	if len(db.unread) == 0 {
		return
	}
	segment := db.unread[0]
	damages, err := repair.Segment(ctx, db.opts.FS, db.journal.dir, segment, db.logger)
	if ctx.Err() != nil {
		return // It is looked at after the next start.
	}
	db.unread = db.unread[1:]
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		db.logger.Error("A segment of the write-ahead log cannot be checked", "err", err)
	}
	db.damaged(damages...)
}

// capture brings the snapshot up to the last finished segment, with the last
// timestamps and the metadata too if withTimes is set.
func (db *DB) capture(ctx context.Context, withTimes bool) error {
	a := &db.snapshotter
	a.mtx.Lock()
	defer a.mtx.Unlock()
	defined, covered := db.journal.takeDefined()
	slices.SortFunc(defined, func(a, b *series.Series) int { return cmp.Compare(a.Ref(), b.Ref()) })
	defined = slices.Compact(defined)
	if !a.rebuild && !withTimes && covered == a.state.Covered && len(defined)+len(a.retired) == 0 {
		return nil
	}
	db.metrics.snapshots.Inc()
	begin := time.Now()
	if err := db.update(ctx, defined, covered, withTimes); err != nil {
		db.journal.putBack(defined)
		db.metrics.snapshotsFailed.Inc()
		return fmt.Errorf("write snapshot of series in %s: %w", SeriesDir, err)
	}
	db.logger.Debug("Snapshot of series written", "up_to_segment", covered, "series", len(defined), "duration", time.Since(begin))
	return nil
}

// update writes a snapshot. The caller holds the snapshotter's lock.
func (db *DB) update(ctx context.Context, defined []*series.Series, covered int, withTimes bool) error {
	a := &db.snapshotter
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
	u.State.Segments = db.finished(first, covered)
	if covered >= first && first >= 0 {
		if u.State.Fingerprint, err = cursor.Fingerprint(db.journal.dir, covered); err != nil {
			return fmt.Errorf("read fingerprint of segment %s: %w", wlog.SegmentName(db.journal.dir, covered), err)
		}
	}
	if withTimes {
		u.Timestamps, u.Metadata = db.lastTimestamps, db.allMetadata
	}
	if a.rebuild {
		// The list of defined series may miss some, the table does not. What is
		// retired is walked twice, and may have changed in between; a series
		// that came back until then is on the list of the next update.
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
			for _, s := range defined {
				if !yield(record.RefSeries{Ref: s.Ref(), Labels: s.Labels()}) {
					return
				}
			}
		}
		for _, s := range defined {
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
	a.rebuild, a.retired = false, nil
	a.setState(u.State)
	return nil
}

// finished lists the segments from first to last as they are on the disk, so
// that a start can tell that they have not been touched since.
func (db *DB) finished(first, last int) []snapshot.SegmentInfo {
	known := map[int]snapshot.SegmentInfo{}
	for _, s := range db.snapshotter.state.Segments {
		known[s.Index] = s
	}
	var out []snapshot.SegmentInfo
	for k := max(first, 0); k <= last; k++ {
		s, ok := known[k]
		if end := db.journal.endOf(k); !ok || s.Size < end {
			info, err := db.secure(wlog.SegmentName(db.journal.dir, k))
			if (err == nil && cursor.RecordEnd(info.Size()) < end) || (errors.Is(err, os.ErrNotExist) && end > 0) {
				// It was removed, and a repair may have put a stand-in in its place.
				out = append(out, snapshot.SegmentInfo{Index: k, Size: end})
				continue
			}
			if errors.Is(err, os.ErrNotExist) {
				continue // Truncation runs at the same time.
			}
			if err != nil {
				// The next start reads it, as far as it can.
				db.logger.Warn("A finished segment cannot be synced to the disk, and is not known to be whole", "err", err)
				continue
			}
			s = snapshot.SegmentInfo{Index: k, Size: info.Size(), ModTime: info.ModTime().UnixNano()}
		}
		out = append(out, s)
	}
	return out
}

// sizeOf returns how many bytes a finished segment had, 0 if that is not known.
func (db *DB) sizeOf(segment int) int64 {
	if end := db.journal.endOf(segment); end > 0 {
		return end
	}
	return db.snapshotter.size(segment)
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
	a := &db.snapshotter
	a.mtx.Lock()
	defer a.mtx.Unlock()
	gone := db.table.Retire(db.now().Add(-db.opts.minAge()), func() int { return db.journal.Head().Segment })
	for _, s := range gone {
		a.retired = append(a.retired, retiredSeries{s, s.RetiredAt()})
	}
	db.exemplars.forget(gone)
}

// forget lets series leave memory that went out of use in an earlier round and
// that the snapshot has. Readers that are behind find them there (I6).
func (db *DB) forget() {
	a := &db.snapshotter
	a.mtx.Lock()
	defer a.mtx.Unlock()
	if a.rebuild {
		return
	}
	db.table.Drop(a.evict)
	a.evict = a.state.Covered + 1
}

// checkpoint makes checkpoint.<last> of the snapshot.
func (db *DB) checkpoint(ctx context.Context, last int) error {
	a := &db.snapshotter
	a.mtx.Lock()
	defer a.mtx.Unlock()
	db.metrics.checkpoints.Inc()
	if err := a.store.Checkpoint(ctx, db.journal.dir, last); err != nil {
		db.metrics.checkpointsFailed.Inc()
		return fmt.Errorf("make %s: %w", wlog.CheckpointDir(db.journal.dir, last), err)
	}
	a.state.Checkpoint = last
	return nil
}
