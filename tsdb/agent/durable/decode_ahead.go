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
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/records"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// part is a piece of a log that can be decoded on its own: segments of a directory.
type part struct {
	segment int // A checkpoint counts as its number.

	dir         string
	first, last int
}

func checkpointPart(dir string, number int) (part, error) {
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return part{}, fmt.Errorf("list files of %s: %w", dir, err)
	}
	return part{segment: number, dir: dir, first: max(first, 0), last: last}, nil
}

func segmentPart(dir string, number int) part {
	return part{segment: number, dir: dir, first: number, last: number}
}

// bytes returns how large the part is, as far as that can be told.
func (p part) bytes() (n int64) {
	for k := p.first; k <= p.last; k++ {
		n += cursor.SegmentSize(p.dir, k)
	}
	return n
}

// seriesRecords is what some records in a row say about series.
type seriesRecords struct {
	defs        []record.RefSeries
	seen        []lastSeen // Samples, and exemplars, for which t is the beginning of time.
	described   []record.RefMetadata
	undecodable int   // Records.
	unreadable  int64 // Bytes.
}

// lastSeen is a sample as far as its series is concerned.
type lastSeen struct {
	ref chunks.HeadSeriesRef
	t   int64
}

const (
	// recordsSize is how many of them are handed over at a time.
	recordsSize = 4096
	// recordsAhead bounds what is decoded of a part before its turn comes.
	recordsAhead = 16
)

// stream is a part that is being decoded.
type stream struct{ records chan *seriesRecords }

// decodeAhead decodes as many parts at a time as there are processors, and calls
// take with what they say, in order, on the caller's goroutine. at is told after each part
// how many bytes are read, of how many.
func decodeAhead(l *slog.Logger, parts []part, take func(part, *seriesRecords), at func(done, total int64)) {
	var (
		streams = make([]stream, len(parts))
		pool    = sync.Pool{New: func() any { return &seriesRecords{} }}
		stop    = make(chan struct{})
		running sync.WaitGroup
		started int

		done, total int64
	)
	for _, p := range parts {
		total += p.bytes()
	}
	defer running.Wait()
	defer close(stop)
	for i := range parts {
		for ; started < min(len(parts), i+runtime.GOMAXPROCS(0)); started++ {
			p, s := parts[started], &streams[started]
			s.records = make(chan *seriesRecords, recordsAhead)
			running.Go(func() {
				defer close(s.records)
				decodePart(l, p, &pool, func(f *seriesRecords) bool {
					select {
					case s.records <- f:
						return true
					case <-stop:
						return false
					}
				})
			})
		}
		for f := range streams[i].records {
			take(parts[i], f)
			clear(f.defs) // The pool should not keep strings alive.
			clear(f.described)
			*f = seriesRecords{defs: f.defs[:0], seen: f.seen[:0], described: f.described[:0]}
			pool.Put(f)
		}
		done += parts[i].bytes()
		at(done, total)
	}
}

// decodePart reads a part to its end, or until yield returns false. What the disk
// refuses to read is passed over: the log was repaired, so nothing else is wrong with
// it, and the rest is not to be lost for that (I9).
func decodePart(l *slog.Logger, p part, pool *sync.Pool, yield func(*seriesRecords) bool) {
	var (
		dec = records.NewDecoder(l)
		f   = pool.Get().(*seriesRecords)
	)
	for k := p.first; k <= p.last; k++ {
		path := wlog.SegmentName(p.dir, k)
		unreadable, err := eachRecord(p.dir, k, func(rec []byte, offset int64) bool {
			if err := decodeSeries(dec, rec, f); err != nil {
				// The checksum was right, so this was written by something that
				// knows another format, and nothing can be repaired.
				f.undecodable++
				l.Error("A record of the write-ahead log cannot be decoded and is skipped", "path", path, "offset", offset, "err", err)
			}
			if len(f.defs)+len(f.seen)+len(f.described) < recordsSize {
				return true
			}
			more := yield(f)
			f = pool.Get().(*seriesRecords)
			return more
		})
		if f.unreadable += unreadable; err != nil {
			l.Error("A part of the write-ahead log cannot be read", "path", path, "bytes", unreadable, "err", err)
		}
	}
	yield(f)
}

// eachRecord calls f with the records of a file of a log and where they begin,
// until it returns false. It returns how many bytes could not be read, and why.
func eachRecord(dir string, number int, f func(rec []byte, offset int64) bool) (unreadable int64, err error) {
	tail, err := cursor.OpenLenient(dir, cursor.Position{Segment: number})
	if err != nil {
		return cursor.SegmentSize(dir, number), err
	}
	defer tail.Close()
	for {
		item, e := tail.Next()
		if errors.Is(e, cursor.ErrCaughtUp) {
			// The log has no writer yet, so a read error at its end counts too.
			tail.Finish()
			item, e = tail.Next()
		}
		switch {
		case e == nil && item.Kind == cursor.Seal:
			return unreadable, err
		case e != nil:
			return unreadable, e
		case item.Kind == cursor.Gap:
			if item.Err.Refused {
				unreadable, err = unreadable+item.Err.To-item.Err.From, item.Err
			}
		case !f(item.Data, item.Start.Offset):
			return unreadable, err
		}
	}
}

// decodeSeries adds to f what a record says about series.
func decodeSeries(d *records.Decoder, rec []byte, f *seriesRecords) error {
	err := d.Decode(rec)
	f.defs = append(f.defs, d.Series...)
	f.described = append(f.described, d.Metadata...)
	for i := range d.Samples {
		f.seen = append(f.seen, lastSeen{d.Samples[i].Ref, d.Samples[i].T})
	}
	for i := range d.Histograms {
		f.seen = append(f.seen, lastSeen{d.Histograms[i].Ref, d.Histograms[i].T})
	}
	for i := range d.FloatHistograms {
		f.seen = append(f.seen, lastSeen{d.FloatHistograms[i].Ref, d.FloatHistograms[i].T})
	}
	for i := range d.Exemplars {
		f.seen = append(f.seen, lastSeen{d.Exemplars[i].Ref, math.MinInt64})
	}
	return err
}
