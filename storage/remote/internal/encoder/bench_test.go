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

package encoder

import (
	"fmt"
	"testing"

	"github.com/gogo/protobuf/proto"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/util/compression"
)

// load is a batch such as an agent sends: one sample per series, series of a
// few metrics on many targets, external labels, a histogram now and then.
func load(series int) *batch {
	x := &batch{}
	help := &metadata.Metadata{Type: "counter", Help: "Total number of requests served by the handler."}
	for i := range series {
		l := line{
			meta: help,
			lset: labels.FromStrings(
				"__name__", fmt.Sprintf("http_server_requests_metric_%d_total", i%97),
				"cluster", "eu-west-1", "container", "server", "handler", fmt.Sprintf("/api/v1/items/%d", i%13),
				"instance", fmt.Sprintf("10.20.%d.%d:9090", i/250%250, i%250), "job", "kubernetes-pods",
				"method", "GET", "namespace", "production", "pod", fmt.Sprintf("server-7c9d8f6b5-%05d", i), "replica", "a",
			),
			items: []item{{t: 1700000000000 + int64(i%15000), v: float64(i) * 1.37}},
		}
		if i%100 == 99 {
			l.items = []item{{t: 1700000000000, whole: tsdbutil.GenerateTestHistogram(int64(i))}}
		}
		x.lines = append(x.lines, l)
	}
	return x
}

// BenchmarkRequest builds compressed requests of 2000 series, here and in
// stock's way: exported conversions into reused structs, marshalling into a
// reused buffer, compression.
func BenchmarkRequest(b *testing.B) {
	const count = 2000
	x := load(count)
	report := func(b *testing.B, packed int) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/sample")
		b.ReportMetric(float64(packed)/count, "B/sample")
	}
	for _, p := range []Protocol{V1, V2} {
		b.Run("by=ours/proto="+p.String(), func(b *testing.B) {
			b.ReportAllocs()
			builder, packed := New(p, Options{}), []byte(nil)
			for b.Loop() {
				builder.Reset()
				x.build(builder)
				packed, _ = builder.Finish()
			}
			report(b, len(packed))
		})
		b.Run("by=ours/from=table/proto="+p.String(), func(b *testing.B) {
			b.ReportAllocs()
			builder, packed, table := New(p, Options{}), []byte(nil), series.New(series.Options{})
			var all []*series.Series
			for i, l := range x.lines {
				s, _ := table.GetOrCreate(l.lset, func() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(i + 1) })
				all = append(all, s)
			}
			for b.Loop() {
				builder.Reset()
				next := 0
				x.buildWith(builder, func(l line) {
					builder.TableSeries(all[next], x.external, l.meta)
					next++
				})
				packed, _ = builder.Finish()
			}
			report(b, len(packed))
		})
		b.Run("by=ours/compressed=no/proto="+p.String(), func(b *testing.B) {
			b.ReportAllocs()
			builder, size := New(p, Options{}), 0
			for b.Loop() {
				builder.Reset()
				x.build(builder)
				size = len(builder.finishRaw())
			}
			report(b, size)
		})
	}
	b.Run("by=stock/proto="+V1.String(), func(b *testing.B) {
		b.ReportAllocs()
		request, marshalled, pack := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, count)}, proto.NewBuffer(nil), compression.NewSyncEncodeBuffer()
		var packed []byte
		for b.Loop() {
			for n, l := range x.lines {
				s := &request.Timeseries[n]
				s.Labels = prompb.FromLabels(l.lset, s.Labels)
				s.Samples, s.Histograms = s.Samples[:0], s.Histograms[:0]
				if i := l.items[0]; i.whole != nil {
					s.Histograms = append(s.Histograms, prompb.FromIntHistogram(i.t, i.whole))
				} else {
					s.Samples = append(s.Samples, prompb.Sample{Timestamp: i.t, Value: i.v})
				}
			}
			marshalled.Reset()
			if err := marshalled.Marshal(&request); err != nil {
				b.Fatal(err)
			}
			packed, _ = compression.Encode(compression.Snappy, marshalled.Bytes(), pack)
		}
		report(b, len(packed))
	})
	b.Run("by=stock/proto="+V2.String(), func(b *testing.B) {
		b.ReportAllocs()
		request, table, pack := writev2.Request{Timeseries: make([]writev2.TimeSeries, count)}, writev2.NewSymbolTable(), compression.NewSyncEncodeBuffer()
		var marshalled, packed []byte
		for b.Loop() {
			table.Reset()
			for n, l := range x.lines {
				s := &request.Timeseries[n]
				s.Metadata = writev2.Metadata{Type: writev2.FromMetadataType(l.meta.Type), HelpRef: table.Symbolize(l.meta.Help)}
				s.LabelsRefs = table.SymbolizeLabels(l.lset, s.LabelsRefs)
				s.Samples, s.Histograms = s.Samples[:0], s.Histograms[:0]
				if i := l.items[0]; i.whole != nil {
					s.Histograms = append(s.Histograms, writev2.FromIntHistogram(i.st, i.t, i.whole))
				} else {
					s.Samples = append(s.Samples, writev2.Sample{Timestamp: i.t, Value: i.v, StartTimestamp: i.st})
				}
			}
			request.Symbols = table.Symbols()
			var err error
			if marshalled, err = request.OptimizedMarshal(marshalled); err != nil {
				b.Fatal(err)
			}
			packed, _ = compression.Encode(compression.Snappy, marshalled, pack)
		}
		report(b, len(packed))
	})
}
