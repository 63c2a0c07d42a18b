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

// Package hold lets who reads a write-ahead log keep its writer from removing
// segments, where the two do not know of each other. Writers that go by stock's API
// make a checkpoint before they remove the segments that it replaces, and remove
// nothing if it fails. So [Check] is asked before a checkpoint is made, and answers
// with what those say that have registered for the directory with [Register].
//
// It also notes which data directories are those of a server's database, which
// delivers from its blocks' log in its own way and must not be held.
//
// Everything is safe for concurrent use, and belongs to the process. Nothing here
// has goroutines; functions that are registered are called without a lock held.
package hold

import (
	"fmt"
	"path/filepath"
	"sync"
)

// Func says why the segments of a log up to and including last may not be removed,
// or nil. It may block as long as a checkpoint may take.
type Func func(last int) error

var (
	mtx     sync.Mutex // Guards what follows.
	holders = map[string]*Func{}
	servers = map[string]struct{}{}
)

// Register makes f decide about the log in walDir until release is called, which may
// be done more than once. It is an error if somebody else has registered for it: two
// that read one log for delivery would overwrite each other's positions.
func Register(walDir string, f Func) (release func(), err error) {
	key, mine := canonical(walDir), &f
	mtx.Lock()
	defer mtx.Unlock()
	if holders[key] != nil {
		return nil, fmt.Errorf("the write-ahead log in %s is already delivered from by another remote storage of this process; close that one first", walDir)
	}
	holders[key] = mine
	return func() {
		mtx.Lock()
		defer mtx.Unlock()
		if holders[key] == mine {
			delete(holders, key)
		}
	}, nil
}

// Check returns an error if the segments of the log in walDir up to and including
// last may not be replaced by a checkpoint yet. The writer leaves everything as it is
// then, and tries again later.
func Check(walDir string, last int) error {
	mtx.Lock()
	f := holders[canonical(walDir)]
	mtx.Unlock()
	if f == nil {
		return nil
	}
	return (*f)(last)
}

// Server notes that dataDir belongs to a server's database.
func Server(dataDir string) {
	mtx.Lock()
	defer mtx.Unlock()
	servers[canonical(dataDir)] = struct{}{}
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
		if real, err := filepath.EvalSymlinks(known); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(known)
		if parent == known {
			return dir
		}
		known, rest = parent, filepath.Join(filepath.Base(known), rest)
	}
}
