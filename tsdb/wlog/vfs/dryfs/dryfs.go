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

// Package dryfs is a file system that shows another one and keeps what is changed
// in memory, so that what a start would repair, rename and remove can be tried on
// a directory that must stay as it is.
//
// What it promises: nothing is ever written to the file system below, not even the
// time of a last access by way of a lock; and code that works through it sees its own
// changes as if they had been made. A file that was opened for reading before it was
// changed shows what it was then.
//
// Files are kept as the pages that were written. A file system is safe for
// concurrent use, one lock guards all of it; nothing of it waits for anything but
// reads from below.
package dryfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// FS is a file system whose changes are forgotten with it. Make one with New.
type FS struct {
	below vfs.FS

	mtx     sync.Mutex
	entries map[string]*entry // By cleaned path: what is no more what is below.
}

// entry is what a name stands for in the place of what is below.
type entry struct {
	removed bool
	dir     bool  // Made here: nothing below shines through.
	data    *data // Of a file, shared by links.
}

// New returns a file system that shows below, that of the operating system if it is
// nil.
func New(below vfs.FS) *FS {
	if below == nil {
		below = vfs.OS
	}
	return &FS{below: below, entries: map[string]*entry{}}
}

// Changed returns the paths that are not what they were, sorted.
func (f *FS) Changed() []string {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return slices.Sorted(maps.Keys(f.entries))
}

func failure(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// find returns what path stands for here, nil if that is what is below. Callers hold
// mtx.
func (f *FS) find(path string) *entry {
	if e := f.entries[path]; e != nil {
		return e
	}
	for at := path; ; {
		parent := filepath.Dir(at)
		if parent == at {
			return nil
		}
		if e := f.entries[parent]; e != nil {
			return &entry{removed: true} // Gone with its directory, or never in this one.
		}
		at = parent
	}
}

// stat is Stat for callers that hold mtx.
func (f *FS) stat(path string) (fs.FileInfo, error) {
	switch e := f.find(path); {
	case e == nil:
		return f.below.Stat(path)
	case e.removed:
		return nil, failure("stat", path, fs.ErrNotExist)
	case e.dir:
		return info{name: filepath.Base(path), mode: fs.ModeDir | 0o777}, nil
	default:
		return e.data.info(path), nil
	}
}

// own returns the data of a file so that it can be changed. Callers hold mtx.
func (f *FS) own(path string) (*data, error) {
	if e := f.find(path); e != nil {
		switch {
		case e.removed:
			return nil, failure("open", path, fs.ErrNotExist)
		case e.dir:
			return nil, failure("open", path, errors.ErrUnsupported)
		}
		return e.data, nil
	}
	was, err := f.below.Stat(path)
	if err != nil {
		return nil, err
	}
	if was.IsDir() {
		return nil, failure("open", path, errors.ErrUnsupported)
	}
	d := &data{below: path, shown: was.Size(), size: was.Size(), mode: was.Mode(), changed: was.ModTime(), pages: map[int64][]byte{}}
	f.entries[path] = &entry{data: d}
	return d, nil
}

// OpenFile implements [vfs.FS].
func (f *FS) OpenFile(path string, flag int, perm fs.FileMode) (vfs.File, error) {
	path = filepath.Clean(path)
	f.mtx.Lock()
	defer f.mtx.Unlock()
	writes := flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0
	if f.find(path) == nil && !writes {
		return f.below.OpenFile(path, flag, perm)
	}
	d, err := f.own(path)
	switch {
	case err == nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, failure("open", path, fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		if in, err := f.stat(filepath.Dir(path)); err != nil || !in.IsDir() {
			return nil, failure("open", path, fs.ErrNotExist)
		}
		d = &data{mode: perm, changed: time.Now(), pages: map[int64][]byte{}}
		f.entries[path] = &entry{data: d}
	case err != nil:
		return nil, err
	}
	if flag&os.O_TRUNC != 0 {
		d.truncate(0)
	}
	return &file{fs: f, data: d, path: path, appends: flag&os.O_APPEND != 0}, nil
}

// Stat implements [vfs.FS].
func (f *FS) Stat(path string) (fs.FileInfo, error) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.stat(filepath.Clean(path))
}

// Rename implements [vfs.FS].
func (f *FS) Rename(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if _, err := f.stat(from); err != nil {
		return err
	}
	if in, err := f.stat(filepath.Dir(to)); err != nil || !in.IsDir() {
		return failure("rename", to, fs.ErrNotExist)
	}
	if was, is := f.entries[from], f.entries[to]; from == to || was != nil && is != nil && was.data != nil && was.data == is.data {
		return nil // Links of one file stay, as systems have it.
	}
	if err := f.move(from, to); err != nil {
		return err
	}
	f.drop(from)
	return nil
}

// move makes to what from is. Callers hold mtx.
func (f *FS) move(from, to string) error {
	was, err := f.stat(from)
	if err != nil {
		return err
	}
	if !was.IsDir() {
		d, err := f.own(from)
		if err != nil {
			return err
		}
		f.entries[to] = &entry{data: d}
		return nil
	}
	names, err := f.list(from)
	if err != nil {
		return err
	}
	f.drop(to)
	f.entries[to] = &entry{dir: true}
	for _, e := range names {
		if err := f.move(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// drop makes a path and all below it nothing. Callers hold mtx.
func (f *FS) drop(path string) {
	maps.DeleteFunc(f.entries, func(at string, _ *entry) bool {
		return strings.HasPrefix(at, path+string(filepath.Separator))
	})
	f.entries[path] = &entry{removed: true}
}

// Link implements [vfs.FS].
func (f *FS) Link(from, to string) error {
	from, to = filepath.Clean(from), filepath.Clean(to)
	f.mtx.Lock()
	defer f.mtx.Unlock()
	d, err := f.own(from)
	if err != nil {
		return err
	}
	if _, err := f.stat(to); err == nil {
		return failure("link", to, fs.ErrExist)
	}
	if in, err := f.stat(filepath.Dir(to)); err != nil || !in.IsDir() {
		return failure("link", to, fs.ErrNotExist)
	}
	f.entries[to] = &entry{data: d}
	return nil
}

// Remove implements [vfs.FS].
func (f *FS) Remove(path string) error {
	path = filepath.Clean(path)
	f.mtx.Lock()
	defer f.mtx.Unlock()
	was, err := f.stat(path)
	if err != nil {
		return err
	}
	if was.IsDir() {
		if names, err := f.list(path); err != nil || len(names) > 0 {
			return failure("remove", path, errors.Join(err, fs.ErrExist))
		}
	}
	f.drop(path)
	return nil
}

// RemoveAll implements [vfs.FS].
func (f *FS) RemoveAll(path string) error {
	path = filepath.Clean(path)
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if _, err := f.stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	f.drop(path)
	return nil
}

// MkdirAll implements [vfs.FS].
func (f *FS) MkdirAll(path string, _ fs.FileMode) error {
	path = filepath.Clean(path)
	f.mtx.Lock()
	defer f.mtx.Unlock()
	var missing []string
	for at := path; ; at = filepath.Dir(at) {
		was, err := f.stat(at)
		if err == nil && !was.IsDir() {
			return failure("mkdir", at, fs.ErrExist)
		}
		if err == nil || filepath.Dir(at) == at {
			break
		}
		missing = append(missing, at)
	}
	for _, at := range missing {
		f.entries[at] = &entry{dir: true}
	}
	return nil
}

// ReadDir implements [vfs.FS].
func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.list(filepath.Clean(path))
}

// list is ReadDir for callers that hold mtx.
func (f *FS) list(path string) (out []fs.DirEntry, err error) {
	switch e := f.find(path); {
	case e == nil:
		if out, err = f.below.ReadDir(path); err != nil {
			return nil, err
		}
		out = slices.DeleteFunc(slices.Clone(out), func(e fs.DirEntry) bool { return f.entries[filepath.Join(path, e.Name())] != nil })
	case !e.dir:
		return nil, failure("open", path, fs.ErrNotExist)
	}
	for at, e := range f.entries {
		if filepath.Dir(at) != path || at == path || e.removed {
			continue
		}
		in, err := f.stat(at)
		if err != nil {
			return nil, err
		}
		out = append(out, fs.FileInfoToDirEntry(in))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// SyncDir implements [vfs.FS]. There is nothing to be done.
func (*FS) SyncDir(string) error { return nil }

const pageSize = 32 << 10

// data is the content of a file: pages that were written, over what is below. The
// lock of the file system guards it.
type data struct {
	below   string // Path of what shows where there is no page, empty for none.
	shown   int64  // How many bytes of that count.
	size    int64
	mode    fs.FileMode
	changed time.Time
	pages   map[int64][]byte
}

func (d *data) info(path string) fs.FileInfo {
	return info{name: filepath.Base(path), size: d.size, mode: d.mode, changed: d.changed}
}

func (d *data) truncate(size int64) {
	if size < d.size {
		d.shown = min(d.shown, size)
		maps.DeleteFunc(d.pages, func(k int64, _ []byte) bool { return k*pageSize >= size })
		if page := d.pages[size/pageSize]; page != nil {
			clear(page[size%pageSize:])
		}
	}
	d.size, d.changed = size, time.Now()
}

// page returns a page as it is, and keeps it if it is to be changed.
func (d *data) page(below io.ReaderAt, k int64, change bool) ([]byte, error) {
	if page := d.pages[k]; page != nil {
		return page, nil
	}
	page := make([]byte, pageSize)
	if n := min(d.shown-k*pageSize, pageSize); n > 0 {
		if _, err := below.ReadAt(page[:n], k*pageSize); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if change {
		d.pages[k] = page
	}
	return page, nil
}

// file is an open file. Its offset belongs to the one who uses it.
type file struct {
	fs      *FS
	data    *data
	path    string
	appends bool
	at      int64
	below   vfs.File // Opened when it is needed first.
	closed  bool
}

func (f *file) Name() string { return f.path }

// source returns what is below the file. Callers hold the lock.
func (f *file) source() (io.ReaderAt, error) {
	if f.closed {
		return nil, failure("read", f.path, fs.ErrClosed)
	}
	if f.below == nil && f.data.below != "" && f.data.shown > 0 {
		var err error
		if f.below, err = f.fs.below.OpenFile(f.data.below, os.O_RDONLY, 0); err != nil {
			return nil, err
		}
	}
	return f.below, nil
}

// each calls use with the part of each page that lies in a range.
func (f *file) each(off, n int64, change bool, use func(page []byte)) error {
	src, err := f.source()
	if err != nil {
		return err
	}
	for end := off + n; off < end; {
		page, err := f.data.page(src, off/pageSize, change)
		if err != nil {
			return err
		}
		part := page[off%pageSize : min(pageSize, off%pageSize+end-off)]
		use(part)
		off += int64(len(part))
	}
	return nil
}

func (f *file) ReadAt(b []byte, off int64) (n int, err error) {
	f.fs.mtx.Lock()
	defer f.fs.mtx.Unlock()
	want := max(min(int64(len(b)), f.data.size-off), 0)
	if err := f.each(off, want, false, func(page []byte) { n += copy(b[n:], page) }); err != nil {
		return n, err
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *file) WriteAt(b []byte, off int64) (n int, err error) {
	f.fs.mtx.Lock()
	defer f.fs.mtx.Unlock()
	if err := f.each(off, int64(len(b)), true, func(page []byte) { n += copy(page, b[n:]) }); err != nil {
		return n, err
	}
	f.data.size, f.data.changed = max(f.data.size, off+int64(n)), time.Now()
	return n, nil
}

func (f *file) Write(b []byte) (int, error) {
	if f.appends {
		in, err := f.Stat()
		if err != nil {
			return 0, err
		}
		f.at = in.Size()
	}
	n, err := f.WriteAt(b, f.at)
	f.at += int64(n)
	return n, err
}

func (f *file) Truncate(size int64) error {
	f.fs.mtx.Lock()
	defer f.fs.mtx.Unlock()
	f.data.truncate(size)
	return nil
}

func (f *file) Stat() (fs.FileInfo, error) {
	f.fs.mtx.Lock()
	defer f.fs.mtx.Unlock()
	return f.data.info(f.path), nil
}

func (*file) Sync() error { return nil }

func (f *file) Close() error {
	f.fs.mtx.Lock()
	defer f.fs.mtx.Unlock()
	if f.closed {
		return failure("close", f.path, fs.ErrClosed)
	}
	f.closed = true
	if f.below != nil {
		return f.below.Close()
	}
	return nil
}

// info is what Stat says of what is here only.
type info struct {
	name    string
	size    int64
	mode    fs.FileMode
	changed time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.changed }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (info) Sys() any             { return nil }
