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

package durable

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"
)

// BenchmarkCommit commits a scrape of 1,000 known series: by ref, as scrapes do.
func BenchmarkCommit(b *testing.B) {
	const n = 1000
	for _, c := range []compression.Type{compression.None, compression.Snappy} {
		for _, engine := range []string{"stock", "durable"} {
			for _, version := range []int{1, 2} {
				b.Run(fmt.Sprintf("compression=%s/engine=%s/appender=v%d", c, engine, version), func(b *testing.B) {
					opts := agent.Options{WALCompression: c}
					var s storage.Storage
					if engine == "stock" {
						s = openStock(b, nil, b.TempDir(), opts)
					} else {
						s = openTest(b, b.TempDir(), nil, &Options{Options: opts}, still())
					}
					defer s.Close()
					lsets := make([]labels.Labels, n)
					refs := make([]storage.SeriesRef, n)
					for i := range lsets {
						lsets[i] = metric(i)
					}
					ts := int64(0)
					scrape := func() {
						ts += 15_000
						var err error
						var tx storage.AppenderTransaction
						if version == 1 {
							app := s.Appender(context.Background())
							for i := range refs {
								if refs[i], err = app.Append(refs[i], lsets[i], ts, float64(i)); err != nil {
									b.Fatal(err)
								}
							}
							tx = app
						} else {
							app := s.AppenderV2(context.Background())
							for i := range refs {
								if refs[i], err = app.Append(refs[i], lsets[i], 0, ts, float64(i), nil, nil, storage.AOptions{}); err != nil {
									b.Fatal(err)
								}
							}
							tx = app
						}
						require.NoError(b, tx.Commit())
					}
					scrape()
					b.ReportAllocs()
					for b.Loop() {
						scrape()
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/sample")
				})
			}
		}
	}
}

// BenchmarkCommitParallel is the same by several scrapers at once.
func BenchmarkCommitParallel(b *testing.B) {
	const n = 1000
	for _, engine := range []string{"stock", "durable"} {
		b.Run("engine="+engine, func(b *testing.B) {
			var s storage.Storage
			if engine == "stock" {
				s = openStock(b, nil, b.TempDir(), agent.Options{})
			} else {
				s = openTest(b, b.TempDir(), nil, nil, still())
			}
			defer s.Close()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				refs, ts := make([]storage.SeriesRef, n), int64(0)
				lsets := make([]labels.Labels, n)
				for i := range lsets {
					lsets[i] = labels.FromStrings("scraper", fmt.Sprintf("%p", refs), "i", strconv.Itoa(i))
				}
				for pb.Next() {
					ts += 15_000
					app := s.Appender(context.Background())
					for i := range refs {
						var err error
						if refs[i], err = app.Append(refs[i], lsets[i], ts, 1); err != nil {
							b.Error(err)
						}
					}
					if err := app.Commit(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
