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

package savepoint

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

const (
	// CorruptPrefix begins the names of files that were set aside.
	CorruptPrefix = "delivery.corrupt-"
	corruptSuffix = ".json"
	// corruptKept is how many files set aside are kept for inspection.
	corruptKept = 3
)

// Origin says which of the two files Load took.
type Origin uint8

const (
	// None was usable.
	None Origin = iota
	// Current is the file of the last write.
	Current
	// Fallback is the file of the last durable write.
	Fallback
)

// String returns the origin as a word, fit for a label value.
func (o Origin) String() string {
	switch o {
	case Current:
		return "current"
	case Fallback:
		return "fallback"
	default:
		return "none"
	}
}

// Reason says why a file was not usable.
type Reason uint8

const (
	// Absent is a file that does not exist.
	Absent Reason = iota
	// Unreadable is a file that exists and gave an I/O error.
	Unreadable
	// Corrupt is a file that is damaged or no savepoint. It is set aside.
	Corrupt
	// Newer is a file in a format of a later release. It is left alone.
	Newer
	// Aside is a file that was set aside by an earlier start, with nothing
	// written in its place since.
	Aside
)

// String returns the reason as a word, fit for a label value.
func (r Reason) String() string {
	switch r {
	case Absent:
		return "absent"
	case Unreadable:
		return "unreadable"
	case Corrupt:
		return "corrupt"
	case Newer:
		return "newer"
	case Aside:
		return "set_aside"
	default:
		return "unknown"
	}
}

// Problem is a file that Load could not use.
type Problem struct {
	Path   string
	Reason Reason
	// Err is the cause, wrapping fs.ErrNotExist if Absent.
	Err error
	// SetAside is where a corrupt file was moved to; empty if it is still in
	// its place, then Err says why too.
	SetAside string
}

// Error describes the problem in a line.
func (p Problem) Error() string {
	if p.SetAside != "" {
		return fmt.Sprintf("%s is %s (kept as %s): %v", p.Path, p.Reason, p.SetAside, p.Err)
	}
	return fmt.Sprintf("%s is %s: %v", p.Path, p.Reason, p.Err)
}

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// Source tells where what Load returned comes from.
type Source struct {
	Origin Origin
	// Problems lists the files that were looked at and not used, in the order
	// in which they were. With None and no error both were absent.
	Problems []Problem
}

// LostError says that positions were saved and none can be read. The caller
// resolves every endpoint to the oldest retained segment, never to now.
type LostError struct {
	Problems []Problem
}

// Error lists what is wrong with each file.
func (e *LostError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Error()
	}
	return "no savepoint can be read, delivery has to begin at the oldest segment: " + strings.Join(parts, "; ")
}

// Unwrap returns the problems.
func (e *LostError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// Load returns the savepoint, if need be from the fallback.
//
//   - Current, nil: the last write.
//   - Fallback, nil: the last durable write. Problems say what is wrong with
//     the current file; if it is damaged it has been set aside. What was
//     acknowledged since that write is sent again.
//   - None, nil: there never was a savepoint.
//   - None, *[LostError]: there was one; see there.
//   - None, *[VersionError]: see there. Nothing was changed on the disk.
//
// Only a File returned without an error holds anything.
func (s *Store) Load() (File, Source, error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()

	var src Source
	for _, candidate := range []struct {
		name   string
		origin Origin
	}{{CurrentName, Current}, {PreviousName, Fallback}} {
		f, problem := s.read(candidate.name)
		if problem == nil {
			src.Origin = candidate.origin
			s.setAside(src.Problems)
			return f, src, nil
		}
		src.Problems = append(src.Problems, *problem)
		if problem.Reason == Newer {
			return File{}, src, problem.Err
		}
	}
	return s.loadNone(src)
}

// loadNone tells a first start from a loss.
func (s *Store) loadNone(src Source) (File, Source, error) {
	lost := slices.ContainsFunc(src.Problems, func(p Problem) bool { return p.Reason != Absent })
	if !lost {
		// A start that set both aside may have died before it wrote.
		earlier, err := s.corruptFiles()
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			lost = true
			src.Problems = append(src.Problems, Problem{Path: s.dir, Reason: Unreadable, Err: err})
		case len(earlier) > 0:
			lost = true
			src.Problems = append(src.Problems, Problem{
				Path: s.path(corruptName(earlier[len(earlier)-1])), Reason: Aside,
				Err: errors.New("damaged at an earlier start and not replaced since"),
			})
		}
	}
	if !lost {
		return File{}, src, nil
	}
	s.setAside(src.Problems)
	return File{}, src, &LostError{Problems: src.Problems}
}

func (s *Store) read(name string) (File, *Problem) {
	path := s.path(name)
	data, err := s.readBounded(path)
	if err != nil {
		reason := Unreadable
		if errors.Is(err, fs.ErrNotExist) {
			reason = Absent
		}
		return File{}, &Problem{Path: path, Reason: reason, Err: err}
	}
	f, err := Decode(data)
	if err == nil {
		return f, nil
	}
	if newer := (*VersionError)(nil); errors.As(err, &newer) {
		newer.Path = path
		return File{}, &Problem{Path: path, Reason: Newer, Err: newer}
	}
	return File{}, &Problem{Path: path, Reason: Corrupt, Err: err}
}

func (s *Store) readBounded(path string) ([]byte, error) {
	f, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One byte more than allowed is left to Decode to refuse.
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// setAside moves the corrupt files among problems out of the way and notes
// where to. That it cannot is no reason not to start: the next write replaces
// them.
func (s *Store) setAside(problems []Problem) {
	for i := range problems {
		p := &problems[i]
		if p.Reason != Corrupt {
			continue
		}
		target, err := s.moveAside(p.Path)
		if err != nil {
			p.Err = fmt.Errorf("%w; it could not be set aside: %w", p.Err, err)
			continue
		}
		p.SetAside = target
	}
}

func (s *Store) moveAside(path string) (string, error) {
	existing, err := s.corruptFiles()
	if err != nil {
		return "", err
	}
	next := 1
	if len(existing) > 0 {
		next = existing[len(existing)-1] + 1
	}
	target := s.path(corruptName(next))
	if err := s.do(filepath.Base(path), "set aside", func() error { return s.fs.Rename(path, target) }); err != nil {
		return "", err
	}
	for len(existing) >= corruptKept {
		oldest := s.path(corruptName(existing[0]))
		if err := s.do(filepath.Base(oldest), "remove set aside", func() error { return s.removeIfExists(oldest) }); err != nil {
			// One too many is harmless, and the next time tries again.
			break
		}
		existing = existing[1:]
	}
	return target, nil
}

func corruptName(n int) string { return CorruptPrefix + strconv.Itoa(n) + corruptSuffix }

// corruptFiles returns the numbers of the files set aside, ascending.
func (s *Store) corruptFiles() ([]int, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		digits, ok := strings.CutPrefix(entry.Name(), CorruptPrefix)
		if !ok {
			continue
		}
		digits, ok = strings.CutSuffix(digits, corruptSuffix)
		if n, err := strconv.Atoi(digits); ok && err == nil && n > 0 && corruptName(n) == entry.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
