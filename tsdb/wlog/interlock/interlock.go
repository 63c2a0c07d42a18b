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

// Package interlock gives the delivery of a write-ahead log a say in what its writer does
// with it, where the two do not know of each other. Writers that use stock's API open
// the log by wlog.NewSize, and make a checkpoint before they remove the segments that it
// replaces; if that fails they remove nothing and try again later. So the delivery
// registers a [Guard] for the directory, and stock's functions tell it what happens
// there, or ask.
//
// It also notes which data directories are those of a server's database, which is
// delivered in stock's way and not guarded.
//
// Everything is safe for concurrent use, and belongs to the process. Nothing here has
// goroutines, and guards are called without a lock held.
package interlock

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
)

// Guard delivers a log. Its methods are called in the writer's goroutine.
type Guard interface {
	// MayRemove returns why the segments up to and including last may not be
	// removed, or nil. It may take as long as a checkpoint may.
	MayRemove(last int) error
	// Opened tells that the log or a server's database around it was opened. It does
	// not block.
	Opened()
	// Repair lets go of the log, whose end is going to be cut off. What it returns is
	// called when that is done.
	Repair() (done func())
}

var beforeOpening func(walDir string, logger *slog.Logger)

var (
	mtx     sync.Mutex // Guards what follows.
	guards  = map[string]*Registration{}
	open    = map[string]int{} // Logs, by how often they are open.
	servers = map[string]struct{}{}
)

// Registration is the say that a [Guard] has.
type Registration struct {
	Guard
	key  string
	left bool // Whose guard has gone; it stays for the writer's sake. The package's mtx is for it too.
}

// Register makes g the guard of the log in walDir until that is released. It is an
// error if there is another: two that deliver one log would overwrite each other's
// positions.
func Register(walDir string, g Guard) (*Registration, error) {
	mine := &Registration{Guard: g, key: canonical(walDir)}
	mtx.Lock()
	defer mtx.Unlock()
	if is := guards[mine.key]; is != nil && !is.left {
		return nil, fmt.Errorf("the write-ahead log in %s is already delivered from by another remote storage of this process; close that one first", walDir)
	}
	guards[mine.key] = mine
	return mine, nil
}

// Release ends it at once. It may be called more than once.
func (r *Registration) Release() {
	mtx.Lock()
	defer mtx.Unlock()
	if guards[r.key] == r {
		delete(guards, r.key)
	}
}

// Leave ends it when the log is closed, or another guard registers: a writer that
// is closed after the delivery may truncate in between.
func (r *Registration) Leave() {
	mtx.Lock()
	defer mtx.Unlock()
	r.left = true
	if open[r.key] == 0 && guards[r.key] == r {
		delete(guards, r.key)
	}
}

// guardOf returns the guard of a log, nil if there is none. A server's has none.
func guardOf(walDir string) Guard {
	mtx.Lock()
	defer mtx.Unlock()
	if len(guards) == 0 {
		return nil
	}
	key := canonical(walDir)
	if _, is := servers[filepath.Dir(key)]; is || guards[key] == nil {
		return nil
	}
	return guards[key]
}

// Check returns an error if the segments of the log in walDir up to and including
// last may not be replaced by a checkpoint yet. The writer leaves everything as it is
// then, and tries again later.
func Check(walDir string, last int) error {
	if g := guardOf(walDir); g != nil {
		return g.MayRemove(last)
	}
	return nil
}

// Repair is called before a log is repaired, and what it returns after.
func Repair(walDir string) (done func()) {
	if g := guardOf(walDir); g != nil {
		return g.Repair()
	}
	return func() {}
}

// BeforeOpening has f called before a log is opened to write to it, that is not open yet
// and no server's. There may be no guard: some writers open their log first. It is for
// an init function.
func BeforeOpening(f func(walDir string, logger *slog.Logger)) { beforeOpening = f }

// Opening is called before the log in walDir is opened to write to it.
func Opening(walDir string, logger *slog.Logger) {
	if beforeOpening != nil && !IsOpen(walDir) && !IsServer(filepath.Dir(canonical(walDir))) {
		beforeOpening(walDir, logger)
	}
}

// Opened notes that this process has opened the log in walDir to write to it.
func Opened(walDir string) {
	mtx.Lock()
	open[canonical(walDir)]++
	mtx.Unlock()
	if g := guardOf(walDir); g != nil {
		g.Opened()
	}
}

// Closed notes that a log is closed that [Opened] told of.
func Closed(walDir string) {
	key := canonical(walDir)
	mtx.Lock()
	defer mtx.Unlock()
	open[key]--
	if open[key] <= 0 {
		delete(open, key)
		if r := guards[key]; r != nil && r.left {
			delete(guards, key)
		}
	}
}

// IsOpen reports whether this process writes to the log in walDir.
func IsOpen(walDir string) bool {
	mtx.Lock()
	defer mtx.Unlock()
	return open[canonical(walDir)] > 0
}

// Server notes that dataDir belongs to a server's database.
func Server(dataDir string) {
	key := canonical(dataDir)
	mtx.Lock()
	servers[key] = struct{}{}
	r := guards[filepath.Join(key, "wal")]
	mtx.Unlock()
	if r != nil {
		r.Opened()
	}
}

// IsServer reports whether dataDir belongs to a server's database.
func IsServer(dataDir string) bool {
	mtx.Lock()
	defer mtx.Unlock()
	_, is := servers[canonical(dataDir)]
	return is
}

// canonical returns one name for a directory, by whichever it is called. What does
// not exist yet is named by the part that does.
func canonical(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	for known, rest := dir, ""; ; {
		if target, err := filepath.EvalSymlinks(known); err == nil {
			return filepath.Join(target, rest)
		}
		parent := filepath.Dir(known)
		if parent == known {
			return dir
		}
		known, rest = parent, filepath.Join(filepath.Base(known), rest)
	}
}
