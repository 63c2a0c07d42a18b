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
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// partitions is the number of virtual partitions of every endpoint. It is part
// of the savepoint format.
const partitions = 64

// kind is what an item carries.
type kind uint8

const (
	kindFloat kind = iota
	kindHistogram
	kindFloatHistogram
	kindExemplar
	kinds
)

// class folds the kinds into what the metrics distinguish.
type class uint8

const (
	classSamples class = iota
	classHistograms
	classExemplars
	classes
)

var (
	classOf    = [kinds]class{classSamples, classHistograms, classHistograms, classExemplars}
	classNames = [classes]string{"samples", "histograms", "exemplars"}
)

// tally counts items by class.
type tally [classes]int

func (t *tally) add(k kind) { t[classOf[k]]++ }

func (t *tally) plus(o tally) {
	for c := range t {
		t[c] += o[c]
	}
}

func (t *tally) total() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

// item is one sample, histogram or exemplar of the log. Timestamps are in ms.
type item struct {
	series *series.Series
	st, t  int64
	v      float64
	extra  uint32 // Index in batch.extras for everything but floats.
	kind   kind
}

// extra holds what does not fit an item. Exactly one field is set.
type extra struct {
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
	labels labels.Labels
}

// batch is a decoded stretch of the log, grouped by partition and in the order
// of the log within each. It is immutable once built and shared by endpoints.
type batch struct {
	start, end cursor.Point
	items      []item
	first      [partitions + 1]uint32 // items[first[p]:first[p+1]] are partition p's.
	extras     []extra
	unknown    tally // Items dropped because nothing defines their ref.
	records    recordTally
	gap        bool      // A part of the log between start and end is damaged.
	read       time.Time // When the batch was read.
}

// recordTally counts records by type; types this version does not know and
// records that cannot be decoded have places of their own.
type recordTally struct {
	types       [maxRecordType + 1]uint32
	unknown     uint32
	undecodable uint32
}

// maxRecordType is the highest type that the pinned release writes.
const maxRecordType = record.FloatHistogramSamplesV2

func (rt *recordTally) add(t record.Type) {
	if t > maxRecordType {
		rt.unknown++
		return
	}
	rt.types[t]++
}

// content returns the items of b by class.
func (b *batch) content() (t tally) {
	for i := range b.items {
		t.add(b.items[i].kind)
	}
	return t
}

// part returns the items of partition p.
func (b *batch) part(p int) []item { return b.items[b.first[p]:b.first[p+1]] }

// batchBuilder collects items in the order of the log. One goroutine owns it.
type batchBuilder struct {
	start   cursor.Point
	end     cursor.Point
	items   []item
	extras  []extra
	unknown tally
	records recordTally
	gap     bool
}

func (bb *batchBuilder) reset(start cursor.Point) {
	clear(bb.items) // Series and histograms must not be kept alive by the buffer.
	*bb = batchBuilder{start: start, end: start, items: bb.items[:0]}
}

func (bb *batchBuilder) add(it item) {
	bb.items = append(bb.items, it)
}

func (bb *batchBuilder) addExtra(it item, x extra) {
	it.extra = uint32(len(bb.extras))
	bb.extras = append(bb.extras, x)
	bb.add(it)
}

// build groups what was collected by partition and resets the builder to the
// end of the batch.
func (bb *batchBuilder) build(now time.Time) *batch {
	b := &batch{start: bb.start, end: bb.end, extras: bb.extras, unknown: bb.unknown, records: bb.records, gap: bb.gap, read: now}
	if len(bb.items) > 0 {
		var next [partitions]uint32
		for i := range bb.items {
			b.first[bb.items[i].series.Partition()+1]++
		}
		for p := range partitions {
			b.first[p+1] += b.first[p]
			next[p] = b.first[p]
		}
		b.items = make([]item, len(bb.items))
		for i := range bb.items {
			p := bb.items[i].series.Partition()
			b.items[next[p]] = bb.items[i]
			next[p]++
		}
	}
	bb.reset(b.end)
	return b
}

// flat is one item of a request with the batch that holds its extra.
type flat struct {
	*item
	batch *batch
}
