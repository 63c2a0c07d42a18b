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
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

// maxRecord bounds a record, so that readers never need a large buffer.
const maxRecord = 1 << 20

// Upper bounds of encoded sizes in bytes. Numbers are varints of up to 10
// bytes; a sample has a ref, two timestamps with a marker, and a value.
const (
	varintBound = 10
	sampleBound = 3*varintBound + 1 + 8
)

// recordBuffer collects encoded records in one reused buffer. The zero value
// is ready; it belongs to one goroutine.
type recordBuffer struct {
	recs  [][]byte
	space []byte // Free room after the last record, length 0.
	base  []byte // What space was cut from.
	bytes int    // In all records.
}

// keepBuffer is how much room a buffer keeps for the next time.
const keepBuffer = 1 << 20

// add appends the record that encode appends to what it is given. Nothing is
// added if that is empty.
func (b *recordBuffer) add(encode func(dst []byte) []byte) {
	rec := encode(b.space)
	if len(rec) == 0 {
		return
	}
	b.recs = append(b.recs, rec)
	b.bytes += len(rec)
	// If the record did not fit it has an array of its own, and there may be
	// room behind it.
	b.space = rec[len(rec):]
}

// reset forgets the records. If there was not enough room for them in one
// piece, there is next time.
func (b *recordBuffer) reset() {
	if want := min(b.bytes, keepBuffer); want > cap(b.base) {
		b.base = make([]byte, 0, want+want/4)
	}
	clear(b.recs)
	b.recs, b.space, b.bytes = b.recs[:0], b.base[:0], 0
}

// inParts calls f with consecutive parts of the items whose bounds add up to no more
// than limit; an item above it goes alone.
func inParts[T any](items []T, limit int, bound func(*T) int, f func(part []T)) {
	start, size := 0, 0
	for i := range items {
		n := bound(&items[i])
		if size += n; size > limit && i > start {
			f(items[start:i])
			start, size = i, n
		}
	}
	if start < len(items) {
		f(items[start:])
	}
}

func labelsBound(l labels.Labels) int {
	n := varintBound
	l.Range(func(l labels.Label) { n += 2*varintBound + len(l.Name) + len(l.Value) })
	return n
}

// histogramShape bounds what both kinds of histograms have: schema, hint,
// three numbers of any size and three lengths, spans and custom values.
func histogramShape(spans, custom int) int {
	return 10*varintBound + 2*varintBound*spans + (varintBound+1)*custom
}

func histogramBound(h *histogram.Histogram) int {
	return histogramShape(len(h.PositiveSpans)+len(h.NegativeSpans), len(h.CustomValues)) +
		varintBound*(len(h.PositiveBuckets)+len(h.NegativeBuckets))
}

func floatHistogramBound(h *histogram.FloatHistogram) int {
	return histogramShape(len(h.PositiveSpans)+len(h.NegativeSpans), len(h.CustomValues)) +
		8*(len(h.PositiveBuckets)+len(h.NegativeBuckets))
}

// emptied returns s without elements, none of which it keeps alive.
func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// metadataBound bounds a series' metadata: ref, type, and two fields with their
// names and lengths.
func metadataBound(m *record.RefMetadata) int {
	return 8*varintBound + len("UNIT") + len("HELP") + len(m.Unit) + len(m.Help)
}
