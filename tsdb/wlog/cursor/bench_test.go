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

package cursor

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// benchmarkLog writes a segment as an agent does that scrapes 500 samples at a
// time, and returns the log and the bytes in it.
func benchmarkLog(b *testing.B, c compression.Type) (*testLog, int64) {
	l := newTestLog(b, 512, c)
	rng := rand.New(rand.NewPCG(1, 1))
	var enc record.Encoder
	for i := 0; ; i++ {
		samples := make([]record.RefSample, 500)
		for k := range samples {
			samples[k] = record.RefSample{
				Ref: chunks.HeadSeriesRef(500*(i%200) + k),
				T:   1_700_000_000_000 + int64(i)*15_000/200,
				V:   float64(rng.IntN(1000)),
			}
		}
		require.NoError(b, l.wl.Log(enc.Samples(samples, nil)))
		if _, last, err := SegmentRange(l.dir); err != nil || last > 0 {
			require.NoError(b, err)
			break
		}
	}
	info, err := os.Stat(wlog.SegmentName(l.dir, 0))
	require.NoError(b, err)
	return l, info.Size()
}

// BenchmarkTail reads a segment from start to end, with upstream's reader for
// comparison.
func BenchmarkTail(b *testing.B) {
	for _, c := range compression.Types() {
		l, size := benchmarkLog(b, c)
		b.Run(fmt.Sprintf("compression=%s/reader=stock", c), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				f, err := os.Open(wlog.SegmentName(l.dir, 0))
				require.NoError(b, err)
				r := wlog.NewLiveReader(promslog.NewNopLogger(), wlog.NewLiveReaderMetrics(nil), f)
				for r.Next() {
				}
				require.ErrorIs(b, r.Err(), io.EOF)
				require.NoError(b, f.Close())
			}
		})
		b.Run(fmt.Sprintf("compression=%s/reader=ackwal", c), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				tail, err := Open(l.dir, Position{})
				require.NoError(b, err)
				for {
					item, err := tail.Next()
					require.NoError(b, err)
					if item.Kind == Seal {
						break
					}
				}
				require.NoError(b, tail.Close())
			}
		})
	}
}

// BenchmarkResume opens a reader near the end of a segment and reads what
// follows. Upstream's reader has to read the segment up to there.
func BenchmarkResume(b *testing.B) {
	l, size := benchmarkLog(b, compression.Snappy)
	tail, err := Open(l.dir, Position{})
	require.NoError(b, err)
	var at Position
	for at.Offset < size-PageSize {
		item, err := tail.Next()
		require.NoError(b, err)
		at = item.End.Position
	}
	require.NoError(b, tail.Close())

	b.Run("reader=stock", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, err := os.Open(wlog.SegmentName(l.dir, 0))
			require.NoError(b, err)
			r := wlog.NewLiveReader(promslog.NewNopLogger(), wlog.NewLiveReaderMetrics(nil), f)
			for r.Next() && r.Offset() <= at.Offset {
			}
			require.NoError(b, f.Close())
		}
	})
	b.Run("reader=ackwal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			tail, err := Open(l.dir, at)
			require.NoError(b, err)
			if _, err := tail.Next(); err != nil && !errors.Is(err, ErrCaughtUp) {
				b.Fatal(err)
			}
			require.NoError(b, tail.Close())
		}
	})
}
