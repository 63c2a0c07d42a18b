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
	"fmt"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// BenchmarkFollow measures the start on a log of a backlog, and what following
// costs a sample beside reading the log for delivery.
func BenchmarkFollow(b *testing.B) {
	const series, rounds, perRecord = 100_000, 50, 1000
	dir := b.TempDir()
	wal, err := wlog.NewSize(nil, nil, dir, 16<<20, compression.Snappy)
	require.NoError(b, err)
	defer wal.Close()
	var (
		enc     record.Encoder
		defs    []record.RefSeries
		samples []record.RefSample
	)
	write := func(round int) {
		for i := range series {
			ref := chunks.HeadSeriesRef(i + 1)
			if round == 0 {
				lset := []string{"__name__", fmt.Sprint("metric", i%500)}
				for l := range 9 {
					lset = append(lset, fmt.Sprint("label", l), fmt.Sprintf("some value of it %d", i/(l+1)))
				}
				defs = append(defs, record.RefSeries{Ref: ref, Labels: labels.FromStrings(lset...)})
			}
			samples = append(samples, record.RefSample{Ref: ref, T: int64(round) * 15000, V: float64(i * round)})
			if len(samples) == perRecord {
				if round == 0 {
					require.NoError(b, wal.Log(enc.Series(defs, nil)))
				}
				require.NoError(b, wal.Log(enc.Samples(samples, nil)))
				defs, samples = defs[:0], samples[:0]
			}
		}
	}
	for round := range rounds {
		write(round)
	}
	open := func() *Follower {
		f, err := Open(promslog.NewNopLogger(), dir, func(*cursor.Corruption) {})
		require.NoError(b, err)
		return f
	}
	b.Run("open", func(b *testing.B) {
		size, err := wal.Size()
		require.NoError(b, err)
		b.SetBytes(size)
		for b.Loop() {
			open().Close()
		}
	})
	b.Run("sample", func(b *testing.B) {
		f := open()
		defer f.Close()
		read := 0
		for b.Loop() {
			if read == 0 {
				b.StopTimer()
				write(rounds)
				read = series
				b.StartTimer()
				require.NoError(b, f.read(b.Context(), func() {}))
			}
			read--
		}
	})
}
