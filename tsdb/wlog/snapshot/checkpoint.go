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
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

func (s *Store) checkpoint(ctx context.Context, v *view, walDir, path string) (err error) {
	fsys := s.sink.fs
	if s.same(v, path) {
		return nil
	}
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
	made := 0
	for _, c := range v.chunks {
		if c.absent != nil {
			continue // Reported when it was found.
		}
		if err := s.place(ctx, c, filepath.Join(temp, segmentName(made))); err != nil {
			return err
		}
		made++
	}
	if made == 0 {
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
	if err := s.sink.fs.Link(c.path, path); err == nil {
		return nil
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

// same reports whether path is a checkpoint made of links to the very chunks.
func (s *Store) same(v *view, path string) bool {
	entries, err := s.sink.fs.ReadDir(path)
	if err != nil {
		return false
	}
	i := 0
	for _, c := range v.chunks {
		if c.absent != nil {
			continue
		}
		if i == len(entries) || entries[i].Name() != segmentName(i) {
			return false
		}
		have, err := s.sink.fs.Stat(filepath.Join(path, entries[i].Name()))
		if err != nil {
			return false
		}
		want, err := s.sink.fs.Stat(c.path)
		if err != nil || !os.SameFile(have, want) {
			return false
		}
		i++
	}
	return i > 0 && i == len(entries)
}
