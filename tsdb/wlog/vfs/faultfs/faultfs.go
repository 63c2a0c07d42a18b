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

package faultfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// What disks say. They work on every platform, for they come from no system
// call here.
const (
	NoSpace  = syscall.ENOSPC
	Broken   = syscall.EIO
	ReadOnly = syscall.EROFS
)

// Op is an operation.
type Op struct {
	Name string // The method's name in lower case, or what Outside was given.
	Path string
	// Changes says that it changes what is on the disk, or makes it durable.
	Changes bool
}

// String returns the operation as a line of a transcript.
func (o Op) String() string { return o.Name + " " + o.Path }

// Changes is the usual choice of operations: those that change something.
func Changes(o Op) bool { return o.Changes }

// Reads is the choice of the others.
func Reads(o Op) bool { return !o.Changes }

// Fault says which operations fail.
type Fault struct {
	// At is the number of the first one that fails, counted from 0 among those
	// that Match chooses; negative for none.
	At int
	// Err is the error.
	Err error
	// Stays makes all after it fail too, until the fault is replaced.
	Stays bool
	// Match chooses the operations that count. Nil means Changes.
	Match func(Op) bool
}

// Error is an injected error. It wraps the one of the fault.
type Error struct {
	Op  Op
	Err error
}

// Error implements error.
func (e *Error) Error() string { return e.Op.String() + ": " + e.Err.Error() }

// Unwrap returns the error of the fault.
func (e *Error) Unwrap() error { return e.Err }

// Injected reports whether an error was injected.
func Injected(err error) bool { return errors.As(err, new(*Error)) }

// FS is the file system. The zero value is not usable, see New.
type FS struct {
	root, shadow string

	mtx     sync.Mutex // Guards what follows, and the nodes.
	top     *node
	nodes   map[int]*node // Of files, by the number of their link in shadow.
	fault   Fault
	counted int // Operations that the fault's choice matched.
	hits    int // Operations that failed because of the fault.
	before  func(Op)
}

var _ vfs.FS = (*FS)(nil)

// New returns a file system for root, which is made if it does not exist. What
// is below it counts as synced. Its shadow directory has the name of the root
// with .shadow at the end.
func New(root string) (*FS, error) {
	f := &FS{root: filepath.Clean(root), shadow: filepath.Clean(root) + ".shadow", nodes: map[int]*node{}, fault: Fault{At: -1}}
	for _, dir := range []string{f.root, f.shadow} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
	}
	f.top = newDir()
	if err := f.look(f.top, f.root); err != nil {
		return nil, err
	}
	return f, f.settle(f.top)
}

// Inject replaces the fault and begins to count anew.
func (f *FS) Inject(fault Fault) {
	if fault.Match == nil {
		fault.Match = Changes
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.fault, f.counted, f.hits = fault, 0, 0
}

// Count makes nothing fail and begins to count the operations that match
// chooses; nil means Changes.
func (f *FS) Count(match func(Op) bool) { f.Inject(Fault{At: -1, Match: match}) }

// Counted returns how many operations there were since the last Inject or
// Count, of those that count.
func (f *FS) Counted() int {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.counted
}

// Hits returns how many operations failed because of the present fault.
func (f *FS) Hits() int {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.hits
}

// Before has a function called ahead of every operation, by the goroutine that
// does it. Set it while there are no operations; nil removes it.
func (f *FS) Before(call func(Op)) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.before = call
}

// Outside does an operation on a path, of code that does not use f, as one of f's
// own: it is counted, and if it is to fail, do is not called.
func (f *FS) Outside(name, path string, do func() error) error {
	if err := f.check(Op{Name: name, Path: path, Changes: true}); err != nil {
		return err
	}
	err := do()
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return errors.Join(err, f.lookAt(path))
}

// check counts an operation and returns the error it has to fail with.
func (f *FS) check(op Op) error {
	f.mtx.Lock()
	before := f.before
	f.mtx.Unlock()
	if before != nil {
		before(op)
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if f.fault.Match == nil || !f.fault.Match(op) {
		return nil
	}
	n := f.counted
	f.counted++
	if f.fault.At < 0 || n < f.fault.At || n > f.fault.At && !f.fault.Stays {
		return nil
	}
	f.hits++
	return &Error{Op: op, Err: f.fault.Err}
}

// change does an operation that changes names, in two steps: do changes the
// disk, and account what is known of it. Changes made by others before are
// taken note of first, so that the order is right.
func (f *FS) change(op Op, do, account func() error) error {
	op.Changes = true
	if err := f.check(op); err != nil {
		return err
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if err := f.lookAt(op.Path); err != nil {
		return fmt.Errorf("faultfs: %w", err)
	}
	if err := do(); err != nil {
		return err
	}
	if err := account(); err != nil {
		return fmt.Errorf("faultfs: %s: %w", op, err)
	}
	return nil
}

// OpenFile implements vfs.FS.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	var inner vfs.File
	open := func() (err error) {
		inner, err = vfs.OS.OpenFile(name, flag, perm)
		return err
	}
	if flag&(os.O_CREATE|os.O_TRUNC) == 0 {
		// Opening for writing changes nothing, but fails where nothing can be
		// written.
		if err := f.check(Op{Name: "openfile", Path: name, Changes: writes}); err != nil {
			return nil, err
		}
		if err := open(); err != nil {
			return nil, err
		}
		return &file{File: inner, fs: f, name: name}, nil
	}
	if err := f.change(Op{Name: "openfile", Path: name}, open, func() error { return f.lookAt(name) }); err != nil {
		return nil, err
	}
	return &file{File: inner, fs: f, name: name}, nil
}

// Rename implements vfs.FS, within one directory.
func (f *FS) Rename(from, to string) error {
	return f.change(Op{Name: "rename", Path: to}, func() error {
		if filepath.Dir(from) != filepath.Dir(to) {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: errors.ErrUnsupported}
		}
		return os.Rename(from, to)
	}, func() error {
		dir, err := f.dir(filepath.Dir(to))
		if err != nil {
			return err
		}
		moved := dir.names[filepath.Base(from)]
		dir.change(binding{filepath.Base(from), nil}, binding{filepath.Base(to), moved})
		return nil
	})
}

// Link implements vfs.FS.
func (f *FS) Link(from, to string) error {
	return f.change(Op{Name: "link", Path: to},
		func() error { return os.Link(from, to) },
		func() error { return f.lookAt(to) })
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	return f.change(Op{Name: "remove", Path: name},
		func() error { return os.Remove(name) },
		func() error { return f.lookAt(name) })
}

// RemoveAll implements vfs.FS.
func (f *FS) RemoveAll(name string) error {
	return f.change(Op{Name: "removeall", Path: name},
		func() error { return os.RemoveAll(name) },
		func() error { return f.lookAt(name) })
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	return f.change(Op{Name: "mkdirall", Path: name},
		func() error { return os.MkdirAll(name, perm) },
		func() error { return f.lookAt(name) })
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.check(Op{Name: "readdir", Path: name}); err != nil {
		return nil, err
	}
	return os.ReadDir(name)
}

// Stat implements vfs.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	if err := f.check(Op{Name: "stat", Path: name}); err != nil {
		return nil, err
	}
	return os.Stat(name)
}

// SyncDir implements vfs.FS. As with Sync of a file, it is only noted.
func (f *FS) SyncDir(name string) error {
	return f.change(Op{Name: "syncdir", Path: name},
		func() error {
			_, err := os.ReadDir(name)
			return err
		},
		func() error {
			dir, err := f.dir(name)
			if err != nil {
				return err
			}
			dir.sync()
			return nil
		})
}
