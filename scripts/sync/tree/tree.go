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

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File is one regular file.
type File struct {
	Data []byte
	Exec bool
}

// Tree maps slash-separated relative paths to files.
type Tree map[string]File

// Read returns the content of one file; the error is fs.ErrNotExist if there
// is none.
func (t Tree) Read(name string) ([]byte, error) {
	f, ok := t[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.Data, nil
}

// Set replaces the content of a file and keeps its mode.
func (t Tree) Set(name string, data []byte) {
	t[name] = File{Data: data, Exec: t[name].Exec}
}

// Paths returns all paths in order.
func (t Tree) Paths() []string {
	paths := make([]string, 0, len(t))
	for p := range t {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// FromDir reads the regular files below dir. Names that start with a dot are
// skipped if hidden is false. Anything but files and directories is refused.
func FromDir(dir string, hidden bool) (Tree, error) {
	t := Tree{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !hidden && name != dir && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a directory", name)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		t[filepath.ToSlash(rel)] = File{Data: data, Exec: info.Mode()&0o100 != 0}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// LayIn adds the files below each of dirs of root at the same place. Imports
// of the module from become imports of the module to. A file that the tree
// already has is an error: our directories never replace upstream's files.
func (t Tree) LayIn(root string, dirs []string, from, to string) error {
	for _, dir := range dirs {
		ours, err := FromDir(filepath.Join(root, filepath.FromSlash(dir)), false)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("directory %s is missing in %s: %w", dir, root, err)
		}
		if err != nil {
			return err
		}
		for rel, f := range ours {
			name := path.Join(dir, rel)
			if _, taken := t[name]; taken {
				return fmt.Errorf("%s is also a file of upstream: rename ours", name)
			}
			if strings.HasSuffix(name, ".go") && !strings.Contains("/"+name, "/testdata/") {
				if f.Data, err = Reimport(name, f.Data, from, to); err != nil {
					return err
				}
			}
			t[name] = f
		}
	}
	return nil
}
