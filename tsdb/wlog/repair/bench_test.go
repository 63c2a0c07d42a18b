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
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// BenchmarkDirectory looks at a whole log of four segments of 16 MiB, which is
// what a start costs more than reading it once. Upstream's reader is there for
// comparison; unlike it, Directory decodes records that are not compressed.
func BenchmarkDirectory(b *testing.B) {
	for _, c := range []compression.Type{compression.None, compression.Snappy} {
		dir := b.TempDir()
		wl, err := wlog.NewSize(nil, nil, dir, 16<<20, c)
		require.NoError(b, err)
		rng := rand.New(rand.NewPCG(1, 1))
		var enc record.Encoder
		samples := make([]record.RefSample, 500)
		for i, last := 0, 0; last < 4; i++ {
			for k := range samples {
				samples[k] = record.RefSample{Ref: chunks.HeadSeriesRef(i%200*500 + k), T: 1_700_000_000_000 + int64(i)*75, V: float64(rng.IntN(1000))}
			}
			require.NoError(b, wl.Log(enc.Samples(samples, nil)))
			_, last, err = wlog.Segments(dir)
			require.NoError(b, err)
		}
		size, err := wl.Size()
		require.NoError(b, err)
		require.NoError(b, wl.Close())

		b.Run(fmt.Sprintf("compression=%s/reader=stock", c), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := wlog.NewSegmentsReader(dir)
				require.NoError(b, err)
				rd := wlog.NewReader(r)
				for rd.Next() {
				}
				require.NoError(b, rd.Err())
				require.NoError(b, r.Close())
			}
		})
		b.Run(fmt.Sprintf("compression=%s/reader=ackwal", c), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				report, err := Directory(dir, Options{})
				require.NoError(b, err)
				require.Empty(b, report.Damages)
			}
		})
	}
}
