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
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// wide returns a histogram of 160 buckets, about 1.5 kB.
func wide() *histogram.Histogram {
	const buckets = 160
	h := &histogram.Histogram{
		Count: buckets, Sum: 1, Schema: 3, ZeroThreshold: 1e-128,
		PositiveSpans:   []histogram.Span{{Length: buckets}},
		PositiveBuckets: make([]int64, buckets),
	}
	h.PositiveBuckets[0] = 1
	return h
}

// grownBy returns by how many bytes what is in use has grown over f.
func grownBy(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// stalled takes no request before it is let go.
type stalled chan struct{}

func (s stalled) Store(ctx context.Context, _ []byte, _ int) client.Result {
	select {
	case <-s:
		return client.Result{Status: 204, Outcome: client.Delivered}
	case <-ctx.Done():
		return client.Result{Outcome: client.Retry, Ambiguous: true, Err: ctx.Err()}
	}
}

func (stalled) Close() {}

// TestHeldBytes defends I6 in bytes: what an endpoint holds in memory that has
// to catch up, and is not answered, does not depend on how large items and labels
// are.
func TestHeldBytes(t *testing.T) {
	const (
		perCommit = 2_500
		commits   = 32
	)
	for name, tc := range map[string]struct {
		// commit writes one commit, of perCommit items at most.
		commit  func(j *journal, n int)
		evicted Resolver
	}{
		"histograms of 160 buckets": {commit: func(j *journal, _ int) {
			all := seriesOf(j, perCommit)
			hs := make([]record.RefHistogramSample, len(all))
			for i, s := range all {
				hs[i] = record.RefHistogramSample{Ref: s.Ref(), T: j.time, H: wide()}
			}
			var enc record.Encoder
			rec, _ := enc.HistogramSamples(hs, nil)
			j.log(rec)
		}},
		"exemplars with large labels": {commit: func(j *journal, _ int) {
			all := seriesOf(j, perCommit)
			exemplars := make([]record.RefExemplar, len(all))
			for i, s := range all {
				exemplars[i] = record.RefExemplar{Ref: s.Ref(), T: j.time, V: 1, Labels: labels.FromStrings("trace", strings.Repeat("x", 1400))}
			}
			var enc record.Encoder
			j.log(enc.Exemplars(exemplars, nil))
		}},
		"series that are gone with labels of 20 kB": {evicted: largeLabels{}, commit: func(j *journal, n int) {
			samples := make([]record.RefSample, 250)
			for i := range samples {
				samples[i] = record.RefSample{Ref: chunks.HeadSeriesRef(1_000_000 + n*len(samples) + i), T: j.time}
			}
			var enc record.Encoder
			j.log(enc.Samples(samples, nil))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t, t.TempDir(), nil)
			answer := make(stalled)
			opts := Options{newClient: func(client.Config) (storer, error) { return answer, nil }}
			conf := remoteWrite("a")
			conf.SendNativeHistograms, conf.SendExemplars = true, true
			conf.QueueConfig.Capacity, conf.QueueConfig.MaxSamplesPerSend, conf.QueueConfig.MaxShards = 10_000, 2_000, 1
			src := j.source()
			src.Evicted = tc.evicted
			attach := func(r *rig, c *config.RemoteWriteConfig) {
				require.NoError(t, r.Attach(src))
				r.apply(c)
			}
			r := newRig(t, j, nil, opts)
			attach(r, conf)
			require.NoError(t, r.Close())
			seriesOf(j, 2*perCommit) // Depth is meant for as many.
			for n := range commits {
				j.time++
				tc.commit(j, n)
				j.cut()
			}
			r = newRig(t, j, nil, opts)
			grown := grownBy(func() {
				attach(r, conf)
				q := r.running[0].streams()[0].queue
				require.Eventually(t, func() bool {
					s := q.Stats()
					return s.Full || s.Read.Position == *j.head.Load()
				}, time.Minute, time.Millisecond)
			})
			t.Logf("holds %d MiB, %d items", grown>>20, r.running[0].streams()[0].queue.Stats().Queued)
			// What is held, one batch in the reader's hands, the request, and what
			// the reader remembers of series.
			require.Less(t, grown, int64(60<<20))
			close(answer)
			r.end()
		})
	}
}

// TestClosedReaderKeepsNothing: an endpoint that has caught up does not remember
// what it needed for that.
func TestClosedReaderKeepsNothing(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	start := *j.head.Load()
	var enc record.Encoder
	j.log(enc.Samples([]record.RefSample{{Ref: 1_000_000, T: 1}}, nil))
	src := j.source()
	src.Evicted = largeLabels{}
	r := newLogReader(promslog.NewNopLogger(), &src, nil)
	require.NoError(t, r.seek(cursor.Point{Position: start}))
	b, err := r.batch(maxBatchItems, func(cursor.Position) bool { return false })
	require.NoError(t, err)
	require.Equal(t, 1, b.Total)
	require.Greater(t, b.Bytes, 20_000)
	require.Len(t, r.dec.evicted.young, 1)
	r.close()
	require.Empty(t, r.dec.evicted.young)
	require.Empty(t, r.dec.evicted.old)
	require.NoError(t, j.wal.Close())
}

// seriesOf returns the first n series of a journal, which it makes if need be.
func seriesOf(j *journal, n int) []*series.Series {
	for len(j.series) < n {
		lset := labels.FromStrings("__name__", "h", "i", strconv.Itoa(len(j.series)))
		s, _ := j.table.GetOrCreate(lset, func() chunks.HeadSeriesRef { j.next++; return j.next })
		j.series = append(j.series, s)
	}
	return j.series[:n]
}

// largeLabels knows every series, by labels of 20 kB.
type largeLabels struct{}

func (largeLabels) Resolve(ref chunks.HeadSeriesRef) (labels.Labels, bool, error) {
	return labels.FromStrings("__name__", "m", "i", fmt.Sprint(ref), "large", strings.Repeat("x", 20_000)), true, nil
}

// TestSharedBytes defends I6 in bytes for what the dispatcher keeps: batches for
// endpoints that are a little behind, and commits that wait for it.
func TestSharedBytes(t *testing.T) {
	const bound = 12 << 20 // 8 MiB, and what it takes to keep that.
	all := someSeries(t, 1000)

	d := newDispatcher(&logReader{}, at(0, 0))
	bb := queue.Builder{Ordered: true}
	bb.Reset(at(0, 0))
	grown := grownBy(func() {
		for n := range 40 {
			for _, s := range all {
				bb.Items.Histogram(s, 0, 1, wide())
			}
			bb.End = at(0, int64(n+1))
			d.publish(bb.Build())
		}
	})
	require.Less(t, grown, int64(bound), "shared")
	require.NotEmpty(t, d.shared)
	require.Equal(t, at(0, 40), d.head)
	runtime.KeepAlive(d)

	q := &commitQueue{}
	q.wanted.Store(true)
	taken := 0
	grown = grownBy(func() {
		for n := range int64(40) {
			c := q.newCommit(len(all))
			if c == nil {
				break
			}
			for _, s := range all {
				c.Histogram(s, 0, 1, wide())
			}
			c.start, c.end = at(0, n).Position, at(0, n+1).Position
			q.put(c)
			taken++
		}
	})
	require.Less(t, grown, int64(bound), "in the queue")
	require.Greater(t, taken, 2)
	require.NotEmpty(t, q.ready)

	// A commit that is too much alone is not queued, and what comes after it is.
	q.clear()
	c := q.newCommit(keptItems)
	grown = grownBy(func() {
		for range keptItems / len(all) {
			for _, s := range all {
				c.Histogram(s, 0, 1, wide())
			}
		}
	})
	require.Less(t, grown, int64(bound), "in a commit")
	q.put(c)
	require.Empty(t, q.ready)
	c = q.newCommit(1)
	c.Float(all[0], 0, 1, 1)
	q.put(c)
	require.Len(t, q.ready, 1)
	q.clear()
	require.Zero(t, q.bytes)
	runtime.KeepAlive(q)
}
