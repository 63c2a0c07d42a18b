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
	"io"
	"log/slog"
	"math"
	"runtime"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// part is a piece of a log that can be decoded on its own.
type part struct {
	path    string
	segment int // A checkpoint counts as its number.
	open    func() (io.ReadCloser, error)
}

func checkpointPart(dir string, number int) part {
	return part{path: dir, segment: number, open: func() (io.ReadCloser, error) { return wlog.NewSegmentsReader(dir) }}
}

func segmentPart(dir string, number int) part {
	path := wlog.SegmentName(dir, number)
	return part{path: path, segment: number, open: func() (io.ReadCloser, error) {
		segment, err := wlog.OpenReadSegment(path)
		if err != nil {
			return nil, err
		}
		return wlog.NewSegmentBufReader(segment), nil
	}}
}

// facts is what some records in a row say about series.
type facts struct {
	defs        []record.RefSeries
	seen        []sighting // Samples, and exemplars, for which t is the beginning of time.
	described   []record.RefMetadata
	undecodable int // Records.
}

// sighting is a sample as far as its series is concerned.
type sighting struct {
	ref chunks.HeadSeriesRef
	t   int64
}

const (
	// factsSize is how many facts are handed over at a time.
	factsSize = 4096
	// factsAhead bounds what is decoded of a part before its turn comes.
	factsAhead = 16
)

// stream is a part that is being decoded. err is set when facts is closed.
type stream struct {
	facts chan *facts
	err   error
}

// decodeAhead decodes as many parts at a time as there are processors, and calls
// take with what they say, in order, on the caller's goroutine.
func decodeAhead(l *slog.Logger, parts []part, take func(part, *facts)) error {
	var (
		streams = make([]stream, len(parts))
		pool    = sync.Pool{New: func() any { return &facts{} }}
		stop    = make(chan struct{})
		running sync.WaitGroup
		started int
	)
	defer running.Wait()
	defer close(stop)
	for i := range parts {
		for ; started < min(len(parts), i+runtime.GOMAXPROCS(0)); started++ {
			p, s := parts[started], &streams[started]
			s.facts = make(chan *facts, factsAhead)
			running.Go(func() {
				defer close(s.facts)
				s.err = decodePart(l, p, &pool, func(f *facts) bool {
					select {
					case s.facts <- f:
						return true
					case <-stop:
						return false
					}
				})
			})
		}
		for f := range streams[i].facts {
			take(parts[i], f)
			clear(f.defs) // The pool should not keep strings alive.
			clear(f.described)
			*f = facts{defs: f.defs[:0], seen: f.seen[:0], described: f.described[:0]}
			pool.Put(f)
		}
		if err := streams[i].err; err != nil {
			return fmt.Errorf("read %s: %w", parts[i].path, err)
		}
	}
	return nil
}

// decodePart reads a part to its end, or until yield returns false.
func decodePart(l *slog.Logger, p part, pool *sync.Pool, yield func(*facts) bool) error {
	in, err := p.open()
	if err != nil {
		return err
	}
	defer in.Close()
	var (
		records = wlog.NewReader(in)
		dec     = factDecoder{dec: record.NewDecoder(labels.NewSymbolTable(), l)}
		f       = pool.Get().(*facts)
	)
	for records.Next() {
		if err := dec.decode(records.Record(), f); err != nil {
			// The checksum was right, so this was written by something that
			// knows another format, and nothing can be healed.
			f.undecodable++
			l.Error("A record of the write-ahead log cannot be decoded and is skipped", "path", p.path, "offset", records.Offset(), "err", err)
		}
		if len(f.defs)+len(f.seen)+len(f.described) >= factsSize {
			if !yield(f) {
				return nil
			}
			f = pool.Get().(*facts)
		}
	}
	yield(f)
	return records.Err()
}

// factDecoder decodes records as far as series are concerned. One goroutine owns
// it.
type factDecoder struct {
	dec             record.Decoder
	samples         []record.RefSample
	histograms      []record.RefHistogramSample
	floatHistograms []record.RefFloatHistogramSample
	exemplars       []record.RefExemplar
}

// decode adds what rec says to f. Types that say nothing about series, or that
// are not known here, are skipped.
func (d *factDecoder) decode(rec []byte, f *facts) (err error) {
	switch d.dec.Type(rec) {
	case record.Series:
		var defs []record.RefSeries
		if defs, err = d.dec.Series(rec, f.defs); err == nil {
			f.defs = defs
		}
	case record.Metadata:
		var described []record.RefMetadata
		if described, err = d.dec.Metadata(rec, f.described); err == nil {
			f.described = described
		}
	case record.Samples, record.SamplesV2:
		if d.samples, err = d.dec.Samples(rec, d.samples[:0]); err == nil {
			for i := range d.samples {
				f.seen = append(f.seen, sighting{d.samples[i].Ref, d.samples[i].T})
			}
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		if d.histograms, err = d.dec.HistogramSamples(rec, d.histograms[:0]); err == nil {
			for i := range d.histograms {
				f.seen = append(f.seen, sighting{d.histograms[i].Ref, d.histograms[i].T})
			}
		}
		clear(d.histograms)
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		if d.floatHistograms, err = d.dec.FloatHistogramSamples(rec, d.floatHistograms[:0]); err == nil {
			for i := range d.floatHistograms {
				f.seen = append(f.seen, sighting{d.floatHistograms[i].Ref, d.floatHistograms[i].T})
			}
		}
		clear(d.floatHistograms)
	case record.Exemplars:
		if d.exemplars, err = d.dec.Exemplars(rec, d.exemplars[:0]); err == nil {
			for i := range d.exemplars {
				f.seen = append(f.seen, sighting{d.exemplars[i].Ref, math.MinInt64})
			}
		}
		clear(d.exemplars)
	}
	return err
}
