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
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// load repairs the log and fills the table: from the snapshot and what the
// log has after it, or, if there is none that fits the log, from all of it.
func (db *DB) load() error {
	dir := db.journal.dir
	if err := db.opts.FS.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("create directory of the write-ahead log: %w", err)
	}
	begin := time.Now()
	for _, p := range db.snapshotter.store.Problems() {
		db.metrics.snapshotDamages.WithLabelValues(p.Kind.String()).Inc()
		db.logger.Error("The snapshot of series is damaged", "kind", p.Kind.String(), "path", p.Path, "err", p.Err)
	}
	state, usable := db.snapshotter.store.State()
	filled := db.fillHoles(-1)
	if usable {
		if misfit := Misfit(dir, state); misfit != "" {
			usable = false
			db.snapshotter.noteGone(state, dir)
			db.metrics.snapshotDamages.WithLabelValues("misfit").Inc()
			db.logger.Info("The snapshot of series does not fit the write-ahead log, which is read as a whole", "reason", misfit)
		}
	}
	u, _ := measure(dir, nil) // What cannot be looked at is met again.
	db.logger.Info("Reading the write-ahead log", "dir", dir, "snapshot", usable, "bytes", u.segments())
	var (
		found replayed
		err   error
	)
	salvage := usable
	if usable {
		found, usable, err = db.loadSnapshot(state, filled)
		if err != nil {
			return err
		}
	}
	if !usable {
		if found, err = db.loadAll(salvage); err != nil {
			return err
		}
	}
	// Refs that only the snapshot has are not handed out again: an endpoint that
	// is behind may still look them up in it.
	db.nextRef.Store(uint64(max(found.maxRef, state.HighRef)))
	db.metrics.replayDuration.Set(since(begin, time.Now()))
	db.metrics.unknownRefs.Add(float64(found.unknown))
	db.metrics.corruptions.Add(float64(found.undecodable))
	if found.unknown > 0 {
		db.logger.Warn("The write-ahead log has samples of series that it does not know", "samples", found.unknown, "refs", found.unknownRefs)
	}
	if found.displaced > 0 {
		db.logger.Warn("The write-ahead log gave refs of some series to others later on", "refs", found.displaced)
	}
	active, retired := db.table.Len()
	db.logger.Info("Write-ahead log read", "segments", found.segments, "series", active, "further_refs", retired, "duration", time.Since(begin))
	return nil
}

// Misfit says why a snapshot is not one of the log in dir, in a few words, or
// nothing if it is. The log has not been repaired yet: whatever keeps it from being
// read makes the snapshot unfit, and the repair finds it.
func Misfit(dir string, state snapshot.State) (misfit string) {
	segments, err := epoch.Scan(dir)
	if err != nil {
		return err.Error()
	}
	if len(segments) == 0 {
		return "the log is empty"
	}
	first, last := segments[0].Index, segments[len(segments)-1].Index
	switch {
	case state.Covered < 0:
		return "it covers nothing"
	case last < state.Covered:
		return "the log ends before it"
	case first > state.Covered+1:
		return "segments after it are missing"
	}
	if epoch.LastForeign(segments, state.Covered) >= 0 {
		return "another engine has written to the log since"
	}
	if state.Covered >= first {
		switch now, err := cursor.Fingerprint(dir, state.Covered); {
		case err == nil && now == state.Fingerprint:
		case (segments[state.Covered-first].Damaged || segments[state.Covered-first].Empty) && anyUntouched(dir, state.Segments):
			// That one is gone, emptied or unreadable. Others show that it is the
			// same log.
		case err != nil:
			return err.Error()
		default:
			return "its last segment has changed"
		}
	}
	return ""
}

// anyUntouched reports whether a segment has the size and the time that it had when
// the snapshot was written.
func anyUntouched(dir string, segments []snapshot.SegmentInfo) bool {
	return slices.ContainsFunc(segments, func(s snapshot.SegmentInfo) bool {
		info, err := os.Stat(wlog.SegmentName(dir, s.Index))
		return err == nil && info.Size() == s.Size && info.ModTime().UnixNano() == s.ModTime
	})
}

// untouched says which files are as they were when the snapshot was written:
// segments by size and time, files of a checkpoint by being chunks.
func (db *DB) untouched(state snapshot.State) func(path string, info fs.FileInfo) bool {
	known := make(map[string]snapshot.SegmentInfo, len(state.Segments))
	for _, s := range state.Segments {
		known[wlog.SegmentName(db.journal.dir, s.Index)] = s
	}
	parts := db.snapshotter.chunks()
	return func(path string, info fs.FileInfo) bool {
		if s, ok := known[path]; ok {
			same := info.Size() == s.Size && info.ModTime().UnixNano() == s.ModTime
			if same {
				db.unread = append(db.unread, s.Index)
			}
			return same
		}
		return slices.ContainsFunc(parts, func(part fs.FileInfo) bool { return os.SameFile(part, info) })
	}
}

func (db *DB) repair(opts repair.Options) (repair.Report, error) {
	opts.FS, opts.Logger = db.opts.FS, db.logger
	opts.Progress = newProgress(db.logger, db.now, "Checking the write-ahead log for damage goes on", "bytes").at
	begin := db.now()
	report, err := repair.Directory(db.journal.dir, opts)
	if vfs.NoRoom(err) {
		if err := db.reserve.release(); err != nil {
			return report, err
		}
		report, err = repair.Directory(db.journal.dir, opts)
	}
	if err != nil {
		return report, fmt.Errorf("repair write-ahead log in %s: %w", db.journal.dir, err)
	}
	db.damaged(report.Damages...)
	if n := len(report.Damages); n > 0 {
		bytes := int64(0)
		for _, d := range report.Damages {
			bytes += d.Bytes
		}
		db.logger.Info("The write-ahead log was repaired", "damages", n, "bytes_lost", bytes, "segments_checked", report.Segments, "bytes_checked", report.Bytes, "duration", db.now().Sub(begin))
	}
	return report, nil
}

// fillHoles puts stand-ins in the place of segments that were removed from the middle
// of the log, since a log with holes in its numbering cannot be listed. active is the
// segment that is written to, negative if none is yet.
func (db *DB) fillHoles(active int) []repair.Damage {
	if _, _, err := wlog.Segments(db.journal.dir); err == nil {
		return nil
	}
	damages, err := repair.Segments(db.opts.FS, db.journal.dir, active, db.logger)
	db.damaged(damages...)
	if err != nil {
		db.logger.Error("The write-ahead log cannot be listed, and nothing of it can be removed", "err", err)
	}
	return damages
}

// countShortened counts finished segments that end before where they ended when
// the snapshot was written, with a whole record or with nothing at all, so that
// reading them does not show it. Each is counted once: one that has no time any more was
// counted. Its size stays, because delivery goes by that.
func (db *DB) countShortened(state snapshot.State, found []repair.Damage) {
	for i, s := range state.Segments {
		path := wlog.SegmentName(db.journal.dir, s.Index)
		info, err := db.opts.FS.Stat(path)
		if err != nil || info.Size() >= s.Size || s.ModTime == 0 {
			continue
		}
		state.Segments[i].ModTime = 0
		if slices.ContainsFunc(found, func(d repair.Damage) bool { return d.Concerns(s.Index) }) {
			continue
		}
		d := repair.Damage{Kind: repair.CorruptSegment, Path: path, Segment: s.Index, Offset: info.Size(), Bytes: s.Size - info.Size()}
		db.logger.Warn("A finished segment of the write-ahead log has lost its end", "path", path, "offset", d.Offset, "bytes", d.Bytes)
		db.damaged(d)
	}
}

func (db *DB) damaged(damages ...repair.Damage) {
	for _, d := range damages {
		db.metrics.damages.WithLabelValues(d.Kind).Inc()
		if d.Kind != repair.TornTail {
			db.metrics.corruptions.Inc()
		}
	}
}

// loadSnapshot fills the table from the snapshot and from what the log has
// after it. It reports false if the snapshot turns out to be damaged.
func (db *DB) loadSnapshot(state snapshot.State, filled []repair.Damage) (found replayed, ok bool, err error) {
	dir, store := db.journal.dir, db.snapshotter.store
	repaired, err := db.repair(repair.Options{Whole: db.untouched(state)})
	if err != nil {
		return found, false, err
	}
	db.countShortened(state, append(filled, repaired.Damages...))
	db.table.Reserve(store.Series())
	report, err := db.fill(store.Load, state.Covered)
	if err != nil {
		return found, false, fmt.Errorf("read snapshot of series: %w", err)
	}
	if report.DamagedBlocks > 0 {
		db.metrics.snapshotDamages.WithLabelValues("chunk").Inc()
		db.logger.Error("The snapshot of series is damaged; what is left of it is used, and the write-ahead log is read as a whole", "chunks", report.DamagedChunks, "blocks", report.DamagedBlocks, "series", report.LostSeries)
		return found, false, nil
	}
	err = store.Timestamps(func(ref chunks.HeadSeriesRef, t int64) {
		if s := db.table.Resolve(ref); s != nil && !s.Alias() {
			s.RaiseTimestamp(t)
		}
	})
	if err != nil {
		// They are a matter of samples out of order at the first scrape.
		db.metrics.snapshotDamages.WithLabelValues("timestamps").Inc()
		db.logger.Warn("The last timestamps of series cannot be read; older samples may be accepted once", "err", err)
	}
	err = store.Metadata(func(ref chunks.HeadSeriesRef, m metadata.Metadata) {
		if s := db.table.Resolve(ref); s != nil {
			db.table.SetMetadata(s, m)
		}
	})
	if err != nil {
		// Scraping tells it again.
		db.metrics.snapshotDamages.WithLabelValues("metadata").Inc()
		db.logger.Warn("The metadata of series cannot be read", "err", err)
	}
	found, err = replayLog(db.logger, db.table, dir, state.Covered, db.reading(), func(ref chunks.HeadSeriesRef) bool {
		_, ok, err := store.Resolve(ref)
		return ok && err == nil
	})
	if err != nil {
		return found, false, err
	}
	db.snapshotter.rebuild = false
	db.snapshotter.setState(state)
	for _, ref := range found.defined {
		if s := db.table.Resolve(ref); s != nil {
			db.journal.defined = append(db.journal.defined, s)
		}
	}
	if _, aliases := db.table.Len(); aliases == 0 {
		return found, true, nil
	}
	for s := range db.table.All() {
		if s.Alias() {
			db.snapshotter.retired = append(db.snapshotter.retired, retiredSeries{s, s.RetiredAt()})
		}
	}
	return found, true, nil
}

// loadAll fills the table from the whole log, and, if the snapshot is damaged but
// belongs to it, from what is left of that: the log's checkpoint consists of the
// same files, and is read by pages and not by blocks.
func (db *DB) loadAll(salvage bool) (found replayed, err error) {
	db.table = series.New(series.Options{Now: db.now})
	db.unread = nil
	db.snapshotter.salvaged = salvage
	if salvage {
		if _, err := db.fill(db.snapshotter.store.LoadAll, 0); err != nil {
			return found, fmt.Errorf("read what is left of the snapshot of series: %w", err)
		}
	}
	if _, err := db.repair(repair.Options{}); err != nil {
		return found, err
	}
	return replayLog(db.logger, db.table, db.journal.dir, -1, db.reading(), nil)
}

// reading says how far a replay has come.
func (db *DB) reading() func(done, total int64) {
	return newProgress(db.logger, db.now, "Reading the write-ahead log goes on", "bytes").at
}

// fill takes the definitions that load reads from the snapshot into the table, as
// ones that segment mentions.
func (db *DB) fill(load func(context.Context, int, snapshot.Definition) (snapshot.LoadReport, error), segment int) (snapshot.LoadReport, error) {
	now := db.now()
	loaders := make([]*series.BulkLoader, runtime.GOMAXPROCS(0))
	for i := range loaders {
		loaders[i] = db.table.BulkLoader(segment, now)
	}
	defer func() {
		for _, l := range loaders {
			l.Flush()
		}
	}()
	return load(context.Background(), len(loaders), func(worker int, ref chunks.HeadSeriesRef, lset []labels.Label, same uint64) error {
		loaders[worker].Add(ref, lset, same)
		return nil
	})
}
