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

package delivery

import (
	"errors"
	"log/slog"
	"os"
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// maxBatchItems ends a batch. Large enough to spread the cost of a batch, small
// enough that a full request needs not wait for it.
const maxBatchItems = 4096

// farBatchItems is the same far behind, where batches are kept by partition, each
// in memory of its own: so many make that worth an allocation.
const farBatchItems = 4 * maxBatchItems

const (
	// batchBytes ends a batch. Other than its number of items, it takes more to
	// part what one commit wrote, see wholeBytes.
	batchBytes = 1 << 20
	// wholeBytes is how large a batch may become so that what one commit wrote
	// stays together. Beyond it is no more than one record.
	wholeBytes = 16 << 20
)

// logReader reads batches from a directory. One goroutine owns it. Where it is in the log:
//
//	      Start         End      aheadEnd            until           head
//	────────┼────────────┼───────────┼─────────────────┼──────────────┼╌╌╌╌╌╌╌╌╌
//	earlier │ the batch  │ a record  │ the rest of its │ part of      │ not yet
//	batches │ as it grows│ kept for  │ part of the log │ another      │ committed
//	        │            │ the next  │                 │ reader       │
//
// How it reads a segment, strictly or leniently:
//
//	        ┌───────┐ an error, and tries are left (readTries):
//	        ▼       │ the caller reads again a second later
//	    ┌───────────┴┐  an error, and no tries are left   ┌───────────┐
//	┌──▶│  strictly  ├───────────────────────────────────▶│ leniently │
//	│   └──┬──────┬──┘                                    └──┬─────┬──┘
//	│      │      │ the segment was removed   an error again │     │ it ends
//	│      │      └─────────────────┬────────────────────────┘     │
//	│      │ it ends                ▼                              │
//	│      │          the rest of it is passed over                │
//	│      ▼                        ▼                              ▼
//	└────────────────────── the next segment ◀─────────────────────┘
//
// Reading leniently passes over what the disk refuses and over items whose labels cannot
// be looked up. The rest of a segment is passed over only if a later segment has been
// written: until then the error is returned. Damage is passed over in either way, and
// what endpoints are to pass over (beyond) is not read at all.
type logReader struct {
	dir  string
	tail *cursor.Tail
	dec  *decoder
	bb   queue.Builder
	l    *slog.Logger
	// head returns the end of the last commit. What is written beyond it may
	// be a part of one, and is not read yet.
	head func() cursor.Position
	// size is Source.Size.
	size func(segment int) int64
	// damaged is told of every damaged part that was passed over.
	damaged func(*cursor.Corruption)
	// density is how many items a byte of the log holds.
	density *density

	// ahead is a record that was read and belongs to the next batch, if hasAhead is set.
	ahead    []byte
	aheadEnd cursor.Point
	hasAhead bool
	// until is where the reader's part of the log ends, nil for nowhere. Records
	// that start there or later are not read. Damage that reaches over it ends
	// the part.
	until *cursor.Point
	// gapEnd is where the last damaged part ended: those that follow each other are
	// logged once.
	gapEnd cursor.Position
	// lostEndBefore is the segment behind the last one that was found to have lost its
	// end, -1 if none has.
	lostEndBefore int
	// standIn is the last segment that was found to be a stand-in for one that was
	// removed, -1 if none was.
	standIn int

	// tries decides when a segment is read leniently, and lenient says that it is now.
	tries   *readTries
	lenient bool
	// beyond returns a position, or the end of what endpoints pass over there.
	beyond func(cursor.Position) cursor.Position
}

func newLogReader(l *slog.Logger, src *Source, damaged func(*cursor.Corruption)) *logReader {
	known := src.density
	if known == nil {
		known = &density{}
	}
	return &logReader{density: known, standIn: -1, lostEndBefore: -1, dir: src.WALDir, head: src.Head, size: src.Size, dec: newDecoder(l, src), damaged: damaged, l: l, tries: newReadTries(maxReadTries), beyond: src.beyond}
}

// seek makes the next batch start at p. The record checksum of p is kept, so
// that the batch's start is a whole point.
func (r *logReader) seek(p cursor.Point) error { return r.seekWith(p, cursor.Open) }

func (r *logReader) seekWith(p cursor.Point, open func(string, cursor.Position) (*cursor.Tail, error)) error {
	r.close()
	t, err := open(r.dir, p.Position)
	if err != nil {
		return err
	}
	r.tail = t
	r.bb.Reset(p)
	return nil
}

// read is batch at a position, wherever the reader is. What the disk refuses to
// read is passed over once the tries at its segment are exhausted, as damage is, and
// so are items whose labels cannot be looked up; until then it is an error.
func (r *logReader) read(p cursor.Point, limit int, stop func(cursor.Position) bool) (*queue.Batch, error) {
	if to := r.beyond(p.Position); to != p.Position {
		r.close()
		return r.passOver(p, to), nil
	}
	for {
		b, err := r.readOnce(p, limit, stop)
		switch {
		case err == nil:
			if !r.lenient {
				r.tries.noteSuccess(b)
			}
			return b, nil
		case errors.Is(err, cursor.ErrCaughtUp):
			return nil, err
		}
		lenient := r.lenient
		r.close()
		if lenient || r.removed(p.Segment, err) {
			return r.passRest(p, err)
		}
		r.tries.noteFailure(p.Position)
		if !r.tries.exhausted(p.Segment) {
			return nil, err
		}
	}
}

func (r *logReader) readOnce(p cursor.Point, limit int, stop func(cursor.Position) bool) (*queue.Batch, error) {
	lenient := r.tries.exhausted(p.Segment)
	if r.tail == nil || r.bb.Start != p || (lenient && !r.lenient) {
		open := cursor.Open
		if lenient {
			open = cursor.OpenLenient
		} else {
			r.dec.evicted.unresolved = nil
		}
		err := r.seekWith(p, open)
		r.setLenient(lenient)
		if err != nil {
			return nil, err
		}
	}
	return r.batch(limit, stop)
}

// setLenient says whether what cannot be had is passed over.
func (r *logReader) setLenient(lenient bool) {
	if r.lenient != lenient {
		r.lenient, r.dec.evicted.lenient = lenient, lenient
	}
}

// passRest passes over the rest of a segment that cannot even be opened, or is gone, if
// a later one follows.
func (r *logReader) passRest(p cursor.Point, cause error) (*queue.Batch, error) {
	to := r.endBefore(cursor.Position{Segment: p.Segment + 1})
	if !to.Before(r.head()) {
		return nil, cause
	}
	r.bb.Reset(p)
	r.bb.End = to
	r.l.Error("A segment of the log cannot be read and is passed over", "position", p.String(), "err", cause, "bytes",
		r.lose(p.Position, to.Position, logBytes(r.dir, p.Position, to.Position), errors.Is(cause, os.ErrNotExist)))
	return r.bb.Build(), nil
}

// passOver returns a batch of nothing, from p to a position.
func (r *logReader) passOver(p cursor.Point, to cursor.Position) *queue.Batch {
	r.bb.Reset(p)
	r.bb.End, r.bb.Gap = r.endBefore(to), true
	return r.bb.Build()
}

// endBefore returns a position, or the end of the reader's part if that comes first.
func (r *logReader) endBefore(p cursor.Position) cursor.Point {
	if r.until != nil && r.until.Before(p) {
		return *r.until
	}
	return cursor.Point{Position: p}
}

// removed reports whether it is certain that a segment was removed: the log can be
// listed, has the one that is written to, and not this one. If all of the log is
// away, or a link leads nowhere, it may be back in a moment.
func (r *logReader) removed(segment int, cause error) bool {
	if !errors.Is(cause, os.ErrNotExist) {
		return false
	}
	entries, err := os.ReadDir(r.dir)
	there := func(segment int) bool {
		name := wlog.SegmentName("", segment)
		return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	}
	return err == nil && there(r.head().Segment) && !there(segment)
}

// lose notes that the batch lacks so many bytes before a position. Of a segment that
// is missing it may not be known how many: about as many as of those beside it.
func (r *logReader) lose(from, to cursor.Position, bytes int64, missing bool) int64 {
	lost := queue.UnreadPart{Missing: missing, Last: from.Segment < to.Segment}
	if missing {
		was := r.sizeOf(from.Segment)
		if was == 0 {
			// Others beside it may be missing too.
			const near = 8
			for k := from.Segment - near; k <= from.Segment+near; k++ {
				was = max(was, cursor.SegmentSize(r.dir, k))
			}
		}
		bytes = was - from.Offset
	}
	bytes = max(bytes, 1)
	lost.Range = savepoint.Range{Segment: from.Segment, From: from.Offset, To: from.Offset + bytes}
	lost.Items = r.density.of(bytes)
	r.bb.Unread.Parts = append(r.bb.Unread.Parts, lost)
	r.bb.Gap = true
	return bytes
}

// close lets go of the log and of what it takes to read it. A reader with no need
// of it now must not keep a segment open, which would take room on the disk even
// when removed, nor keep series that have left the table.
func (r *logReader) close() {
	if r.tail != nil {
		r.bb.Items = queue.Sequence{}
		r.dec.evicted = evictedSeries{from: r.dec.evicted.from, unresolved: r.dec.evicted.unresolved}
	}
	r.letGo()
}

// letGo closes the segment only: the reader goes on, but not soon.
func (r *logReader) letGo() {
	if r.tail != nil {
		_ = r.tail.Close() // Read-only: there is nothing to lose.
		r.tail = nil
	}
	r.hasAhead = false
	r.setLenient(false)
}

// batch reads one batch: about limit items, fewer if they take much memory, and not beyond the first record
// end at which stop returns true. What one commit wrote stays together as far as
// possible, since a receiver of remote write 2.0 takes exemplars only with a
// sample. It returns cursor.ErrCaughtUp if there is nothing to read; records
// without items still make a batch, so that positions move.
func (r *logReader) batch(limit int, stop func(cursor.Position) bool) (*queue.Batch, error) {
	if r.bb.Start.Position == (cursor.Position{Segment: r.lostEndBefore}) {
		r.bb.Gap = true
	}
	if r.hasAhead {
		r.hasAhead = false
		if err := r.decode(r.ahead, r.aheadEnd); err != nil {
			return nil, err
		}
		r.bb.End = r.aheadEnd
	}
	for r.bb.End == r.bb.Start || !stop(r.bb.End.Position) {
		if overfull(&r.bb, limit) {
			break
		}
		it, err := r.next()
		if err != nil && r.bb.End != r.bb.Start {
			break // What was read before is not to be had less for it.
		}
		if err != nil {
			return nil, err
		}
		if r.until != nil && r.until.Before(it.End.Position) {
			if it.Kind == cursor.Record && it.Start.Before(r.until.Position) {
				if err := r.decode(it.Data, it.End); err != nil {
					return nil, err
				}
			}
			r.bb.End = *r.until
			break
		}
		if it.Kind == cursor.Record {
			if full(&r.bb, limit) && !continues(it.Data) {
				r.ahead, r.aheadEnd, r.hasAhead = append(r.ahead[:0], it.Data...), it.End, true
				break
			}
			if err := r.decode(it.Data, it.End); err != nil {
				return nil, err
			}
		}
		r.bb.End = it.End
		if it.Kind == cursor.Seal {
			r.checkEnd(it.Start.Position, it.End.Position)
			r.setLenient(false) // The tail reads the next one as always.
			break               // A batch lies in one segment, which goes as a whole.
		}
	}
	return r.bb.Build(), nil
}

// sizeOf returns how many bytes a segment had when it was finished, 0 if that is not
// known.
func (r *logReader) sizeOf(segment int) int64 {
	if r.size == nil {
		return 0
	}
	return r.size(segment)
}

// checkEnd notes what a segment lacks that was read up to a position and ends there:
// it is shorter than it was when it was finished, or than it was when it was read
// before.
func (r *logReader) checkEnd(at, next cursor.Position) {
	was := r.sizeOf(at.Segment)
	info, err := os.Stat(wlog.SegmentName(r.dir, at.Segment))
	if err != nil || cursor.RecordEnd(info.Size()) >= max(was, at.Offset) || was == at.Offset || r.standIn == at.Segment {
		return // What was removed meanwhile was read to its end, or has been counted.
	}
	had := r.bb.Gap
	r.l.Error("A segment of the log has lost its end", "position", at.String(), "size", info.Size(),
		"bytes", r.lose(at, next, was-at.Offset, was < at.Offset))
	// What comes before it is whole, and was acknowledged as it is counted.
	r.bb.Gap, r.lostEndBefore = had, next.Segment
}

// full reports whether a batch has enough, with so many items as the bound.
func full(bb *queue.Builder, limit int) bool {
	return bb.Items.Len() >= limit || bb.Bytes() >= batchBytes
}

// overfull reports whether it is time to end it even within a commit.
func overfull(bb *queue.Builder, limit int) bool {
	return bb.Items.Len() >= 2*max(limit, maxBatchItems) || bb.Bytes() >= wholeBytes
}

// next returns the next item before the head.
func (r *logReader) next() (cursor.Item, error) {
	if !r.tail.Point().Before(r.head()) || (r.until != nil && !r.tail.Point().Before(r.until.Position)) {
		return cursor.Item{}, cursor.ErrCaughtUp
	}
	was := r.tail.Point()
	it, err := r.tail.Next()
	if errors.Is(err, cursor.ErrCaughtUp) && was.Segment < r.head().Segment {
		r.tail.Finish() // The next one is gone: the log goes on behind it.
		it, err = r.tail.Next()
	}
	if err != nil {
		return it, err
	}
	// Records follow each other without a break, but where damage was.
	if it.Kind == cursor.Record && it.Start.Position != was.Position {
		r.bb.Gap = true
	}
	if it.Kind == cursor.Gap {
		r.lose(it.Start.Position, it.End.Position, it.Err.To-it.Err.From, it.Err.Gone)
		if it.Err.Gone {
			r.standIn = it.Start.Segment
		}
		r.damaged(it.Err)
		if it.Start.Position != r.gapEnd {
			r.l.Error("Skipped a damaged part of the log", "segment", it.Err.Segment, "from", it.Err.From, "to", it.Err.To, "err", it.Err.Err)
		}
		r.gapEnd = it.End.Position
	}
	return it, nil
}

// decode adds a record to the batch. It returns an error only if a series cannot
// be looked up now: then the reader has to seek to the start of the batch again.
func (r *logReader) decode(rec []byte, end cursor.Point) error {
	r.dec.at = end.Position
	had := r.bb.Items.Len() + r.bb.Unknown.Total()
	err := r.dec.decode(rec, &r.bb)
	if end.Segment == r.bb.End.Segment {
		r.density.saw(r.bb.Items.Len()+r.bb.Unknown.Total()-had, end.Offset-r.bb.End.Offset)
	}
	var later *lookupError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &later):
		return err
	}
	r.l.Error("Skipped a record of the log that cannot be decoded", "segment", end.Segment, "end_offset", end.Offset, "err", err)
	return nil
}

// continues reports whether a record may belong to the same commit as the one
// before it: commits begin with series or float samples if they have any.
func continues(rec []byte) bool {
	if len(rec) == 0 {
		return false
	}
	switch record.Type(rec[0]) {
	case record.Series, record.Samples, record.SamplesV2, record.Tombstones, record.Metadata:
		return false
	}
	return true
}

// backlogBytes is how many bytes of the log make a backlog: about a second of a busy agent.
const backlogBytes = 1 << 20

// lags reports whether an endpoint that reads at one position, while the log
// ends at another, has to catch up. Which reader reads for it is another question:
// if all endpoints are as far behind, that of one of them reads for all.
func lags(at, head cursor.Position) bool {
	return at.Segment != head.Segment || head.Offset-at.Offset > backlogBytes
}

// logBytes returns how many bytes of the log lie between two positions.
func logBytes(dir string, from, to cursor.Position) int64 {
	return bytesBut(dir, from, to, nowhere)
}

// bytesBut is logBytes without what is passed over.
func bytesBut(dir string, from, to cursor.Position, beyond func(cursor.Position) cursor.Position) (n int64) {
	for seg := from.Segment; seg <= to.Segment; seg++ {
		if at := (cursor.Position{Segment: seg}); beyond(at) != at {
			continue
		}
		size := to.Offset
		if seg < to.Segment {
			size = cursor.SegmentSize(dir, seg)
		}
		if seg == from.Segment {
			size -= min(from.Offset, size)
		}
		n += size
	}
	return n
}

// bytes returns how many bytes of the log lie between two positions and are not passed over.
func (s *Source) bytes(from, to cursor.Position) int64 { return bytesBut(s.WALDir, from, to, s.beyond) }
