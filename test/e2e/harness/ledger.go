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

package harness

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// orphan is a committed sample that precedes the record of its series: another
// commit may have written that one a moment later.
type orphan struct {
	ref     chunks.HeadSeriesRef
	kind    Kind
	t       int64
	value   Value
	segment int
}

// ledger decodes segments with stock's reader, each one for good once it is
// not the last. It belongs to the shadow and is guarded by its lock.
type ledger struct {
	symbols *Symbols
	canon   func(labels.Labels) labels.Labels
	decoder record.Decoder

	read      map[string]bool // Links that are read for good.
	series    map[chunks.HeadSeriesRef]SeriesID
	bySegment map[int]Set
	orphans   []orphan
}

func newLedger(symbols *Symbols, canon func(labels.Labels) labels.Labels) *ledger {
	return &ledger{
		symbols:   symbols,
		canon:     canon,
		decoder:   record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler)),
		read:      map[string]bool{},
		series:    map[chunks.HeadSeriesRef]SeriesID{},
		bySegment: map[int]Set{},
	}
}

// update reads what is new in the files, which are in the order of the log.
func (l *ledger) update(files []shadowed) error {
	for i, f := range files {
		if l.read[f.link] {
			continue
		}
		// What the last file contributed before is found again now.
		l.forget(f.segment)
		if err := l.readFile(f); err != nil {
			return fmt.Errorf("reading the shadow of segment %d: %w", f.segment, err)
		}
		l.adopt()
		if i < len(files)-1 {
			l.read[f.link] = true
		}
	}
	return nil
}

// forget drops the orphans of a segment that is about to be read again.
func (l *ledger) forget(segment int) {
	kept := l.orphans[:0]
	for _, o := range l.orphans {
		if o.segment != segment {
			kept = append(kept, o)
		}
	}
	l.orphans = kept
}

// adopt finds the label sets of orphans.
func (l *ledger) adopt() {
	kept := l.orphans[:0]
	for _, o := range l.orphans {
		if id, ok := l.series[o.ref]; ok {
			l.set(o.segment)[Point{id, o.kind, o.t}] = o.value
		} else {
			kept = append(kept, o)
		}
	}
	l.orphans = kept
}

func (l *ledger) set(segment int) Set {
	set, ok := l.bySegment[segment]
	if !ok {
		set = Set{}
		l.bySegment[segment] = set
	}
	return set
}

// readFile reads the complete records of a file. An incomplete one at the end
// was never committed.
func (l *ledger) readFile(f shadowed) error {
	file, err := os.Open(f.link)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := wlog.NewReader(file)
	for reader.Next() {
		if err := l.record(f.segment, reader.Record()); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) note(segment int, ref chunks.HeadSeriesRef, kind Kind, t int64, v Value) {
	id, ok := l.series[ref]
	if !ok {
		l.orphans = append(l.orphans, orphan{ref, kind, t, v, segment})
		return
	}
	l.set(segment)[Point{id, kind, t}] = v
}

func (l *ledger) record(segment int, rec []byte) error {
	switch kind := l.decoder.Type(rec); kind {
	case record.Series:
		series, err := l.decoder.Series(rec, nil)
		if err != nil {
			return err
		}
		for _, s := range series {
			l.series[s.Ref] = l.symbols.ID(l.canon(s.Labels))
		}
	case record.Samples, record.SamplesV2:
		samples, err := l.decoder.Samples(rec, nil)
		if err != nil {
			return err
		}
		for _, s := range samples {
			l.note(segment, s.Ref, SampleKind, s.T, FloatValue(s.V))
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		samples, err := l.decoder.HistogramSamples(rec, nil)
		if err != nil {
			return err
		}
		for _, s := range samples {
			l.note(segment, s.Ref, SampleKind, s.T, HistogramValue(s.H.ToFloat(nil)))
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		samples, err := l.decoder.FloatHistogramSamples(rec, nil)
		if err != nil {
			return err
		}
		for _, s := range samples {
			l.note(segment, s.Ref, SampleKind, s.T, HistogramValue(s.FH))
		}
	case record.Exemplars:
		exemplars, err := l.decoder.Exemplars(rec, nil)
		if err != nil {
			return err
		}
		for _, e := range exemplars {
			l.note(segment, e.Ref, ExemplarKind, e.T, ExemplarValue(exemplar.Exemplar{Labels: e.Labels, Value: e.V}))
		}
	case record.Tombstones, record.Metadata, record.MmapMarkers:
		// Nothing that has to be delivered.
	default:
		return fmt.Errorf("record of unexpected type %s", kind)
	}
	return nil
}

// committed returns the union of the segments from to to; -1 is no end.
func (l *ledger) committed(from, to int) Set {
	all := Set{}
	for segment, set := range l.bySegment {
		if segment >= from && (to < 0 || segment <= to) {
			all.Add(set)
		}
	}
	return all
}

func (l *ledger) unresolved() int { return len(l.orphans) }

// TornTail says whether the last record of a WAL directory is incomplete, as a
// kill between two writes leaves it.
func TornTail(walDir string) (bool, error) {
	_, last, err := wlog.Segments(walDir)
	if err != nil || last < 0 {
		return false, err
	}
	file, err := os.Open(wlog.SegmentName(walDir, last))
	if err != nil {
		return false, err
	}
	defer file.Close()
	reader := wlog.NewReader(file)
	for reader.Next() {
	}
	return reader.Err() != nil && !errors.Is(reader.Err(), io.EOF), nil
}
