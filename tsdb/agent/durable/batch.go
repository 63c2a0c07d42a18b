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
	"fmt"
	"math"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/scrapecache"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// batch is what an appender collects between Appender and Commit or Rollback.
// Both versions of the appender interface are a few lines on top of it.
type batch struct {
	db *DB

	floatSamples          []record.RefSample
	histogramSamples      []record.RefHistogramSample
	floatHistogramSamples []record.RefFloatHistogramSample
	exemplars             []record.RefExemplar

	touched  []touch          // One per sample, in the order of the appends.
	pinned   []*series.Series // Pinned for the sake of an exemplar or of metadata only.
	unlogged []*series.Series // Not logged when they were appended to; repetitions are fine.

	described []description

	out recordBuffer
}

// sample is a float unless h or fh is set.
type sample struct {
	st, t int64
	v     float64
	h     *histogram.Histogram
	fh    *histogram.FloatHistogram
}

// acquire returns the series an append is for, pinned. A ref of an earlier
// append spares the look at the labels.
func (b *batch) acquire(ref storage.SeriesRef, lset labels.Labels) (*series.Series, error) {
	table := b.db.table
	if s := b.db.pinned(ref); s != nil {
		b.noteUnlogged(s)
		return s, nil
	}
	lset = lset.WithoutEmpty()
	if lset.IsEmpty() && ref != 0 {
		return nil, fmt.Errorf("sample without labels, ref %d: %w: %w", ref, scrapecache.ErrUnknownRef, tsdb.ErrInvalidSample)
	}
	if lset.IsEmpty() {
		return nil, fmt.Errorf("sample without labels: %w", tsdb.ErrInvalidSample)
	}
	if name, twice := lset.HasDuplicateLabelNames(); twice {
		return nil, fmt.Errorf("label %q occurs more than once in %s: %w", name, lset, tsdb.ErrInvalidSample)
	}
	if size := labelsBound(lset); size > b.db.itemLimit {
		return nil, fmt.Errorf("label set of %d bytes is larger than the %d bytes that a segment of the write-ahead log allows: %w", size, b.db.itemLimit, tsdb.ErrInvalidSample)
	}
	s, _ := table.GetOrCreate(lset, b.db.newRef)
	b.noteUnlogged(s)
	return s, nil
}

// pinned returns the series with the ref of an earlier append, pinned, and nil
// if there is none any more. 0 means no ref, whatever is in the log.
func (db *DB) pinned(ref storage.SeriesRef) *series.Series {
	if ref == 0 {
		return nil
	}
	s := db.table.Resolve(chunks.HeadSeriesRef(ref))
	if s == nil || !db.table.Pin(s) {
		return nil
	}
	return s
}

// known finds a series that is there already, by its ref or else by its labels,
// and pins it. Nil if there is none.
func (db *DB) known(ref storage.SeriesRef, lset labels.Labels) *series.Series {
	if s := db.pinned(ref); s != nil {
		return s
	}
	s := db.table.Find(lset.WithoutEmpty())
	if s == nil || !db.table.Pin(s) {
		return nil
	}
	return s
}

func (b *batch) noteUnlogged(s *series.Series) {
	if !s.Logged() {
		b.unlogged = append(b.unlogged, s)
	}
}

// add takes a sample of s, whose pin goes over to the batch.
func (b *batch) add(s *series.Series, v sample) {
	switch ref := s.Ref(); {
	case v.h != nil:
		b.histogramSamples = append(b.histogramSamples, record.RefHistogramSample{Ref: ref, ST: v.st, T: v.t, H: v.h})
	case v.fh != nil:
		b.floatHistogramSamples = append(b.floatHistogramSamples, record.RefFloatHistogramSample{Ref: ref, ST: v.st, T: v.t, FH: v.fh})
	default:
		b.floatSamples = append(b.floatSamples, record.RefSample{Ref: ref, ST: v.st, T: v.t, V: v.v})
	}
	b.touched = append(b.touched, touch{series: s, t: v.t})
}

// check refuses histograms that are not valid, or too large for a segment.
func (b *batch) check(v sample) error {
	var size int
	if v.h != nil {
		if err := v.h.Validate(); err != nil {
			return err
		}
		size = histogramBound(v.h)
	}
	if v.fh != nil {
		if err := v.fh.Validate(); err != nil {
			return err
		}
		size = max(size, floatHistogramBound(v.fh))
	}
	if size > b.db.itemLimit {
		return fmt.Errorf("histogram of %d bytes is larger than the %d bytes that a segment of the write-ahead log allows: %w", size, b.db.itemLimit, tsdb.ErrInvalidSample)
	}
	return nil
}

// tooOld reports whether a sample at t is behind the out-of-order window of a
// series whose last timestamp is last.
func (b *batch) tooOld(last, t int64) bool {
	window := b.db.opts.OutOfOrderTimeWindow
	if last < math.MinInt64+window {
		// The window reaches to the beginning of time, which itself is out.
		return t == math.MinInt64
	}
	return t <= last-window
}

// refuseTooOld ends an append of a sample that came too late.
func (b *batch) refuseTooOld(s *series.Series) error {
	s.Unpin()
	b.db.metrics.outOfOrder.Inc()
	return storage.ErrOutOfOrderSample
}

// addExemplar takes an exemplar of s unless it equals the one before, which it
// reports as false.
func (b *batch) addExemplar(s *series.Series, e exemplar.Exemplar) (bool, error) {
	e.Labels = e.Labels.WithoutEmpty()
	if err := checkExemplar(e); err != nil {
		return false, err
	}
	if !b.db.exemplars.replace(s, e) {
		return false, nil
	}
	b.exemplars = append(b.exemplars, record.RefExemplar{Ref: s.Ref(), T: e.Ts, V: e.Value, Labels: e.Labels})
	return true, nil
}

// commit writes the batch to the log. The batch is empty afterwards, whatever
// the outcome.
func (b *batch) commit() error {
	defer b.clear()
	if len(b.touched)+len(b.exemplars)+len(b.described) == 0 {
		return nil
	}
	b.encodeMetadata(&b.db.encoder, b.db.recordLimit)
	to, c := b.db.newCommit(len(b.touched) + len(b.exemplars))
	b.encodeSamples(&b.db.encoder, b.db.recordLimit, b.itemsInto(c))
	if err := b.db.journal.commit(b.unlogged, b.out.recs, c, to); err != nil {
		b.db.metrics.commitRefused(len(b.touched) + len(b.exemplars))
		b.forgetMetadata()
		return err
	}

	now, late := b.db.now(), 0
	for _, t := range b.touched {
		if !t.series.RaiseTimestamp(t.t) {
			late++
		}
		t.series.Committed(now)
	}
	for _, s := range b.pinned {
		s.Committed(now)
	}
	b.db.metrics.outOfOrder.Add(float64(late))
	b.db.notify()
	return nil
}

// clear unpins all series and empties the batch for its next use. Series that
// it created stay; their records are written with their first committed sample.
func (b *batch) clear() {
	histograms := len(b.histogramSamples) + len(b.floatHistogramSamples)
	b.db.metrics.histograms.Add(float64(histograms))
	b.db.metrics.floats.Add(float64(len(b.floatSamples)))
	b.db.metrics.exemplars.Add(float64(len(b.exemplars)))

	for _, t := range b.touched {
		t.series.Unpin()
	}
	for _, s := range b.pinned {
		s.Unpin()
	}
	b.floatSamples = b.floatSamples[:0]
	b.histogramSamples = emptied(b.histogramSamples)
	b.floatHistogramSamples = emptied(b.floatHistogramSamples)
	b.exemplars = emptied(b.exemplars)
	b.touched, b.pinned, b.unlogged = emptied(b.touched), emptied(b.pinned), emptied(b.unlogged)
	b.described = emptied(b.described)
	b.out.reset()
}

// encodeSamples adds the records of everything in the batch but series, in the
// order that readers of stock's log are used to, and hands the same over.
func (b *batch) encodeSamples(enc *record.Encoder, limit int, items commitItems) {
	var of []touch // The series of the floats that are left, if there is nothing else.
	if len(b.touched) == len(b.floatSamples) {
		of = b.touched
	}
	inParts(b.floatSamples, limit, func(*record.RefSample) int { return sampleBound }, func(part []record.RefSample) {
		b.out.add(func(dst []byte) []byte { return enc.Samples(part, dst) })
		items.samples(part, of)
		of = of[min(len(part), len(of)):]
	})
	inParts(b.histogramSamples, limit, func(h *record.RefHistogramSample) int { return sampleBound + histogramBound(h.H) }, func(part []record.RefHistogramSample) {
		var custom []record.RefHistogramSample
		b.out.add(func(dst []byte) (rec []byte) {
			rec, custom = enc.HistogramSamples(part, dst)
			return rec
		})
		items.histograms(part, len(custom) == 0)
		if len(custom) > 0 {
			b.out.add(func(dst []byte) []byte { return enc.CustomBucketsHistogramSamples(custom, dst) })
			items.histograms(custom, true)
		}
	})
	inParts(b.floatHistogramSamples, limit, func(h *record.RefFloatHistogramSample) int { return sampleBound + floatHistogramBound(h.FH) }, func(part []record.RefFloatHistogramSample) {
		var custom []record.RefFloatHistogramSample
		b.out.add(func(dst []byte) (rec []byte) {
			rec, custom = enc.FloatHistogramSamples(part, dst)
			return rec
		})
		items.floatHistograms(part, len(custom) == 0)
		if len(custom) > 0 {
			b.out.add(func(dst []byte) []byte { return enc.CustomBucketsFloatHistogramSamples(custom, dst) })
			items.floatHistograms(custom, true)
		}
	})
	inParts(b.exemplars, limit, func(e *record.RefExemplar) int { return sampleBound + labelsBound(e.Labels) }, func(part []record.RefExemplar) {
		b.out.add(func(dst []byte) []byte { return enc.Exemplars(part, dst) })
		items.exemplars(part)
	})
}

// newCommit returns a commit to fill for the sender, if it wants one.
func (db *DB) newCommit(items int) (commitSink, *delivery.Commit) {
	to, ok := db.sender.(commitSink)
	if !ok {
		return nil, nil
	}
	return to, to.NewCommit(items)
}

// itemsInto returns what fills c from the batch. c may be nil.
func (b *batch) itemsInto(c *delivery.Commit) commitItems {
	items := commitItems{table: b.db.table, starts: b.db.encoder.EnableSTStorage}
	if c != nil {
		items.collector = c
	}
	return items
}
