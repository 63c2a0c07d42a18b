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

package delivery

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// sink takes everything and counts bytes and requests.
type sink struct{ bytes, requests *atomic.Int64 }

func (s sink) Store(_ context.Context, body []byte, _ int) client.Result {
	s.bytes.Add(int64(len(body)))
	s.requests.Inc()
	return client.Result{Status: 204, Outcome: client.Delivered}
}

func (sink) Close() {}

// BenchmarkDrain measures how fast a log that was written before is delivered
// to a receiver that costs nothing. One operation is one sample.
func BenchmarkDrain(b *testing.B) {
	const numSeries, perCommit = 10_000, 500
	for _, message := range []remoteapi.WriteMessageType{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType} {
		b.Run(fmt.Sprintf("proto=%s", message), func(b *testing.B) {
			j := openJournal(b, b.TempDir(), nil)
			rounds := max(b.N/numSeries, 1)
			var enc record.Encoder
			refs := make([]chunks.HeadSeriesRef, numSeries)
			for i := range refs {
				lset := labels.FromStrings("__name__", "http_requests_total", "cluster", "eu-west-1", "namespace", "shop", "pod", fmt.Sprintf("frontend-%05d", i/20),
					"instance", fmt.Sprintf("10.0.%d.%d:8080", i/5000, i/20%250), "job", "frontend", "method", "GET", "code", strconv.Itoa(200+i%20))
				s, _ := j.table.GetOrCreate(lset, func() chunks.HeadSeriesRef { j.next++; return j.next })
				refs[i] = s.Ref()
			}
			start := *j.head.Load()
			for round := range rounds {
				for from := 0; from < numSeries; from += perCommit {
					samples := make([]record.RefSample, perCommit)
					for i := range samples {
						samples[i] = record.RefSample{Ref: refs[from+i], T: int64(round+1) * 15_000, V: float64(round*17 + i)}
					}
					require.NoError(b, j.wal.Log(enc.Samples(samples, nil)))
				}
			}
			seg, off, err := j.wal.LastSegmentAndOffset()
			require.NoError(b, err)
			j.head.Store(&cursor.Position{Segment: seg, Offset: cursor.RecordEnd(int64(off))})

			s := sink{atomic.NewInt64(0), atomic.NewInt64(0)}
			r := newRig(b, j, nil, Options{})
			r.opts.newClient = func(client.Config) (storer, error) { return s, nil }
			require.NoError(b, r.Attach(j.source()))
			r.lost, r.oldest = true, start
			c := remoteWrite("a")
			c.ProtobufMessage = message
			c.QueueConfig.MaxSamplesPerSend, c.QueueConfig.Capacity, c.QueueConfig.MaxShards = 2000, 10_000, 4
			c.QueueConfig.BatchSendDeadline = model.Duration(100 * time.Millisecond)
			b.ReportAllocs()
			b.ResetTimer()
			r.apply(c)
			total := rounds * numSeries
			e := r.running[0]
			for {
				st := e.streams()[0].queue.Stats()
				if st.Read.Position == *j.head.Load() && st.Queued == 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			b.ReportMetric(float64(s.bytes.Load())/float64(total), "wire-B/sample")
			b.ReportMetric(float64(total)/float64(s.requests.Load()), "samples/request")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(total), "ns/sample")
			require.NoError(b, r.Close())
			require.NoError(b, j.wal.Close())
		})
	}
}
