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

package dropin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/interlock"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// perCommit is how many samples a commit has.
const perCommit = 500

// rig is a log that a program writes, and an endpoint.
type rig struct {
	t      *testing.T
	dir    string
	reg    *prometheus.Registry
	wal    *wlog.WL
	n      int // Samples of the one series.
	w      *Write
	stocks int // How often stock's storage was given a configuration.

	url     string
	refuses atomic.Bool
	mtx     sync.Mutex
	got     []float64
}

func newRig(t *testing.T) *rig {
	for _, name := range []string{EnvDelivery, EnvMaxSize, EnvMaxTime} {
		t.Setenv(name, "") // Tests in the fork may be run with them.
	}
	r := &rig{t: t, dir: t.TempDir()}
	server := httptest.NewServer(http.HandlerFunc(r.receive))
	t.Cleanup(server.Close)
	r.url = server.URL
	r.open()
	t.Cleanup(func() {
		r.closeLog()
		require.NoError(t, r.w.Close())
	})
	return r
}

// open makes another Write, as a start of the program does.
func (r *rig) open() {
	r.reg = prometheus.NewRegistry()
	r.w, _ = New(promslog.NewNopLogger(), r.reg, r.dir, time.Second, nil, false)
}

func (r *rig) receive(w http.ResponseWriter, request *http.Request) {
	if r.refuses.Load() {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	body := make([]byte, request.ContentLength)
	for n := 0; n < len(body); {
		m, err := request.Body.Read(body[n:])
		if n += m; err != nil {
			break
		}
	}
	raw, err := snappy.Decode(nil, body)
	var write prompb.WriteRequest
	if err == nil {
		err = write.Unmarshal(raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, series := range write.Timeseries {
		for _, s := range series.Samples {
			r.got = append(r.got, s.Value)
		}
	}
}

// openLog opens the log, and says so, which stock's functions in the fork do themselves.
func (r *rig) openLog() {
	var err error
	wal := filepath.Join(r.dir, "wal")
	interlock.Opening(wal, nil)
	r.wal, err = wlog.NewSize(nil, nil, wal, 32<<10, compression.None)
	require.NoError(r.t, err)
	if !interlock.IsOpen(wal) {
		interlock.Opened(wal)
	}
}

func (r *rig) closeLog() {
	if r.wal != nil {
		require.NoError(r.t, r.wal.Close())
		if interlock.IsOpen(r.wal.Dir()) {
			interlock.Closed(r.wal.Dir())
		}
		r.wal = nil
	}
}

// last returns the newest segment.
func (r *rig) last() int {
	_, last, err := wlog.Segments(filepath.Join(r.dir, "wal"))
	require.NoError(r.t, err)
	return last
}

// commitUpTo commits until there is a segment.
func (r *rig) commitUpTo(segment int) {
	for r.last() < segment {
		r.commit()
	}
}

// outage opens a log, of which the receiver takes the beginning, and commits until there
// is a segment.
func (r *rig) outage(segment int) {
	r.t.Helper()
	r.openLog()
	require.NoError(r.t, r.apply())
	r.commit()
	r.arrives(r.n)
	r.refuses.Store(true)
	r.commitUpTo(segment)
}

// stop ends delivery, and then closes the log.
func (r *rig) stop() {
	require.NoError(r.t, r.w.Close())
	r.closeLog()
}

// missing returns how many samples have not arrived.
func (r *rig) missing() int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	got := map[float64]bool{}
	for _, v := range r.got {
		got[v] = true
	}
	return r.n - len(got)
}

// counter returns the sum of the counters with a name and, if one is given, a label.
func (r *rig) counter(name string, label ...string) (sum float64) {
	families, err := r.reg.Gather()
	require.NoError(r.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			of := f.GetName() == name && (len(label) == 0 || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
				return l.GetName() == label[0] && l.GetValue() == label[1]
			}))
			if of {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// commit logs samples, some kilobytes, with the definition of their series: its ref may
// have been given to another.
func (r *rig) commit() {
	var (
		enc     record.Encoder
		samples []record.RefSample
	)
	for range perCommit {
		samples = append(samples, record.RefSample{Ref: 7, T: int64(1000 + r.n), V: float64(r.n)})
		r.n++
	}
	require.NoError(r.t, r.wal.Log(enc.Series([]record.RefSeries{{Ref: 7, Labels: labels.FromStrings("__name__", "m")}}, nil), enc.Samples(samples, nil)))
	r.w.Notify()
	r.w.Highest(int64(1000 + r.n - 1))
}

func (r *rig) apply() error {
	conf, err := config.Load("remote_write: [{name: only, url: "+strconv.Quote(r.url)+", queue_config: {capacity: 1, max_samples_per_send: 1000, max_shards: 1, min_backoff: 10ms, max_backoff: 10ms, batch_send_deadline: 10ms}}]", promslog.NewNopLogger())
	require.NoError(r.t, err)
	return r.applied(conf)
}

// applied is what a stock WriteStorage does with a configuration.
func (r *rig) applied(conf *config.Config) error {
	taken, err := r.w.ApplyConfig(conf, r.applied)
	if !taken {
		r.mtx.Lock()
		defer r.mtx.Unlock()
		r.stocks++
	}
	return err
}

func (r *rig) arrives(n int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.mtx.Lock()
		defer r.mtx.Unlock()
		return len(r.got) >= n
	}, time.Minute, time.Millisecond)
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for i, v := range r.got {
		require.Equal(r.t, float64(i), v)
	}
	require.Len(r.t, r.got, n)
}

// newestArrives waits for the last sample that was committed, whatever came before it.
func (r *rig) newestArrives() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.mtx.Lock()
		defer r.mtx.Unlock()
		return len(r.got) > 0 && r.got[len(r.got)-1] == float64(r.n-1)
	}, time.Minute, time.Millisecond)
}

// arrivesFrom waits for one commit, which begins with a sample, and is all that comes.
func (r *rig) arrivesFrom(first int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { r.mtx.Lock(); defer r.mtx.Unlock(); return len(r.got) == perCommit }, time.Minute, time.Millisecond)
	r.mtx.Lock()
	defer r.mtx.Unlock()
	require.Equal(r.t, float64(first), r.got[0])
}

// What is committed arrives, over a restart in an outage, and segments stay until it
// has (I1, I2).
func TestDelivers(t *testing.T) {
	r := newRig(t)
	r.openLog()
	require.NoError(t, r.apply())
	r.commit()
	r.arrives(r.n)
	r.refuses.Store(true)
	for range 20 { // Several segments.
		r.commit()
	}
	require.NoError(t, r.apply(), "a reload")
	wal, last := r.wal.Dir(), r.last()
	require.Greater(t, last, 1)
	require.ErrorContains(t, interlock.Check(wal, last-1), "not acknowledged by only")
	segment, here := r.w.HighestAckedSegment()
	require.True(t, here)
	require.Less(t, segment, last-1)
	r.closeLog()
	require.NoError(t, r.w.Close())
	require.NoError(t, interlock.Check(wal, last-1), "the program has given it up")

	r.open()
	require.ErrorContains(t, interlock.Check(wal, last-1), "until remote write has a configuration")
	r.openLog()
	require.NoError(t, r.apply())
	ms, here := r.w.LowestSentTimestamp()
	require.True(t, here)
	require.Zero(t, ms)
	r.commit()
	require.Error(t, interlock.Check(wal, last-1))
	r.refuses.Store(false)
	r.arrives(r.n)
	require.Eventually(t, func() bool { return interlock.Check(wal, last) == nil }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool {
		ms, _ := r.w.LowestSentTimestamp()
		return ms == int64(1000+r.n-1)
	}, time.Minute, time.Millisecond)
	require.Zero(t, r.stocks)
}

// A configuration that comes before the log waits for it, and then everything in it is
// sent. The last of several counts.
func TestWaitsForTheLog(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.applied(&config.Config{}))
	require.NoError(t, r.apply())
	require.NoError(t, r.apply())
	require.False(t, r.w.Notify())
	_, here := r.w.LowestSentTimestamp()
	require.False(t, here)
	r.openLog()
	for range 3 {
		r.commit()
	}
	r.arrives(r.n)
	require.True(t, r.w.Notify())
	require.Zero(t, r.stocks)
}

// A storage without endpoints reads nothing, holds nothing and writes nothing: there may
// be another that delivers from the directory.
func TestWithoutEndpoints(t *testing.T) {
	r := newRig(t)
	r.openLog()
	require.NoError(t, r.applied(&config.Config{}))
	r.commit()
	require.NoError(t, interlock.Check(r.wal.Dir(), 0))
	entries, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	_, here := r.w.LowestSentTimestamp()
	require.False(t, here)
	require.NoError(t, r.apply())
	require.Error(t, interlock.Check(r.wal.Dir(), 0))
}

// Endpoints that come after the log begin at its end, also if there was none when the
// program started without endpoints.
func TestEndpointsAfterTheLog(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.applied(&config.Config{}))
	r.openLog()
	r.commit()
	before := r.n
	require.NoError(t, r.apply())
	r.commit()
	r.arrivesFrom(before)
}

// A log that another process writes is followed after a while.
func TestLogOfAnotherProcess(t *testing.T) {
	r := newRig(t)
	r.openLog()
	interlock.Closed(r.wal.Dir())
	require.NoError(t, r.apply())
	_, here := r.w.LowestSentTimestamp()
	require.False(t, here)
	r.w.mtx.Lock()
	r.w.since = r.w.since.Add(-othersAfter)
	r.w.mtx.Unlock()
	r.w.Opened() // Sooner than it would look again.
	require.Eventually(t, func() bool { _, here := r.w.LowestSentTimestamp(); return here }, time.Minute, time.Millisecond)
	r.commit()
	r.arrives(r.n)
	interlock.Opened(r.wal.Dir())
}

// A repair that cuts off the end of the log, after delivery has begun, makes it begin
// again with what is left; nothing may be removed by positions of before.
func TestRepairedLog(t *testing.T) {
	r := newRig(t)
	r.outage(3)
	wal := r.wal.Dir()
	require.Error(t, interlock.Check(wal, 2))
	done := interlock.Repair(wal)
	require.ErrorContains(t, interlock.Check(wal, 2), "until remote write has a configuration")
	require.False(t, r.w.Notify())
	require.NoError(t, r.wal.Repair(&wlog.CorruptionErr{Dir: wal, Segment: 2, Offset: 1, Err: errors.New("damage")}))
	done()
	require.Eventually(t, func() bool { _, here := r.w.LowestSentTimestamp(); return here }, time.Minute, time.Millisecond)
	require.Error(t, interlock.Check(wal, 1))
	r.refuses.Store(false)
	r.commit()
	r.newestArrives()
	require.NoError(t, r.apply())
	require.Zero(t, r.stocks)
	require.InEpsilon(t, r.missing(), r.counter("prometheus_remote_storage_unreadable_total"), 0.5)

	// What is applied during a repair is what counts after it.
	done = interlock.Repair(wal)
	newer := r.url
	r.url = "http://127.0.0.1:1"
	require.NoError(t, r.apply())
	done()
	require.Eventually(t, func() bool { _, here := r.w.LowestSentTimestamp(); return here }, time.Minute, time.Millisecond)
	r.w.mtx.Lock()
	require.Equal(t, r.url, r.w.applied.RemoteWriteConfigs[0].URL.String())
	r.w.mtx.Unlock()
	r.url = newer
}

// Damage is taken out of the log before its writer opens it, or stock's repair would
// delete all that comes after. It costs what was damaged, which is counted (I9).
func TestDamageIsRepairedBeforeTheLogIsOpened(t *testing.T) {
	r := newRig(t)
	r.outage(6)
	wal := r.wal.Dir()
	r.stop()
	path := wlog.SegmentName(wal, 2)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[len(content)/2] ^= 0x10
	require.NoError(t, os.WriteFile(path, content, 0o666))

	r.open()
	r.openLog()
	first, last, err := wlog.Segments(wal)
	require.NoError(t, err)
	require.Equal(t, [2]int{0, 7}, [2]int{first, last})
	segments, err := wlog.NewSegmentsReader(wal)
	require.NoError(t, err)
	reader := wlog.NewReader(segments)
	for reader.Next() { //nolint:revive // Reading is all there is to do.
	}
	require.NoError(t, reader.Err())
	require.NoError(t, segments.Close())
	r.refuses.Store(false)
	require.NoError(t, r.apply())
	r.commit()
	r.newestArrives()
	lost := r.missing()
	require.LessOrEqual(t, lost, 5*perCommit, "what touches a page of 32 KiB")
	require.InDelta(t, lost, r.counter("prometheus_remote_storage_unreadable_total"), perCommit)
}

// The newest segments are gone, or all of them: their numbers are not given again, so no
// position is taken for one in what is written then, and what they held is counted.
func TestNewestSegmentsAreGone(t *testing.T) {
	for name, from := range map[string]int{"two": 4, "all": 0, "directory": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.outage(5)
			wal := r.wal.Dir()
			r.stop()
			for k := from; k <= 5; k++ {
				require.NoError(t, os.Remove(wlog.SegmentName(wal, k)))
			}
			if name == "directory" {
				require.NoError(t, os.RemoveAll(wal))
			}

			r.open()
			r.openLog()
			require.Equal(t, 6, r.last())
			before := r.n
			r.commit()
			r.commit()
			r.refuses.Store(false)
			require.NoError(t, r.apply())
			r.newestArrives()
			require.Equal(t, float64(before), r.got[len(r.got)-2*perCommit], "nothing of what is new is skipped")
			if name == "two" {
				require.InEpsilon(t, r.missing(), r.counter("prometheus_remote_storage_unreadable_total"), 0.5)
				require.Equal(t, 2.0, r.counter("prometheus_remote_storage_segments_missing_total"))
			} else {
				require.Positive(t, r.counter("prometheus_remote_storage_unreadable_total"))
			}
		})
	}
}

// Of newest segments that are gone everything was delivered: nothing comes again.
func TestDeliveredSegmentsAreGone(t *testing.T) {
	r := newRig(t)
	r.openLog()
	require.NoError(t, r.apply())
	wal := r.wal.Dir()
	r.commitUpTo(5)
	r.arrives(r.n)
	r.stop()
	require.NoError(t, os.Remove(wlog.SegmentName(wal, 4)))
	require.NoError(t, os.Remove(wlog.SegmentName(wal, 5)))

	r.open()
	r.openLog()
	r.commit()
	require.NoError(t, r.apply())
	r.commit()
	r.arrives(r.n)
}

// Another log has come in the place of the one that positions are of, and its segments
// have the same numbers by the time that they are looked up: it is delivered from its
// start.
func TestAnotherLog(t *testing.T) {
	for name, c := range map[string]struct{ before, after int }{
		"longer": {12, 24}, "shorter, with the same first record": {3, 1}, "shorter by segments": {12, 1}, "as long": {3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.openLog()
			require.NoError(t, r.apply())
			wal := r.wal.Dir()
			for range c.before {
				r.commit()
			}
			r.arrives(r.n)
			r.stop()
			require.NoError(t, os.RemoveAll(wal))
			t.Setenv(EnvDelivery, BestEffort) // By a writer that does not know of us.
			r.openLog()
			for range c.after {
				r.commit()
			}
			t.Setenv(EnvDelivery, "")
			r.open()
			require.NoError(t, r.apply())
			r.arrives(r.n)
		})
	}
}

// A savepoint that is about another log, or about an engine's, makes up no segments.
func TestNothingIsMadeUp(t *testing.T) {
	for name, change := range map[string]func(f *savepoint.File){
		"of another log": func(f *savepoint.File) { f.Segments = map[int]uint32{0: 5, 90: 7} },
		"of an engine":   func(f *savepoint.File) { f.Followed = false },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.openLog()
			require.NoError(t, r.apply())
			r.commit()
			r.arrives(r.n)
			r.stop()
			f := saved(r.dir)
			require.True(t, f.Followed)
			f.Segment = 90
			change(&f)
			data, err := savepoint.Encode(f)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(r.dir, savepoint.CurrentName), data, 0o600))
			r.openLog()
			require.Equal(t, 1, r.last())
		})
	}
}

// A writer that is closed after its remote storage may truncate in between: what is not
// acknowledged stays, what is may go.
func TestHeldUntilTheLogIsClosed(t *testing.T) {
	r := newRig(t)
	r.openLog()
	require.NoError(t, r.apply())
	wal := r.wal.Dir()
	r.commitUpTo(3)
	r.arrives(r.n)
	require.Eventually(t, func() bool { return interlock.Check(wal, 1) == nil }, time.Minute, time.Millisecond)
	r.refuses.Store(true)
	r.commitUpTo(6)
	require.NoError(t, r.w.Close())
	require.NoError(t, interlock.Check(wal, 1))
	require.ErrorContains(t, interlock.Check(wal, 5), "remote write is closed")
	r.w.limits.maxSize = 1 << 10
	require.NoError(t, interlock.Check(wal, 5), "a limit counts still")

	// Another one takes over while the log stays open.
	r.open()
	r.refuses.Store(false)
	require.NoError(t, r.apply())
	r.arrives(r.n)
	require.NoError(t, r.w.Close())
	require.Error(t, interlock.Check(wal, 1000))
	r.closeLog()
	require.NoError(t, interlock.Check(wal, 1000))
}

// Positions from before stock's storage delivered are not resumed.
func TestBestEffortInBetween(t *testing.T) {
	r := newRig(t)
	r.openLog()
	require.NoError(t, r.apply())
	r.refuses.Store(true)
	r.commit()
	require.NoError(t, r.w.Close())
	t.Setenv(EnvDelivery, BestEffort)
	r.open()
	require.NoError(t, r.apply())
	require.Equal(t, 1, r.stocks)
	require.NoFileExists(t, filepath.Join(r.dir, "delivery.json"))
	require.FileExists(t, filepath.Join(r.dir, "delivery.json.best-effort"))
	require.NoError(t, r.w.Close())

	t.Setenv(EnvDelivery, Durable)
	r.open()
	require.NoError(t, r.apply())
	r.refuses.Store(false)
	before := r.n
	r.commit()
	r.arrivesFrom(before)
}

// What is a server's, or said to be stock's, is left to it, with its metrics.
func TestLeavesToStock(t *testing.T) {
	for name, set := range map[string]func(t *testing.T, r *rig){
		"opened by this process": func(_ *testing.T, r *rig) { interlock.Server(r.dir) },
		"a server's directory": func(t *testing.T, r *rig) {
			require.NoError(t, os.Mkdir(filepath.Join(r.dir, "chunks_head"), 0o777))
		},
		"asked for":          func(_ *testing.T, r *rig) { r.w.BestEffort() },
		"by the environment": func(t *testing.T, _ *rig) { t.Setenv(EnvDelivery, BestEffort) },
		"a server's, and the environment is wrong": func(t *testing.T, r *rig) {
			t.Setenv(EnvDelivery, "at most once")
			interlock.Server(r.dir)
		},
		"a server's, later": func(t *testing.T, r *rig) {
			require.NoError(t, r.apply())
			interlock.Server(r.dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			reg := prometheus.NewRegistry()
			var theirs prometheus.Registerer
			r.w, theirs = New(promslog.NewNopLogger(), reg, r.dir, time.Second, nil, false)
			metric := func() prometheus.Collector {
				return prometheus.NewGauge(prometheus.GaugeOpts{Name: "prometheus_remote_storage_highest_timestamp_in_seconds", Help: "Stock's."})
			}
			set(t, r)
			if name == "by the environment" {
				r.w, theirs = New(promslog.NewNopLogger(), reg, r.dir, time.Second, nil, false)
			}
			before := metric()
			theirs.MustRegister(before)
			if name == "a server's, later" {
				r.openLog()
				require.Eventually(t, func() bool { r.mtx.Lock(); defer r.mtx.Unlock(); return r.stocks == 1 }, time.Minute, time.Millisecond)
			} else {
				require.NoError(t, r.apply())
				r.openLog()
			}
			require.Equal(t, 1, r.stocks)
			require.NoError(t, r.apply())
			require.Equal(t, 2, r.stocks)
			require.False(t, r.w.Notify())
			require.NoError(t, interlock.Check(filepath.Join(r.dir, "wal"), 0))
			families, err := reg.Gather()
			require.NoError(t, err)
			require.Len(t, families, 1)
			require.Error(t, theirs.Register(metric()), "it is there")
			require.True(t, theirs.Unregister(before))
		})
	}
}

// Stock's metrics are shown in a storage without endpoints, such as one for remote read,
// until ours of the same names are, or they are registered.
func TestMetricsWithoutEndpoints(t *testing.T) {
	const name, theirs, ours = "prometheus_remote_storage_highest_timestamp_in_seconds", "Stock's.", "Highest timestamp that was appended, in seconds since the epoch."
	for _, server := range []bool{false, true} {
		r := newRig(t)
		shown := func() (help string) {
			t.Helper()
			families, err := r.reg.Gather()
			require.NoError(t, err)
			for _, f := range families {
				if f.GetName() == name {
					help += f.GetHelp()
				}
			}
			return help
		}
		r.reg = prometheus.NewRegistry()
		var reg prometheus.Registerer
		r.w, reg = New(promslog.NewNopLogger(), r.reg, r.dir, time.Second, nil, false)
		stocks := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: theirs})
		reg.MustRegister(stocks)
		for range 2 { // A reload.
			require.NoError(t, r.applied(&config.Config{}))
			require.Equal(t, theirs, shown())
		}
		if server {
			interlock.Server(r.dir)
			require.NoError(t, r.apply())
			require.Equal(t, theirs, shown())
			require.True(t, reg.Unregister(stocks))
		} else {
			r.openLog()
			require.NoError(t, r.apply())
			require.Equal(t, ours, shown())
			require.NoError(t, r.applied(&config.Config{}))
			require.Equal(t, ours, shown(), "it goes on, with what it still has")
			require.NoError(t, r.w.Close())
		}
		require.Empty(t, shown())
	}
	r := newRig(t)
	r.reg = prometheus.NewRegistry()
	w, reg := New(promslog.NewNopLogger(), r.reg, r.dir, time.Second, nil, false)
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: theirs}))
	_, err := w.ApplyConfig(&config.Config{}, nil)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	families, err := r.reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
}

// What cannot be begun is an error of the configuration, and can be tried again.
func TestCannotBegin(t *testing.T) {
	r := newRig(t)
	r.openLog()
	another, _ := New(promslog.NewNopLogger(), nil, r.dir, time.Second, nil, false)
	mine := r.w
	r.w = another
	require.NoError(t, r.apply())
	r.w = mine
	require.ErrorContains(t, r.apply(), "already delivered from by another remote storage")
	require.NoError(t, another.Close())
	path := filepath.Join(r.dir, "wal", "checkpoint.00000009")
	require.NoError(t, os.WriteFile(path, nil, 0o666))
	require.ErrorContains(t, r.apply(), "is not a directory")
	require.ErrorContains(t, interlock.Check(filepath.Join(r.dir, "wal"), 0), "until remote write has a configuration", "it is not known which endpoint needs it")
	require.NoError(t, os.Remove(path))
	require.NoError(t, r.apply())
	r.commit()
	r.arrives(r.n)

	t.Setenv(EnvDelivery, "at most once")
	t.Setenv(EnvMaxSize, "much")
	t.Setenv(EnvMaxTime, "-1h")
	mine = r.w
	r.open()
	w := r.w
	require.NoError(t, r.applied(&config.Config{}), "a storage for remote read has nothing to deliver")
	err := r.apply()
	for _, name := range []string{EnvDelivery, EnvMaxSize, EnvMaxTime} {
		require.ErrorContains(t, err, name)
	}
	require.Zero(t, r.stocks)
	require.NoError(t, w.Close())
	r.w = mine
	taken, err := w.ApplyConfig(&config.Config{}, nil)
	require.True(t, taken)
	require.ErrorContains(t, err, "closed")
}

// Beyond a limit segments may go, and what they held is counted (I1).
func TestLimits(t *testing.T) {
	for name, variable := range map[string]string{"max_size": EnvMaxSize, "max_time": EnvMaxTime} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			t.Setenv(variable, map[string]string{EnvMaxSize: "600KB", EnvMaxTime: "1h"}[variable])
			r.open()
			r.openLog()
			require.NoError(t, r.apply())
			r.refuses.Store(true)
			wal := r.wal.Dir()
			const upTo = 15 // More than an endpoint has in memory, which is still sent.
			r.commitUpTo(upTo + 1)
			require.ErrorContains(t, interlock.Check(wal, upTo), "kept from segment 00000000 on")
			switch variable {
			case EnvMaxSize:
				r.commitUpTo(upTo + 5)
			default:
				old := time.Now().Add(-2 * time.Hour)
				require.NoError(t, os.Chtimes(wlog.SegmentName(wal, upTo), old, old))
			}
			require.NoError(t, interlock.Check(wal, upTo))
			require.NoError(t, r.wal.Truncate(upTo+1))
			forfeited := r.counter("prometheus_remote_storage_samples_expired_total", "reason", name)
			require.Positive(t, forfeited)
			require.Equal(t, forfeited, r.counter("prometheus_remote_storage_samples_expired_total"))
			r.refuses.Store(false)
			require.Eventually(t, func() bool {
				r.mtx.Lock()
				defer r.mtx.Unlock()
				return len(r.got)+int(forfeited) == r.n
			}, time.Minute, time.Millisecond)
		})
	}
}

// What a link leads to counts, or no limit holds where the directory is one.
func TestLimitsOfALinkedDirectory(t *testing.T) {
	dir := t.TempDir()
	wal := filepath.Join(t.TempDir(), "wal")
	if err := os.Symlink(dir, wal); err != nil {
		t.Skip(err) // Not every user may on Windows.
	}
	require.NoError(t, os.WriteFile(wlog.SegmentName(dir, 0), make([]byte, 2), 0o600))
	reason, err := (&limits{maxSize: 1}).exceeded(wal, 0)
	require.NoError(t, err)
	require.Equal(t, "max_size", reason)
}
