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
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

const (
	// maxBatchItems ends a batch. Large enough to spread the cost of a batch,
	// small enough that a full request needs not wait for it.
	maxBatchItems = 4096
	// sharedItems bounds what the dispatcher keeps for endpoints that are a
	// little behind, in items of some 48 bytes.
	sharedItems = 16 * maxBatchItems
	// pollInterval is how long a lost notification can delay reading.
	pollInterval = 500 * time.Millisecond
	// retryInterval is the pause after the log could not be read.
	retryInterval = time.Second
)

// errBehind tells a reader that the batch it wants is no longer shared.
var errBehind = errors.New("position is behind the shared batches")

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

func (r *logReader) close() {
	if r.tail != nil {
		_ = r.tail.Close() // Read-only: there is nothing to lose.
		r.tail = nil
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
		if n >= 2*maxBatchItems {
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

// feed is the dispatcher: it reads and decodes the head of the log once, for
// all endpoints that keep up. They share its latest batches; one that falls
// behind them reads on its own until it meets them again, at a position where
// one of them starts.
//
// One goroutine, run, reads. mu guards the rest and is never held across I/O.
type feed struct {
	reader *logReader
	l      *slog.Logger
	notify chan struct{} // Something was written. Capacity 1.
	hand   handover
	own    batchBuilder    // For what was handed over; run's.
	at     cursor.Position // Where the reader stands; run's.

	mu      sync.Mutex
	shared  []*batch // Oldest first; each starts where the one before ends.
	items   int      // Items in shared.
	count   uint64   // Batches there were, and items in them.
	total   uint64
	head    cursor.Point // Where the next batch will start.
	moved   bool         // The head was moved: the reader has to seek.
	follow  map[*follower]struct{}
	changed chan struct{} // Closed and replaced when head or followers change.
}

// follower is one endpoint's place among the shared batches.
type follower struct {
	at       cursor.Point // Where the endpoint's next batch starts.
	attached bool         // at is within the shared batches, or their end.
}

func newFeed(l *slog.Logger, r *logReader, head cursor.Point) *feed {
	r.bb.ordered = true
	own := batchBuilder{ordered: true}
	return &feed{
		reader:  r,
		own:     own,
		l:       l,
		notify:  make(chan struct{}, 1),
		head:    head,
		moved:   true,
		follow:  map[*follower]struct{}{},
		changed: make(chan struct{}),
	}
}

// poke tells the dispatcher that something was written, if it need know. It
// never blocks, and returns false if the dispatcher had been told already and
// not looked yet.
func (f *feed) poke() bool {
	return f.hand.rests(f.reader.head()) || f.rouse()
}

// rouse makes the dispatcher look again.
func (f *feed) rouse() bool {
	select {
	case f.notify <- struct{}{}:
		return true
	default:
		return false
	}
}

// be makes the dispatcher as patient as p says, from now on.
func (f *feed) be(p *patience) {
	f.hand.patience.Store(p)
	f.rouse()
}

// join adds an endpoint that reads on at p. leave takes it out again.
func (f *feed) join(p cursor.Point) *follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := &follower{}
	f.follow[fl] = struct{}{}
	f.place(fl, p)
	return fl
}

func (f *feed) leave(fl *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.follow, fl)
	f.signal()
}

// place notes where a follower stands, and moves the head up to it if the
// dispatcher, idle because nobody kept up, is further back. Callers hold mu.
func (f *feed) place(fl *follower, p cursor.Point) {
	if f.head.Before(p.Position) {
		f.head, f.shared, f.items, f.moved = p, nil, 0, true
	}
	attached := f.index(p.Position) >= 0
	if attached && !fl.attached {
		f.signal()
	}
	fl.at, fl.attached = p, attached
}

// index returns which shared batch starts at p, len(shared) for the head, and
// -1 for none. Callers hold mu.
func (f *feed) index(p cursor.Position) int {
	if p == f.head.Position {
		return len(f.shared)
	}
	i, found := slices.BinarySearchFunc(f.shared, p, func(b *batch, p cursor.Position) int {
		return b.start.Compare(p)
	})
	if !found {
		return -1
	}
	return i
}

func (f *feed) signal() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// after returns the shared batch that starts at p, waiting for it at the head.
// It returns errBehind where the endpoint has to read on its own.
func (f *feed) after(ctx context.Context, fl *follower, p cursor.Point) (*batch, error) {
	for {
		f.mu.Lock()
		f.place(fl, p)
		i := f.index(p.Position)
		if i < 0 {
			f.mu.Unlock()
			return nil, errBehind
		}
		if i < len(f.shared) {
			b := f.shared[i]
			f.mu.Unlock()
			return b, nil
		}
		changed := f.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// meets reports whether an endpoint that reads on its own may stop at p because
// a shared batch starts there.
func (f *feed) meets(p cursor.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.index(p) >= 0
}

// shares reports whether p is no further back than the shared batches.
func (f *feed) shares(p cursor.Position) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := f.head.Position
	if len(f.shared) > 0 {
		oldest = f.shared[0].start.Position
	}
	return !p.Before(oldest)
}

// wanted waits until somebody follows the shared batches, and returns where to
// read. It returns false when ctx ends.
func (f *feed) wanted(ctx context.Context) (head cursor.Point, moved, ok bool) {
	for {
		f.mu.Lock()
		for fl := range f.follow {
			if fl.attached {
				head, moved, f.moved = f.head, f.moved, false
				f.mu.Unlock()
				f.hand.wanted.Store(true)
				return head, moved, true
			}
		}
		changed := f.changed
		f.mu.Unlock()
		f.hand.wanted.Store(false)
		f.hand.clear()
		select {
		case <-changed:
		case <-ctx.Done():
			return cursor.Point{}, false, false
		}
	}
}

// publish shares a batch and lets the oldest go beyond the bound. Followers
// that needed those are on their own from here on. A batch that was read before
// the head was moved is dropped: its reader seeks next.
func (f *feed) publish(b *batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.moved || b.start.Position != f.head.Position {
		return
	}
	b.number, b.before = f.count+1, f.total
	f.count, f.total = b.number, f.total+uint64(len(b.items))
	f.shared = append(f.shared, b)
	f.items += len(b.items)
	f.head = b.end
	for len(f.shared) > 1 && (f.items > sharedItems || len(f.shared) > sharedItems/16) {
		f.items -= len(f.shared[0].items)
		f.shared[0] = nil
		f.shared = f.shared[1:]
	}
	oldest := f.shared[0].start.Position
	for fl := range f.follow {
		fl.attached = fl.attached && !fl.at.Before(oldest)
	}
	f.signal()
}

// run reads the head of the log until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer f.reader.close()
	every := pollInterval
	poll := time.NewTicker(every)
	defer poll.Stop()
	for {
		if p := f.hand.patience.Load(); p != nil && p.wait != every {
			every = p.wait
			poll.Reset(every)
		}
		head, moved, ok := f.wanted(ctx)
		if !ok {
			return
		}
		if b := f.hand.batch(&f.own, head); b != nil {
			f.publish(b)
			continue
		}
		b, err := (*batch)(nil), error(cursor.ErrCaughtUp)
		if head.Before(f.reader.head()) {
			if moved || f.reader.tail == nil || f.at != head.Position {
				if err := f.reader.seek(head); err != nil {
					f.failed(ctx, head, err)
					continue
				}
			}
			if b, err = f.reader.batch(maxBatchItems, f.hand.starts); err == nil {
				f.at = b.end.Position
			}
		}
		switch {
		case err == nil:
			f.publish(b)
			continue
		case errors.Is(err, cursor.ErrCaughtUp):
		default:
			f.reader.close()
			f.failed(ctx, head, err)
			continue
		}
		f.mu.Lock()
		changed := f.changed
		if f.moved {
			f.mu.Unlock()
			continue
		}
		f.mu.Unlock()
		select {
		case <-f.notify:
		case <-poll.C:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// failed deals with a log that cannot be read at the head: a segment that was
// removed by a limit moves the head to where a follower waits, anything else is
// tried again.
func (f *feed) failed(ctx context.Context, head cursor.Point, err error) {
	if errors.Is(err, os.ErrNotExist) {
		// Every follower finds the same on its own, counts it and goes on.
		f.mu.Lock()
		for fl := range f.follow {
			fl.attached = false
		}
		f.shared, f.items, f.moved = nil, 0, true
		f.head = cursor.Point{}
		f.signal()
		f.mu.Unlock()
		return
	}
	f.l.Error("Cannot read the log, trying again", "position", head.String(), "err", err)
	select {
	case <-time.After(retryInterval):
	case <-ctx.Done():
	}
}
