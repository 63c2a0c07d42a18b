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
	"io/fs"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// file is an open file. Its Close never fails, because callers cannot do anything
// about it: a caller that wants to be sure syncs before.
type file struct {
	vfs.File
	fs   *FS
	name string
}

func (f *file) op(name string, changes bool) error {
	return f.fs.check(Op{Name: name, Path: f.name, Changes: changes})
}

// Read implements io.Reader.
func (f *file) Read(b []byte) (int, error) {
	if err := f.op("read", false); err != nil {
		return 0, err
	}
	return f.File.Read(b)
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(b []byte, at int64) (int, error) {
	if err := f.op("readat", false); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, at)
}

// Stat implements vfs.File.
func (f *file) Stat() (fs.FileInfo, error) {
	if err := f.op("stat", false); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

// Write implements io.Writer. One that fails has written half of the bytes, as
// on a disk that has become full.
func (f *file) Write(b []byte) (int, error) {
	if err := f.op("write", true); err != nil {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, err
	}
	return f.File.Write(b)
}

// WriteAt implements io.WriterAt, and fails as Write does.
func (f *file) WriteAt(b []byte, at int64) (int, error) {
	if err := f.op("writeat", true); err != nil {
		n, _ := f.File.WriteAt(b[:len(b)/2], at)
		return n, err
	}
	return f.File.WriteAt(b, at)
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	if err := f.op("truncate", true); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Sync implements vfs.File. That the bytes are synced is noted and not done:
// there is no loss of power but in clones, and tests have no time to wait.
func (f *file) Sync() error {
	if err := f.op("sync", true); err != nil {
		return err
	}
	info, err := f.File.Stat()
	if err != nil {
		return err
	}
	return f.fs.synced(info, info.Size())
}
