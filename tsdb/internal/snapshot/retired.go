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
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// A list of retired refs is a file of frames. Each record begins with the kind
// and goes on with runs: segment+1, the number of refs retired with it, and for
// each the difference to the ref before it in the record, of the first one to
// 0; all as unsigned varints. Segment -1 says that the ref is active again. In
// a record, and from record to record, refs ascend. Of several lists that have
// a ref the latest counts.

const (
	retiredKind = 'R'
	// maxListBytes is where a record of a list is ended.
	maxListBytes = 24 * 1024
	// maxRun keeps a run within a record.
	maxRun = 1024
)

var (
	errListKind = errors.New("record is not of this kind of list")
	errList     = errors.New("list does not end within its record")
)

// listWriter writes the records of a list.
type listWriter struct {
	out     *output
	kind    byte
	rec     []byte
	entries int
}

// end finishes the record.
func (w *listWriter) end() error {
	if len(w.rec) <= 1 {
		return nil
	}
	_, err := w.out.record(w.rec)
	w.rec = append(w.rec[:0], w.kind)
	return err
}

// runWriter finds the runs of consecutive refs that have one value. put takes each: how
// far its first ref is from the end of the run before, and how many refs come after that.
type runWriter[V comparable] struct {
	listWriter
	put         func(gap, more uint64, v V) error
	first, next chunks.HeadSeriesRef // The open run; equal if there is none.
	v           V
	before      chunks.HeadSeriesRef // The end of the run before, 0 at the start of a record.
}

func (w *runWriter[V]) add(ref chunks.HeadSeriesRef, v V) error {
	if w.entries > 0 && ref < w.next {
		return errOrder
	}
	w.entries++
	if w.first < w.next && ref == w.next && v == w.v {
		w.next++
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.first, w.next, w.v = ref, ref+1, v
	return nil
}

// flush ends the run.
func (w *runWriter[V]) flush() error {
	if w.first == w.next {
		return nil
	}
	gap, more := uint64(w.first-w.before), uint64(w.next-w.first-1)
	w.before, w.first = w.next, w.next
	return w.put(gap, more, w.v)
}

// retiredWriter packs refs into runs.
type retiredWriter struct {
	listWriter
	run     []byte
	n       int
	segment int
	last    chunks.HeadSeriesRef // In the record, 0 at its start.
}

func (w *retiredWriter) add(ref chunks.HeadSeriesRef, segment int) error {
	if w.n == maxRun || w.n > 0 && segment != w.segment {
		if err := w.endRun(); err != nil {
			return err
		}
	}
	w.run = binary.AppendUvarint(w.run, uint64(ref-w.last))
	w.last, w.segment = ref, segment
	w.n++
	w.entries++
	return nil
}

func (w *retiredWriter) endRun() error {
	if w.n == 0 {
		return nil
	}
	w.rec = binary.AppendUvarint(w.rec, uint64(w.segment+1))
	w.rec = binary.AppendUvarint(w.rec, uint64(w.n))
	w.rec = append(w.rec, w.run...)
	w.run, w.n = w.run[:0], 0
	if len(w.rec) < maxListBytes {
		return nil
	}
	w.last = 0
	return w.end()
}

// flush ends the run. The record ends with the list.
func (w *retiredWriter) flush() error { return w.endRun() }

// writeRetired writes a list by ascending refs. Without entries there is no
// file.
func (s sink) writeRetired(ctx context.Context, path string, seq iter.Seq2[chunks.HeadSeriesRef, int]) (listMeta, error) {
	return writeList(ctx, s, path, retiredKind, seq, func(w listWriter) packer[int] { return &retiredWriter{listWriter: w} })
}

// run is one value and the consecutive refs that have it.
type run[V any] struct {
	first chunks.HeadSeriesRef
	n     uint64
	v     V
}

// packer packs entries into the records of a list.
type packer[V any] interface {
	add(ref chunks.HeadSeriesRef, v V) error
	flush() error // Ends what is open but the last record.
	close() (listMeta, error)
}

// writeList writes the entries to path with the packer that begin makes. Without
// entries there is no file.
func writeList[V any](ctx context.Context, s sink, path string, kind byte, seq iter.Seq2[chunks.HeadSeriesRef, V], begin func(listWriter) packer[V]) (listMeta, error) {
	var p packer[V]
	for ref, v := range seq {
		if p == nil {
			out, err := s.create(ctx, path)
			if err != nil {
				return listMeta{}, err
			}
			defer out.abort()
			p = begin(listWriter{out: out, kind: kind, rec: []byte{kind}})
		}
		if err := p.add(ref, v); err != nil {
			return listMeta{}, err
		}
	}
	if p == nil {
		return listMeta{}, nil
	}
	if err := p.flush(); err != nil {
		return listMeta{}, err
	}
	return p.close()
}

// close ends the list and makes it durable.
func (w *listWriter) close() (listMeta, error) {
	if err := w.end(); err != nil {
		return listMeta{}, err
	}
	if err := w.out.finish(); err != nil {
		return listMeta{}, err
	}
	return listMeta{Entries: w.entries, Bytes: w.out.off}, nil
}

// retiredRecord iterates over one record.
type retiredRecord struct {
	rest    []byte
	left    uint64 // Of the present run.
	ref     chunks.HeadSeriesRef
	segment int
	begun   bool
}

func newRetiredRecord(payload []byte) (retiredRecord, error) {
	if len(payload) < 1 || payload[0] != retiredKind {
		return retiredRecord{}, errListKind
	}
	return retiredRecord{rest: payload[1:]}, nil
}

// next goes to the next ref and reports whether there is one.
func (r *retiredRecord) next() (bool, error) {
	if r.left == 0 {
		if len(r.rest) == 0 {
			return false, nil
		}
		segment, rest, ok := uvarint(r.rest)
		if !ok || segment > maxSegment+1 {
			return false, errList
		}
		if r.left, r.rest, ok = uvarint(rest); !ok || r.left == 0 {
			return false, errList
		}
		r.segment = int(segment) - 1
	}
	delta, rest, ok := uvarint(r.rest)
	ref := r.ref + chunks.HeadSeriesRef(delta)
	if !ok || r.begun && ref <= r.ref {
		return false, errList
	}
	r.ref, r.rest, r.begun = ref, rest, true
	r.left--
	return true, nil
}

// retiredList is one list in memory, in the encoded form of about two bytes per
// ref. It exists for as long as a load or a merge takes.
type retiredList struct {
	firsts  []chunks.HeadSeriesRef
	records [][]byte
	last    chunks.HeadSeriesRef
}

// retiredReader fills a list from its file.
type retiredReader struct{ retiredList }

// record checks and takes up one record.
func (l *retiredReader) record(payload []byte, _ int64) error {
	rec, err := newRetiredRecord(payload)
	if err != nil {
		return err
	}
	ok, err := rec.next()
	if err != nil || !ok {
		return errList
	}
	first := rec.ref
	if n := len(l.firsts); n > 0 && first <= l.last {
		return errOrder
	}
	for ok {
		if ok, err = rec.next(); err != nil {
			return err
		}
	}
	l.firsts = append(l.firsts, first)
	l.records = append(l.records, slices.Clone(payload))
	l.last = rec.ref
	return nil
}

// retiredCursor walks a list.
type retiredCursor struct {
	list *retiredList
	at   int // The next record to be read.
	rec  retiredRecord
	done bool
}

// seek goes to the first ref that is not below ref.
func (c *retiredCursor) seek(ref chunks.HeadSeriesRef) {
	i, found := slices.BinarySearch(c.list.firsts, ref)
	if !found && i > 0 {
		i--
	}
	c.at, c.rec, c.done = i, retiredRecord{}, false
	c.advance()
	c.skipTo(ref)
}

// advance goes to the next ref.
func (c *retiredCursor) advance() {
	for {
		// Records were checked when the list was read.
		if ok, err := c.rec.next(); ok && err == nil {
			return
		}
		if c.at == len(c.list.records) {
			c.done = true
			return
		}
		c.rec, _ = newRetiredRecord(c.list.records[c.at])
		c.at++
	}
}

func (c *retiredCursor) skipTo(ref chunks.HeadSeriesRef) {
	for !c.done && c.rec.ref < ref {
		c.advance()
	}
}

// retirement answers for ascending refs whether they are retired. It belongs to
// one goroutine.
type retirement []*retiredCursor // The latest list first.

func newRetirement(lists []*retiredList) retirement {
	r := make(retirement, 0, len(lists))
	for _, l := range slices.Backward(lists) {
		r = append(r, &retiredCursor{list: l})
	}
	r.seek(0)
	return r
}

func (r retirement) seek(ref chunks.HeadSeriesRef) {
	for _, c := range r {
		c.seek(ref)
	}
}

// segment returns with which segment ref was retired; alive if it was not.
func (r retirement) segment(ref chunks.HeadSeriesRef) int {
	for _, c := range r {
		c.skipTo(ref)
		if !c.done && c.rec.ref == ref {
			return c.rec.segment
		}
	}
	return alive
}

// all yields every ref that some list has, ascending, with what the latest says
// of it.
func (r retirement) all() iter.Seq2[chunks.HeadSeriesRef, int] {
	return func(yield func(chunks.HeadSeriesRef, int) bool) {
		r.seek(0)
		for {
			ref, segment, found := chunks.HeadSeriesRef(0), alive, false
			for _, c := range r {
				if !c.done && (!found || c.rec.ref < ref) {
					ref, segment, found = c.rec.ref, c.rec.segment, true
				}
			}
			if !found || !yield(ref, segment) {
				return
			}
			for _, c := range r {
				if !c.done && c.rec.ref == ref {
					c.advance()
				}
			}
		}
	}
}
