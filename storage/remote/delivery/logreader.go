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

	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// maxBatchItems ends a batch. Large enough to spread the cost of a batch, small
// enough that a full request needs not wait for it.
const maxBatchItems = 4096

// farBatchItems is the same far behind, where batches are kept by partition, each
// in memory of its own: so many make that worth an allocation.
const farBatchItems = 4 * maxBatchItems

// logReader reads batches from a directory. One goroutine owns it.
type logReader struct {
	dir  string
	tail *cursor.Tail
	dec  *decoder
	bb   batchBuilder
	l    *slog.Logger
	// head returns the end of the last commit. What is written beyond it may
	// be a part of one, and is not read yet.
	head func() cursor.Position
	// damaged is told of every damaged part that was passed over.
	damaged func(*cursor.Corruption)
	// ahead is a record that was read and belongs to the next batch.
	ahead    []byte
	aheadEnd cursor.Point
	hasAhead bool
	// until is where the reader's part of the log ends, nil for nowhere. Records
	// that start there or later are not read. Damage that reaches over it ends
	// the part.
	until *cursor.Point
}

func newLogReader(l *slog.Logger, src *Source, damaged func(*cursor.Corruption)) *logReader {
	return &logReader{dir: src.WALDir, head: src.Head, dec: newDecoder(l, src), damaged: damaged, l: l}
}

// seek makes the next batch start at p. The record checksum of p is kept, so
// that the batch's start is a whole point.
func (r *logReader) seek(p cursor.Point) error {
	r.close()
	t, err := cursor.Open(r.dir, p.Position)
	if err != nil {
		return err
	}
	r.tail = t
	r.bb.reset(p)
	return nil
}

// close lets go of the log and of what it takes to read it. Nobody who has no
// need of it now keeps a segment: removed, it would still take room on the disk.
func (r *logReader) close() {
	if r.tail != nil {
		_ = r.tail.Close() // Read-only: there is nothing to lose.
		r.tail = nil
		r.bb.gathered = gathered{}
	}
	r.hasAhead = false
}

// batch reads one batch: about limit items, and not beyond the first record
// end at which stop returns true. What one commit wrote stays together as far as
// possible, since a receiver of remote write 2.0 takes exemplars only with a
// sample. It returns cursor.ErrCaughtUp if there is nothing to read; records
// without items still make a batch, so that positions move.
func (r *logReader) batch(limit int, stop func(cursor.Position) bool) (*batch, error) {
	if r.hasAhead {
		r.hasAhead = false
		if err := r.decode(r.ahead, r.aheadEnd); err != nil {
			return nil, err
		}
		r.bb.end = r.aheadEnd
	}
	for r.bb.end == r.bb.start || !stop(r.bb.end.Position) {
		n := len(r.bb.items)
		if n >= 2*max(limit, maxBatchItems) {
			break
		}
		it, err := r.next()
		if errors.Is(err, cursor.ErrCaughtUp) && r.bb.end != r.bb.start {
			break
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
			r.bb.end = *r.until
			break
		}
		if it.Kind == cursor.Record {
			if n >= limit && !continues(it.Data) {
				r.ahead, r.aheadEnd, r.hasAhead = append(r.ahead[:0], it.Data...), it.End, true
				break
			}
			if err := r.decode(it.Data, it.End); err != nil {
				return nil, err
			}
		}
		r.bb.end = it.End
		if it.Kind == cursor.Seal {
			break // A batch lies in one segment, which goes as a whole.
		}
	}
	return r.bb.build(), nil
}

// next returns the next item before the head.
func (r *logReader) next() (cursor.Item, error) {
	if !r.tail.Point().Before(r.head()) || (r.until != nil && !r.tail.Point().Before(r.until.Position)) {
		return cursor.Item{}, cursor.ErrCaughtUp
	}
	was := r.tail.Point()
	it, err := r.tail.Next()
	if err != nil {
		return it, err
	}
	// Records follow each other without a break, but where damage was.
	if it.Kind == cursor.Record && it.Start.Position != was.Position {
		r.bb.gap = true
	}
	if it.Kind == cursor.Gap {
		r.bb.gap = true
		r.damaged(it.Err)
		r.l.Error("Skipped a damaged part of the log", "segment", it.Err.Segment, "from", it.Err.From, "to", it.Err.To, "err", it.Err.Err)
	}
	return it, nil
}

// decode adds a record to the batch. It returns an error only if a series cannot
// be looked up now: then the reader has to seek to the start of the batch again.
func (r *logReader) decode(rec []byte, end cursor.Point) error {
	r.dec.at = end.Position
	err := r.dec.decode(rec, &r.bb)
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

// backlog is how many bytes of the log make one: about a second of a busy agent.
const backlog = 1 << 20

// lags reports whether an endpoint that reads at one position, while the log
// ends at another, has to catch up. Who reads for it is another question: if
// all endpoints are as far behind, one of them reads for all.
func lags(at, head cursor.Position) bool {
	return at.Segment != head.Segment || head.Offset-at.Offset > backlog
}
