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

package queue

import (
	"math"
	"slices"
	"time"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

// Partitions is the number of virtual partitions of every endpoint. It is part
// of the savepoint format.
const Partitions = 64

// Header is what the reader of the log has to say of a batch besides its items.
type Header struct {
	Start, End cursor.Point
	Labels     int    // Bytes of labels that no table has.
	Unknown    Counts // Items dropped because nothing defines their ref.
	Unread     Unread // What could not be read.
	Records    RecordCounts
	Gap        bool          // A part of the log between start and end is damaged.
	Waited     time.Duration // How long the oldest commit was in memory before.
}

// Batch is a decoded part of the log. It is immutable once it is shared by
// endpoints. Batches for endpoints that keep up have the order of the log; what is
// read far behind is kept by partition only, since no request needs another order
// then, and a second one would cost memory.
type Batch struct {
	Header
	Number  uint64         // Counts shared batches from 1, so that it identifies this one.
	Before  uint64         // How many items those before it had.
	Total   int            // Number of items.
	Counts  Counts         // Items by class.
	Highest [Classes]int64 // Highest timestamp in ms by class, 0 if none is above.
	Bytes   int            // What it takes in memory at most, as long as it is in use.
	Ordered bool           // The items have the order of the log.
	lengths [Partitions]uint32

	inOrder Sequence                         // Empty if the items are kept by partition.
	byPart  atomic.Pointer[[Partitions]List] // If they are in order, made when a partition is asked for.
}

// note adds what a list of the batch's items has to what is known of it.
func (b *Batch) note(l *List) {
	b.Total += len(l.Items)
	for i := range l.Items {
		c := l.Kind(i).Class()
		b.Counts[c]++
		b.Highest[c] = max(b.Highest[c], l.Items[i].T)
	}
}

// Plain reports whether there is nothing but floats.
func (b *Batch) Plain() bool { return b.Counts[Samples] == b.Total }

// length returns how many items of partition p there are.
func (b *Batch) length(p int) int { return int(b.lengths[p]) }

// Part returns the items of partition p, in the order of the log.
func (b *Batch) Part(p int) List { return b.grouped()[p] }

// grouped returns the items by partition. All callers get the same.
func (b *Batch) grouped() *[Partitions]List {
	if have := b.byPart.Load(); have != nil {
		return have
	}
	b.byPart.CompareAndSwap(nil, b.inOrder.byPartition(&b.lengths, false))
	return b.byPart.Load()
}

// Each calls f for lists that together are the batch.
func (b *Batch) Each(f func(*List)) {
	if b.Ordered {
		f(&b.inOrder.list)
		return
	}
	all := b.grouped()
	for p := range all {
		f(&all[p])
	}
}

// only returns a batch with those items of b that left has, by partition.
func (b *Batch) only(left *[Partitions]List) *Batch {
	out := &Batch{Header: b.Header}
	for p := range left {
		out.lengths[p] = uint32(len(left[p].Items))
		out.note(&left[p])
	}
	out.byPart.Store(left)
	out.weigh()
	return out
}

// described returns what there is to say of a batch, without its items.
func (b *Batch) described() *Batch {
	return &Batch{
		Header: b.Header, Number: b.Number, Before: b.Before, Total: b.Total, Counts: b.Counts,
		Highest: b.Highest, Bytes: b.Bytes, Ordered: b.Ordered, lengths: b.lengths,
	}
}

// weigh notes how much memory the batch takes.
func (b *Batch) weigh() {
	if b.Total == 0 {
		b.Labels = 0
		return
	}
	b.Bytes = b.Labels
	if !b.Ordered {
		all := b.grouped()
		for p := range all {
			b.Bytes += all[p].bytes()
		}
		return
	}
	// A caller that asks for a partition makes a copy by partition; what items refer
	// to is the same in both.
	l := &b.inOrder.list
	b.Bytes += l.bytes() + l.each()*len(l.Items) + len(b.inOrder.parts)
}

// Builder collects items in the order of the log, and what there is to say of
// the batch they will be. One goroutine owns it.
type Builder struct {
	Header
	Items   Sequence
	Ordered bool // Batches keep that order.
}

// Reset empties it: its batch begins at start.
func (bb *Builder) Reset(start cursor.Point) {
	bb.Items.Reset()
	bb.Header = Header{Start: start, End: start}
}

// Bytes returns how much memory what was collected takes so far.
func (bb *Builder) Bytes() int { return bb.Items.Bytes() + bb.Labels }

// Build makes a batch of what was collected and resets the builder to its end.
func (bb *Builder) Build() *Batch {
	b := &Batch{Header: bb.Header, Ordered: bb.Ordered}
	b.note(&bb.Items.list)
	for _, p := range bb.Items.parts {
		b.lengths[p]++
	}
	switch {
	case b.Total == 0:
	case !bb.Ordered:
		b.byPart.Store(bb.Items.byPartition(&b.lengths, true))
	default:
		b.inOrder = bb.Items.detach()
	}
	b.weigh()
	bb.Reset(b.End)
	return b
}

// Sequence is a list in the order of the log, with the partition of each item: the
// appender or decoder has the series at hand, and spares all others a look at it.
// Times are in ms; a start timestamp is 0 where the log keeps none.
type Sequence struct {
	list     List
	parts    []uint8
	attached int // Bytes of what items refer to.
}

// SequenceFor returns an empty sequence with room for n plain samples.
func SequenceFor(n int) Sequence {
	return Sequence{list: listFor(n, false), parts: make([]uint8, 0, n)}
}

// Float adds a sample.
func (s *Sequence) Float(of *series.Series, st, t int64, v float64) {
	if st != 0 {
		s.add(Item{of, t, v}, Detail{ST: st})
		return
	}
	s.parts = append(s.parts, uint8(of.Partition()))
	s.list.add(Item{of, t, v})
}

// Histogram adds a histogram, which is not changed any more.
func (s *Sequence) Histogram(of *series.Series, st, t int64, h *histogram.Histogram) {
	s.add(Item{of, t, 0}, Detail{Kind: Histogram, ST: st, Extra: &Extra{Histogram: h}})
}

// FloatHistogram adds a histogram, which is not changed any more.
func (s *Sequence) FloatHistogram(of *series.Series, st, t int64, h *histogram.FloatHistogram) {
	s.add(Item{of, t, 0}, Detail{Kind: FloatHistogram, ST: st, Extra: &Extra{FloatHistogram: h}})
}

// Exemplar adds an exemplar.
func (s *Sequence) Exemplar(of *series.Series, t int64, v float64, lset labels.Labels) {
	s.add(Item{of, t, v}, Detail{Kind: Exemplar, Extra: &Extra{Labels: lset}})
}

// add adds what is no plain sample.
func (s *Sequence) add(it Item, d Detail) {
	s.parts = append(s.parts, uint8(it.Series.Partition()))
	s.attached += d.Extra.bytes()
	s.list.addDetailed(it, d)
}

// AddAll adds the items of another sequence.
func (s *Sequence) AddAll(o Sequence) {
	s.list.addAll(o.list)
	s.parts = append(s.parts, o.parts...)
	s.attached += o.attached
}

// Reset empties it and keeps its memory, but nothing that it refers to.
func (s *Sequence) Reset() {
	s.list.reset()
	s.parts = s.parts[:0]
	s.attached = 0
}

// Len returns the number of items.
func (s *Sequence) Len() int { return len(s.list.Items) }

// Cap returns for how many items there is room.
func (s *Sequence) Cap() int { return cap(s.list.Items) }

// Attached returns how many bytes take what the items refer to.
func (s *Sequence) Attached() int { return s.attached }

// Bytes returns how many bytes they take with that, labels of series left out.
func (s *Sequence) Bytes() int { return s.list.each()*s.Len() + s.attached }

// detach returns the items: with their memory if they fill most of it, else as a
// copy.
func (s *Sequence) detach() (own Sequence) {
	n := s.Len()
	if s.Cap()-n <= n/8 {
		own, *s = *s, Sequence{}
		return own
	}
	return Sequence{
		list:  List{Items: slices.Clone(s.list.Items), Details: slices.Clone(s.list.Details)},
		parts: slices.Clone(s.parts),
	}
}

// byPartition copies the items into a list for each partition, in the same order.
// lengths says how many those have. With own lists they share no memory, so that
// each can be freed when it is done with.
func (s *Sequence) byPartition(lengths *[Partitions]uint32, own bool) *[Partitions]List {
	var (
		out      [Partitions]List
		detailed = len(s.list.Details) > 0
		rest     List
	)
	if !own {
		rest = listFor(s.Len(), detailed)
	}
	for p, n := range lengths {
		switch {
		case n == 0:
		case own:
			out[p] = listFor(int(n), detailed)
		default:
			out[p], rest = rest.divided(int(n))
		}
	}
	for i, p := range s.parts {
		to := &out[p]
		to.Items = append(to.Items, s.list.Items[i])
		if detailed {
			to.Details = append(to.Details, s.list.Details[i])
		}
	}
	return &out
}

// RecordCounts counts records by type; types this version does not know and
// records that cannot be decoded have places of their own.
type RecordCounts struct {
	Types       [MaxRecordType + 1]uint32
	Unknown     uint32
	Undecodable uint32
}

// MaxRecordType is the highest type that the pinned release writes.
const MaxRecordType = record.FloatHistogramSamplesV2

// Add counts one record.
func (rt *RecordCounts) Add(t record.Type) {
	if t > MaxRecordType {
		rt.Unknown++
		return
	}
	rt.Types[t]++
}

// Plus adds other counts.
func (rt *RecordCounts) Plus(o *RecordCounts) {
	for t, n := range o.Types {
		rt.Types[t] += n
	}
	rt.Unknown += o.Unknown
	rt.Undecodable += o.Undecodable
}

// Unread is what of a part of the log could not be read.
type Unread struct {
	Parts  []UnreadPart
	Labels int // Of items that are counted as unknown, those whose labels could not be read.
}

// UnreadPart is a part of a segment, and about how many items it held.
type UnreadPart struct {
	savepoint.Range
	Items   float64
	Missing bool // The segment is gone: its size is an estimate too.
	Last    bool // It reaches to the end of the segment, wherever that was.
}

// Bytes returns how many bytes could not be read.
func (u *Unread) Bytes() (n int64) {
	for _, p := range u.Parts {
		n += p.To - p.From
	}
	return n
}

// Items returns about how many items they held.
func (u *Unread) Items() (n float64) {
	for _, p := range u.Parts {
		n += p.Items
	}
	return n
}

// Segments returns how many segments are gone.
func (u *Unread) Segments() (n int) {
	for _, p := range u.Parts {
		if p.Missing {
			n++
		}
	}
	return n
}

// Sums returns what metrics count of it: bytes, samples and segments.
func (u *Unread) Sums() [3]int64 {
	return [3]int64{u.Bytes(), int64(math.Ceil(u.Items())), int64(u.Segments())}
}
