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
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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

	mtx   sync.Mutex // Guards users.
	users int
}

// lockDirectory locks dir, unless it is told not to, in which case only the
// metric is there.
func lockDirectory(dir string, disabled bool, l *slog.Logger, reg *registry) (*directoryLock, error) {
	// That a lock file was replaced is said before it is known whether it is in use.
	said := &heldBack{}
	locker, err := tsdbutil.NewDirLocker(dir, "agent", slog.New(said), reg.registerer())
	if err != nil {
		return nil, fmt.Errorf("prepare lock of data directory %s: %w", dir, err)
	}
	if disabled {
		return &directoryLock{locker: locker}, nil
	}
	path := filepath.Join(dir, LockName)
	if abs, absErr := filepath.Abs(path); absErr == nil {
		path = abs
	}
	if err := locker.Lock(); err != nil {
		by := "another process"
		if owner, readErr := os.ReadFile(path); readErr == nil && len(owner) > 0 {
			by = strings.TrimSpace(string(owner[:min(len(owner), mostOwner)]))
		}
		return nil, fmt.Errorf("data directory %s cannot be locked with %s: %w; if %s uses the directory, stop it or give this one another", dir, path, err, by)
	}
	said.release(l)
	// For whom it keeps out. The lock is as good without.
	if err := os.WriteFile(path, []byte(owner()), 0o666); err != nil {
		l.Debug("The lock file does not say whose it is", "path", path, "err", err)
	}
	return &directoryLock{locker: locker}, nil
}

// mostOwner is how much of a lock file is read.
const mostOwner = 256

// owner is what the lock file says of this process.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	return fmt.Sprintf("process %d on %s\n", os.Getpid(), host)
}

// heldBack is a log handler that keeps lines until it is known whether they are true.
type heldBack struct{ lines []slog.Record }

// release logs the lines.
func (h *heldBack) release(l *slog.Logger) {
	for _, r := range h.lines {
		if l.Enabled(context.Background(), r.Level) {
			_ = l.Handler().Handle(context.Background(), r)
		}
	}
	h.lines = nil
}

// Enabled implements slog.Handler.
func (*heldBack) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *heldBack) Handle(_ context.Context, r slog.Record) error {
	h.lines = append(h.lines, r.Clone())
	return nil
}

// WithAttrs implements slog.Handler. No caller asks for it.
func (h *heldBack) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler. No caller asks for it.
func (h *heldBack) WithGroup(string) slog.Handler { return h }

// use returns the function that ends one use of the lock. Calling it again does
// nothing.
func (d *directoryLock) use() (release func() error) {
	d.mtx.Lock()
	d.users++
	d.mtx.Unlock()

	var once sync.Once
	return func() (err error) {
		once.Do(func() {
			d.mtx.Lock()
			defer d.mtx.Unlock()
			d.users--
			if d.users == 0 {
				err = d.locker.Release()
			}
		})
		return err
	}
}
