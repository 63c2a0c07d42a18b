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

package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settle gives all files below a directory the modes and the time that they are
// published with, so that the umask and the clock here do not matter.
func settle(dir string, when time.Time) error {
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names = append(names, name)
		mode := fs.FileMode(0o644)
		if d.IsDir() || isProgram(d.Name()) {
			mode = 0o755
		}
		return os.Chmod(name, mode)
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		if err := os.Chtimes(name, when, when); err != nil {
			return err
		}
	}
	return nil
}

func isProgram(name string) bool {
	return slices.Contains(programs, strings.TrimSuffix(name, ".exe"))
}

// packed walks the files below a directory in the order of their names.
func packed(dir string, each func(name string, info fs.FileInfo, open func() (io.ReadCloser, error)) error) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		return each(filepath.ToSlash(rel), info, func() (io.ReadCloser, error) { return os.Open(file) })
	})
}

// writeTar packs a directory, below a name. Owners, and the time in gzip's header, are
// left out.
func writeTar(to, dir, below string, when time.Time) error {
	return written(to, func(w io.Writer) error {
		zipped := gzip.NewWriter(w)
		archive := tar.NewWriter(zipped)
		err := packed(dir, func(name string, info fs.FileInfo, open func() (io.ReadCloser, error)) error {
			err := archive.WriteHeader(&tar.Header{
				Typeflag: tar.TypeReg,
				Name:     path.Join(below, name),
				Size:     info.Size(),
				Mode:     int64(info.Mode().Perm()),
				ModTime:  when,
			})
			if err != nil {
				return err
			}
			return pour(archive, open)
		})
		if err != nil {
			return err
		}
		if err := archive.Close(); err != nil {
			return err
		}
		return zipped.Close()
	})
}

// writeZip is the same for Windows.
func writeZip(to, dir, below string, when time.Time) error {
	return written(to, func(w io.Writer) error {
		archive := zip.NewWriter(w)
		err := packed(dir, func(name string, info fs.FileInfo, open func() (io.ReadCloser, error)) error {
			header := &zip.FileHeader{Name: path.Join(below, name), Method: zip.Deflate, Modified: when}
			header.SetMode(info.Mode().Perm())
			f, err := archive.CreateHeader(header)
			if err != nil {
				return err
			}
			return pour(f, open)
		})
		if err != nil {
			return err
		}
		return archive.Close()
	})
}

func pour(to io.Writer, open func() (io.ReadCloser, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// written makes a file of what is written into it.
func written(name string, by func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := by(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func copyFile(from, to string) error {
	return written(to, func(w io.Writer) error {
		return pour(w, func() (io.ReadCloser, error) { return os.Open(from) })
	})
}

// writeChecksums writes what sha256sum -c reads.
func writeChecksums(to string, files []string) error {
	return written(to, func(w io.Writer) error {
		for _, name := range files {
			sum := sha256.New()
			if err := pour(sum, func() (io.ReadCloser, error) { return os.Open(name) }); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%x  %s\n", sum.Sum(nil), filepath.Base(name)); err != nil {
				return err
			}
		}
		return nil
	})
}
