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
	"os"
	"path/filepath"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// probeName is a file in wal/ whose name readers of the log ignore.
const probeName = ".write-probe"

// recoverLog puts a log in order whose last write failed: what the write left
// behind is cut off, and a new segment begins. It returns nil if the log can be
// written to, and else why not; it can be called again at any time. Commits
// fail at once while it works. The caller holds recovery, and does not wait for the
// removal of segments or for a snapshot.
func (db *DB) recoverLog() error {
	j := &db.journal
	failure := j.broken()
	if failure == nil || errors.Is(failure, errClosed) {
		return failure
	}
	again := func(err error) error { return fmt.Errorf("%w (last tried: %w)", failure, err) }
	// What removing needs comes first, or the log would take it and the disk stay
	// full for good.
	if err := db.reserve.keep(); err != nil {
		return again(err)
	}
	if err := db.makeDirAgain(); err != nil {
		return again(err)
	}
	if err := probe(j.fs, j.dir, min(maxRecord, j.segmentSize)); err != nil {
		return again(err)
	}
	// From here to the end nothing else writes to the log: commits see the failure.
	j.handle.Lock()
	if j.log != nil {
		// Closing writes what the failed write left in memory, and works only
		// if that does. If it does not although the disk takes writes, the WL
		// is left alone; it costs a file handle and a goroutine.
		if err := j.log.Close(); err != nil {
			db.logger.Warn("The write-ahead log could not be closed after a failed write and is abandoned", "err", err)
		}
		j.log = nil
	}
	j.handle.Unlock()
	db.walRegistry.clear()
	j.mtx.Lock()
	active := j.active
	j.active = nil
	j.mtx.Unlock()
	if active != nil {
		active.Close() // Some systems do not shorten a file that is open.
	}

	head := j.Head()
	// If segments were removed, their numbers stay taken: saved positions would be
	// ahead of a log that gave them out again.
	damages, err := repair.SegmentsTo(j.fs, j.dir, head.Segment, db.logger)
	db.damaged(damages...)
	if err == nil {
		err = cutBack(j.fs, j.dir, head)
	}
	if short := (*repair.ShortError)(nil); errors.As(err, &short) {
		// The file system went back to what it had, as one does that was taken out
		// and put in again. What is gone is gone; the rest is repaired.
		db.logger.Error("The write-ahead log has lost its end", "segment", head.Segment, "bytes", short.End-short.Size, "err", err)
		damages, err = repair.Segment(context.Background(), j.fs, j.dir, head.Segment, db.logger)
		db.damaged(damages...)
	}
	if err != nil {
		return again(err)
	}
	if err := j.begin(); err != nil {
		return again(err)
	}
	j.mtx.Lock()
	j.failure = nil
	j.mtx.Unlock()
	signal(j.sealed)
	db.logger.Info("The write-ahead log can be written to again", "failure", failure, "kept_up_to", head, "next", j.Head())
	return nil
}

// roomGrew reports whether a log that was broken for want of room has room for a record
// more than before, which it notes: another program may have made some. Where nothing can
// be seen of it, as of a quota, recovery waits for its time.
func (db *DB) roomGrew(free *int64) bool {
	j, before := &db.journal, *free
	now, _, err := db.diskSpace(j.dir)
	if err != nil || !vfs.NoRoom(j.broken()) {
		now = -1
	}
	*free = now
	return before >= 0 && now >= before+min(maxRecord, j.segmentSize)
}

// cutBack removes what was written behind end and never was committed: segments
// that failed attempts began, and the rest of the one that end is in, unless a
// limit has removed that meanwhile.
func cutBack(fsys vfs.FS, dir string, end cursor.Position) error {
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return fmt.Errorf("list segments in %s: %w", dir, err)
	}
	for segment := last; segment >= max(end.Segment, first, 0); segment-- {
		path := wlog.SegmentName(dir, segment)
		switch {
		case segment > max(end.Segment, first):
			err = fsys.Remove(path)
		case segment > end.Segment:
			// Numbers go on from the last segment there is.
			err = repair.Tail(fsys, path, 0)
		default:
			err = repair.Tail(fsys, path, end.Offset)
		}
		if err != nil {
			return fmt.Errorf("cut off what the failed write left in segment %s: %w", path, err)
		}
	}
	return nil
}

// probe finds out whether the disk takes so many bytes, without touching the log.
func probe(fsys vfs.FS, dir string, size int64) error {
	path := filepath.Join(dir, probeName)
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// Less than a record may need would let the log fail again at once.
	_, err = f.Write(make([]byte, size))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), fsys.Remove(path))
}
