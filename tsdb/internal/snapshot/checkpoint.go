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

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// Checkpoint makes checkpoint.<n> in walDir out of hard links to the chunks, or
// copies where no links can be made. It is durable when Checkpoint returns. A
// checkpoint of that number is replaced, unless it is the same already; between
// the two renames this takes, there is none of that number. Chunks that are
// missing are left out; of damaged ones what is whole is written anew first, so
// that upstream's reader accepts what is made.
func (s *Store) Checkpoint(ctx context.Context, walDir string, n int) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	// Load or Resolve may have met damage since the last Append.
	if err := s.tidy(ctx); err != nil && !errors.Is(err, ErrClosed) {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.problems.report(MergeFailed, s.dir, err)
	}
	v := s.acquire()
	if v == nil {
		return ErrClosed
	}
	defer s.release(v)

	path := filepath.Join(walDir, fmt.Sprintf("checkpoint.%08d", n))
	if err := s.checkpoint(ctx, v, walDir, path); err != nil {
		return fmt.Errorf("make %s of the series snapshot: %w", path, err)
	}
	return nil
}

func (s *Store) checkpoint(ctx context.Context, v *view, walDir, path string) error {
	if s.same(ctx, v, path) {
		return nil
	}
	reuseErr := s.advance(ctx, v, walDir, path)
	if reuseErr == nil || ctx.Err() != nil {
		return reuseErr
	}
	if err := s.build(ctx, v, walDir, path); err != nil {
		return errors.Join(err, reuseErr)
	}
	return nil
}

// errNoBase says that there is no checkpoint to go on from.
var errNoBase = errors.New("no checkpoint of the same chunks")

// advance makes the checkpoint at path of the newest one before it, if that has the
// first of the same chunks: it gets the others, and then the new number. That takes
// no room on the disk where links can be made, and where they cannot, no chunk is
// copied twice.
//
// Until it is renamed it has more than its number asks for, which does no harm.
func (s *Store) advance(ctx context.Context, v *view, walDir, path string) error {
	fsys := s.sink.fs
	if _, err := fsys.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return errNoBase
	}
	base, err := newestCheckpoint(fsys, walDir)
	if err != nil || base == "" || filepath.Base(base) >= filepath.Base(path) {
		return errors.Join(errNoBase, err)
	}
	chunks := v.present()
	have := s.holds(ctx, base, chunks)
	if have == 0 {
		return errNoBase
	}
	for i := have; i < len(chunks); i++ {
		name := filepath.Join(base, segmentName(i))
		temp := name + ".tmp" // Readers of a checkpoint ignore it.
		if err := removeIfExists(fsys, temp); err != nil {
			return err
		}
		if err := s.place(ctx, chunks[i], temp); err != nil {
			_ = fsys.Remove(temp) // It may have been made in part.
			return err
		}
		if err := fsys.Rename(temp, name); err != nil {
			return err
		}
		s.made.chunks[i] = chunks[i].meta.Seq
	}
	if have < len(chunks) {
		if err := fsys.SyncDir(base); err != nil {
			return err
		}
	}
	if err := fsys.Rename(base, path); err != nil {
		return err
	}
	s.made.path = path
	return fsys.SyncDir(walDir)
}

// newestCheckpoint returns the checkpoint with the highest number, or nothing.
func newestCheckpoint(fsys vfs.FS, walDir string) (path string, err error) {
	entries, err := fsys.ReadDir(walDir)
	if err != nil {
		return "", err
	}
	for _, e := range entries { // By name.
		if number, ok := strings.CutPrefix(e.Name(), "checkpoint."); ok && e.IsDir() {
			if _, err := strconv.Atoi(number); err == nil {
				path = filepath.Join(walDir, e.Name())
			}
		}
	}
	return path, nil
}

// holds returns how many of the chunks, from the first on, the checkpoint at path
// consists of: 0 if it has anything else.
func (s *Store) holds(ctx context.Context, path string, chunks []*chunk) int {
	if s.made.path != path {
		s.made = made{path: path, chunks: map[int]uint64{}}
	}
	entries, err := s.sink.fs.ReadDir(path)
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if n == len(chunks) || e.Name() != segmentName(n) || !s.isCopy(ctx, path, n, chunks[n]) {
			return 0
		}
		n++
	}
	return n
}

// isCopy reports whether the file of that number in a checkpoint is a link to the
// chunk, or a copy. Copies of an earlier run are compared once.
func (s *Store) isCopy(ctx context.Context, path string, i int, c *chunk) bool {
	name := filepath.Join(path, segmentName(i))
	have, err := s.sink.fs.Stat(name)
	if err != nil {
		return false
	}
	if want, err := s.sink.fs.Stat(c.path); err == nil && os.SameFile(have, want) {
		return true
	}
	if have.Size() != c.meta.Bytes {
		return false
	}
	if made, known := s.made.chunks[i]; known {
		return made == c.meta.Seq
	}
	if same, err := s.sameContent(ctx, name, c); err != nil || !same {
		return false
	}
	s.made.chunks[i] = c.meta.Seq
	return true
}

// sameContent compares a file with a chunk of its size.
func (s *Store) sameContent(ctx context.Context, name string, c *chunk) (bool, error) {
	f, err := s.sink.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	a, b := make([]byte, paceBytes), make([]byte, paceBytes)
	for at := int64(0); at < c.meta.Bytes; at += paceBytes {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n := min(paceBytes, c.meta.Bytes-at)
		if _, err := f.ReadAt(a[:n], at); err != nil {
			return false, err
		}
		if _, err := c.f.ReadAt(b[:n], at); err != nil {
			return false, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return false, nil
		}
	}
	return true, nil
}

// present returns the chunks that are there.
func (v *view) present() (all []*chunk) {
	for _, c := range v.chunks {
		if c.absent == nil { // Else it was reported when that was found.
			all = append(all, c)
		}
	}
	return all
}

// build makes a checkpoint anew.
func (s *Store) build(ctx context.Context, v *view, walDir, path string) (err error) {
	fsys := s.sink.fs
	// Names that end so are removed by upstream at its start.
	temp, old := path+".tmp", path+".old.tmp"
	for _, name := range []string{temp, old} {
		if err := fsys.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(temp, dirMode); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = fsys.RemoveAll(temp) // Best effort: the next one removes it too.
		}
	}()
	chunks := v.present()
	for i, c := range chunks {
		if err := s.place(ctx, c, filepath.Join(temp, segmentName(i))); err != nil {
			return err
		}
	}
	if len(chunks) == 0 {
		if err := s.sink.writeFile(ctx, filepath.Join(temp, segmentName(0)), nil); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(temp); err != nil {
		return err
	}
	replaced := true
	if err := fsys.Rename(path, old); errors.Is(err, fs.ErrNotExist) {
		replaced = false
	} else if err != nil {
		return err
	}
	if err := fsys.Rename(temp, path); err != nil {
		if replaced {
			_ = fsys.Rename(old, path) // Better than none.
		}
		return err
	}
	s.made = made{path: path, chunks: map[int]uint64{}}
	for i, c := range chunks {
		s.made.chunks[i] = c.meta.Seq
	}
	if err := fsys.SyncDir(walDir); err != nil {
		return err
	}
	if replaced {
		if err := fsys.RemoveAll(old); err != nil {
			s.problems.report(RemoveFailed, old, err)
		}
	}
	return nil
}

func segmentName(i int) string { return fmt.Sprintf("%08d", i) }

// place puts the chunk under another name.
func (s *Store) place(ctx context.Context, c *chunk, path string) error {
	// Windows does not remove a file that is open under another name.
	if runtime.GOOS != "windows" {
		if err := s.sink.fs.Link(c.path, path); err == nil {
			return nil
		}
	}
	// Another file system, or one without links.
	out, err := s.sink.create(ctx, path)
	if err != nil {
		return err
	}
	defer out.abort()
	buf := make([]byte, paceBytes)
	for src := io.NewSectionReader(c.f, 0, c.meta.Bytes); ; {
		n, err := io.ReadFull(src, buf)
		if n > 0 {
			if err := out.raw(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return out.finish()
		case err != nil:
			return fmt.Errorf("read %s: %w", c.path, err)
		}
	}
}

// same reports whether path is a checkpoint made of the very chunks.
func (s *Store) same(ctx context.Context, v *view, path string) bool {
	chunks := v.present()
	return len(chunks) > 0 && s.holds(ctx, path, chunks) == len(chunks)
}
