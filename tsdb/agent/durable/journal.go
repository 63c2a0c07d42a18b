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

package durable

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// segmentLog is the part of wlog.WL that the storage writes through. Tests put
// failures in between.
type segmentLog interface {
	Log(recs ...[]byte) error
	NextSegment() (int, error)
	Truncate(before int) error
	Close() error
}

var errClosed = errors.New("the storage is closed")

// WriteError is why commits fail: a write to the log failed, and the log has
// not been put in order again yet.
type WriteError struct {
	Segment string // Path of the segment.
	Err     error
}

// Error implements error.
func (e *WriteError) Error() string {
	return fmt.Sprintf("cannot write to segment %s of the write-ahead log: %v; samples are refused until writing works again, which is tried without a restart: make room on its disk and make it writable", e.Segment, e.Err)
}

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// journal is the write side of wal/: one commit at a time, segments that start
// with a marker, and a head that only moves when a commit has succeeded.
type journal struct {
	// Immutable.
	dir         string
	fs          vfs.FS
	segmentSize int64  // Bytes.
	recordLimit int    // Bytes.
	marker      []byte // First record of every segment.
	open        func() (segmentLog, error)
	now         func() time.Time
	failed      chan struct{} // Has an element after a failure.
	sealed      chan struct{} // Has an element after a cut.

	mtx       sync.Mutex // Guards what follows; held through a write.
	failure   error      // Why nothing can be written; nil if it can.
	log       segmentLog // May be nil, and is not to be written to, after a failure.
	torn      bool       // It was closed while failed: its last segment needs a repair.
	active    vfs.File   // The active segment, opened for its size.
	kept      vfs.File   // A segment that is copied, and not to be closed.
	markerEnd int64      // Of the active segment.
	began     time.Time  // When the active segment was opened.
	records   recordBuffer
	chosen    []*series.Series
	defined   []*series.Series // Those whose records were written and not taken by takeDefined.
	all       [][]byte
	encoder   record.Encoder

	// handle is held to exchange log, and to use it outside of commits.
	handle sync.Mutex

	headMtx sync.Mutex // Guards what follows; with mtx held, head may be read without it.
	head    cursor.Position
	ends    map[int]int64 // Where the records of finished segments end.
}

// Head returns the end of the last commit.
func (j *journal) Head() cursor.Position {
	j.headMtx.Lock()
	defer j.headMtx.Unlock()
	return j.head
}

// startAtEnd makes the end of what there is the head, before the log is opened.
func (j *journal) startAtEnd() error {
	_, last, err := wlog.Segments(j.dir)
	if err != nil || last < 0 {
		return err
	}
	info, err := j.fs.Stat(wlog.SegmentName(j.dir, last))
	if err != nil {
		return err
	}
	j.headMtx.Lock()
	j.head = cursor.Position{Segment: last, Offset: cursor.RecordEnd(info.Size())}
	j.headMtx.Unlock()
	return nil
}

// begin opens the log, which starts a segment, and writes its marker. If it cannot,
// it leaves no segment behind. Nothing else uses j meanwhile, apart from Head and
// takeDefined.
func (j *journal) begin() error {
	_, before, err := wlog.Segments(j.dir)
	if err != nil {
		return fmt.Errorf("list segments in %s: %w", j.dir, err)
	}
	if err = j.start(); err == nil {
		return nil
	}
	j.handle.Lock()
	if j.log != nil {
		_ = j.log.Close() // It failed already.
		j.log = nil
	}
	j.handle.Unlock()
	if j.active != nil {
		j.active.Close()
		j.active = nil
	}
	if _, last, e := wlog.Segments(j.dir); e == nil && last > max(before, j.Head().Segment) && before >= 0 {
		// The name alone takes a file of the disk. No reader has it open, since
		// none goes beyond the head.
		err = errors.Join(err, j.fs.Remove(wlog.SegmentName(j.dir, last)))
	}
	return err
}

func (j *journal) start() error {
	l, err := j.open()
	if err != nil {
		return fmt.Errorf("open write-ahead log in %s: %w", j.dir, err)
	}
	j.handle.Lock()
	j.log = l
	j.handle.Unlock()
	_, last, err := wlog.Segments(j.dir)
	if err != nil {
		return fmt.Errorf("list segments in %s: %w", j.dir, err)
	}
	return j.activate(last)
}

// truncate removes the segments before one.
func (j *journal) truncate(before int) error {
	j.headMtx.Lock()
	maps.DeleteFunc(j.ends, func(k int, _ int64) bool { return k < before })
	j.headMtx.Unlock()
	j.handle.Lock()
	defer j.handle.Unlock()
	if j.log != nil {
		return j.log.Truncate(before)
	}
	// The log cannot be written to. That is when removing matters most.
	first, last, err := wlog.Segments(j.dir)
	if err != nil {
		return err
	}
	for k := max(first, 0); k < min(before, last); k++ {
		if err := j.fs.Remove(wlog.SegmentName(j.dir, k)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// activate makes segment, which was just created, the active one, and writes its marker.
func (j *journal) activate(segment int) error {
	path := wlog.SegmentName(j.dir, segment)
	f, err := j.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open new segment for its size: %w", err)
	}
	if j.active != nil && j.active != j.kept {
		j.active.Close()
	}
	j.active, j.began = f, j.now()
	if err := j.log.Log(j.marker); err != nil {
		return fmt.Errorf("write marker of segment %s: %w", path, err)
	}
	if err := j.advance(segment); err != nil {
		return err
	}
	j.markerEnd = j.head.Offset
	return nil
}

// advance moves the head to the end of the segment: a Log that returned has
// written everything it was given.
func (j *journal) advance(segment int) error {
	size, err := sizeOf(j.active)
	if err != nil {
		return fmt.Errorf("read size of segment %s: %w", wlog.SegmentName(j.dir, segment), err)
	}
	j.headMtx.Lock()
	defer j.headMtx.Unlock()
	if segment > j.head.Segment {
		j.ends[j.head.Segment] = j.head.Offset
	}
	j.head = cursor.Position{Segment: segment, Offset: cursor.RecordEnd(size)}
	return nil
}

// endOf returns where the records of a segment ended when it was finished, 0 if it was
// not in this run.
func (j *journal) endOf(segment int) int64 {
	j.headMtx.Lock()
	defer j.headMtx.Unlock()
	return j.ends[segment]
}

// sizeOf returns the size of a file that is not read from. Seeking finds it
// without an allocation, which counts in every commit.
func sizeOf(f vfs.File) (int64, error) {
	if s, ok := f.(io.Seeker); ok {
		return s.Seek(0, io.SeekEnd)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// commit writes the records of those unlogged series that have none, then recs. If
// it returns nil, all of it is in the log and before the head. If it does not,
// none of it is in the end, unless it was too much for one segment.
//
// c is the same in memory, or nil. If the log has it in one piece, it is passed to
// to, in the order of the log: no other commit writes meanwhile.
func (j *journal) commit(unlogged []*series.Series, recs [][]byte, c *delivery.Commit, to commitSink) error {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	if j.failure != nil {
		if c != nil {
			c.Discard()
		}
		return j.failure
	}
	if len(unlogged) > 0 {
		j.chooseSeries(unlogged)
		j.all = append(append(j.all[:0], j.records.recs...), recs...)
		recs = j.all
	}
	start, err := j.write(recs)
	if err != nil {
		err = j.fail(err)
	}
	switch {
	case c == nil:
	case err != nil || start.Segment != j.head.Segment:
		c.Discard()
	default:
		for _, rec := range recs {
			c.Record(rec)
		}
		to.Committed(c, start, j.head)
	}
	for _, s := range j.chosen {
		s.SetLogged(err == nil)
	}
	// A commit that fails may have left a part in a segment before the last.
	j.defined = append(j.defined, j.chosen...)
	j.chosen = emptied(j.chosen)
	j.all = emptied(j.all)
	j.records.reset()
	return err
}

// chooseSeries encodes the records of those series that the log lacks.
func (j *journal) chooseSeries(unlogged []*series.Series) {
	for _, s := range unlogged {
		if s.ChooseForLog() {
			j.chosen = append(j.chosen, s)
		}
	}
	var refs []record.RefSeries
	for _, s := range j.chosen {
		refs = append(refs, record.RefSeries{Ref: s.Ref(), Labels: s.Labels()})
	}
	bound := func(def *record.RefSeries) int { return labelsBound(def.Labels) }
	inParts(refs, j.recordLimit, bound, func(part []record.RefSeries) {
		j.records.add(func(dst []byte) []byte { return j.encoder.Series(part, dst) })
	})
}

// onDisk bounds what a record of n bytes takes up: it may begin at the end of a
// page, each of its fragments has a header, and what is left of a page that has
// no room for a header is filled up. Compression never makes it longer.
func onDisk(n int) int64 {
	pages := int64(n)/(cursor.PageSize-cursor.HeaderSize) + 2
	return int64(n) + pages*(2*cursor.HeaderSize)
}

// write logs recs in one piece, in a new segment if the active one has no room.
// If there are too many for a segment, they are spread over several. It returns
// where the first begins.
func (j *journal) write(recs [][]byte) (start cursor.Position, err error) {
	var total int64
	for _, rec := range recs {
		total += onDisk(len(rec))
	}
	if j.head.Offset+total > j.segmentSize && j.head.Offset > j.markerEnd {
		if err := j.cut(); err != nil {
			return start, err
		}
	}
	start = j.head
	for len(recs) > 0 {
		n, end := 0, j.head.Offset
		for n < len(recs) && end+onDisk(len(recs[n])) <= j.segmentSize {
			end += onDisk(len(recs[n]))
			n++
		}
		if n == 0 && j.head.Offset > j.markerEnd {
			if err := j.cut(); err != nil {
				return start, err
			}
			continue
		}
		// Items are limited to half a segment, so a new one has room.
		n = max(n, 1)
		if err := j.log.Log(recs[:n]...); err != nil {
			return start, err
		}
		if err := j.advance(j.head.Segment); err != nil {
			return start, err
		}
		recs = recs[n:]
	}
	return start, nil
}

// cut finishes the active segment and starts the next one.
func (j *journal) cut() error {
	next, err := j.log.NextSegment()
	if err != nil {
		return fmt.Errorf("start segment after %s: %w", wlog.SegmentName(j.dir, j.head.Segment), err)
	}
	if err := j.activate(next); err != nil {
		return err
	}
	signal(j.sealed)
	return nil
}

// cutIfOlder finishes the active segment if something was committed to it and
// it was started at least age ago. It reports whether it did.
func (j *journal) cutIfOlder(age time.Duration) (bool, error) {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	if j.failure != nil {
		return false, j.failure
	}
	if j.head.Offset <= j.markerEnd || j.now().Sub(j.began) < age {
		return false, nil
	}
	if err := j.cut(); err != nil {
		return false, j.fail(err)
	}
	return true, nil
}

// takeDefined returns the series whose records were written since it was called
// the last time, and the last segment that is finished: all records in it, and
// before, are of series that were returned.
func (j *journal) takeDefined() (defined []*series.Series, finished int) {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	defined, j.defined = j.defined, nil
	finished = j.Head().Segment - 1 // Recovering moves it without mtx.
	if errors.Is(j.failure, errClosed) && !j.torn {
		finished++
	}
	return defined, finished
}

// putBack undoes a takeDefined.
func (j *journal) putBack(defined []*series.Series) {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	j.defined = append(defined, j.defined...)
}

// fail makes all commits fail with the cause until the log was recovered.
func (j *journal) fail(cause error) error {
	j.failure = &WriteError{Segment: wlog.SegmentName(j.dir, j.head.Segment), Err: cause}
	signal(j.failed)
	return j.failure
}

// broken returns why nothing can be written, and nil if it can.
func (j *journal) broken() error {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	return j.failure
}

// close closes the log for good.
func (j *journal) close() error {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	if j.active != nil {
		j.active.Close()
		j.active = nil
	}
	var err error
	j.handle.Lock()
	if j.log != nil {
		err = j.log.Close()
		j.log = nil
	}
	j.handle.Unlock()
	broken := j.failure != nil
	j.torn = broken || err != nil
	j.failure = errClosed
	if err != nil && !broken { // Else that is why it was broken.
		return fmt.Errorf("close write-ahead log in %s: %w", j.dir, err)
	}
	return nil
}

// signal puts an element into a channel with room for one, unless it has one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
