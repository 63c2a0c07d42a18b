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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/model/relabel"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// TestDeliversAndResumes defends I2 and I8 for graceful restarts: everything
// arrives, and a restart with a healthy receiver sends nothing again.
func TestDeliversAndResumes(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	for run := range 4 {
		r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
		r.attach(remoteWrite("a"))
		for i := range 50 {
			r.commit(100)
			if i%20 == 0 {
				j.cut()
			}
		}
		require.NoError(t, r.Close())
		stored, received := rc.counts()
		require.Equal(t, stored, received, "run %d sent samples again", run)
		if run == 3 {
			require.Equal(t, j.count, stored)
		}
		// Not read before the stop: the next run finds it.
		if run < 3 {
			j.commit(10)
		}
		f, _, err := savepoint.NewStore(j.dir).Load()
		require.NoError(t, err)
		require.True(t, f.Clean)
	}
	require.NoError(t, j.wal.Close())
}

// TestOutage defends I2, I5 and I6: what an endpoint cannot take waits in the
// log, not in memory, and other endpoints do not notice.
func TestOutage(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	up, down := newReceiver(), newReceiver()
	down.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"up": up, "down": down}, Options{})
	r.attach(remoteWrite("up"), remoteWrite("down"))
	most := 0
	for range 40 {
		for range 50 {
			r.commit(100)
		}
		r.complete("up", j.count)
		for _, e := range r.running {
			most = max(most, e.streams()[0].queue.Stats().Queued)
		}
		j.cut()
	}
	set := r.running[0].settings.Load()
	require.LessOrEqual(t, most, set.capacity(set.queue.MaxShards)+maxBatchItems)
	require.NoError(t, r.Persist(t.Context()))
	floor := j.gate.Floor()
	require.Equal(t, []string{"down"}, floor.By)
	require.Equal(t, 0, floor.Position.Segment)

	down.set(nil)
	r.complete("down", j.count)
	require.Eventually(t, func() bool {
		require.NoError(t, r.Persist(t.Context()))
		return j.gate.Floor().Position == *j.head.Load()
	}, time.Minute, 10*time.Millisecond, "the floor does not follow to the head")
	r.end()
}

// TestCrash defends I2 and I8 against a receiver that refuses whole requests:
// after each crash, with requests under way whose answers were lost, delivery
// begins from a savepoint that is a little old, and nothing is missing.
func TestCrash(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	conf := remoteWrite("a")
	for range 6 {
		// Some answers are lost after the samples were stored.
		rc.after = func(n int) *client.Result {
			if n%7 == 0 {
				return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errors.New("connection reset")}
			}
			return nil
		}
		r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
		r.attach(conf)
		for range 30 {
			r.commit(60)
		}
		require.NoError(t, r.save(false))
		old, err := os.ReadFile(filepath.Join(j.dir, savepoint.CurrentName))
		require.NoError(t, err)
		for range 30 {
			r.commit(60)
		}
		stored, _ := rc.counts()
		require.Eventually(t, func() bool { now, _ := rc.counts(); return now > stored || now == j.count }, time.Minute, time.Millisecond)
		// The crash: what is saved after this instant is lost, save for the
		// dispatch watermark, which is written ahead.
		mark := r.running[0].streams()[0].dispatched.takeWanted()
		require.NoError(t, r.Close())
		require.NoError(t, os.WriteFile(filepath.Join(j.dir, savepoint.CurrentName), old, 0o600))
		f, _, err := savepoint.NewStore(j.dir).Load()
		require.NoError(t, err)
		f.Endpoints[0].Dispatched = mark
		require.NoError(t, savepoint.NewStore(j.dir).Write(f, true))
	}
	rc.after = nil
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(conf)
	r.complete("a", j.count)
	require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
	r.end()
}

// TestAmbiguousRetry defends I2: when the answer to a request was lost, and the
// request is refused the second time because it was stored the first, other
// samples of it must not be forfeited for it.
func TestAmbiguousRetry(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	rc.after = func(n int) *client.Result {
		if n%2 == 1 {
			return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errors.New("connection reset")}
		}
		return nil
	}
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	for range 100 {
		r.commit(10)
	}
	r.complete("a", j.count)
	require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
	r.end()
}

// TestNewEndpointBeginsNow defends that an endpoint that was never seen gets
// what is committed from then on, also if nothing came before a restart.
func TestNewEndpointBeginsNow(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	j.commit(100)
	rc := newReceiver()
	for range 2 {
		r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
		r.attach(remoteWrite("a"))
		require.NoError(t, r.Close())
	}
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	r.commit(10)
	r.complete("a", 10)
	require.NoError(t, r.Close())
	_, received := rc.counts()
	require.Equal(t, 10, received)
	require.NoError(t, j.wal.Close())
}

// TestCleanStopInOutage defends that positions saved before the first delivery
// are found again: nothing that was not committed after the endpoint began is
// sent, and no position resumes at the start of a segment.
func TestCleanStopInOutage(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	j.commit(100)
	rc := newReceiver()
	rc.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	r.commit(10)
	require.NoError(t, r.Close())

	rc.set(nil)
	r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	require.Zero(t, r.value("prometheus_remote_storage_resumed_positions_total", map[string]string{"verdict": "segment_start"}))
	r.complete("a", 10)
	r.end()
}

// TestStopDrains covers that a stop delivers what an endpoint that keeps up has
// not been sent yet, although the request is not full: the directory may not
// outlive the process.
func TestStopDrains(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc, dead := newReceiver(), newReceiver()
	dead.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": rc, "dead": dead}, Options{})
	c := remoteWrite("a")
	c.QueueConfig.BatchSendDeadline = model.Duration(time.Hour)
	r.attach(c, remoteWrite("dead"))
	r.commit(77)
	require.NoError(t, r.Close())
	stored, _ := rc.counts()
	require.Equal(t, 77, stored)

	dead.set(nil)
	r = newRig(t, j, map[string]*receiver{"a": rc, "dead": dead}, Options{})
	r.attach(c, remoteWrite("dead"))
	r.complete("dead", 77)
	require.NoError(t, r.Close())
	_, received := rc.counts()
	require.Equal(t, 77, received)
	require.NoError(t, j.wal.Close())
}

// TestStopInTheMiddleOfARequest defends I8: what was delivered of a request that had to
// be cut is not sent again, if the endpoint stops before the rest of it was.
func TestStopInTheMiddleOfARequest(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first []*client.Result // Answers before all that comes hangs.
		most  int32            // That the endpoint is known to take at once.
	}{
		{name: "too large", first: []*client.Result{{Status: 413, Outcome: client.TooLarge, Err: errors.New("too large")}, nil}},
		{name: "too many", most: 60, first: []*client.Result{nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := openJournal(t, t.TempDir(), nil)
			rc := newReceiver()
			hangs := make(chan struct{}, 1)
			rc.set(func(n int) *client.Result {
				if n <= len(tc.first) {
					return tc.first[n-1]
				}
				select {
				case hangs <- struct{}{}:
				default:
				}
				return &client.Result{Status: hang}
			})
			r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
			r.flush = 50 * time.Millisecond
			c := remoteWrite("a")
			c.QueueConfig.BatchSendDeadline = model.Duration(time.Hour)
			r.attach(c)
			r.running[0].streams()[0].sizes.most.Store(tc.most)
			r.commit(100)
			<-hangs
			stored, before := rc.counts()
			require.Positive(t, stored)
			require.NoError(t, r.Close())

			rc.set(nil)
			r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
			r.attach(c)
			r.complete("a", 100)
			require.NoError(t, r.Close())
			_, after := rc.counts()
			require.Equal(t, 100-stored, after-before, "received again")
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestStopsInTime defends I5: an endpoint that keeps requests does not keep the
// process, nor a reload, and what it had is sent by the next.
func TestStopsInTime(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	rc.entered = make(chan struct{})
	rc.set(func(int) *client.Result { return &client.Result{Status: hang} })
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.flush = 50 * time.Millisecond
	r.attach(remoteWrite("a"))
	r.commit(100)
	<-rc.entered
	changed := remoteWrite("a")
	changed.QueueConfig.MaxShards = 2
	r.apply(changed)
	require.NoError(t, r.Close())

	rc.entered = nil
	rc.set(nil)
	r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(changed)
	r.complete("a", j.count)
	r.end()
}

// TestReload defends I1 and I2 over changes of the configuration.
func TestReload(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	a, b, c := newReceiver(), newReceiver(), newReceiver()
	a.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": a, "b": b, "c": c}, Options{})
	r.attach(remoteWrite("a"))
	for range 20 {
		r.commit(100)
	}
	before := j.count

	// New settings during an outage lose nothing, a new endpoint begins now.
	changed := remoteWrite("a")
	changed.QueueConfig.MaxSamplesPerSend = 33
	changed.RemoteTimeout = model.Duration(time.Second)
	r.apply(changed, remoteWrite("b"))
	for range 20 {
		r.commit(100)
	}
	r.complete("b", j.count-before)

	// A removed endpoint is retained, and resumes where it was.
	r.apply(remoteWrite("b"))
	require.NoError(t, r.Persist(t.Context()))
	require.Equal(t, []string{"a"}, j.gate.Floor().By)
	r.commit(100)

	// A named endpoint with another URL is the same endpoint.
	moved := remoteWrite("a")
	moved.URL.Host = "c"
	r.apply(remoteWrite("b"), moved)
	r.complete("c", j.count)
	r.complete("b", j.count-before)

	// Twice the same is refused, and everything goes on.
	require.Error(t, r.ApplyConfig(r.confWith(remoteWrite("a"), remoteWrite("a"))))
	r.commit(100)
	r.complete("c", j.count)

	// After the grace time a removed endpoint holds nothing.
	r.apply(moved)
	require.NoError(t, r.Persist(t.Context()))
	require.Len(t, j.gate.Holders(), 2)
	r.expire(time.Now().Add(r.opts.RemovedRetention))
	require.Len(t, j.gate.Holders(), 1)
	r.end()
}

// TestHolders: what keeps the log is told as it is now, before any savepoint is written:
// endpoints at work by their labels, and those that were removed, for as long as they hold.
func TestHolders(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	receivers := map[string]*receiver{"a": newReceiver(), "b": newReceiver()}
	receivers["b"].set(func(int) *client.Result { return &client.Result{Outcome: client.Retry, Err: errors.New("down")} })
	r := newRig(t, j, receivers, Options{})
	require.Empty(t, r.Holders())
	r.attach(remoteWrite("a"), remoteWrite("b"))
	begin := *j.head.Load()
	r.commit(100)
	r.complete("a", 100)
	at := func(name string) Holder {
		all := r.Holders()
		i := slices.IndexFunc(all, func(h Holder) bool { return h.Name == name })
		require.GreaterOrEqual(t, i, 0, name)
		return all[i]
	}
	require.Eventually(t, func() bool { return at("a").Position == *j.head.Load() }, time.Minute, time.Millisecond)
	require.Equal(t, "http://a/write", at("a").URL)
	require.Equal(t, begin, at("b").Position)
	require.Eventually(t, func() bool { return at("b").Stuck > 0 }, time.Minute, time.Millisecond)

	r.apply(remoteWrite("a"))
	require.Len(t, r.Holders(), 2)
	require.Equal(t, begin, at("b").Position)
	require.Empty(t, at("b").URL)

	// While a configuration is applied, others may have the same name for a moment.
	other := *r.retained[0]
	other.removed = nil
	r.listMtx.Lock()
	r.retained = append(r.retained, &other)
	r.listMtx.Unlock()
	require.Len(t, r.Holders(), 2, "they are one in metrics")
	r.expire(time.Now().Add(r.opts.RemovedRetention))
	r.listMtx.Lock()
	r.retained = nil
	r.listMtx.Unlock()
	require.Len(t, r.Holders(), 1)
	r.end()
}

// TestRemovedEndpointSurvivesRestart defends I1: that an endpoint is retained is part of the savepoint.
func TestRemovedEndpointSurvivesRestart(t *testing.T) {
	j, a, r := failingRig(t)
	r.commit(100)
	r.apply()
	require.NoError(t, r.Close())

	a.set(nil)
	r = newRig(t, j, map[string]*receiver{"a": a}, Options{})
	r.attach()
	require.Equal(t, []string{"a"}, j.gate.Floor().By)
	r.commit(100)
	r.apply(remoteWrite("a"))
	r.complete("a", j.count)
	r.end()
}

// TestLostSavepoint defends the rule that what is not known is sent again,
// never skipped.
func TestLostSavepoint(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, dir string){
		"removed": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, savepoint.CurrentName)))
			require.NoError(t, os.Remove(filepath.Join(dir, savepoint.PreviousName)))
		},
		"corrupt": func(t *testing.T, dir string) {
			for _, n := range []string{savepoint.CurrentName, savepoint.PreviousName} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, n), []byte("{"), 0o600))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := openJournal(t, dir, nil)
			rc := newReceiver()
			rc.set(unavailable)
			r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
			r.attach(remoteWrite("a"))
			for range 10 {
				r.commit(100)
			}
			r.end()
			damage(t, dir)

			rc.set(nil)
			again := openJournal(t, dir, j.table)
			again.next, again.time = j.next, j.time
			r = newRig(t, again, map[string]*receiver{"a": rc}, Options{})
			r.attach(remoteWrite("a"))
			r.complete("a", j.count)
			require.NoError(t, r.Close())
			require.NoError(t, again.wal.Close())
		})
	}
}

// TestForfeit defends I1: what a limit removes is counted to the sample, and the
// endpoint goes on behind it.
func TestForfeit(t *testing.T) {
	j, rc, r := failingRig(t)
	for range 10 {
		for range 20 {
			r.commit(100)
		}
		j.cut()
	}
	e := r.running[0]
	var pos cursor.Point
	require.Eventually(t, func() bool {
		was := pos
		pos, _ = e.streams()[0].cursor.get()
		return was == pos && e.streams()[0].queue.Stats().Queued > 0
	}, time.Minute, 20*time.Millisecond, "the queue does not fill")
	before := cursor.Position{Segment: 6}
	require.True(t, pos.Before(before))
	require.NoError(t, r.Forfeit(t.Context(), before, "max_size"))
	require.NoError(t, j.wal.Truncate(6))
	lost := int(r.expired(map[string]string{"reason": "max_size", "type": "samples"}))
	require.Positive(t, lost)
	require.Positive(t, r.value("prometheus_remote_storage_expired_bytes_total", map[string]string{"reason": "max_size"}))
	rc.set(nil)
	r.complete("a", j.count-lost)
	r.end()
}

// TestForfeitThenStopOfAFullQueue is the same for a queue that is full, and a reader
// that waits with what has no room in it.
func TestForfeitThenStopOfAFullQueue(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	rc.entered = make(chan struct{}, 1000)
	rc.set(func(int) *client.Result { return &client.Result{Status: hang} })
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.flush = 30 * time.Millisecond
	c := remoteWrite("a")
	c.QueueConfig.MaxSamplesPerSend, c.QueueConfig.Capacity, c.QueueConfig.MaxShards = 20, 100, 1
	r.attach(c)
	const each = 80
	for range 10 {
		r.commit(each)
	}
	<-rc.entered
	s := r.running[0].streams()[0]
	var pos cursor.Point
	require.Eventually(t, func() bool {
		was := pos
		pos, _ = s.cursor.get()
		return was == pos && s.queue.Stats().Queued > 0
	}, time.Minute, 50*time.Millisecond)
	j.cut()
	r.commit(50)
	require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 1}, "max_size"))
	require.NoError(t, j.wal.Truncate(1))
	require.NoError(t, r.Close())
	lost := testutil.ToFloat64(r.metrics.expired[queue.Samples].WithLabelValues("a", "max_size"))
	f, _, err := savepoint.NewStore(j.dir).Load()
	require.NoError(t, err)
	require.Equal(t, 10*each, int(lost)+f.Endpoints[0].Memory[queue.Samples])
	require.NoError(t, j.wal.Close())
}

// TestForfeitThenStop defends I1 for what was in memory only when the endpoint
// stopped, with the storage or because the configuration has it no more.
func TestForfeitThenStop(t *testing.T) {
	for _, removed := range []bool{false, true} {
		t.Run(fmt.Sprintf("removed=%t", removed), func(t *testing.T) {
			j := openJournal(t, t.TempDir(), nil)
			rc := newReceiver()
			rc.entered = make(chan struct{}, 100)
			rc.set(func(int) *client.Result { return &client.Result{Status: hang} })
			r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
			r.flush = 30 * time.Millisecond
			r.attach(remoteWrite("a"))
			r.commit(100)
			<-rc.entered
			j.cut()
			r.commit(50)
			require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: 1}, "max_size"))
			require.NoError(t, j.wal.Truncate(1))
			// Metrics of a run that stops are not scraped any more: the next one counts.
			stopped := func() float64 {
				return testutil.ToFloat64(r.metrics.expired[queue.Samples].WithLabelValues("a", reasonStopped))
			}
			counted, later := 0.0, 100.0
			if removed {
				counted, later = 100, 0
				r.apply()
			}
			require.Equal(t, counted, stopped())
			require.NoError(t, r.Close())
			require.Equal(t, counted, stopped())

			rc.set(nil)
			r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
			r.attach(remoteWrite("a"))
			require.Equal(t, later, stopped())
			r.complete("a", 50)
			require.Zero(t, r.value("prometheus_remote_storage_segments_missing_total", nil), "it was counted")
			r.end()
		})
	}
}

// TestDropsAreCounted defends I2: an endpoint that wants nothing still moves on,
// and says why.
func TestDropsAreCounted(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	a, b := newReceiver(), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": a, "b": b}, Options{})
	none := remoteWrite("a")
	none.WriteRelabelConfigs = []*relabel.Config{{SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("m"), Action: relabel.Drop}}
	old := remoteWrite("b")
	old.QueueConfig.SampleAgeLimit = model.Duration(time.Hour) // Samples are of 1970.
	r.attach(none, old)
	for range 10 {
		r.commit(100)
	}
	drops := func(host, reason string) float64 {
		return r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"remote_name": host, "reason": reason})
	}
	require.Eventually(t, func() bool {
		return drops("a", reasonDropped) == float64(j.count) && drops("b", reasonTooOld) == float64(j.count)
	}, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		require.NoError(t, r.Persist(t.Context()))
		return j.gate.Floor().Position == *j.head.Load()
	}, time.Minute, 10*time.Millisecond)
	r.end()
}

// TestRefusals defends I2: a refusal for good is counted and delivery goes on;
// 413 is met with smaller requests.
func TestRefusals(t *testing.T) {
	j := openJournal(t, t.TempDir(), nil)
	rc := newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{DropDenied: true})
	r.attach(remoteWrite("a"))
	rc.set(func(n int) *client.Result {
		if n == 1 {
			return &client.Result{Status: 413, Outcome: client.TooLarge, Err: errors.New("too large")}
		}
		return nil
	})
	r.commit(100)
	r.complete("a", j.count)
	rc.set(func(int) *client.Result {
		return &client.Result{Status: 404, Outcome: client.Denied, Err: errors.New("not here")}
	})
	kept := j.count
	r.commit(50)
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "404"}) == 50
	}, time.Minute, 5*time.Millisecond)
	require.Equal(t, 50.0, r.value("prometheus_remote_storage_samples_failed_total", nil))
	rc.set(nil)
	r.commit(50)
	r.complete("a", kept+50)
	r.end()
}
