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
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// node is a file or a directory, whatever its names.
type node struct {
	// A file: its link in the shadow directory, and its bytes when it was last
	// synced.
	link  string
	info  fs.FileInfo // Of the link, to know the file again.
	bytes []byte

	// A directory: its names now, and at the last sync, and what came between.
	names, durable map[string]*node
	pending        []change
}

// change is one change of a directory: all of its bindings at once, or none.
type change []binding

// binding gives a name to a node, or takes it away if that is nil.
type binding struct {
	name string
	to   *node
}

func newDir() *node {
	return &node{names: map[string]*node{}, durable: map[string]*node{}}
}

func (n *node) isDir() bool { return n.names != nil }

func (n *node) change(c ...binding) {
	n.pending = append(n.pending, c)
	bind(n.names, c)
}

func bind(names map[string]*node, c change) {
	for _, b := range c {
		if b.to == nil {
			delete(names, b.name)
		} else {
			names[b.name] = b.to
		}
	}
}

// sync makes the names durable.
func (n *node) sync() {
	for _, c := range n.pending {
		bind(n.durable, c)
	}
	n.pending = nil
}

func sorted(names map[string]*node) []string {
	out := make([]string, 0, len(names))
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// lookAt takes note of what has become of path and of what is beside and below
// it, and of all if the directory it is in is not known.
func (f *FS) lookAt(path string) error {
	path = filepath.Clean(path)
	if path != f.root {
		path = filepath.Dir(path)
	}
	if d, err := f.at(path); err == nil && d.isDir() && path != f.root {
		err := f.look(d, path)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.look(f.top, f.root)
}

// look takes note of what has become of the directory d at path, and of those
// below it: names that are new, in ascending order, then names that are gone.
func (f *FS) look(d *node, path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		name := e.Name()
		info, err := os.Lstat(filepath.Join(path, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		known := d.names[name]
		switch {
		case info.IsDir():
			there[name] = true
			if known == nil || !known.isDir() {
				known = newDir()
				d.change(binding{name, known})
			}
			if err := f.look(known, filepath.Join(path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case info.Mode().IsRegular():
			there[name] = true
			if known != nil && !known.isDir() && known.is(info) {
				continue
			}
			n, err := f.node(filepath.Join(path, name), info)
			if err != nil {
				return err
			}
			d.change(binding{name, n})
		}
	}
	for _, name := range sorted(d.names) {
		if !there[name] {
			d.names[name].empty()
			d.change(binding{name, nil})
		}
	}
	return nil
}

// empty takes note that a directory was emptied, which a crash may show though
// it is to be gone itself.
func (n *node) empty() {
	for _, name := range sorted(n.names) {
		n.names[name].empty()
		n.change(binding{name, nil})
	}
}

// is reports whether n is the file that info is of.
func (n *node) is(info fs.FileInfo) bool { return os.SameFile(n.info, info) }

// node returns the node of a file, which may have been known by another name.
func (f *FS) node(path string, info fs.FileInfo) (*node, error) {
	if n := f.find(info); n != nil {
		return n, nil
	}
	id := len(f.nodes)
	n := &node{link: filepath.Join(f.shadow, strconv.Itoa(id))}
	if err := os.Link(path, n.link); err != nil {
		return nil, err
	}
	mine, err := os.Stat(n.link)
	n.info = mine
	f.nodes[id] = n
	return n, err
}

func (f *FS) find(info fs.FileInfo) *node {
	for _, n := range f.nodes {
		if n.is(info) {
			return n
		}
	}
	return nil
}

// dir returns the node of a directory.
func (f *FS) dir(path string) (*node, error) {
	n, err := f.at(path)
	if err == nil && !n.isDir() {
		err = fmt.Errorf("%s is no directory", path)
	}
	return n, err
}

func (f *FS) at(path string) (*node, error) {
	rel, err := filepath.Rel(f.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil, fmt.Errorf("%s is not below %s", path, f.root)
	}
	n := f.top
	if rel == "." {
		return n, nil
	}
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		if n = n.names[part]; n == nil {
			return nil, fmt.Errorf("%s is not known", path)
		}
	}
	return n, nil
}

// settle makes everything below a node durable.
func (f *FS) settle(n *node) error {
	if !n.isDir() {
		data, err := os.ReadFile(n.link)
		n.bytes = data
		return err
	}
	n.sync()
	for _, name := range sorted(n.names) {
		if err := f.settle(n.names[name]); err != nil {
			return err
		}
	}
	return nil
}

// Synced says that a file was synced when it had at least size bytes.
func (f *FS) Synced(path string, size int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f.mtx.Lock()
	err = f.look(f.top, f.root)
	f.mtx.Unlock()
	return errors.Join(err, f.synced(info, size))
}

// SyncedDir says that a directory was synced.
func (f *FS) SyncedDir(path string) error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if err := f.look(f.top, f.root); err != nil {
		return err
	}
	n, err := f.dir(path)
	if err == nil {
		n.sync()
	}
	return err
}

// Settled says that all files and directories from path down were synced, and the
// one that path is in.
func (f *FS) Settled(path string) error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if err := f.look(f.top, f.root); err != nil {
		return err
	}
	n, err := f.at(path)
	if err != nil {
		return err
	}
	up, err := f.dir(filepath.Dir(path))
	if err != nil {
		return err
	}
	up.sync()
	return f.settle(n)
}

func (f *FS) synced(info fs.FileInfo, size int64) error {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	n := f.find(info)
	if n == nil {
		return fmt.Errorf("faultfs: %s was synced and is not below %s", info.Name(), f.root)
	}
	in, err := os.Open(n.link)
	if err != nil {
		return err
	}
	defer in.Close()
	n.bytes, err = io.ReadAll(io.LimitReader(in, size))
	return err
}

// Durable returns how many bytes of a file, from its beginning, survive any
// loss of power, -1 if the file itself may not.
func (f *FS) Durable(path string) (int64, error) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if err := f.look(f.top, f.root); err != nil {
		return 0, err
	}
	rel, err := filepath.Rel(f.root, path)
	if err != nil {
		return 0, err
	}
	up, n := f.top, f.top
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		up, n = n, n.durable[part]
		if n == nil || up.names[part] != n {
			return -1, nil
		}
	}
	now, err := os.ReadFile(n.link)
	if err != nil {
		return 0, err
	}
	size := 0
	for size < len(now) && size < len(n.bytes) && now[size] == n.bytes[size] {
		size++
	}
	return int64(size), nil
}
