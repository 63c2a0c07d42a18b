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
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// receiver is a remote endpoint that can be out of order.
type receiver struct {
	*httptest.Server
	mtx     sync.Mutex
	down    bool
	refused int
	got     map[string]map[int64]int // Series, timestamp, how often.
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{got: map[string]map[int64]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mtx.Lock()
		defer r.mtx.Unlock()
		if r.down {
			r.refused++
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(req.Body)
		if err == nil {
			body, err = snappy.Decode(nil, body)
		}
		var msg prompb.WriteRequest
		if err == nil {
			err = msg.Unmarshal(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, ts := range msg.Timeseries {
			name := ""
			for _, l := range ts.Labels {
				name += l.Name + "=" + l.Value + ","
			}
			if r.got[name] == nil {
				r.got[name] = map[int64]int{}
			}
			for _, s := range ts.Samples {
				r.got[name][s.Timestamp]++
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(down bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.down = down
}

// count returns how many samples have arrived, without repetitions.
func (r *receiver) count() (n int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, s := range r.got {
		n += len(s)
	}
	return n
}

func (r *receiver) wasRefused() bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.refused > 0
}

// Together with the delivery: what an endpoint has not acknowledged survives
// truncations and a restart, what it has acknowledged goes, and the directory
// is free when both are closed (I1, I8).
func TestWithDelivery(t *testing.T) {
	const series = 500
	dir := t.TempDir()
	ctx := context.Background()
	remote := newReceiver(t)
	conf, err := config.Load("remote_write: [{url: \""+remote.URL+"\", queue_config: {min_backoff: 10ms, max_backoff: 50ms, batch_send_deadline: 50ms}}]", promslog.NewNopLogger())
	require.NoError(t, err)

	start := func() (*DB, *delivery.Storage) {
		rs, err := delivery.NewStorage(nil, prometheus.NewRegistry(), func() (int64, error) { return 0, nil }, dir, time.Second, nil, false, delivery.Options{})
		require.NoError(t, err)
		db, err := open(nil, prometheus.NewRegistry(), rs, dir, small(), still())
		require.NoError(t, err)
		require.Equal(t, gate.Closed, db.gate.Floor().State)
		require.NoError(t, rs.ApplyConfig(conf))
		require.Equal(t, gate.Held, db.gate.Floor().State)
		return db, rs
	}
	db, rs := start()
	base := time.Now().UnixMilli()
	for i := range 2 {
		appendFloats(t, db, 0, series, base+int64(i))
		require.Eventually(t, func() bool { return remote.count() == series*(i+1) }, time.Minute, 10*time.Millisecond)
		_, err := db.journal.cutIfOlder(0)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		return db.truncate(ctx) == nil && db.journal.Head().Segment == firstSegment(dir)
	}, time.Minute, 10*time.Millisecond)

	remote.set(true)
	before := db.journal.Head()
	for i := range int64(50) {
		appendFloats(t, db, 0, series, base+10+i)
	}
	require.Eventually(t, remote.wasRefused, time.Minute, 10*time.Millisecond)
	require.NoError(t, db.truncate(ctx))
	require.Equal(t, before.Segment, segmentNumbers(t, dir)[0])
	require.NoError(t, db.Close())
	require.FileExists(t, filepath.Join(dir, "lock"))
	require.NoError(t, rs.Close())
	require.NoFileExists(t, filepath.Join(dir, "lock"))

	db, rs = start()
	remote.set(false)
	appendFloats(t, db, 0, series, base+100)
	require.Eventually(t, func() bool { return remote.count() == series*53 }, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		return db.truncate(ctx) == nil && db.journal.Head().Segment == firstSegment(dir)
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, db.Close())
	require.NoError(t, rs.Close())
}

// Stock had the directory in between and removed all that was there before: what an
// endpoint had not been sent of it is counted, about, by what is known of the segments
// (I1).
func TestBacklogThatStockRemoved(t *testing.T) {
	const series, commits = 300, 300
	dir := t.TempDir()
	remote := newReceiver(t)
	remote.set(true)
	conf, err := config.Load("remote_write: [{name: a, url: \""+remote.URL+"\", queue_config: {max_backoff: 50ms}}]", promslog.NewNopLogger())
	require.NoError(t, err)
	now := time.Now().UnixMilli()
	start := func() (lost float64) {
		reg := prometheus.NewRegistry()
		rs, err := delivery.NewStorage(nil, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false, delivery.Options{})
		require.NoError(t, err)
		db, err := open(nil, prometheus.NewRegistry(), rs, dir, small(), still())
		require.NoError(t, err)
		require.NoError(t, rs.ApplyConfig(conf))
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if strings.HasSuffix(f.GetName(), "s_expired_total") {
				for _, m := range f.GetMetric() {
					lost += m.GetCounter().GetValue()
				}
			}
		}
		for range commits {
			now++
			appendFloats(t, db, 0, series, now)
		}
		require.NoError(t, db.Close())
		require.NoError(t, rs.Close())
		return lost
	}
	require.Zero(t, start())
	last := segmentNumbers(t, dir)
	require.Greater(t, len(last), 2)

	w, err := wlog.NewSize(nil, nil, filepath.Join(dir, "wal"), 32*1024, "none")
	require.NoError(t, err)
	var enc record.Encoder
	require.NoError(t, w.Log(enc.Series([]record.RefSeries{{Ref: 1, Labels: metric(1)}}, nil)))
	require.NoError(t, w.Truncate(last[len(last)-1]+1))
	require.NoError(t, w.Close())
	require.InEpsilon(t, series*commits, start(), 0.4)
	require.Zero(t, start())
}

// lasting keeps what was registered, so that it can be read after a stop.
type lasting struct{ *prometheus.Registry }

func (lasting) Unregister(prometheus.Collector) bool { return true }

// What a budget takes from an endpoint in one run after the other, each of which stops
// with something in memory, is counted once: with what is delivered in the end it is all
// that was committed (I1).
func TestBudgetOverRestarts(t *testing.T) {
	const series, commits = 300, 150
	dir := t.TempDir()
	remote := newReceiver(t)
	conf, err := config.Load("remote_write: [{name: a, url: \""+remote.URL+"\", queue_config: {min_backoff: 10ms, max_backoff: 50ms, max_shards: 2, capacity: 2000}}]", promslog.NewNopLogger())
	require.NoError(t, err)
	opts := small()
	opts.EndpointMaxSize = 2 * int64(opts.WALSegmentSize)
	now, committed, lost := time.Now().UnixMilli(), 0, map[string]float64{}
	for run := range 4 {
		last := run == 3
		remote.set(!last)
		reg := lasting{prometheus.NewRegistry()}
		rs, err := delivery.NewStorage(nil, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false, delivery.Options{})
		require.NoError(t, err)
		db, err := open(nil, prometheus.NewRegistry(), rs, dir, opts, still())
		require.NoError(t, err)
		require.NoError(t, rs.ApplyConfig(conf))
		for i := range commits {
			if last && i == 1 {
				break
			}
			now++
			appendFloats(t, db, 0, series, now)
			committed += series
			if i%50 == 49 {
				require.NoError(t, db.truncate(t.Context()))
				u, err := db.measure()
				require.NoError(t, err)
				require.LessOrEqual(t, u.segments(), opts.EndpointMaxSize+int64(opts.WALSegmentSize), "what is forfeited goes from the disk")
			}
		}
		if last {
			require.Eventually(t, func() bool {
				return rs.Persist(t.Context()) == nil && db.gate.Floor().Position == db.journal.Head()
			}, time.Minute, 10*time.Millisecond)
		}
		require.NoError(t, db.Close())
		require.NoError(t, rs.Close())
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if strings.HasSuffix(f.GetName(), "s_expired_total") {
				for _, m := range f.GetMetric() {
					lost[m.GetLabel()[0].GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	sum := 0.0
	for _, n := range lost {
		sum += n
	}
	require.Positive(t, sum)
	require.Equal(t, float64(committed), sum+float64(remote.count()), "forfeited: %v", lost)
}
