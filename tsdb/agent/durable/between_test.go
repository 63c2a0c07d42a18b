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
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// between is a data directory that durable and best-effort delivery use in turn, with one
// endpoint.
type between struct {
	t         *testing.T
	dir       string
	remote    *receiver
	conf      *config.Config
	now       int64
	committed int                // In durable mode.
	lost      map[string]float64 // By reason, over all runs.
}

func newBetween(t *testing.T) *between {
	b := &between{t: t, dir: t.TempDir(), remote: newReceiver(t), now: time.Now().UnixMilli(), lost: map[string]float64{}}
	var err error
	b.conf, err = config.Load("remote_write: [{name: a, url: \""+b.remote.URL+"\", queue_config: {min_backoff: 10ms, max_backoff: 50ms, batch_send_deadline: 50ms, capacity: 2000}}]", promslog.NewNopLogger())
	require.NoError(t, err)
	return b
}

// durable is a run in which so many commits of some series are made; done, if not nil, says
// when it may end.
func (b *between) durable(from, to, commits int, opts delivery.Options, done func() bool) {
	b.t.Helper()
	reg := lasting{prometheus.NewRegistry()}
	rs, err := delivery.NewStorage(nil, reg, func() (int64, error) { return 0, nil }, b.dir, time.Second, nil, false, opts)
	require.NoError(b.t, err)
	db, err := open(nil, prometheus.NewRegistry(), rs, b.dir, small(), still())
	require.NoError(b.t, err)
	require.NoError(b.t, rs.ApplyConfig(b.conf))
	for range commits {
		b.now++
		appendFloats(b.t, db, from, to, b.now)
		b.committed += to - from
	}
	require.NoError(b.t, db.truncate(b.t.Context()))
	if done != nil {
		require.Eventually(b.t, done, time.Minute, 10*time.Millisecond, "%v", b.lost)
	}
	require.NoError(b.t, db.Close())
	require.NoError(b.t, rs.Close())
	families, err := reg.Gather()
	require.NoError(b.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "reason" && strings.HasPrefix(f.GetName(), "prometheus_remote_storage_samples_") {
					b.lost[strings.TrimPrefix(f.GetName(), "prometheus_remote_storage_samples_")+" "+l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
}

// bestEffort is a run of stock's engine, with so many commits of some series.
func (b *between) bestEffort(from, to, commits int, opts agent.Options) {
	b.t.Helper()
	opts.WALSegmentSize = small().WALSegmentSize
	db := openStock(b.t, nil, b.dir, opts)
	for range commits {
		b.now++
		appendFloats(b.t, db, from, to, b.now)
	}
	if opts.TruncateFrequency > 0 {
		first := segmentNumbers(b.t, b.dir)[0]
		require.Eventually(b.t, func() bool { return segmentNumbers(b.t, b.dir)[0] > first }, time.Minute, time.Millisecond)
		_, _, err := wlog.LastCheckpoint(filepath.Join(b.dir, "wal"))
		require.NoError(b.t, err)
	}
	require.NoError(b.t, db.Close())
}

// once checks that nothing arrived twice, and no sample of one series under the labels of
// another.
func (b *between) once() {
	b.t.Helper()
	b.remote.mtx.Lock()
	defer b.remote.mtx.Unlock()
	for name, samples := range b.remote.got {
		for ts, n := range samples {
			require.Equal(b.t, 1, n, "%s at %d", name, ts)
		}
	}
}

// TestBestEffortInBetween defends I1 to I3 where best-effort delivery has had the directory
// between runs of ours, twice, while the receiver did not answer: what ours had not
// delivered is, each sample once and under its labels, and what the other wrote is counted,
// once over restarts, and not sent, or all of it is if that is asked for.
func TestBestEffortInBetween(t *testing.T) {
	for _, resume := range []bool{false, true} {
		b := newBetween(t)
		opts := delivery.Options{ResumeAfterBestEffort: resume}
		b.remote.set(true)
		b.durable(0, 300, 100, opts, nil)
		b.durable(600, 900, 1, opts, nil) // Series that nothing later has.
		b.bestEffort(100, 400, 100, agent.Options{})
		b.durable(200, 500, 50, opts, b.remote.wasRefused)
		b.bestEffort(0, 600, 5, agent.Options{})
		b.durable(0, 600, 10, opts, nil)
		others := 300*100 + 600*5
		require.Greater(t, len(segmentNumbers(t, b.dir)), 10)

		// This run is stopped while it delivers.
		b.remote.set(false)
		want := b.committed
		if resume {
			want += others
		}
		b.durable(0, 1, 1, opts, func() bool { return b.remote.count() > 0 })
		b.durable(0, 1, 1, opts, func() bool { return b.remote.count() >= want+2 })
		b.once()
		require.Equal(t, want+2, b.remote.count())
		passed := map[bool]int{false: others}[resume]
		require.Equal(t, float64(passed), b.lost["dropped_total other_engine"])
		delete(b.lost, "dropped_total other_engine")
		for reason, n := range b.lost {
			require.Zero(t, n, reason)
		}
	}
}

// TestBestEffortRemovesInBetween: what best-effort delivery has removed of the log by then is
// lost, and counted, about; what it has left is delivered under its labels (I1, I3).
func TestBestEffortRemovesInBetween(t *testing.T) {
	b := newBetween(t)
	b.remote.set(true)
	b.durable(0, 300, 200, delivery.Options{}, nil)
	b.bestEffort(100, 400, 20, agent.Options{TruncateFrequency: 10 * time.Millisecond, MaxWALTime: 1})
	left := len(segmentNumbers(t, b.dir))
	require.Greater(t, left, 3)
	b.remote.set(false)
	b.durable(0, 1, 1, delivery.Options{}, func() bool { return b.remote.count() > 1 })
	b.durable(0, 1, 1, delivery.Options{}, nil)
	b.once()
	lost := b.lost["expired_total other_engine"]
	require.Positive(t, lost)
	require.InEpsilon(t, b.committed, float64(b.remote.count())+lost, 0.3)
	require.Zero(t, b.lost["dropped_total unintentionally_dropped_series"])
}
