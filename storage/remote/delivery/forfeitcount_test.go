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
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// slowSnapshot takes its time for each series, once it is told to.
type slowSnapshot struct{ slow atomic.Bool }

func (s *slowSnapshot) Resolve(chunks.HeadSeriesRef) (labels.Labels, bool, error) {
	if s.slow.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	return labels.EmptyLabels(), false, nil
}

// What a limit takes is counted for two seconds at most, and estimated then;
// meanwhile the configuration can be changed. When ctx ends that is at once (I5).
func TestForfeitDoesNotCountForLong(t *testing.T) {
	t.Parallel()
	for _, canceled := range []bool{false, true} {
		j := openJournal(t, t.TempDir(), nil)
		r := newRig(t, j, map[string]*receiver{"a": newReceiver()}, Options{})
		r.attach(remoteWrite("a"))
		r.apply() // The endpoint is retained, and no other reads.
		var enc record.Encoder
		for n := range 300 {
			samples := make([]record.RefSample, 10)
			for i := range samples {
				samples[i] = record.RefSample{Ref: chunks.HeadSeriesRef(1_000_000 + 10*n + i), T: int64(n)}
			}
			j.log(enc.Samples(samples, nil))
		}
		j.cut()
		slow := &slowSnapshot{}
		r.src.Evicted = slow
		slow.slow.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		if canceled {
			cancel()
		}
		begin, done := time.Now(), make(chan error)
		go func() { done <- r.Forfeit(ctx, cursor.Position{Segment: 1}, "max_size") }()
		time.Sleep(100 * time.Millisecond)
		r.apply()
		require.Less(t, time.Since(begin), time.Second, "a reload waits")
		require.NoError(t, <-done)
		require.Less(t, time.Since(begin), 4*CountForfeitsFor)
		if canceled {
			require.Less(t, time.Since(begin), time.Second)
		}
		cancel()
		lost := r.expired(map[string]string{"remote_name": "a", "reason": "max_size"})
		require.InDelta(t, 3000, lost, 2900, "canceled %t", canceled)
		require.Equal(t, 1, r.retained[0].floor().Segment)
		r.end()
	}
}

// Damage in what a limit takes counts where some partitions have been acknowledged
// further on, too, for the others.
func TestDamageIsCountedBehindMarks(t *testing.T) {
	j, receivers := behind(t, 3)
	path := wlog.SegmentName(filepath.Join(j.dir, "wal"), 1)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	used := len(bytes.TrimRight(b, "\x00")) // The rest is padding.
	b[used/2] ^= 0x10
	require.NoError(t, os.WriteFile(path, b, 0o666))

	r := newRig(t, j, receivers, Options{})
	require.NoError(t, r.Attach(j.source()))
	marks := make([]savepoint.Mark, queue.Partitions)
	for p := range marks {
		if p%2 == 0 {
			marks[p] = savepoint.Mark{Point: cursor.Point{Position: cursor.Position{Segment: 2}}}
		}
	}
	l := newForfeit("a", forfeitedRange{to: cursor.Position{Segment: 2}, acked: marks}, &counted{})
	r.countForfeits(t.Context(), []*forfeit{l}, r.src.beyond)
	exact := 0 // But for what is damaged.
	for _, series := range j.series {
		if series.Partition()%2 == 1 {
			exact += 2*20 - 1
		}
	}
	require.Equal(t, exact, l.items[queue.Samples]-l.estimated)
	require.InDelta(t, 50, l.estimated, 20)
	r.end()
}

// Several ranges are counted in one pass, each by its own marks.
func TestCountAtOnce(t *testing.T) {
	j, receivers := behind(t, 3)
	r := newRig(t, j, receivers, Options{})
	require.NoError(t, r.Attach(j.source()))
	var all []*forfeit
	for from := range 3 {
		at := savepoint.Mark{Point: cursor.Point{Position: cursor.Position{Segment: from}}}
		marks := make([]savepoint.Mark, queue.Partitions)
		for p := range marks {
			marks[p] = at
		}
		all = append(all,
			newForfeit("a", forfeitedRange{from: at.Position, to: cursor.Position{Segment: 3}, acked: marks}, &counted{}),
			newForfeit("a", forfeitedRange{from: at.Position, to: cursor.Position{Segment: 3}, apart: []*seriesRange{{
				hash: queue.StableHash(j.series[5]), from: at, until: savepoint.Mark{Point: cursor.Point{Position: cursor.Position{Segment: 3}}},
			}}}, &counted{}))
	}
	r.countForfeits(t.Context(), all, r.src.beyond)
	for from := range 3 {
		require.Equal(t, (3-from)*2000, all[2*from].items[queue.Samples])
		require.Equal(t, (3-from)*20, all[2*from+1].items[queue.Samples])
		require.Zero(t, all[2*from].estimated+all[2*from+1].estimated)
	}
	r.end()
}

// If there is no time to read what a limit takes, it is estimated by the partitions that
// have series, even if only one has (I1).
func TestEstimateOfOneSeries(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	for range 3 {
		for range 1000 {
			j.commit(1)
		}
		j.cut()
	}
	r := newRig(t, j, nil, Options{})
	require.NoError(t, r.Attach(j.source()))
	end := cursor.Position{Segment: 3}
	marks := make([]savepoint.Mark, queue.Partitions)
	for p := range marks {
		if p != j.series[0].Partition() {
			marks[p] = savepoint.Mark{Point: cursor.Point{Position: end}}
		}
	}
	l := newForfeit("a", forfeitedRange{to: end, acked: marks}, &counted{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.countForfeits(ctx, []*forfeit{l}, r.src.beyond)
	bytes := logBytes(r.src.WALDir, cursor.Position{}, end)
	require.InEpsilon(t, float64(bytes)*perByte, l.estimated, 0.01)
	r.end()
}

// waitingSnapshot looks series up for as long as it is left to.
type waitingSnapshot struct {
	asked chan struct{} // Sent to by each look-up.
	until <-chan struct{}
}

func (s waitingSnapshot) Resolve(chunks.HeadSeriesRef) (labels.Labels, bool, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.until
	return labels.EmptyLabels(), false, nil
}

// TestCountingEndsWithTheStorage: how much another engine wrote does not keep a start, and
// what stops it, from coming to an end. What was not read is estimated, and counted once.
func TestCountingEndsWithTheStorage(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	receivers := map[string]*receiver{"a": rc}
	r := newRig(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	r.commit(100)
	r.complete("a", 100)
	r.end()
	w, err := wlog.New(nil, nil, filepath.Join(j.dir, "wal"), "none")
	require.NoError(t, err)
	var (
		enc     record.Encoder
		samples []record.RefSample
	)
	for n := range 10 * maxBatchItems {
		samples = append(samples, record.RefSample{Ref: chunks.HeadSeriesRef(1_000_000 + n), T: 2})
		if len(samples) == maxBatchItems {
			require.NoError(t, w.Log(enc.Samples(samples, nil)))
			samples = samples[:0]
		}
	}
	require.NoError(t, w.Close())

	j = j.again()
	r, log := logged(t, j, receivers, Options{})
	require.NoError(t, r.ApplyConfig(r.confWith(remoteWrite("a"))))
	src, asked, closed := j.source(), make(chan struct{}, 1), make(chan error)
	src.Evicted = waitingSnapshot{asked, r.closing.Done()}
	go func() {
		<-asked
		closed <- r.Close()
	}()
	require.NoError(t, r.Attach(src)) // Without an end of the counting it would be for ever.
	require.NoError(t, <-closed)
	require.NoError(t, j.wal.Close())
	require.Regexp(t, `passed over" remote_name=a .* samples_estimated=[1-9]`, log.all())

	j = j.again()
	r, log = logged(t, j, receivers, Options{})
	r.attach(remoteWrite("a"))
	require.Zero(t, r.droppedAs("samples", "a"))
	require.Empty(t, line(t, log.all(), "nother engine"))
	r.commit(7)
	r.complete("a", 107)
	r.end()
}
