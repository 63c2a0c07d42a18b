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

package repair

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// tempSuffix is that of copies that were not finished.
const tempSuffix = ".unfinished"

// readPages is how many pages are read at once.
const readPages = 8

// loss is a range of a file that holds nothing readable.
type loss struct {
	from, to int64
	records  int  // At least.
	end      bool // It reaches the end of the file.
	torn     bool // Its last record ends with the file.
	cut      bool // It is cut off, not filled.
	cause    error
}

// finding is what was found in a file.
type finding struct {
	path    string
	size    int64
	records int
	losses  []loss
}

// role is what a file is in the log.
type role uint8

const (
	// finished is a segment that later ones follow: its end was written, so what
	// is damaged there is lost, and readers have to be told.
	finished role = iota
	// newest is the segment that a crash may have left without its end.
	newest
	// shared is a file of a checkpoint, which may have other names. It is
	// replaced and not changed.
	shared
)

// cuts says whether a loss is cut off: what a crash leaves is not filled.
func (r role) cuts(l loss) bool {
	switch {
	case !l.end:
		return false
	case r == newest:
		return l.torn || l.records <= 1
	default:
		return r == shared
	}
}

// repairFile looks at a file of a log and takes out of it what cannot be read.
func repairFile(fsys vfs.FS, path string, is role) (finding, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return finding{path: path}, err
	}
	found, err := inspect(f, path)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil || len(found.losses) == 0 {
		return found, err
	}
	for i := range found.losses {
		found.losses[i].cut = is.cuts(found.losses[i])
	}
	if is == shared {
		err = replace(fsys, path, found)
	} else {
		err = change(fsys, path, found)
	}
	if err != nil {
		return finding{path: path}, fmt.Errorf("take damaged bytes out of %s: %w", filepath.Base(path), err)
	}
	return found, nil
}

// inspect reads a file and returns what has to be taken out of it. Losses do
// not touch each other.
func inspect(f vfs.File, path string) (finding, error) {
	info, err := f.Stat()
	if err != nil {
		return finding{path: path}, err
	}
	var (
		found = finding{path: path, size: info.Size()}
		scan  = frame.NewScanner(readPages)
		check = newChecker()
		good  int64 // End of the last good record.
	)
	scan.Strict = true
	scan.Reset(f, 0)
	for {
		rec, err := scan.Next()
		if err == nil {
			if err = check.plausible(rec); err == nil {
				good = rec.End
				found.records++
				continue
			}
			err = &frame.Damage{Offset: rec.Start, Retry: rec.End, Err: err}
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		l := loss{from: good, to: found.size, end: true, cause: err}
		if damage := (*frame.Damage)(nil); errors.As(err, &damage) {
			// Between the last record of a page and the page's end, nothing of
			// a record is lost.
			l.from = min(good, damage.Offset)
			l.cause = damage.Err
			next, more, err := resume(scan, l.from, damage.Retry)
			if err != nil {
				return found, fmt.Errorf("read %s: %w", filepath.Base(path), err)
			}
			if more {
				l.to, l.end, good = next, false, next
			}
		} else if l.torn = errors.Is(err, io.ErrUnexpectedEOF); !l.torn {
			return found, fmt.Errorf("read %s: %w", filepath.Base(path), err)
		}
		if l.end && !l.torn {
			if l.to, err = used(f, l.from, found.size); err != nil {
				return found, fmt.Errorf("read %s: %w", filepath.Base(path), err)
			}
		}
		if l.records, err = count(f, l.from, l.to); err != nil {
			return found, fmt.Errorf("read %s: %w", filepath.Base(path), err)
		}
		found.add(l)
		if l.end {
			return found, nil
		}
	}
}

// used returns where something ends that is lost up to the end of a file: what pads the
// last page held nothing.
func used(f vfs.File, from, size int64) (int64, error) {
	end, err := frame.Used(f, size)
	for end = max(end, from); end < size && !fillable(from, end); end++ {
	}
	return end, err
}

// resume finds the record at which reading goes on after damage, and puts the
// scanner there. A hole of a few bytes cannot be filled; then the record after it
// is lost too.
func resume(scan *frame.Scanner, from, retry int64) (int64, bool, error) {
	next, more, err := scan.Resync(retry)
	for err == nil && more && !fillable(from, next) {
		rec, failure := scan.Next()
		damage := (*frame.Damage)(nil)
		switch {
		case failure == nil:
			next = rec.End
		case errors.As(failure, &damage):
			next, more, err = scan.Resync(damage.Retry)
		case errors.Is(failure, io.EOF), errors.Is(failure, io.ErrUnexpectedEOF):
			more = false
		default:
			err = failure
		}
	}
	return next, more, err
}

// fillable reports whether the bytes between two offsets can be filled. What is
// left of a page always can.
func fillable(from, to int64) bool {
	return to%frame.PageSize == 0 || frame.Fillable(int(to-max(from, frame.PageOf(to))))
}

// add adds a loss. What looked like the start of a record after one loss may
// belong to the next.
func (f *finding) add(l loss) {
	if n := len(f.losses); n > 0 && f.losses[n-1].to >= l.from {
		last := &f.losses[n-1]
		last.to, last.end, last.torn = l.to, l.end, l.torn
		last.records += l.records
		return
	}
	f.losses = append(f.losses, l)
}

// count returns how many records begin in a range that was found damaged, as
// far as the headers of the frames in it can be followed.
func count(src io.ReaderAt, from, to int64) (int, error) {
	if to-from < frame.HeaderSize && frame.RoundUp(from) != from {
		return 0, nil
	}
	n := 0
	buf := make([]byte, frame.PageSize)
	for from < to {
		end := min(frame.PageOf(from)+frame.PageSize, to)
		page := buf[:end-from]
		if _, err := src.ReadAt(page, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for len(page) >= frame.HeaderSize {
			h, err := frame.Decode(page, frame.PageSize)
			if err != nil {
				break
			}
			if h.Type.Begins() {
				n++
			}
			page = page[min(h.Size(), len(page)):]
		}
		from = end
	}
	return max(1, n), nil
}

// change takes the losses out of a file in place.
func change(fsys vfs.FS, path string, found finding) error {
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = wipe(f, found.losses)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// replace takes the losses out of a copy and puts that in the place of a file.
func replace(fsys vfs.FS, path string, found finding) error {
	src, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	temp := path + tempSuffix
	dst, err := fsys.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	if _, err = io.Copy(dst, src); err == nil {
		err = wipe(dst, found.losses)
	}
	if e := dst.Close(); err == nil {
		err = e
	}
	// Both files must be closed before, or the renaming fails on Windows.
	if e := src.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = rename(fsys, temp, path)
	}
	if err != nil {
		_ = fsys.Remove(temp)
	}
	return err
}

// write makes a file with some content and leaves it to the caller to name it.
func write(fsys vfs.FS, path string, content []byte) error {
	f, err := fsys.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if len(content) > 0 {
		_, err = f.Write(content)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// wipe puts filler in the place of the losses, cuts off what is to be cut, and
// syncs.
func wipe(f vfs.File, losses []loss) error {
	page := make([]byte, frame.PageSize)
	for _, l := range losses {
		if l.cut {
			if err := f.Truncate(l.from); err != nil {
				return err
			}
			break
		}
		for at := l.from; at < l.to; {
			end := min(frame.PageOf(at)+frame.PageSize, l.to)
			part := page[:end-at]
			frame.Fill(part)
			if _, err := f.WriteAt(part, at); err != nil {
				return err
			}
			at = end
		}
		if l.end && !fillable(l.from, l.to) {
			// The last page has a few bytes that are nothing.
			if err := f.Truncate(max(l.from, frame.PageOf(l.to))); err != nil {
				return err
			}
		}
	}
	return f.Sync()
}

// rename gives a file or directory another name, for good.
func rename(fsys vfs.FS, from, to string) error {
	if err := fsys.Rename(from, to); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(to))
}

// Tail cuts the segment file at path back to end, the known end in bytes of
// the last record in it that was written without an error, and writes it to
// disk. It is for a segment to which nothing more is appended.
func Tail(fsys vfs.FS, path string, end int64) error {
	f, err := fsys.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("cut segment back to its last record: %w", err)
	}
	err = cut(f, end)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cut segment %s back to its last record at %d: %w", filepath.Base(path), end, err)
	}
	return nil
}

// ShortError says that a segment ends before what was written to it without an
// error, both in bytes.
type ShortError struct{ Size, End int64 }

func (e *ShortError) Error() string {
	return fmt.Sprintf("file has only %d of %d bytes, records written before are missing", e.Size, e.End)
}

func cut(f vfs.File, end int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch size := info.Size(); {
	case size > end:
		if err := f.Truncate(end); err != nil {
			return err
		}
	case frame.RoundUp(size) < end:
		return &ShortError{Size: size, End: end}
	}
	return f.Sync()
}
