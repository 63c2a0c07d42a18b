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
	"slices"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/record"
)

// partitions is the number of virtual partitions of every endpoint. It is part
// of the savepoint format.
const partitions = 64

// batch is a decoded stretch of the log. It is immutable once built and shared by
// endpoints. Those of endpoints that keep up have the order of the log; what is
// read far behind is kept by partition only, since nobody asks for another order
// then, and one is enough memory.
type batch struct {
	summary
	gathered                                  // If ordered.
	byPart   atomic.Pointer[[partitions]list] // If ordered, made when somebody asks for a partition.
}

// summary is what there is to say of a batch as a whole.
type summary struct {
	start, end cursor.Point
	number     uint64         // Counts shared batches from 1, so that it identifies this one.
	before     uint64         // How many items those before it had.
	total      int            // Number of items.
	bytes      int            // What it takes in memory, see weight.go.
	labels     int            // Of that, labels that no table has.
	counts     counts         // Items by class.
	highest    [classes]int64 // Highest timestamp in ms by class, 0 if none is above.
	lengths    [partitions]uint32
	unknown    counts // Items dropped because nothing defines their ref.
	unread     unread // What could not be read.
	records    recordCounts
	ordered    bool          // The items have the order of the log.
	gap        bool          // A part of the log between start and end is damaged.
	waited     time.Duration // How long the oldest commit was in memory before, see batchDelay.
}

// density estimates how many items a damaged part of the log held, by what all endpoints
// read. It is kept over restarts.
type density struct {
	mtx          sync.Mutex // Held for moments only.
	items, bytes float64
}

// perByte is what is assumed before much was read, see "How much disk" in
// docs/operations.md.
const perByte = 1.0 / 8

// saw takes note of what a readable part holds. What was read lately counts more.
func (d *density) saw(items int, bytes int64) {
	const window = 4 << 20
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if d.bytes > window {
		d.items, d.bytes = d.items/2, d.bytes/2
	}
	d.items += float64(items)
	d.bytes += float64(bytes)
}

func (d *density) of(bytes int64) float64 {
	items, read := d.seen()
	if read < 1<<12 {
		return float64(bytes) * perByte
	}
	return float64(bytes) * items / read
}

// seen returns how many items so many bytes held.
func (d *density) seen() (items, bytes float64) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return d.items, d.bytes
}

// recordCounts counts records by type; types this version does not know and
// records that cannot be decoded have places of their own.
type recordCounts struct {
	types       [maxRecordType + 1]uint32
	unknown     uint32
	undecodable uint32
}

// maxRecordType is the highest type that the pinned release writes.
const maxRecordType = record.FloatHistogramSamplesV2

func (rt *recordCounts) add(t record.Type) {
	if t > maxRecordType {
		rt.unknown++
		return
	}
	rt.types[t]++
}

// content returns the items of b by class.
func (b *batch) content() counts { return b.counts }

// plain reports whether b holds nothing but floats.
func (b *batch) plain() bool { return b.counts[classSamples] == b.total }

// note adds what a list of the batch's items has to what is known of it.
func (b *batch) note(l *list) {
	b.total += len(l.items)
	for i := range l.items {
		c := classOf[l.kind(i)]
		b.counts[c]++
		b.highest[c] = max(b.highest[c], l.items[i].t)
	}
}

// length returns how many items of partition p there are.
func (b *batch) length(p int) int { return int(b.lengths[p]) }

// part returns the items of partition p, in the order of the log.
func (b *batch) part(p int) list { return b.grouped()[p] }

// grouped returns the items by partition. All callers get the same.
func (b *batch) grouped() *[partitions]list {
	if have := b.byPart.Load(); have != nil {
		return have
	}
	b.byPart.CompareAndSwap(nil, b.byPartition(&b.lengths, false))
	return b.byPart.Load()
}

// each calls f for lists that together are the batch.
func (b *batch) each(f func(*list)) {
	if b.ordered {
		f(&b.list)
		return
	}
	all := b.grouped()
	for p := range all {
		f(&all[p])
	}
}

// batchBuilder collects items in the order of the log, and what there is to say of
// the batch they will be, but for what [batch.note] tells. One goroutine owns it.
type batchBuilder struct {
	summary
	gathered
}

func (bb *batchBuilder) reset(start cursor.Point) {
	bb.gathered.reset()
	bb.summary = summary{start: start, end: start, ordered: bb.ordered}
}

// build makes a batch of what was collected and resets the builder to its end.
func (bb *batchBuilder) build() *batch {
	b := &batch{summary: bb.summary}
	b.note(&bb.list)
	for _, p := range bb.parts {
		b.lengths[p]++
	}
	switch {
	case b.total == 0:
	case !bb.ordered:
		b.byPart.Store(bb.byPartition(&b.lengths, true))
	case cap(bb.items)-b.total <= b.total/8:
		b.gathered, bb.gathered = bb.gathered, gathered{} // Nothing is copied.
	default:
		b.gathered = gathered{
			list:  list{items: slices.Clone(bb.items), details: slices.Clone(bb.details)},
			parts: slices.Clone(bb.parts),
		}
	}
	b.weigh()
	bb.reset(b.end)
	return b
}
