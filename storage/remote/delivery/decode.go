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
	"fmt"
	"log/slog"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/follow"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/records"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// decoder turns records into items. One goroutine owns it; its buffers are
// used again for every record.
type decoder struct {
	dec     *records.Decoder
	table   *series.Table
	evicted evictedSeries
	follow  *follow.Follower // Nil if refs never change their meaning.
	at      cursor.Position  // End of the record that is decoded.
}

func newDecoder(l *slog.Logger, src *Source) *decoder {
	return &decoder{dec: records.NewDecoder(l), table: src.Table, evicted: evictedSeries{from: src.Evicted}, follow: src.follow}
}

// decode adds the items of rec to bb. Records that carry no items are only
// counted. On an error nothing of the record is added, unless it is a
// *lookupError: then the batch cannot be used.
func (d *decoder) decode(rec []byte, bb *queue.Builder) error {
	defer d.dec.Release()
	err := d.dec.DecodeItems(rec)
	bb.Records.Add(d.dec.Type)
	if err != nil {
		bb.Records.Undecodable++
		return fmt.Errorf("decode record of type %s: %w", d.dec.Type, err)
	}
	for i := range d.dec.Samples {
		s := &d.dec.Samples[i]
		if sr := d.resolve(s.Ref, queue.Float, bb); sr != nil {
			bb.Items.Float(sr, s.ST, s.T, s.V)
		}
	}
	for i := range d.dec.Histograms {
		s := &d.dec.Histograms[i]
		if sr := d.resolve(s.Ref, queue.Histogram, bb); sr != nil {
			bb.Items.Histogram(sr, s.ST, s.T, s.H)
		}
	}
	for i := range d.dec.FloatHistograms {
		s := &d.dec.FloatHistograms[i]
		if sr := d.resolve(s.Ref, queue.FloatHistogram, bb); sr != nil {
			bb.Items.FloatHistogram(sr, s.ST, s.T, s.FH)
		}
	}
	for i := range d.dec.Exemplars {
		e := &d.dec.Exemplars[i]
		if sr := d.resolve(e.Ref, queue.Exemplar, bb); sr != nil {
			bb.Items.Exemplar(sr, e.T, e.V, e.Labels)
		}
	}
	bb.Unread.Labels += d.evicted.passed
	d.evicted.passed = 0
	return d.evicted.failure()
}

// resolve finds the series of a ref. An item without a series is counted in the
// batch, and by each endpoint that receives it.
func (d *decoder) resolve(ref chunks.HeadSeriesRef, k queue.Kind, bb *queue.Builder) *series.Series {
	var s *series.Series
	if d.follow != nil {
		s = d.follow.Resolve(ref, d.at)
	} else if s = d.table.Resolve(ref); s == nil {
		var bytes int
		s, bytes = d.evicted.resolve(ref, bb.Start.Position)
		bb.Labels += bytes
	}
	if s == nil {
		bb.Unknown.Add(k)
	}
	return s
}

// evictedSeries are series that left the table while a reader is behind. It bounds
// what a reader keeps of them (I6). One goroutine owns it.
type evictedSeries struct {
	from Resolver // Nil if there are none.
	// Recent ones and those from before.
	young, old map[chunks.HeadSeriesRef]evictedRef
	bytes      int // Of the young ones.
	err        error

	// lenient says that what cannot be looked up is passed over. unresolved are series of
	// which that is so: each would have the disk asked again for each of its items.
	lenient    bool
	unresolved map[chunks.HeadSeriesRef]struct{}
	passed     int // Items that were passed over, and not counted yet.
}

// evictedRef is a series that is not in the table.
type evictedRef struct {
	*series.Series
	bytes int
	batch cursor.Position // Where the batch begins that it was counted in last.
}

// lookupError says that a series could not be looked up now.
type lookupError struct {
	ref chunks.HeadSeriesRef
	err error
}

func (e *lookupError) Error() string {
	return fmt.Sprintf("look up series %d in the snapshot: %v", e.ref, e.err)
}

func (e *lookupError) Unwrap() error { return e.err }

// failure returns why a lookup since the last call could not be made, if so.
func (c *evictedSeries) failure() (err error) {
	err, c.err = c.err, nil
	return err
}

// resolve returns the series of ref, and nil if there is none, or if it cannot
// be told: see failure, unless that is passed over. It returns how many bytes the series takes if a batch
// that begins at start has not met it yet.
func (c *evictedSeries) resolve(ref chunks.HeadSeriesRef, start cursor.Position) (s *series.Series, bytes int) {
	if c.from == nil {
		return nil, 0
	}
	one, ok := c.young[ref]
	switch {
	case ok && one.batch == start:
		return one.Series, 0
	case ok:
		one.batch = start
		c.young[ref] = one
		return one.Series, one.bytes
	}
	if one, ok = c.old[ref]; !ok {
		if _, failed := c.unresolved[ref]; failed {
			c.passed++
			return nil, 0
		}
		lset, known, err := c.from.Resolve(ref)
		switch {
		case err == nil:
		case c.lenient:
			if c.unresolved == nil || len(c.unresolved) >= evictedGeneration {
				c.unresolved = map[chunks.HeadSeriesRef]struct{}{}
			}
			c.unresolved[ref] = struct{}{}
			c.passed++
		default:
			c.err = &lookupError{ref: ref, err: err}
		}
		if err != nil || !known {
			return nil, 0
		}
		one = evictedRef{Series: series.Detached(ref, lset), bytes: queue.DetachedBytes(lset)}
	}
	if c.young == nil || len(c.young) >= evictedGeneration || c.bytes >= evictedBytes {
		c.young, c.old, c.bytes = make(map[chunks.HeadSeriesRef]evictedRef), c.young, 0
	}
	c.bytes += one.bytes
	one.batch = start
	c.young[ref] = one
	return one.Series, one.bytes
}
