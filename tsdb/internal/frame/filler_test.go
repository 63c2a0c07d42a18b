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

package frame

import (
	"bytes"
	"io"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Filler of every length that can be filled is read by upstream's reader, deletes
// nothing there, and lets the record behind it be found (I7).
func TestFill(t *testing.T) {
	dec := record.NewDecoder(nil, promslog.NewNopLogger())
	for n := range 600 {
		if !Fillable(n) {
			require.Less(t, n, least)
			continue
		}
		b := bytes.Repeat([]byte{0xff}, n)
		Fill(b)
		b = put(b, Full, 5)
		r := wlog.NewReader(bytes.NewReader(b))
		records := 0
		for r.Next() {
			records++
			if r.Offset() == int64(n+HeaderSize+5) {
				require.False(t, IsFiller(r.Record()))
				continue
			}
			require.True(t, IsFiller(r.Record()))
			stones, err := dec.Tombstones(r.Record(), nil)
			require.NoError(t, err, "%d bytes", n)
			for _, s := range stones {
				require.Equal(t, tombstones.Stone{Intervals: tombstones.Intervals{{}}}, s)
			}
		}
		require.NoError(t, r.Err(), "%d bytes", n)
		require.Equal(t, int64(len(b)), r.Offset())
		require.Positive(t, records)
	}
}

// What is left of a page can be filled whatever its length.
func TestFillToTheEndOfAPage(t *testing.T) {
	for n := range 40 {
		b := bytes.Repeat([]byte{0xff}, PageSize)
		b = append(put(b[:0], Full, PageSize-n-HeaderSize), b[PageSize-n:PageSize]...)
		Fill(b[PageSize-n:])
		b = put(b, Full, 5)
		s := NewScanner(1)
		s.Strict = true
		s.Reset(bytes.NewReader(b), 0)
		var last Record
		for {
			rec, err := s.Next()
			if err != nil {
				require.ErrorIs(t, err, io.EOF, "%d bytes", n)
				break
			}
			last = rec
		}
		require.Equal(t, int64(PageSize), last.Start)
	}
}

// Nothing that an engine writes is taken for filler.
func TestIsFiller(t *testing.T) {
	var enc record.Encoder
	for _, rec := range [][]byte{
		nil,
		{byte(record.Samples)},
		{byte(record.Tombstones), 0, 0},
		enc.Tombstones([]tombstones.Stone{{Ref: 1, Intervals: tombstones.Intervals{{}}}}, nil),
		enc.Tombstones([]tombstones.Stone{{Intervals: tombstones.Intervals{{Mint: 1, Maxt: 2}}}}, nil),
	} {
		require.False(t, IsFiller(rec), "%v", rec)
	}
}
