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
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// syncer brings what was committed to the disk itself, so that a loss of power
// costs no more than its interval. It uses file handles of its own: no commit
// ever waits for it.
type syncer struct {
	fs   vfs.FS
	dir  string
	head func() (segment int, offset int64)

	mtx sync.Mutex // Guards what follows; held through a sync.
	// Everything before this is on the disk. The segment is -1 at first: what
	// an earlier run left may be there only in memory.
	segment int
	offset  int64
	named   int // The last segment whose name is on the disk.
}

func (s *syncer) init(j *journal) {
	s.fs, s.dir, s.segment, s.named = j.fs, j.dir, -1, -1
	s.head = func() (int, int64) {
		p := j.Head()
		return p.Segment, p.Offset
	}
}

// sync returns when all that was committed before the call is on the disk. It
// reports whether there was anything to do. After an error the next call begins
// where this one did.
func (s *syncer) sync() (bool, error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	segment, offset := s.head()
	if segment == s.segment && offset == s.offset {
		return false, nil
	}
	from := s.segment
	if from < 0 {
		first, _, err := wlog.Segments(s.dir)
		if err != nil {
			return true, fmt.Errorf("list segments in %s: %w", s.dir, err)
		}
		from = max(first, 0)
	}
	for k := from; k <= segment; k++ {
		path := wlog.SegmentName(s.dir, k)
		if err := syncFile(s.fs, path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // It was removed and needs no sync.
			}
			return true, fmt.Errorf("sync segment %s: %w", path, err)
		}
	}
	if segment > s.named {
		for _, dir := range []string{s.dir, filepath.Dir(s.dir)} {
			if err := s.fs.SyncDir(dir); err != nil {
				return true, fmt.Errorf("sync directory %s: %w", dir, err)
			}
		}
	}
	s.segment, s.offset, s.named = segment, offset, segment
	return true, nil
}

// syncFile writes what the operating system has of a file to the disk.
func syncFile(fsys vfs.FS, path string) error {
	// Some systems sync only files that are open for writing.
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
