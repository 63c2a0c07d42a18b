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
	"unsafe"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// What is held in memory is bounded in bytes (I6): a native histogram can be a
// hundred times a sample, and labels of tens of kilobytes are legal. Counted is
// what an item keeps alive that nobody else does. The labels of a series in the
// table are the table's; those of one that had left it when it was read, the
// item's. They count once for each batch.

const (
	// heldItem is what a plain sample takes at most: itself, its partition, and
	// its copy if its batch comes to be grouped.
	heldItem = 2*int(unsafe.Sizeof(item{})) + 1
	// heldBytes is what a queue may hold whatever queue_config.capacity says.
	heldBytes = 20 << 20
	// batchBytes ends a batch. Other than its number of items, it takes more to
	// part what one commit wrote, see wholeBytes.
	batchBytes = 1 << 20
	// wholeBytes is how large a batch may become so that what one commit wrote
	// stays together. Beyond it is no more than one record.
	wholeBytes = 16 << 20
	// sharedBytes and handedBytes bound what the dispatcher shares, and what was
	// handed over to it.
	sharedBytes = 8 << 20
	handedBytes = 8 << 20
	// evictedGeneration is how many series are remembered that are not in the table,
	// before those are forgotten that were not met since about as many others, and
	// evictedBytes how large they may be together.
	evictedGeneration = 8192
	evictedBytes      = 8 << 20
)

// heldRoom returns how many bytes a queue may hold that may hold so many items.
func heldRoom(items int) int { return max(heldBytes, items*heldItem) }

// bytes returns how much memory the items take with what they refer to, labels
// of series left out.
func (l *list) bytes() int {
	n := l.size() * len(l.items)
	for i := range l.details {
		n += l.details[i].extra.bytes()
	}
	return n
}

// bytes returns how much memory x takes.
func (x *extra) bytes() int {
	switch {
	case x == nil:
		return 0
	case x.h != nil:
		return int(unsafe.Sizeof(*x)+unsafe.Sizeof(*x.h)) + sliceBytes(x.h.PositiveSpans) + sliceBytes(x.h.NegativeSpans) +
			sliceBytes(x.h.PositiveBuckets) + sliceBytes(x.h.NegativeBuckets) + sliceBytes(x.h.CustomValues)
	case x.fh != nil:
		return int(unsafe.Sizeof(*x)+unsafe.Sizeof(*x.fh)) + sliceBytes(x.fh.PositiveSpans) + sliceBytes(x.fh.NegativeSpans) +
			sliceBytes(x.fh.PositiveBuckets) + sliceBytes(x.fh.NegativeBuckets) + sliceBytes(x.fh.CustomValues)
	}
	return int(unsafe.Sizeof(*x)) + int(x.labels.ByteSize())
}

func sliceBytes[T int64 | float64 | histogram.Span](s []T) int {
	var one T
	return cap(s) * int(unsafe.Sizeof(one))
}

// detachedBytes is how much memory a series takes that is in no table.
func detachedBytes(lset labels.Labels) int {
	const each = 2 * unsafe.Sizeof("") // A name and a value.
	return int(unsafe.Sizeof(series.Series{})+unsafe.Sizeof(series.Names{})) + lset.Len()*int(each) + int(lset.ByteSize())
}

// bytes returns how much memory what was collected takes so far.
func (bb *batchBuilder) bytes() int {
	return bb.size()*len(bb.items) + bb.extras + bb.labels
}

// weigh notes how much memory the batch takes at most as long as somebody has it.
func (b *batch) weigh() {
	if b.total == 0 {
		b.labels = 0
		return
	}
	if !b.ordered {
		b.bytes = b.labels
		all := b.grouped()
		for p := range all {
			b.bytes += all[p].bytes()
		}
		return
	}
	// Who asks for a partition makes a copy by partition; what items refer to is
	// the same in both.
	b.bytes = b.labels + b.list.bytes() + b.size()*len(b.items) + len(b.parts)
}

// hold says that a queue holds the entry, and returns how many bytes that takes.
func (e *entry) hold() int {
	e.held, e.open = e.bytes, 0
	for p := range partitions {
		if e.length(p) > 0 {
			e.open++
		}
	}
	return e.held
}

// letGo says that partition p of the entry is through, and returns how many
// bytes that gives back: its own where they lie apart, else all when the last
// one is through.
func (e *entry) letGo(p int) (freed int) {
	if e.left != nil {
		freed = e.left[p].bytes()
		e.left[p] = list{}
	}
	e.open--
	if e.open == 0 {
		freed = e.held
	}
	e.held -= freed
	return freed
}
