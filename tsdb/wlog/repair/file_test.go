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

package repair

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// wholeSegment writes a segment of a few pages, each of which starts with a
// record, and returns its path and where the records begin.
func wholeSegment(t *testing.T) (path string, starts []int64) {
	t.Helper()
	dir := t.TempDir()
	w, err := wlog.New(nil, nil, dir, compression.None)
	require.NoError(t, err)
	var enc record.Encoder
	value := strings.Repeat("v", 41)
	for i := range 2000 {
		rec := enc.Series([]record.RefSeries{{Ref: chunks.HeadSeriesRef(i + 1), Labels: labels.FromStrings("name", value)}}, nil)
		require.Zero(t, frame.PageSize%(frame.HeaderSize+len(rec)), "a record of %d bytes lies across pages", len(rec))
		require.NoError(t, w.Log(rec))
	}
	require.NoError(t, w.Close())
	path = wlog.SegmentName(dir, 0)
	return path, recordStarts(t, path)
}

func recordStarts(t *testing.T, path string) (starts []int64) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	scan := frame.NewScanner(readPages)
	scan.Reset(f, 0)
	for {
		rec, err := scan.Next()
		if err != nil {
			return starts
		}
		if !frame.IsFiller(rec.Data) {
			starts = append(starts, rec.Start)
		}
	}
}

// One bad byte costs the record it is in and nothing else, and those that are left
// stay where they are (I2, I9).
func TestRepairFile(t *testing.T) {
	for name, is := range map[string]role{"in place": finished, "the newest": newest, "shared with other names": shared} {
		t.Run(name, func(t *testing.T) {
			path, before := wholeSegment(t)
			require.Greater(t, before[len(before)-1], int64(2*frame.PageSize))
			other := path + ".link"
			require.NoError(t, os.Link(path, other))
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			hit := before[len(before)/3]
			data[hit+frame.HeaderSize] ^= 0xff
			require.NoError(t, os.WriteFile(path, data, 0o666))

			found, err := repairFile(vfs.OS, path, is)
			require.NoError(t, err)
			require.Len(t, found.losses, 1)
			lost := found.losses[0]
			require.Equal(t, hit, lost.from)
			require.Equal(t, before[len(before)/3+1], lost.to, "only the record that was hit")
			require.False(t, lost.cut)

			var want []int64
			for _, at := range before {
				if at < lost.from || at >= lost.to {
					want = append(want, at)
				}
			}
			require.Equal(t, want, recordStarts(t, path))
			require.Equal(t, len(before)-len(want), lost.records)

			// Where the file had another name, that still shows what was there.
			left, err := os.ReadFile(other)
			require.NoError(t, err)
			if is == shared {
				require.Equal(t, data, left)
			}

			again, err := repairFile(vfs.OS, path, is)
			require.NoError(t, err)
			require.Empty(t, again.losses)
		})
	}
}

// A record that was not written to its end is cut off.
func TestRepairFileTornTail(t *testing.T) {
	path, before := wholeSegment(t)
	last := before[len(before)-1]
	require.NoError(t, os.Truncate(path, last+frame.HeaderSize+1))
	found, err := repairFile(vfs.OS, path, newest)
	require.NoError(t, err)
	require.Len(t, found.losses, 1)
	require.True(t, found.losses[0].torn)
	require.Equal(t, before[:len(before)-1], recordStarts(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, last, info.Size())
}
