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
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// ManifestName is the file at the root of a written tree that makes the
// directory ours.
const ManifestName = ".ackwal-fork.json"

// Manifest describes a written tree.
type Manifest struct {
	// Upstream says what the tree was made from, for people.
	Upstream string `json:"upstream"`
	// Complete is false while files are being written.
	Complete bool `json:"complete"`
	// Files are the paths that were written from here, in order.
	Files []string `json:"files"`
}

// ErrForeign is wrapped by the error for a directory that holds something
// else.
var ErrForeign = errors.New("not a directory made by this tool")

// Changes counts what Write did.
type Changes struct{ Written, Removed, Same int }

// LoadManifest reads the manifest of dir. A directory that is absent or empty
// gives an empty one, a directory with anything else in it ErrForeign.
func LoadManifest(dir string) (Manifest, error) {
	var m Manifest
	text, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err == nil {
		if err := json.Unmarshal(text, &m); err != nil {
			return Manifest{}, fmt.Errorf("%s in %s cannot be read (%w); remove the directory to start afresh", ManifestName, dir, err)
		}
		return m, nil
	}
	entries, listErr := os.ReadDir(dir)
	// A run that was killed before its first manifest had its name has left this.
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == tempName(ManifestName) })
	switch {
	case errors.Is(listErr, fs.ErrNotExist), listErr == nil && len(entries) == 0:
		return Manifest{}, nil
	case listErr != nil:
		return Manifest{}, listErr
	case errors.Is(err, fs.ErrNotExist):
		return Manifest{}, fmt.Errorf("%s: %w, it has files but no %s: choose another directory or remove it", dir, ErrForeign, ManifestName)
	}
	return Manifest{}, err
}

// Write brings dir to the state of the tree. It touches only what differs.
func (t Tree) Write(dir, upstream string) (Changes, error) {
	old, err := LoadManifest(dir)
	if err != nil {
		return Changes{}, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Changes{}, err
	}
	next := Manifest{Upstream: upstream, Files: t.Paths()}
	// Until the end the manifest names the old and the new files: a run that
	// was cut off is recognised, and the next one still knows what to remove.
	if err := writeManifest(dir, Manifest{Upstream: upstream, Files: append(old.Files, next.Files...)}); err != nil {
		return Changes{}, err
	}
	var c Changes
	for _, name := range old.Files {
		if _, kept := t[name]; kept {
			continue
		}
		err := os.Remove(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case err == nil:
			c.Removed++
		case !errors.Is(err, fs.ErrNotExist):
			return c, err
		}
		removeEmptyParents(dir, name)
	}
	for _, name := range next.Files {
		changed, err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), t[name])
		if err != nil {
			return c, err
		}
		if changed {
			c.Written++
		} else {
			c.Same++
		}
	}
	next.Complete = true
	return c, writeManifest(dir, next)
}

func writeManifest(dir string, m Manifest) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	_, err = writeFile(filepath.Join(dir, ManifestName), File{Data: append(text, '\n')})
	return err
}

// writeFile replaces the file unless it is the same already.
func writeFile(name string, f File) (changed bool, err error) {
	mode := fs.FileMode(0o666)
	if f.Exec {
		mode = 0o777
	}
	if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && (info.Mode()&0o100 != 0) == f.Exec && info.Size() == int64(len(f.Data)) {
		if there, err := os.ReadFile(name); err == nil && bytes.Equal(there, f.Data) {
			return false, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return false, err
	}
	// The replacement appears at once, so that a compiler running meanwhile
	// never sees half a file. The name starts with a dot: not a Go file.
	temp := filepath.Join(filepath.Dir(name), tempName(filepath.Base(name)))
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.WriteFile(temp, f.Data, mode); err != nil {
		return false, err
	}
	return true, os.Rename(temp, name)
}

func tempName(name string) string { return "." + name + ".tmp" }

// removeEmptyParents removes the directories of name below dir that have
// become empty.
func removeEmptyParents(dir, name string) {
	for parent := filepath.Dir(filepath.FromSlash(name)); parent != "."; parent = filepath.Dir(parent) {
		if os.Remove(filepath.Join(dir, parent)) != nil {
			return
		}
	}
}
