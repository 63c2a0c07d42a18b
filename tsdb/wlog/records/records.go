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

// Package records decodes the records of a write-ahead log, of whatever type they are.
//
// The replay of the agent, delivery, the follower of a log and the repair all walk over
// records, and each has use for other parts of them. With [Decoder] none of them needs to
// know which types hold samples: what a record does not hold is empty.
package records

import (
	"log/slog"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

// Decoder holds what the record holds that it has decoded last. The slices, and what they
// point to save for labels and histograms, are valid until the next call. One goroutine
// owns it.
type Decoder struct {
	Type            record.Type
	Series          []record.RefSeries
	Metadata        []record.RefMetadata
	Samples         []record.RefSample
	Histograms      []record.RefHistogramSample // With custom buckets or without.
	FloatHistograms []record.RefFloatHistogramSample
	Exemplars       []record.RefExemplar

	dec record.Decoder
}

// NewDecoder returns a decoder whose labels share their strings.
func NewDecoder(l *slog.Logger) *Decoder {
	return &Decoder{dec: record.NewDecoder(labels.NewSymbolTable(), l)}
}

// Decode decodes a record. After an error, and of a type that has none of what a Decoder
// holds, there is nothing but the type. Tombstones are checked only.
func (d *Decoder) Decode(rec []byte) error {
	if err := d.DecodeItems(rec); err != nil {
		return err
	}
	switch d.Type {
	case record.Series:
		return into(&d.Series, rec, d.dec.Series)
	case record.Metadata:
		return into(&d.Metadata, rec, d.dec.Metadata)
	case record.Tombstones:
		_, err := d.dec.Tombstones(rec, nil)
		return err
	}
	return nil
}

// DecodeItems is Decode of samples, histograms and exemplars alone. Of a record of another
// type only the type is looked at.
func (d *Decoder) DecodeItems(rec []byte) error {
	d.Release()
	d.Type = d.dec.Type(rec)
	switch d.Type {
	case record.Samples, record.SamplesV2:
		return into(&d.Samples, rec, d.dec.Samples)
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		return into(&d.Histograms, rec, d.dec.HistogramSamples)
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		return into(&d.FloatHistograms, rec, d.dec.FloatHistogramSamples)
	case record.Exemplars:
		return into(&d.Exemplars, rec, d.dec.Exemplars)
	}
	return nil
}

// into keeps the buffer if a record cannot be decoded.
func into[T any](buf *[]T, rec []byte, decode func([]byte, []T) ([]T, error)) error {
	got, err := decode(rec, (*buf)[:0])
	if err == nil {
		*buf = got
	}
	return err
}

// Release empties the decoder, so that it keeps nothing of the record in memory.
func (d *Decoder) Release() {
	clear(d.Series)
	clear(d.Metadata)
	clear(d.Histograms)
	clear(d.FloatHistograms)
	clear(d.Exemplars)
	d.Series, d.Metadata, d.Samples = d.Series[:0], d.Metadata[:0], d.Samples[:0]
	d.Histograms, d.FloatHistograms, d.Exemplars = d.Histograms[:0], d.FloatHistograms[:0], d.Exemplars[:0]
}
