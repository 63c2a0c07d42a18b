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
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/prometheus/common/promslog"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/compression"
)

// ErrClosed is what a closed store answers.
var ErrClosed = errors.New("the snapshot of series is closed")

// made is a checkpoint, and of which chunks its files are, by number, as far as
// that is known.
type made struct {
	path   string
	chunks map[int]uint64
}

// Store is the snapshot in one directory. Its methods may be called from any
// goroutine; Append, Replace and Checkpoint run one at a time.
type Store struct {
	dir      string
	sink     sink
	problems problems
	cache    *cache

	// Readers share the view, and a writer exchanges it. viewMtx is not held
	// through I/O.
	viewMtx sync.RWMutex
	view    *view

	// Mtx is held for the whole of a write.
	mtx sync.Mutex
	// Next is the number of the next file. It grows with every attempt.
	next uint64
	// Counted is the floor up to which dead definitions were looked for.
	counted int
	// Strays are files of an attempt that failed when the manifest may have
	// been in place already. They go when another manifest is.
	strays []string
	// Made is the last checkpoint, so that copies are not made again.
	made made
}

// Open opens the snapshot in dir, which is made if it is absent, or by the first
// write if there is no room for it now. Damage is never an error, nor is a newer
// version: see Problems. The errors are trouble with the directory itself. Files that
// the manifest does not name are removed.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Logger == nil {
		o.Logger = promslog.NewNopLogger()
	}
	if o.Compression == "" {
		o.Compression = compression.Snappy
	}
	if o.CacheBlocks == 0 {
		o.CacheBlocks = defaultCacheBlocks
	}
	s := &Store{dir: dir, cache: newCache(o.CacheBlocks), counted: alive}
	s.problems.logger = o.Logger
	s.sink = sink{fs: o.FS, pace: o.Pace, compression: o.Compression}

	if err := makeDir(o.FS, dir); err != nil && !vfs.NoRoom(err) {
		return nil, fmt.Errorf("make directory of the series snapshot: %w", err)
	}
	m, ok := s.readManifest()
	if err := s.sweep(m); err != nil {
		return nil, fmt.Errorf("list directory of the series snapshot: %w", err)
	}
	v := &view{manifest: m, ok: ok}
	for _, meta := range m.Chunks {
		v.chunks = append(v.chunks, openChunk(s.sink, s.path(chunkPrefix, meta.Seq), meta, s.problems.report))
	}
	for _, meta := range m.Retired {
		v.retired = append(v.retired, &listFile{file{path: s.path(retiredPrefix, meta.Seq)}, meta})
	}
	if m.Timestamps != nil {
		v.timestamps = &listFile{file{path: s.path(timestampsPrefix, m.Timestamps.Seq)}, *m.Timestamps}
	}
	if m.Metadata != nil {
		v.metadata = &listFile{file{path: s.path(metadataPrefix, m.Metadata.Seq)}, *m.Metadata}
	}
	s.install(v)
	return s, nil
}

// straySuffix is what is appended to the name of a file that has the directory's.
const straySuffix = ".stray"

// makeDir makes the directory if it is absent. A file of its name is moved away: the
// snapshot can be made again. A link that leads nowhere may do so only now.
func makeDir(fsys vfs.FS, dir string) error {
	err := fsys.MkdirAll(dir, dirMode)
	if err == nil || vfs.NoRoom(err) {
		return err
	}
	if info, e := fsys.Stat(dir); e != nil || info.IsDir() {
		return err
	}
	if e := fsys.Rename(dir, dir+straySuffix); e != nil {
		return errors.Join(err, e)
	}
	return fsys.MkdirAll(dir, dirMode)
}

func (s *Store) path(prefix string, seq uint64) string {
	return filepath.Join(s.dir, fileName(prefix, seq))
}

// readManifest returns the manifest and whether there is a usable one. One that
// is damaged, cannot be read, or is of a newer version is set aside: the log can do
// without it (I9).
func (s *Store) readManifest() (manifest, bool) {
	empty := manifest{State: State{Covered: -1, Checkpoint: -1}, Floor: alive, Next: 1}
	path := filepath.Join(s.dir, manifestName)
	data, err := readFile(s.sink.fs, path, maxManifestSize)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, false
	}
	var m manifest
	if err == nil {
		m, err = decodeManifest(data)
	}
	if err == nil {
		return m, true
	}
	if newer := (*VersionError)(nil); errors.As(err, &newer) {
		newer.Path = path
	}
	s.problems.report(ManifestDamaged, path, err)
	// Should this fail, the next manifest takes its place.
	if err := s.sink.fs.Rename(path, filepath.Join(s.dir, asideName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.problems.report(ManifestDamaged, path, fmt.Errorf("set aside: %w", err))
	}
	return empty, false
}

// sweep removes our files that the manifest does not name: a crash left them.
// It sets the number of the next file above that of all there are.
func (s *Store) sweep(m manifest) error {
	named := map[string]struct{}{}
	for _, c := range m.Chunks {
		named[fileName(chunkPrefix, c.Seq)] = struct{}{}
		named[fileName(chunkPrefix, c.Seq)+indexSuffix] = struct{}{}
	}
	for _, l := range m.Retired {
		named[fileName(retiredPrefix, l.Seq)] = struct{}{}
	}
	if m.Timestamps != nil {
		named[fileName(timestampsPrefix, m.Timestamps.Seq)] = struct{}{}
	}
	if m.Metadata != nil {
		named[fileName(metadataPrefix, m.Metadata.Seq)] = struct{}{}
	}
	entries, err := s.sink.fs.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.next = m.Next
	for _, e := range entries {
		seq, ours := parseName(e.Name())
		if !ours {
			continue
		}
		s.next = max(s.next, seq+1)
		if _, ok := named[e.Name()]; !ok {
			s.remove(filepath.Join(s.dir, e.Name()))
		}
	}
	return nil
}

// remove takes away a file that nothing needs.
func (s *Store) remove(path string) {
	if err := removeIfExists(s.sink.fs, path); err != nil {
		s.problems.report(RemoveFailed, path, err)
	}
}

// State returns the snapshot's state. False means that there is no snapshot:
// the directory is new, the manifest was damaged, or the store is closed. The
// result belongs to the caller.
func (s *Store) State() (State, bool) {
	v := s.acquire()
	if v == nil {
		return State{Covered: -1, Checkpoint: -1}, false
	}
	defer s.release(v)
	st := v.manifest.State
	st.Segments = slices.Clone(st.Segments)
	return st, v.ok
}

// Problems returns what was met since Open, in the order of first occurrence.
func (s *Store) Problems() []Problem { return s.problems.all() }

// Timestamps calls f with the timestamps in ms that the snapshot has, by
// ascending ref. Blocks that are damaged are left out and reported as problems.
// The error is one of reading; what f was called with before holds.
func (s *Store) Timestamps(f func(ref chunks.HeadSeriesRef, t int64)) error {
	return readRuns(s, TimestampsDamaged, func(v *view) *listFile { return v.timestamps }, decodeTimestamps, f)
}

// Metadata calls f with the metadata that the snapshot has, like Timestamps.
func (s *Store) Metadata(f func(ref chunks.HeadSeriesRef, m metadata.Metadata)) error {
	return readRuns(s, MetadataDamaged, func(v *view) *listFile { return v.metadata }, decodeMetadata, f)
}

// readRuns calls f with the entries of a list of runs, if the snapshot has it.
func readRuns[V any](s *Store, damage ProblemKind, of func(*view) *listFile, decode func([]run[V], []byte) ([]run[V], error), f func(chunks.HeadSeriesRef, V)) error {
	v := s.acquire()
	if v == nil {
		return ErrClosed
	}
	defer s.release(v)
	l := of(v)
	if l == nil {
		return nil
	}
	var runs []run[V]
	c := runChecker{left: l.meta.Entries}
	return s.readList(damage, l, func(payload []byte, _ int64) (err error) {
		if runs, err = decode(runs[:0], payload); err != nil {
			return err
		}
		for _, run := range runs {
			if err := c.check(run.first, run.n); err != nil {
				return err
			}
			for i := range run.n {
				f(run.first+chunks.HeadSeriesRef(i), run.v)
			}
		}
		return nil
	})
}

// runChecker sees to it that the runs of a list ascend and are no more than its
// description says.
type runChecker struct {
	next chunks.HeadSeriesRef
	left int
}

func (c *runChecker) check(first chunks.HeadSeriesRef, n uint64) error {
	if first < c.next || n > uint64(c.left) {
		return errOrder
	}
	c.left -= int(n)
	c.next = first + chunks.HeadSeriesRef(n)
	return nil
}

// readList scans a list. Damage, and the absence of the file, is a problem and
// no error.
func (s *Store) readList(kind ProblemKind, l *listFile, f func(payload []byte, off int64) error) error {
	report := func(err error) { s.problems.report(kind, l.path, err) }
	src, err := s.sink.fs.OpenFile(l.path, 0, 0)
	if err != nil {
		report(err)
		return nil
	}
	defer src.Close()
	if err := scan(src, l.meta.Bytes, f, report); err != nil {
		report(err)
		return fmt.Errorf("read %s: %w", l.path, err)
	}
	return nil
}

// Files returns the files the snapshot consists of, but for the manifest and
// the indexes, which are small.
func (s *Store) Files() []FileInfo {
	v := s.acquire()
	if v == nil {
		return nil
	}
	defer s.release(v)
	var all []FileInfo
	for _, c := range v.chunks {
		if c.absent == nil {
			all = append(all, FileInfo{Path: c.path, Size: c.meta.Bytes, Chunk: true})
		}
	}
	for _, l := range v.lists() {
		all = append(all, FileInfo{Path: l.path, Size: l.meta.Bytes})
	}
	return all
}

// Series returns about how many definitions Load will find.
func (s *Store) Series() (n int) {
	v := s.acquire()
	if v == nil {
		return 0
	}
	defer s.release(v)
	for _, c := range v.chunks {
		n += c.meta.Series
	}
	for _, l := range v.retired {
		n -= l.meta.Entries
	}
	return max(n, 0)
}

// Bytes returns the size of these files.
func (s *Store) Bytes() int64 {
	var sum int64
	for _, f := range s.Files() {
		sum += f.Size
	}
	return sum
}

// Close waits for the write that is going on and closes the files once they are
// not read any more. Everything answers that there is nothing from then on.
func (s *Store) Close() error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.install(nil)
	s.cache.clear()
	return nil
}

// blame reports a block that cannot be used, and reports whether reading it was
// what failed.
func (s *Store) blame(c *chunk, err error) (failed bool) {
	if b := (*blockError)(nil); errors.As(err, &b) && b.io {
		failed = true
	} else {
		c.damaged.Store(true)
	}
	s.problems.report(ChunkDamaged, c.path, err)
	return failed
}
