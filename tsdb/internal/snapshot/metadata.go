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

package snapshot

import (
	"context"
	"encoding/binary"
	"iter"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// The metadata is a file of frames. Each record begins with the kind and the
// number of distinct values in it, and has these: the type as in the log's
// metadata records, then unit and help, each with its length before it. Runs of
// consecutive refs that have one value follow, as the series of a family mostly
// do: the gap to the end of the run before, the number of refs less 1, and the
// index of the value from 0. At the start of a record the run before ends at
// ref 0. All numbers are unsigned varints.

const metadataKind = 'M'

// metadataWriter packs metadata into runs.
type metadataWriter struct {
	runWriter[metadata.Metadata]
	index  map[metadata.Metadata]uint64 // Of this record.
	values []byte
	runs   []byte
}

// run adds a run to the record.
func (w *metadataWriter) run(gap, more uint64, m metadata.Metadata) error {
	i, ok := w.index[m]
	if !ok {
		i = uint64(len(w.index))
		w.index[m] = i
		w.values = append(w.values, record.GetMetricType(m.Type))
		for _, s := range []string{m.Unit, m.Help} {
			w.values = binary.AppendUvarint(w.values, uint64(len(s)))
			w.values = append(w.values, s...)
		}
	}
	w.runs = binary.AppendUvarint(w.runs, gap)
	w.runs = binary.AppendUvarint(w.runs, more)
	w.runs = binary.AppendUvarint(w.runs, i)
	if len(w.values)+len(w.runs) < maxListBytes {
		return nil
	}
	return w.endRecord()
}

func (w *metadataWriter) endRecord() error {
	if len(w.runs) == 0 {
		return nil
	}
	w.rec = binary.AppendUvarint(w.rec, uint64(len(w.index)))
	w.rec = append(append(w.rec, w.values...), w.runs...)
	clear(w.index)
	w.values, w.runs, w.before = w.values[:0], w.runs[:0], 0
	return w.end()
}

// flush ends the run and the record, which is put together at its end.
func (w *metadataWriter) flush() error {
	if err := w.runWriter.flush(); err != nil {
		return err
	}
	return w.endRecord()
}

// writeMetadata writes the file. Without entries there is none.
func (s sink) writeMetadata(ctx context.Context, path string, seq iter.Seq2[chunks.HeadSeriesRef, metadata.Metadata]) (listMeta, error) {
	return writeList(ctx, s, path, metadataKind, seq, func(w listWriter) packer[metadata.Metadata] {
		m := &metadataWriter{index: map[metadata.Metadata]uint64{}}
		m.runWriter = runWriter[metadata.Metadata]{listWriter: w, put: m.run}
		return m
	})
}

// decodeMetadata returns the runs of one record, appended to runs.
func decodeMetadata(runs []run[metadata.Metadata], payload []byte) ([]run[metadata.Metadata], error) {
	if len(payload) < 1 || payload[0] != metadataKind {
		return runs, errListKind
	}
	n, b, ok := uvarint(payload[1:])
	if !ok || n > uint64(len(b)) {
		return runs, errList
	}
	values := make([]metadata.Metadata, n)
	for i := range values {
		if len(b) == 0 {
			return runs, errList
		}
		values[i].Type = record.ToMetricType(b[0])
		b = b[1:]
		for _, s := range []*string{&values[i].Unit, &values[i].Help} {
			size, rest, ok := uvarint(b)
			if !ok || size > uint64(len(rest)) {
				return runs, errList
			}
			*s, b = string(rest[:size]), rest[size:]
		}
	}
	var end uint64
	for len(b) > 0 {
		gap, rest, ok := uvarint(b)
		if !ok {
			return runs, errList
		}
		more, rest, ok := uvarint(rest)
		if !ok {
			return runs, errList
		}
		i, rest, ok := uvarint(rest)
		first := end + gap
		last := first + more
		if !ok || i >= n || first < end || last < first || last+1 == 0 {
			return runs, errList
		}
		runs = append(runs, run[metadata.Metadata]{chunks.HeadSeriesRef(first), more + 1, values[i]})
		end, b = last+1, rest
	}
	return runs, nil
}
