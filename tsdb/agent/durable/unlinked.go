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
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// unfinishedSuffix is that of files in wal/ that a start removes.
const unfinishedSuffix = ".unfinished"

// keepInPlace begins a segment if the one that is written to was removed, or another
// file put in its place: what is in an unlinked file is lost with the process. As long
// as it is open it can be copied, so it is put back before.
func (db *DB) keepInPlace() {
	db.recovery.Lock() // It opens another file too, and commits are not there to wait.
	defer db.recovery.Unlock()
	j := &db.journal
	file, segment := j.displaced()
	if file == nil {
		return
	}
	path := wlog.SegmentName(j.dir, segment)
	db.logger.Error("The segment of the write-ahead log that is written to was removed or replaced by another program; it is put back from the open file, and a new one begins", "path", path)
	err := j.putInPlace(file, path)
	if err == nil {
		err = j.fs.SyncDir(j.dir)
	}
	if err != nil {
		db.logger.Error("The segment of the write-ahead log that was removed cannot be put back; what endpoints had not been sent of it may be lost", "path", path, "err", err)
	}
}

// displaced returns the file of the active segment if that is not the one in the
// directory. It stays open until putInPlace was called.
func (j *journal) displaced() (vfs.File, int) {
	j.mtx.Lock()
	file, segment, failure := j.active, j.head.Segment, j.failure
	j.mtx.Unlock()
	if failure != nil || file == nil {
		return nil, 0
	}
	own, err := file.Stat()
	if err != nil {
		return nil, 0 // Closed meanwhile, as it is finished.
	}
	there, err := j.fs.Stat(wlog.SegmentName(j.dir, segment))
	switch {
	case err == nil && os.SameFile(own, there):
		return nil, 0
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, 0
	}
	if _, err := j.fs.Stat(j.dir); err != nil {
		return nil, 0 // All of it is away, and may be back in a moment.
	}
	j.mtx.Lock()
	defer j.mtx.Unlock()
	if j.active != file {
		return nil, 0
	}
	j.kept = file
	return file, segment
}

// putInPlace gives a copy of a segment's file its name, and begins another segment,
// whether the copy can be made or not. Commits wait for the last part of it only.
func (j *journal) putInPlace(file vfs.File, path string) error {
	temp := path + unfinishedSuffix
	to, err := j.fs.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	var done int64
	if err == nil {
		defer to.Close()
		if done, err = copyFrom(to, file, 0); err == nil {
			err = to.Sync()
		}
	}
	j.mtx.Lock()
	defer j.mtx.Unlock()
	if err == nil {
		_, err = copyFrom(to, file, done)
	}
	if err == nil {
		err = j.fs.Rename(temp, path)
	}
	if err != nil {
		err = errors.Join(err, ignoreAbsent(j.fs.Remove(temp)))
	}
	j.kept = nil
	if j.active != file {
		file.Close() // It was finished meanwhile.
		return err
	}
	if j.failure != nil {
		return err
	}
	if e := j.cut(); e != nil {
		return errors.Join(err, j.fail(e))
	}
	return err
}

// copyFrom appends what a file has from an offset on, and returns where that ended.
func copyFrom(to io.Writer, from vfs.File, offset int64) (int64, error) {
	size, err := sizeOf(from)
	if err != nil {
		return offset, err
	}
	n, err := io.Copy(to, io.NewSectionReader(from, offset, size-offset))
	if err != nil {
		return offset, fmt.Errorf("copy segment: %w", err)
	}
	return offset + n, nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// awayFor is how long a directory may be away, and come back, before it is made anew.
const awayFor = 10 * time.Second

// makeDirAgain recreates the directory of the log if it was removed. Callers hold
// recovery.
func (db *DB) makeDirAgain() error {
	j := &db.journal
	_, err := j.fs.Stat(j.dir)
	if !errors.Is(err, fs.ErrNotExist) {
		db.away = time.Time{}
		return nil // If it cannot be written to, the probe tells.
	}
	if _, err := j.fs.Stat(filepath.Dir(j.dir)); err != nil {
		return err // All of it is away.
	}
	now := db.now()
	if db.away.IsZero() {
		db.away = now
	}
	if now.Sub(db.away) < awayFor {
		return err
	}
	db.logger.Error("The directory of the write-ahead log was removed by another program; it is made anew, and what endpoints had not been sent of it is lost", "dir", j.dir)
	return j.fs.MkdirAll(j.dir, 0o777)
}
