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
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/heal"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// probeName is a file in wal/ whose name readers of the log ignore.
const probeName = ".write-probe"

// recoverLog puts a log in order whose last write failed: what the write left
// behind is cut off, and a new segment begins. It returns nil if the log can be
// written to, and else why not; it can be called again at any time. Commits
// fail at once while it works. The caller is the maintenance.
func (db *DB) recoverLog() error {
	j := &db.journal
	failure := j.broken()
	if failure == nil || errors.Is(failure, errClosed) {
		return failure
	}
	if err := probe(j.fs, j.dir); err != nil {
		return fmt.Errorf("%w (last tried: %w)", failure, err)
	}
	// From here to the end nobody else uses the log: commits see the failure.
	if j.log != nil {
		// Closing writes what the failed write left in memory, and works only
		// if that does. If it does not although the disk takes writes, the WL
		// is left alone; it costs a file handle and a goroutine.
		if err := j.log.Close(); err != nil {
			db.logger.Warn("The write-ahead log could not be closed after a failed write and is abandoned", "err", err)
		}
		j.log = nil
	}
	db.walRegistry.clear()
	if j.active != nil {
		// Some systems do not shorten a file that is open.
		j.active.Close()
		j.active = nil
	}

	head := j.Head()
	if err := cutBack(j.fs, j.dir, head); err != nil {
		return fmt.Errorf("%w (last tried: %w)", failure, err)
	}
	if err := j.begin(); err != nil {
		return fmt.Errorf("%w (last tried: %w)", failure, err)
	}
	j.mtx.Lock()
	j.failure = nil
	j.mtx.Unlock()
	signal(j.sealed)
	db.logger.Info("The write-ahead log can be written to again", "failure", failure, "kept_up_to", head, "next", j.Head())
	return nil
}

// cutBack removes what was written behind end and never was committed.
func cutBack(fsys vfs.FS, dir string, end cursor.Position) error {
	_, last, err := wlog.Segments(dir)
	if err != nil {
		return fmt.Errorf("list segments in %s: %w", dir, err)
	}
	for segment := end.Segment; segment <= last; segment++ {
		keep := int64(0)
		if segment == end.Segment {
			keep = end.Offset
		}
		if err := heal.TailFS(fsys, wlog.SegmentName(dir, segment), keep); err != nil {
			return fmt.Errorf("cut off what the failed write left in segment %s: %w", wlog.SegmentName(dir, segment), err)
		}
	}
	return nil
}

// probe finds out whether the disk takes a large record, without touching the log.
func probe(fsys vfs.FS, dir string) error {
	path := filepath.Join(dir, probeName)
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// What one record may need: less would let the log fail again at once.
	_, err = f.Write(make([]byte, maxRecord))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), fsys.Remove(path))
}
