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
	"io"
	"log/slog"
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// replay reads checkpoint and segments into a table, once, in order. It belongs
// to one goroutine.
type replay struct {
	logger *slog.Logger
	table  *series.Table
	dec    record.Decoder

	segment int // The one that is read; a checkpoint counts as its number.
	// owners maps refs that are not the first of their label set to the series
	// whose timestamps they raise.
	owners map[chunks.HeadSeriesRef]*series.Series
	// early has what refs without a series so far were seen with. The series
	// record may follow: another appender committed first.
	early map[chunks.HeadSeriesRef]earlySamples

	seriesRecs      []record.RefSeries
	samples         []record.RefSample
	histograms      []record.RefHistogramSample
	floatHistograms []record.RefFloatHistogramSample
	exemplars       []record.RefExemplar

	outcome replayed
}

type earlySamples struct {
	last  int64
	count int
}

// replayed says what a replay found.
type replayed struct {
	segments    int
	maxRef      chunks.HeadSeriesRef // Highest ref that anything in the log mentions.
	unknown     int                  // Samples and exemplars without a series.
	unknownRefs int
	displaced   int // Refs that got another meaning.
	undecodable int // Records.
}

// maxSaneRef bounds the refs that count for the next one to be handed out.
const maxSaneRef = chunks.HeadSeriesRef(math.MaxUint64 / 2)

// replayLog reads the log in dir, which has been healed.
func replayLog(l *slog.Logger, table *series.Table, dir string) (replayed, error) {
	r := &replay{
		logger: l,
		table:  table,
		dec:    record.NewDecoder(labels.NewSymbolTable(), l),
		owners: map[chunks.HeadSeriesRef]*series.Series{},
		early:  map[chunks.HeadSeriesRef]earlySamples{},
	}
	checkpoint, number, err := wlog.LastCheckpoint(dir)
	switch {
	case errors.Is(err, record.ErrNotFound):
	case err != nil:
		return replayed{}, fmt.Errorf("find last checkpoint in %s: %w", dir, err)
	default:
		if err := r.readCheckpoint(checkpoint, number); err != nil {
			return replayed{}, err
		}
	}
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return replayed{}, fmt.Errorf("list segments in %s: %w", dir, err)
	}
	// Segments up to the checkpoint's number are there only if a crash kept
	// them from being removed. Reading them again does no harm, and spares the
	// question whether they really are what the checkpoint was made of.
	for i := first; i >= 0 && i <= last; i++ {
		if err := r.readSegment(dir, i); err != nil {
			return replayed{}, err
		}
		r.outcome.segments++
	}
	for _, e := range r.early {
		r.outcome.unknown += e.count
	}
	r.outcome.unknownRefs = len(r.early)
	return r.outcome, nil
}

func (r *replay) readCheckpoint(dir string, number int) error {
	in, err := wlog.NewSegmentsReader(dir)
	if err != nil {
		return fmt.Errorf("open checkpoint %s: %w", dir, err)
	}
	defer in.Close()
	r.segment = number
	if err := r.read(in); err != nil {
		return fmt.Errorf("read checkpoint %s: %w", dir, err)
	}
	return nil
}

func (r *replay) readSegment(dir string, number int) error {
	path := wlog.SegmentName(dir, number)
	segment, err := wlog.OpenReadSegment(path)
	if err != nil {
		return fmt.Errorf("open segment %s: %w", path, err)
	}
	in := wlog.NewSegmentBufReader(segment)
	defer in.Close()
	r.segment = number
	if err := r.read(in); err != nil {
		return fmt.Errorf("read segment %s: %w", path, err)
	}
	return nil
}

func (r *replay) read(in io.Reader) error {
	records := wlog.NewReader(in)
	for records.Next() {
		if err := r.apply(records.Record()); err != nil {
			// The checksum was right, so this was written by something that
			// knows another format, and nothing can be healed.
			r.outcome.undecodable++
			r.logger.Error("A record of the write-ahead log cannot be decoded and is skipped", "segment", r.segment, "offset", records.Offset(), "err", err)
		}
	}
	return records.Err()
}

// apply takes a record into account. Types that say nothing about series, or
// that are not known here, are skipped.
func (r *replay) apply(rec []byte) (err error) {
	switch r.dec.Type(rec) {
	case record.Series:
		if r.seriesRecs, err = r.dec.Series(rec, r.seriesRecs[:0]); err != nil {
			return err
		}
		for i := range r.seriesRecs {
			r.series(r.seriesRecs[i].Ref, r.seriesRecs[i].Labels)
		}
		clear(r.seriesRecs)
	case record.Samples, record.SamplesV2:
		if r.samples, err = r.dec.Samples(rec, r.samples[:0]); err != nil {
			return err
		}
		for i := range r.samples {
			r.sample(r.samples[i].Ref, r.samples[i].T)
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		if r.histograms, err = r.dec.HistogramSamples(rec, r.histograms[:0]); err != nil {
			return err
		}
		for i := range r.histograms {
			r.sample(r.histograms[i].Ref, r.histograms[i].T)
		}
		clear(r.histograms)
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		if r.floatHistograms, err = r.dec.FloatHistogramSamples(rec, r.floatHistograms[:0]); err != nil {
			return err
		}
		for i := range r.floatHistograms {
			r.sample(r.floatHistograms[i].Ref, r.floatHistograms[i].T)
		}
		clear(r.floatHistograms)
	case record.Exemplars:
		if r.exemplars, err = r.dec.Exemplars(rec, r.exemplars[:0]); err != nil {
			return err
		}
		for i := range r.exemplars {
			r.sample(r.exemplars[i].Ref, math.MinInt64)
		}
		clear(r.exemplars)
	}
	return nil
}

func (r *replay) series(ref chunks.HeadSeriesRef, lset labels.Labels) {
	r.seen(ref)
	s, displaced := r.table.Insert(ref, lset, r.segment)
	if displaced {
		r.outcome.displaced++
		delete(r.owners, ref)
	}
	if s.Ref() != ref {
		r.owners[ref] = s
	}
	if e, ok := r.early[ref]; ok {
		s.RaiseTimestamp(e.last)
		delete(r.early, ref)
	}
}

// sample notes that ref has a sample at t, or an exemplar, for which t is the
// beginning of time.
func (r *replay) sample(ref chunks.HeadSeriesRef, t int64) {
	s := r.table.Resolve(ref)
	if s == nil {
		r.seen(ref)
		e, ok := r.early[ref]
		if !ok {
			e.last = math.MinInt64
		}
		r.early[ref] = earlySamples{last: max(e.last, t), count: e.count + 1}
		return
	}
	if s.Alias() {
		s.Mentioned(r.segment)
		s = r.owners[ref]
	}
	s.RaiseTimestamp(t)
}

// seen makes sure that the ref is not handed out to another series: readers of
// what is left of its samples would take them for that series'.
func (r *replay) seen(ref chunks.HeadSeriesRef) {
	if ref < maxSaneRef {
		r.outcome.maxRef = max(r.outcome.maxRef, ref)
	}
}
