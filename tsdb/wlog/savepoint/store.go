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

package savepoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

const (
	tempSuffix = ".tmp"
	fileMode   = 0o600
)

// Store reads and writes the savepoint of one data directory, whose lock the
// caller holds. It is safe for concurrent use; writes follow one another.
type Store struct {
	dir string
	fs  vfs.FS

	mtx sync.Mutex // Held across a whole Load or Write.

	// before is called ahead of every operation that changes the disk, with
	// its name; an error is taken for the operation's own. Nil except in tests,
	// which let operations fail and processes die there.
	before func(operation string) error
}

// NewStore returns a store in the data directory dir. It touches nothing.
func NewStore(dir string, opts ...Option) *Store {
	s := &Store{dir: dir, fs: vfs.OS}
	for _, o := range opts {
		o(s)
	}
	return s
}

// Option is an option of NewStore.
type Option func(*Store)

// WithFS puts the files on another file system than that of the operating
// system. Nil leaves it at that.
func WithFS(fsys vfs.FS) Option {
	return func(s *Store) {
		if fsys != nil {
			s.fs = fsys
		}
	}
}

// Write stores f as the current savepoint, in place of the one before, which
// stays if there is an error. It works on a disk without room too, unless f takes
// up more than the one before.
//
// With durable it returns only once f is on the disk, twice: as the current
// file and as the fallback, which thus always is the last durable version.
// That is what a caller needs before it acts on f in a way that cannot be
// taken back: removing segments, sending beyond a dispatch watermark it raised.
// Without durable, f outlives the process but perhaps not the machine.
//
// After an error f may or may not be what Load returns. The caller holds on to
// what it knew before, and writes again.
func (s *Store) Write(f File, durable bool) error {
	data, err := Encode(f)
	if err != nil {
		return fmt.Errorf("savepoint %s not written: %w", s.path(CurrentName), err)
	}
	return s.WriteEncoded(data, durable)
}

// WriteEncoded is Write for callers that have called [Encode] before, to see whether
// there is anything to be written.
func (s *Store) WriteEncoded(data []byte, durable bool) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if err := s.put(CurrentName, data, durable); err != nil {
		return fmt.Errorf("savepoint %s not written: %w", s.path(CurrentName), err)
	}
	if !durable {
		return nil
	}
	// The fallback is written anew, not linked: two names of one file would
	// share the blocks that go bad. And it follows the current file, so that
	// at every instant one of the two is whole and on the disk.
	if err := s.put(PreviousName, data, true); err != nil {
		return fmt.Errorf("fallback %s of the savepoint not written: %w", s.path(PreviousName), err)
	}
	return nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// do runs one operation that changes the disk, on a file of that name.
func (s *Store) do(name, operation string, f func() error) error {
	if s.before != nil {
		if err := s.before(name + " " + operation); err != nil {
			return err
		}
	}
	return f()
}

// put stores data under a name. Where there is no room for a file beside the old
// one, that is written over: nothing can be removed from the log before its
// endpoints' positions are stored, so a full disk would stay full. Of the two files
// one is whole at every instant then too.
func (s *Store) put(name string, data []byte, durable bool) error {
	err := s.replace(name, data, durable)
	if !vfs.NoRoom(err) {
		return err
	}
	if e := s.overwrite(name, data, durable); e != nil {
		return fmt.Errorf("%w; nor can the one before be written over: %w", err, e)
	}
	return nil
}

// overwrite writes data over a file. What it takes up beyond that is written
// first: if there is no room for it, the file stays as it was.
func (s *Store) overwrite(name string, data []byte, durable bool) (err error) {
	f, err := s.fs.OpenFile(s.path(name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	had := min(info.Size(), int64(len(data)))
	if more := data[had:]; len(more) > 0 {
		if _, err := f.WriteAt(more, had); err != nil {
			return errors.Join(err, f.Truncate(had))
		}
	}
	return s.do(name, "overwrite", func() error {
		if _, err := f.WriteAt(data[:had], 0); err != nil {
			return err
		}
		if err := f.Truncate(int64(len(data))); err != nil || !durable {
			return err
		}
		return f.Sync()
	})
}

// replace puts data in the place of the named file, atomically for readers and
// for a process that dies, and for a machine that does if durable.
func (s *Store) replace(name string, data []byte, durable bool) (err error) {
	path := s.path(name)
	temp := path + tempSuffix
	defer func() {
		if err != nil {
			// Best effort: the next write removes it too.
			_ = s.fs.Remove(temp)
		}
	}()

	f, err := s.create(name, temp)
	if errors.Is(err, fs.ErrExist) {
		// A file left by a crash may have another mode or be a link to elsewhere.
		if err := s.do(name, "remove temp", func() error { return s.removeIfExists(temp) }); err != nil {
			return err
		}
		f, err = s.create(name, temp)
	}
	if err != nil {
		return err
	}
	if err := s.fill(name, f, data, durable); err != nil {
		_ = f.Close() // The first error is the one that matters.
		return err
	}
	if err := s.do(name, "close", f.Close); err != nil {
		return err
	}
	rename := func() error { return s.fs.Rename(temp, path) }
	if err = s.do(name, "rename", rename); err != nil {
		info, e := s.fs.Stat(path)
		if e != nil || !info.IsDir() {
			return err
		}
		// There is a directory of that name, such as container runtimes make for
		// a file that is to be mounted and does not exist.
		if _, err = s.moveAside(path); err != nil {
			return err
		}
		if err = s.do(name, "rename", rename); err != nil {
			return err
		}
	}
	if !durable {
		return nil
	}
	return s.do(name, "sync directory", s.syncDir)
}

// create makes a file that is not there.
func (s *Store) create(name, path string) (f vfs.File, err error) {
	err = s.do(name, "create", func() (err error) {
		f, err = s.fs.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
		return err
	})
	return f, err
}

func (s *Store) fill(name string, f vfs.File, data []byte, durable bool) error {
	if err := s.do(name, "write", func() error {
		_, err := f.Write(data)
		return err
	}); err != nil {
		return err
	}
	if !durable {
		return nil
	}
	return s.do(name, "sync", f.Sync)
}

func (s *Store) syncDir() error {
	if err := s.fs.SyncDir(s.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) removeIfExists(path string) error {
	if err := s.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
