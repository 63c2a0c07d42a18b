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

// Package vfs is the seam between the durable engine's own files (savepoints,
// series chunks, manifests, and what it does to a log's directory) and the
// operating system. It exists for tests: package faultfs behind it counts
// operations, makes them fail, and keeps account of what has been synced, so
// that a crash can be replayed. Nothing in it buffers or translates: paths,
// flags and errors are those of package os.
//
// Invariants I1, I7 and I8 rest on the order of Sync, Rename and SyncDir; a
// caller that wants a file to survive a crash syncs the file, gives it its name
// by Rename or Link, and syncs the directory.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// FS is a file system. Implementations are safe for concurrent use.
type FS interface {
	// OpenFile is os.OpenFile; flag 0 opens for reading.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(from, to string) error
	Link(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable. Where the platform or the
	// file system cannot do that, it does nothing.
	SyncDir(name string) error
}

// File is an open file. Concurrent use is as for *os.File.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
}

// OS is the operating system's file system.
var OS FS = system{}

type system struct{}

func (system) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // Not a nil *os.File in an interface.
	}
	return f, nil
}

func (system) Rename(from, to string) error                 { return os.Rename(from, to) }
func (system) Link(from, to string) error                   { return os.Link(from, to) }
func (system) Remove(name string) error                     { return os.Remove(name) }
func (system) RemoveAll(name string) error                  { return os.RemoveAll(name) }
func (system) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (system) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (system) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }

func (system) SyncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil // A directory cannot be opened for syncing there.
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if unsupported(err) {
		err = nil // Network file systems say so; there is nothing else to be done.
	}
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

// unsupported reports whether a file system says that it cannot sync a directory.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}

// NoRoom reports whether an error says that the disk, a quota or the number of
// files is used up.
func NoRoom(err error) bool {
	const (
		handleDiskFull = syscall.Errno(39) // Windows' own numbers.
		diskFull       = syscall.Errno(112)
	)
	if runtime.GOOS == "windows" && (errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)) {
		return true
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
