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
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// What is in a data directory, beside the savepoints and the reserve.
const (
	WALDir    = "wal"    // Of the segments and the checkpoints.
	SeriesDir = "series" // Of the snapshot.
	LockName  = "lock"   // The file that an agent holds.
)

// directoryLock is the lock of a data directory. Storage and delivery both
// write below the directory and are closed one after the other, in either
// order; the lock is released with the last of them.
type directoryLock struct {
	locker *tsdbutil.DirLocker

	mtx     sync.Mutex // Guards holders.
	holders int
}

// lockDirectory locks dir, unless it is told not to, in which case only the
// metric is there.
func lockDirectory(dir string, disabled bool, l *slog.Logger, reg *registry) (*directoryLock, error) {
	locker, err := tsdbutil.NewDirLocker(dir, "agent", l, reg.registerer())
	if err != nil {
		return nil, fmt.Errorf("prepare lock of data directory %s: %w", dir, err)
	}
	if disabled {
		return &directoryLock{locker: locker}, nil
	}
	if err := locker.Lock(); err != nil {
		path := filepath.Join(dir, LockName)
		if abs, absErr := filepath.Abs(path); absErr == nil {
			path = abs
		}
		return nil, fmt.Errorf("data directory %s cannot be locked with %s: %w; if another process uses the directory, stop it or give this one another", dir, path, err)
	}
	return &directoryLock{locker: locker}, nil
}

// hold returns the function that gives up one hold. Calling it again does
// nothing.
func (d *directoryLock) hold() (release func() error) {
	d.mtx.Lock()
	d.holders++
	d.mtx.Unlock()

	var once sync.Once
	return func() (err error) {
		once.Do(func() {
			d.mtx.Lock()
			defer d.mtx.Unlock()
			d.holders--
			if d.holders == 0 {
				err = d.locker.Release()
			}
		})
		return err
	}
}
