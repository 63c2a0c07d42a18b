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

package follow

import (
	"log/slog"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/encoding"
	"github.com/prometheus/prometheus/tsdb/record"
)

// decoder takes out of records what they say about series. One goroutine owns
// it; what it returns is valid until its next call, save for labels.
type decoder struct {
	dec       record.Decoder
	refs      []chunks.HeadSeriesRef
	series    []record.RefSeries
	samples   []record.RefSample
	hists     []record.RefHistogramSample
	floats    []record.RefFloatHistogramSample
	exemplars []record.RefExemplar
}

func newDecoder(l *slog.Logger) *decoder {
	return &decoder{dec: record.NewDecoder(labels.NewSymbolTable(), l)}
}

func isSeries(rec []byte) bool { return len(rec) > 0 && record.Type(rec[0]) == record.Series }

// isAboutSeries tells whether a record defines or describes series.
func isAboutSeries(rec []byte) bool {
	return isSeries(rec) || len(rec) > 0 && record.Type(rec[0]) == record.Metadata
}

// about decodes a record that defines or describes series. The definitions are used
// again by the next call, the metadata is not.
func (d *decoder) about(rec []byte) (defs []record.RefSeries, described []record.RefMetadata, err error) {
	if isSeries(rec) {
		defs, err = d.definitions(rec)
		return defs, nil, err
	}
	described, err = d.dec.Metadata(rec, nil)
	return nil, described, err
}

// definitions returns what a series record defines.
func (d *decoder) definitions(rec []byte) ([]record.RefSeries, error) {
	clear(d.series) // Labels must not be kept alive by the buffer.
	defs, err := d.dec.Series(rec, d.series[:0])
	if err != nil {
		return nil, err
	}
	d.series = defs
	return defs, nil
}

// defined returns the refs of a series record without building the labels.
func (d *decoder) defined(rec []byte) ([]chunks.HeadSeriesRef, error) {
	d.refs = d.refs[:0]
	buf := encoding.Decbuf{B: rec[1:]}
	for buf.Len() > 0 && buf.Err() == nil {
		d.refs = append(d.refs, chunks.HeadSeriesRef(buf.Be64()))
		for n := 2 * buf.Uvarint64(); n > 0 && buf.Err() == nil; n-- {
			buf.UvarintBytes()
		}
	}
	return d.refs, buf.Err()
}

// mentioned returns the refs of samples, histograms and exemplars in a record.
// Records of other types have none. The delivery of what cannot be decoded
// counts and logs it.
func (d *decoder) mentioned(rec []byte) []chunks.HeadSeriesRef {
	d.refs = d.refs[:0]
	switch d.dec.Type(rec) {
	case record.Samples, record.SamplesV2:
		if all, err := d.dec.Samples(rec, d.samples[:0]); err == nil {
			d.samples = all
			collect(d, all, func(s *record.RefSample) chunks.HeadSeriesRef { return s.Ref })
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		if all, err := d.dec.HistogramSamples(rec, d.hists[:0]); err == nil {
			d.hists = all
			collect(d, all, func(s *record.RefHistogramSample) chunks.HeadSeriesRef { return s.Ref })
			clear(all)
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		if all, err := d.dec.FloatHistogramSamples(rec, d.floats[:0]); err == nil {
			d.floats = all
			collect(d, all, func(s *record.RefFloatHistogramSample) chunks.HeadSeriesRef { return s.Ref })
			clear(all)
		}
	case record.Exemplars:
		if all, err := d.dec.Exemplars(rec, d.exemplars[:0]); err == nil {
			d.exemplars = all
			collect(d, all, func(e *record.RefExemplar) chunks.HeadSeriesRef { return e.Ref })
			clear(all)
		}
	}
	return d.refs
}

func collect[T any](d *decoder, all []T, ref func(*T) chunks.HeadSeriesRef) {
	for i := range all {
		d.refs = append(d.refs, ref(&all[i]))
	}
}
