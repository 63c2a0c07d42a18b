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

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// The timestamps are a file of frames. Each record begins with the kind and
// goes on with runs of consecutive refs that have one timestamp, as those of a
// target's series mostly do: the gap to the end of the run before, the number
// of refs less 1, and the difference of the timestamps as a signed varint. At
// the start of a record the run before ends at ref 0 with timestamp 0.

const timestampsKind = 'T'

// timestampsWriter packs timestamps into runs. The record ends with the list.
type timestampsWriter struct {
	runWriter[int64]
	last int64 // Of the run before.
}

// run adds a run to the record.
func (w *timestampsWriter) run(gap, more uint64, t int64) error {
	w.rec = binary.AppendUvarint(w.rec, gap)
	w.rec = binary.AppendUvarint(w.rec, more)
	w.rec = binary.AppendVarint(w.rec, t-w.last)
	w.last = t
	if len(w.rec) < maxListBytes {
		return nil
	}
	w.before, w.last = 0, 0
	return w.end()
}

// writeTimestamps writes the file. Without entries there is none.
func (s sink) writeTimestamps(ctx context.Context, path string, seq iter.Seq2[chunks.HeadSeriesRef, int64]) (listMeta, error) {
	return writeList(ctx, s, path, timestampsKind, seq, func(w listWriter) packer[int64] {
		t := &timestampsWriter{}
		t.runWriter = runWriter[int64]{listWriter: w, put: t.run}
		return t
	})
}

// decodeTimestamps returns the runs of one record, appended to runs.
func decodeTimestamps(runs []run[int64], payload []byte) ([]run[int64], error) {
	if len(payload) < 1 || payload[0] != timestampsKind {
		return runs, errListKind
	}
	var (
		end uint64
		t   int64
	)
	for b := payload[1:]; len(b) > 0; {
		gap, rest, ok := uvarint(b)
		if !ok {
			return runs, errList
		}
		more, rest, ok := uvarint(rest)
		delta, n := binary.Varint(rest)
		first := end + gap
		last := first + more
		if !ok || n <= 0 || first < end || last < first || last+1 == 0 {
			return runs, errList
		}
		t += delta
		runs = append(runs, run[int64]{chunks.HeadSeriesRef(first), more + 1, t})
		end, b = last+1, rest[n:]
	}
	return runs, nil
}
