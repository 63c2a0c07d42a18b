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
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

var benchSeries = flag.Int("series", 1_000_000, "number of series in the benchmarks")

func benchStore(b *testing.B, o Options) (*Store, int) {
	n := *benchSeries
	s := open(b, b.TempDir(), o)
	require.NoError(b, s.Append(context.Background(), Update{State: stateOf(1), Series: defs(upTo(1, n+1))}))
	return s, n
}

func BenchmarkLoad(b *testing.B) {
	s, n := benchStore(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		rep, err := s.Load(context.Background(), 0, func(int, ref, []labels.Label, uint64) error { return nil })
		require.NoError(b, err)
		require.Equal(b, n, rep.Series)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*1e9/float64(n), "ns/series")
	b.ReportMetric(float64(s.Bytes())/float64(n), "B/series")
}

// BenchmarkLoadTable is what a start does with it.
func BenchmarkLoadTable(b *testing.B) {
	n := *benchSeries
	s := open(b, b.TempDir(), Options{})
	require.NoError(b, s.Append(context.Background(), Update{State: stateOf(1), Series: func(yield func(record.RefSeries) bool) {
		for i := range n {
			if !yield(record.RefSeries{Ref: ref(i + 1), Labels: scraped(i)}) {
				return
			}
		}
	}}))
	b.ReportAllocs()
	for b.Loop() {
		table := series.New(series.Options{})
		table.Reserve(n)
		loaders := make([]*series.BulkLoader, runtime.GOMAXPROCS(0))
		for i := range loaders {
			loaders[i] = table.BulkLoader(0, time.Now())
		}
		_, err := s.Load(context.Background(), len(loaders), func(worker int, ref ref, lset []labels.Label, same uint64) error {
			loaders[worker].Add(ref, lset, same)
			return nil
		})
		require.NoError(b, err)
		for _, l := range loaders {
			l.Flush()
		}
		active, _ := table.Len()
		require.Equal(b, n, active)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)*1e9/float64(n), "ns/series")
}

// scraped are labels as an agent has them: 500 metrics of each target.
func scraped(i int) labels.Labels {
	target, metric := i/500, i%500
	return labels.FromStrings(
		"__name__", fmt.Sprintf("queue_operations_%02d_total", metric/20), "cluster", "eu-west-1", "container", "frontend",
		"handler", fmt.Sprintf("/api/v1/items/%02d", metric%20), "instance", fmt.Sprintf("10.20.%d.%d:8080", target/250, target%250),
		"job", "kubernetes-pods", "namespace", fmt.Sprintf("team-%02d", target%50), "node", fmt.Sprintf("node-%03d", target/10),
		"pod", fmt.Sprintf("frontend-7d9f8c6b54-%05x", target), "status", strconv.Itoa(200+metric%4),
	)
}

func BenchmarkResolve(b *testing.B) {
	s, n := benchStore(b, Options{})
	b.Run("hit", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, ok, _ := s.Resolve(ref(1 + i%10_000)); !ok {
				b.Fatal("not found")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		rnd := rand.New(rand.NewPCG(1, 1))
		for b.Loop() {
			s.cache.clear()
			if _, ok, _ := s.Resolve(ref(1 + rnd.IntN(n))); !ok {
				b.Fatal("not found")
			}
		}
	})
	b.Run("unknown", func(b *testing.B) {
		for b.Loop() {
			if _, ok, _ := s.Resolve(ref(n + 7)); ok {
				b.Fatal("found")
			}
		}
	})
}
