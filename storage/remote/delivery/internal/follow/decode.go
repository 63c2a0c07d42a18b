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

	"github.com/ackwal/ackwal/tsdb/wlog/records"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/encoding"
	"github.com/prometheus/prometheus/tsdb/record"
)

// decoder takes out of records what they say about series. One goroutine owns
// it; what it returns is valid until its next call, save for labels.
type decoder struct {
	dec  *records.Decoder
	refs []chunks.HeadSeriesRef
}

func newDecoder(l *slog.Logger) *decoder {
	return &decoder{dec: records.NewDecoder(l)}
}

func isSeries(rec []byte) bool { return len(rec) > 0 && record.Type(rec[0]) == record.Series }

// isAboutSeries tells whether a record defines or describes series.
func isAboutSeries(rec []byte) bool {
	return isSeries(rec) || len(rec) > 0 && record.Type(rec[0]) == record.Metadata
}

// about decodes a record that defines or describes series.
func (d *decoder) about(rec []byte) (defs []record.RefSeries, described []record.RefMetadata, err error) {
	err = d.dec.Decode(rec)
	return d.dec.Series, d.dec.Metadata, err
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
	if d.dec.DecodeItems(rec) != nil {
		return nil
	}
	for i := range d.dec.Samples {
		d.refs = append(d.refs, d.dec.Samples[i].Ref)
	}
	for i := range d.dec.Histograms {
		d.refs = append(d.refs, d.dec.Histograms[i].Ref)
	}
	for i := range d.dec.FloatHistograms {
		d.refs = append(d.refs, d.dec.FloatHistograms[i].Ref)
	}
	for i := range d.dec.Exemplars {
		d.refs = append(d.refs, d.dec.Exemplars[i].Ref)
	}
	d.dec.Release()
	return d.refs
}
