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

package conformance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// dataFile is a file with content below a sender's data directory.
type dataFile struct {
	path     string // Relative to the directory.
	modified time.Time
	size     int64
}

// dataFiles lists the files that hold something but zeros, oldest first.
func dataFiles(dir string, ignore []string) ([]dataFile, error) {
	files := []dataFile{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil || matches(ignore, relative) {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && len(bytes.Trim(content, "\x00")) > 0 {
			files = append(files, dataFile{relative, info.ModTime(), info.Size()})
		}
		return err
	})
	slices.SortFunc(files, func(a, b dataFile) int {
		return cmp.Or(a.modified.Compare(b.modified), cmp.Compare(a.path, b.path))
	})
	if err != nil {
		return nil, fmt.Errorf("listing the sender's data: %w", err)
	}
	return files, nil
}

func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := filepath.Match(pattern, path)
		return ok && err == nil
	})
}

// flip inverts the byte in the middle of what a file holds, zeros apart: files
// may be filled up with those.
func flip(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("damaging a file: %w", err)
	}
	at := []int{}
	for i, b := range content {
		if b != 0 {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return fmt.Errorf("damaging %s: it is empty", path)
	}
	content[at[len(at)/2]] ^= 0xff
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("damaging a file: %w", err)
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

// removeMatching removes the files that match and returns how many there were.
func removeMatching(dir string, patterns []string) (removed int, err error) {
	files, err := dataFiles(dir, nil)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if matches(patterns, f.path) {
			if err := os.Remove(filepath.Join(dir, f.path)); err != nil {
				return removed, fmt.Errorf("removing positions: %w", err)
			}
			removed++
		}
	}
	return removed, nil
}
