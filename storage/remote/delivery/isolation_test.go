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
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// picky is a receiver that does not take certain series, whatever else is in the
// request. It stores a request as a whole or not at all.
type picky struct {
	mtx       sync.Mutex
	bad       map[string]client.Result // By the label i. Status hang keeps the request.
	slow      time.Duration            // How long each answer takes.
	down      bool
	whileDown *client.Result // What it answers then, nil for 503.
	failAfter int            // Requests after which it is down, 0 for never.
	frozen    bool
	oneOf     int // If not 0, only one of so many requests is taken, whatever is in it.
	burst     int // If not 0, none with more samples is.
	last      map[string]int64
	samples   map[string]int
	again     int // Samples that had been stored before.
	early     int // Samples before the last of their series that had not been.
	have      map[string]map[int64]bool
	requests  int
	strict    bool           // It refuses what it has,
	unclear   bool           // and does not say why.
	fussy     *client.Result // The answer to a request with nothing in it.
	lose      int            // The answer to so many a request is lost, 0 for none.
	at, most  int            // Requests at a time, now and at the most.
}

func newPicky() *picky {
	return &picky{bad: map[string]client.Result{}, last: map[string]int64{}, samples: map[string]int{}, have: map[string]map[int64]bool{}}
}

func (*picky) Close() {}

func (r *picky) Store(ctx context.Context, body []byte, _ int) client.Result {
	raw, err := snappy.Decode(nil, body)
	var req prompb.WriteRequest
	if err == nil {
		err = req.Unmarshal(raw)
	}
	if err != nil {
		return client.Result{Status: 400, Outcome: client.Refused, Err: err}
	}
	gone := false
	r.do(func() { r.at++; r.most = max(r.most, r.at) })
	if r.slow > 0 {
		select {
		case <-ctx.Done():
			gone = true // It is stored all the same.
		case <-time.After(r.slow):
		}
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.at--
	r.requests++
	if r.down || (r.failAfter > 0 && r.requests > r.failAfter) {
		if r.whileDown != nil {
			return *r.whileDown
		}
		return *unavailable(0)
	}
	if (r.oneOf > 0 && r.requests%r.oneOf != 0) || (r.burst > 0 && samplesOf(&req) > r.burst) {
		return client.Result{Status: 429, Outcome: client.Retry, Err: errors.New("too many requests")}
	}
	if r.fussy != nil && len(req.Timeseries) == 0 {
		return *r.fussy
	}
	builder := labels.NewScratchBuilder(0)
	for _, ts := range req.Timeseries {
		res, bad := r.bad[ts.ToLabels(&builder, nil).Get("i")]
		if !bad {
			continue
		}
		if res.Status == hang {
			r.mtx.Unlock()
			limit, cancel := context.WithTimeout(ctx, max(pickyTimeout, 8*r.slow)) // As the client does.
			<-limit.Done()
			cancel()
			r.mtx.Lock()
			return client.Result{Outcome: client.Retry, Ambiguous: true, Err: context.DeadlineExceeded}
		}
		return res
	}
	if r.frozen {
		return client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
	}
	for _, ts := range req.Timeseries {
		have := r.have[ts.ToLabels(&builder, nil).Get("i")]
		if r.strict && slices.ContainsFunc(ts.Samples, func(s prompb.Sample) bool { return have[s.Timestamp] }) {
			return client.Result{Status: 400, Outcome: client.Refused, Late: !r.unclear, Err: errors.New("duplicate sample")}
		}
	}
	gone = gone || (r.lose > 0 && r.requests == r.lose)
	for _, ts := range req.Timeseries {
		name := ts.ToLabels(&builder, nil).Get("i")
		if r.have[name] == nil {
			r.have[name] = map[int64]bool{}
		}
		for _, s := range ts.Samples {
			switch {
			case r.have[name][s.Timestamp]:
				r.again++
				continue
			case s.Timestamp < r.last[name]:
				r.early++
			}
			r.have[name][s.Timestamp] = true
			r.last[name] = max(r.last[name], s.Timestamp)
			r.samples[name]++
		}
	}
	if gone {
		return client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
	}
	return client.Result{Status: 204, Outcome: client.Delivered}
}

func samplesOf(req *prompb.WriteRequest) (n int) {
	for _, ts := range req.Timeseries {
		n += len(ts.Samples)
	}
	return n
}

func (r *picky) do(f func()) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	f()
}

// has returns how many samples of each series are stored, of those that match.
func (r *picky) has(match func(name string) bool) (n int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for name, stored := range r.samples {
		if match(name) {
			n += stored
		}
	}
	return n
}

// refusals are the ways not to take a series.
var refusals = map[string]client.Result{
	"403":   {Status: 403, Outcome: client.Denied, Err: errors.New("not yours")},
	"400":   {Status: 400, Outcome: client.Refused, Err: errors.New("bad")},
	"429":   {Status: 429, Outcome: client.Retry, Err: errors.New("limit of the series")},
	"500":   {Status: 500, Outcome: client.Retry, Ambiguous: true, Err: errors.New("internal")},
	"reset": {Outcome: client.Retry, Ambiguous: true, Err: errReset},
	"hang":  {Status: hang},
}

// pickyTimeout is the remote_timeout of endpoints with a picky receiver.
const pickyTimeout = leastTimeout

type pickyRig struct {
	*rig
	rc   *picky
	conf *config.RemoteWriteConfig
}

func newPickyRig(t testing.TB, j *journal, rc *picky, senders int) *pickyRig {
	r := &pickyRig{rc: rc}
	r.rig = newRig(t, j, nil, Options{newClient: func(client.Config) (storer, error) { return rc, nil }})
	r.conf = remoteWrite("a")
	r.conf.QueueConfig.MinShards, r.conf.QueueConfig.MaxShards = senders, senders
	r.conf.RemoteTimeout = model.Duration(pickyTimeout)
	r.attach(r.conf)
	return r
}

func (r *pickyRig) arrives(what string, want int, match func(string) bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.rc.has(match) >= want }, time.Minute, time.Millisecond, "%s: %s", what, stringer(func() string {
		return fmt.Sprintf("%d of %d samples arrived", r.rc.has(match), want)
	}))
	require.Equal(r.t, want, r.rc.has(match), what)
}

func only(names ...string) func(string) bool {
	return func(name string) bool {
		return slices.Contains(names, name)
	}
}

func but(names ...string) func(string) bool {
	is := only(names...)
	return func(name string) bool { return !is(name) }
}

// TestOneSeriesStopsNoOthers defends I2, I4 and I5 within an endpoint: whatever
// way a receiver has not to take a series, all others arrive meanwhile; the
// series waits, over a restart too, and arrives when it is taken; only what is
// refused for good is dropped, one by one, and counted.
func TestOneSeriesStopsNoOthers(t *testing.T) {
	for name, res := range refusals {
		for _, senders := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s/senders=%d", name, senders), func(t *testing.T) {
				t.Parallel()
				j, rc := openJournal(t, t.TempDir(), nil), newPicky()
				rc.bad["7"] = res
				r := newPickyRig(t, j, rc, senders)
				commits := 0
				write := func(n int) {
					for range n {
						r.commit(101)
					}
					commits += n
				}
				write(30)
				r.arrives("while one series is bad", 100*commits, but("7"))
				require.Zero(t, rc.has(only("7")))
				write(5)
				r.arrives("after it was found", 100*commits, but("7"))
				require.NoError(t, r.Persist(t.Context()))

				final, code := final(res), map[string]string{"code": strconv.Itoa(res.Status)}
				if final {
					require.Eventually(t, func() bool {
						return r.value("prometheus_remote_storage_refused_total", code) == float64(commits)
					}, time.Minute, time.Millisecond)
				} else {
					f, _, err := savepoint.NewStore(j.dir).Load()
					require.NoError(t, err)
					require.Len(t, f.Endpoints[0].Isolated, 1)
					require.Equal(t, labels.StableHash(j.series[7].Labels()), f.Endpoints[0].Isolated[0].Series)
					require.False(t, f.Endpoints[0].Isolated[0].Mark.Before(j.gate.Floor().Position), "I1")
				}

				require.NoError(t, r.Close())
				r = newPickyRig(t, j, rc, senders)
				write(10)
				r.arrives("after a restart", 100*commits, but("7"))
				require.Zero(t, rc.has(only("7")))
				if final {
					require.Eventually(t, func() bool {
						return r.value("prometheus_remote_storage_refused_total", code) == 10
					}, time.Minute, time.Millisecond)
				}
				rc.do(func() { delete(rc.bad, "7") })
				refused := 0
				if final {
					refused = commits
				}
				before := commits
				write(3)
				r.arrives("when it is taken", 100*commits, but("7"))
				if final {
					require.Eventually(t, func() bool { return rc.has(only("7")) >= 3 }, time.Minute, time.Millisecond)
					lost := int(r.value("prometheus_remote_storage_samples_failed_total", nil))
					require.Equal(t, 10, lost, "each sample is refused once")
					require.Equal(t, commits-before, rc.has(only("7")))
					require.Equal(t, refused, before)
				} else {
					r.arrives("the series itself", commits, only("7"))
					require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
				}
				require.NoError(t, r.Close())
				rc.do(func() {
					require.Zero(t, rc.early, "I4")
					require.Zero(t, rc.again, "nothing is sent twice")
				})
				require.NoError(t, j.wal.Close())
			})
		}
	}
}

// TestLostAnswerInTrial defends that only what is refused is dropped also where an answer
// is lost while a request is divided: a receiver that refuses what it has then refuses
// many samples in a row.
func TestLostAnswerInTrial(t *testing.T) {
	for lose := 2; lose <= 6; lose++ {
		t.Run(strconv.Itoa(lose), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			rc.strict, rc.lose, rc.down = true, 1+lose, true
			rc.bad["7"] = refusals["400"]
			r := newPickyRig(t, j, rc, 1)
			r.conf.QueueConfig.MaxSamplesPerSend = 2000
			r.conf.QueueConfig.Capacity = 10000
			r.apply(r.conf)
			for range 5 {
				r.commit(300)
			}
			q := r.running[0].streams()[0].queue
			require.Eventually(t, func() bool { return q.Stats().Queued == 1500 }, time.Minute, time.Millisecond)
			rc.do(func() { rc.down, rc.requests = false, 0 })
			r.arrives("all others", 5*299, but("7"))
			require.NoError(t, r.Close())
			require.Zero(t, rc.early, "I4")
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestNothingOfASeriesIsLeft: of a series on trial nothing may wait any more when the
// others are tried, and no answer comes.
func TestNothingOfASeriesIsLeft(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	r := newPickyRig(t, j, rc, 1)
	r.commit(1)
	r.arrives("before", 1, but())
	rc.do(func() { rc.frozen = true })
	st := r.running[0].streams()[0]
	s := j.series[0]
	st.isolation.mtx.Lock()
	none, one := st.isolation.ensure(1), st.isolation.ensure(queue.StableHash(s))
	st.isolation.add(one, queue.ItemView{Item: &queue.Item{Series: s, T: 7}}, savepoint.Mark{}, true)
	st.isolation.mtx.Unlock()
	a := newIsolator(st).attempt([]*isolated{none, one})
	require.Equal(t, client.Retry, a.res.Outcome)
	require.True(t, one.replayed)
	require.False(t, none.replayed)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestRefusedAfterRestart defends that what a run scraped itself and is refused counts as
// refused, also while older samples of the series wait that may have been sent before.
func TestRefusedAfterRestart(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	rc.bad["7"], rc.slow = refusals["400"], 5*time.Millisecond
	r := newPickyRig(t, j, rc, 1)
	for range 100 {
		r.commit(11)
	}
	r.arrives("before", 100*10, but("7"))
	require.NoError(t, r.Close())
	r = newPickyRig(t, j, rc, 1)
	for range 40 {
		r.commit(11)
	}
	r.arrives("after", 140*10, but("7"))
	q := r.running[0].streams()[0].isolation
	require.Eventually(t, func() bool { return q.waitingApart() == 0 }, time.Minute, time.Millisecond)
	require.GreaterOrEqual(t, r.value("prometheus_remote_storage_refused_total", nil), 40.0)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestRefusalsSideBySide defends that the time of an answer does not bound how fast it is
// found what an endpoint refuses.
func TestRefusalsSideBySide(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	rc.slow = 5 * time.Millisecond
	for i := range 100 {
		rc.bad[strconv.Itoa(3*i)] = refusals["400"]
	}
	r := newPickyRig(t, j, rc, 8)
	r.conf.QueueConfig.MaxSamplesPerSend = 2000
	r.conf.QueueConfig.Capacity = 10000
	r.apply(r.conf)
	r.commit(300)
	r.arrives("others", 200, func(string) bool { return true })
	require.GreaterOrEqual(t, rc.most, 4)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestPoisonTogether defends that series which the endpoint does not take are
// told apart from an endpoint that takes nothing, even if a request has no
// others.
func TestPoisonTogether(t *testing.T) {
	for name, res := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			var bad []string
			for i := range 10 {
				bad = append(bad, strconv.Itoa(i))
				rc.bad[strconv.Itoa(i)] = res
			}
			r := newPickyRig(t, j, rc, 1)
			r.commit(10) // Nothing but these.
			for range 20 {
				r.commit(60)
			}
			r.arrives("the others", 20*50, but(bad...))
			require.Zero(t, rc.has(only(bad...)))
			rc.do(func() { clear(rc.bad) })
			if !final(res) {
				r.arrives("all", 20*50+210, func(string) bool { return true })
			}
			require.NoError(t, r.Close())
			rc.do(func() { require.Zero(t, rc.early) })
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestSlowReceiver: one that needs longer than an attempt has at first, and of which
// nothing is known yet, is not stopped by one series either, and is not sent the same
// over and over again.
func TestSlowReceiver(t *testing.T) {
	for name, res := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			rc.bad["7"], rc.slow = res, leastTimeout+50*time.Millisecond
			r := newPickyRig(t, j, rc, 1)
			slow := *r.conf
			slow.RemoteTimeout = model.Duration(8 * rc.slow)
			r.apply(&slow)
			for range 10 {
				r.commit(101)
			}
			r.arrives("while one series is bad", 1000, but("7"))
			rc.do(func() {
				require.Less(t, rc.again, 1000, "sent again and again")
				delete(rc.bad, "7")
			})
			r.commit(101)
			r.arrives("in the end", 1100, but("7"))
			require.NoError(t, r.Close())
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestManySeriesStopNoOthers: it does not matter how many series an endpoint does
// not take, that they are neighbours, what the status is, or that the answer asks
// for a long pause; the others lose nothing and wait for moments.
func TestManySeriesStopNoOthers(t *testing.T) {
	ways := map[string]client.Result{
		"413":             {Status: 413, Outcome: client.TooLarge, Err: errors.New("too large")},
		"404":             {Status: 404, Outcome: client.Denied, Err: errors.New("not found")},
		"429 Retry-After": {Status: 429, Outcome: client.Retry, RetryAfter: time.Hour, Err: errors.New("limit of the series")},
		"503 Retry-After": {Status: 503, Outcome: client.Retry, Ambiguous: true, RetryAfter: time.Hour, Err: errors.New("unavailable")},
	}
	for name, res := range refusals {
		if res.Status != hang {
			ways[name] = res
		}
	}
	for name, res := range ways {
		for _, n := range []int{1, 40, 200} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				t.Parallel()
				j, rc := openJournal(t, t.TempDir(), nil), newPicky()
				var bad []string
				for i := range n {
					bad = append(bad, strconv.Itoa(i))
					rc.bad[strconv.Itoa(i)] = res
				}
				r := newPickyRig(t, j, rc, 1)
				r.conf.QueueConfig.MaxSamplesPerSend = 2000
				r.conf.QueueConfig.Capacity = 10000
				r.apply(r.conf)
				const commits = 6
				for range commits {
					r.commit(450)
				}
				r.arrives("the others", commits*(450-n), but(bad...))
				require.Zero(t, rc.has(only(bad...)))
				if final(res) {
					code := strconv.Itoa(res.Status)
					require.Eventually(t, func() bool {
						return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": code}) == float64(commits*n)
					}, time.Minute, time.Millisecond)
				}
				require.NoError(t, r.Close())
				rc.do(func() { require.Zero(t, rc.early, "I4") })
				require.NoError(t, j.wal.Close())
			})
		}
	}
}

// TestRateLimitIsNoPoison: an endpoint that takes one request of several, whatever
// is in it, has no series that it does not take. None stays apart, and once that is
// known, requests are whole.
func TestRateLimitIsNoPoison(t *testing.T) {
	for _, senders := range []int{1, 4} {
		t.Run(strconv.Itoa(senders), func(t *testing.T) {
			t.Parallel()
			j, rc, r := newLimitedRig(t, senders, 0)
			q := r.running[0].streams()[0].isolation
			require.Eventually(t, func() bool { return q.waitingApart() == 0 }, time.Minute, time.Millisecond)
			rc.do(func() { rc.requests = 0 })
			for range 40 {
				r.commit(450)
			}
			r.arrives("once the limit is known", 101*450, but())
			rc.do(func() {
				require.LessOrEqual(t, rc.requests, 40*2*leastInTurn*3, "40 requests, or 80, each made until it is taken, with those of suspects that are left")
				require.Zero(t, rc.again)
				require.Zero(t, rc.early, "I4")
			})
			require.NoError(t, r.Close())
			require.NoError(t, j.wal.Close())
		})
	}
}

// newLimitedRig returns a rig whose receiver has got 61 commits of 450 samples, all but
// the first while it took one request of as many as one in its turn is repeated at the
// least: of more, it would be by chance that a slow machine finds none too large.
// maxBackoff is the rig's own if 0.
func newLimitedRig(t *testing.T, senders int, maxBackoff time.Duration) (*journal, *picky, *pickyRig) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	r := newPickyRig(t, j, rc, senders)
	r.conf.QueueConfig.MaxSamplesPerSend = 500
	r.conf.QueueConfig.Capacity = 5000
	if maxBackoff > 0 {
		r.conf.QueueConfig.MaxBackoff = model.Duration(maxBackoff)
	}
	r.apply(r.conf)
	r.commit(450)
	r.arrives("before", 450, but())
	rc.do(func() { rc.oneOf = leastInTurn })
	for range 60 {
		r.commit(450)
	}
	r.arrives("all", 61*450, but())
	return j, rc, r
}

// TestLimitedRequestsStayWhole defends that what an endpoint answers as if there were
// too many requests is repeated as it is, one request at a time: in parts, it would
// take more of what the endpoint gives.
func TestLimitedRequestsStayWhole(t *testing.T) {
	for _, senders := range []int{1, 4} {
		t.Run(strconv.Itoa(senders), func(t *testing.T) {
			t.Parallel()
			j, rc, r := newLimitedRig(t, senders, time.Second)
			require.Zero(t, r.value("prometheus_remote_storage_isolation_requests_total", nil))
			rc.do(func() {
				require.Zero(t, rc.again)
				require.Zero(t, rc.early, "I4")
			})
			require.NoError(t, r.Close())
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestLearnsSizes defends that an endpoint which takes no request with more samples than
// its limit gives out at once gets requests that are small enough, of which few are in
// vain, and large ones again when it takes them.
func TestLearnsSizes(t *testing.T) {
	for _, senders := range []int{1, 4} {
		t.Run(strconv.Itoa(senders), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			r := newPickyRig(t, j, rc, senders)
			r.conf.QueueConfig.MaxSamplesPerSend = 500
			r.conf.QueueConfig.Capacity = 5000
			r.apply(r.conf)
			rc.do(func() { rc.burst = 60 })
			for range 10 {
				r.commit(450)
			}
			r.arrives("while it is not known", 10*450, but())
			q := r.running[0].streams()[0].isolation
			require.Eventually(t, func() bool { return q.waitingApart() == 0 }, time.Minute, time.Millisecond)
			rc.do(func() { rc.requests = 0 })
			for range 40 {
				r.commit(450)
			}
			r.arrives("once it is known", 50*450, but())
			rc.do(func() {
				require.LessOrEqual(t, rc.requests, 40*450/25, "at most a few more than of half the size that it takes")
				rc.burst = 0
				require.Zero(t, rc.again)
				require.Zero(t, rc.early, "I4")
			})
			s := r.running[0].streams()[0]
			s.sizes.mtx.Lock()
			s.sizes.until = time.Time{} // It was a while ago.
			s.sizes.mtx.Unlock()
			for range 40 {
				r.commit(450)
			}
			r.arrives("without a limit", 90*450, but())
			require.Zero(t, s.sizes.most.Load())
			require.NoError(t, r.Close())
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestLearnsSizesOfBacklogs: also where what waits is many samples of few series, and
// where one sample with its buckets is more than others.
func TestLearnsSizesOfBacklogs(t *testing.T) {
	for name, c := range map[string]struct{ series, commits, burst, senders int }{
		"many":           {450, 40, 60, 4},
		"few":            {45, 100, 60, 4},
		"few, 1 sender":  {45, 100, 60, 1},
		"fewer":          {20, 100, 60, 1},
		"one at a time":  {20, 20, 1, 1},
		"small, 4":       {20, 100, 10, 4},
		"less than each": {5, 100, 10, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			rc.burst = c.burst
			r := newPickyRig(t, j, rc, c.senders)
			r.conf.QueueConfig.MaxSamplesPerSend = 500
			r.conf.QueueConfig.Capacity = 5000
			r.apply(r.conf)
			for range c.commits {
				r.commit(c.series)
			}
			r.arrives("all", c.series*c.commits, but())
			require.NoError(t, r.Close())
			rc.do(func() {
				require.Zero(t, rc.again)
				require.Zero(t, rc.early, "I4")
			})
			require.NoError(t, j.wal.Close())
		})
	}
}

// TestSizeLimit defends what is known of a limit in samples when senders tell of it that
// have requests of other sizes, and when it changes.
func TestSizeLimit(t *testing.T) {
	var l sizeLimit
	require.False(t, l.unproven(64, false), "no rate is limited")
	require.True(t, l.unproven(64, true))
	require.True(t, l.tooMany(64, 32))
	require.False(t, l.tooMany(256, 128), "of a sender that had a larger one under way")
	require.EqualValues(t, 32, l.most.Load())
	require.True(t, l.below(33))
	l.noteTaken(31, 500) // Sample and exemplar are not parted.
	require.EqualValues(t, 32, l.most.Load(), "64 are known to be too many")
	l.until = time.Time{}
	l.noteTaken(31, 500)
	require.EqualValues(t, 64, l.most.Load())
	l.noteTaken(64, 500)
	require.False(t, l.unproven(64, true))
	require.True(t, l.tooMany(50, 25), "it is lower now")
	require.True(t, l.unproven(50, true))
	lasts := l.lasts
	require.False(t, l.tooMany(50, 25), "another sender has found the same")
	require.Equal(t, lasts, l.lasts)
	l.until = time.Time{}
	for range 5 {
		l.noteTaken(int(l.most.Load()), 500)
	}
	require.Zero(t, l.most.Load(), "as many as wanted")
}

// TestRefusedBesideLimited defends that series which are refused do not wait for those
// that are answered 429: an endpoint that refuses is up.
func TestRefusedBesideLimited(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	r := newPickyRig(t, j, rc, 4)
	r.conf.QueueConfig.MinBackoff = model.Duration(time.Millisecond)
	r.conf.QueueConfig.MaxBackoff = model.Duration(time.Second)
	r.apply(r.conf)
	for i := range 3 {
		rc.bad[strconv.Itoa(i)] = refusals["429"]
	}
	for i := 50; i < 55; i++ {
		rc.bad[strconv.Itoa(i)] = refusals["400"]
	}
	q := r.running[0].streams()[0].isolation
	commits := 0
	for q.size() < 8 || commits < 100 {
		r.commit(101)
		commits++
		time.Sleep(time.Millisecond) // What is written at once is one request.
	}
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", nil) == float64(5*commits)
	}, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestTurn defends that one sender at a time has its turn, that the others wait for no
// longer than it lasts, and that it can be had again.
func TestTurn(t *testing.T) {
	var (
		tn   turn
		a, b sender
		c    stream
	)
	require.True(t, tn.take(&a, time.Hour))
	require.False(t, tn.take(&b, time.Hour))
	wait, _ := tn.others(&a)
	require.Zero(t, wait)
	wait, over := tn.others(&b)
	require.Greater(t, wait, 50*time.Minute)
	tn.give(&b) // It is not b's.
	select {
	case <-over:
		t.Fatal("it is over")
	default:
	}
	tn.give(&a)
	<-over
	require.True(t, tn.take(&a, -1))
	wait, _ = tn.others(&b)
	require.Negative(t, wait)
	require.True(t, tn.take(&b, time.Hour), "a has had its turn")
	wait, over = tn.others(&a)
	require.Positive(t, wait)
	require.False(t, tn.take(&a, time.Hour))
	require.False(t, tn.take(&c, time.Hour))
	tn.give(&b)
	<-over
	wait, _ = tn.others(&a)
	require.Zero(t, wait, "a was the first to ask")
	wait, _ = tn.others(&c)
	require.Positive(t, wait)
	require.False(t, tn.take(&b, time.Hour))
	tn.give(&c) // It does not want it any more.
	tn.give(&a)
	wait, over = tn.others(&a)
	require.Positive(t, wait, "b was the next")
	tn.hand(&c, time.Hour)
	<-over
	wait, _ = tn.others(&c)
	require.Zero(t, wait)
	tn.give(&c)
	wait, _ = tn.others(&b)
	require.Zero(t, wait, "no sender waits for it")
}

// TestOutageIsNoPoison defends that an endpoint that takes nothing is not asked
// more often than once for each pause, and that afterwards everything goes as
// before.
func TestOutageIsNoPoison(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	r := newPickyRig(t, j, rc, 1)
	r.commit(50)
	r.arrives("before", 50, but())
	rc.do(func() { rc.down, rc.requests = true, 0 })
	for range 40 {
		r.commit(50)
	}
	retried := func() float64 { return float64(r.running[0].streams()[0].pauses.Load()) }
	require.Eventually(t, func() bool { return retried() > 100 }, time.Minute, time.Millisecond)
	rc.do(func() { rc.down = false })
	r.arrives("after", 41*50, but())
	require.Eventually(t, func() bool { return r.running[0].streams()[0].isolation.size() == 0 }, time.Minute, time.Millisecond)
	rc.do(func() {
		require.LessOrEqual(t, float64(rc.requests), retried()+41+5, "attempts without a pause")
		require.Zero(t, rc.again)
	})
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestRefusesEverything defends that an endpoint that refuses everything is not
// asked sample by sample.
func TestRefusesEverything(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(func(int) *client.Result {
		return &client.Result{Status: 400, Outcome: client.Refused, Err: errors.New("no")}
	})
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{RefusedHold: -1})
	r.attach(remoteWrite("a"))
	for range 20 {
		r.commit(100)
	}
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}) == 2000
	}, time.Minute, time.Millisecond)
	rc.mtx.Lock()
	requests := rc.requests
	rc.mtx.Unlock()
	require.LessOrEqual(t, requests, divideFirst*3*mostRefusals+probeMany*(1+probes)+2*20)
	require.Eventually(t, func() bool { return r.running[0].streams()[0].isolation.size() == 0 }, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestIsolationModel runs random schedules of series that become bad and good,
// outages, graceful stops and crashes, with limits that remove what is not
// delivered. What is neither refused nor removed arrives; nothing arrives twice
// without a crash or an unsure answer, and each series in its order.
func TestIsolationModel(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	for run := range 12 {
		t.Run(strconv.Itoa(run), func(t *testing.T) {
			t.Parallel()
			isolationSchedule(t, rand.New(rand.NewSource(seed+int64(run))))
		})
	}
}

func isolationSchedule(t *testing.T, rnd *rand.Rand) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	kinds := []string{"400", "429", "500", "reset"}
	var (
		r       *pickyRig
		dropped = 0.0
		tries   = 0.0
		senders = 1 + rnd.Intn(4)
		unsure  = false
	)
	open := func() { r = newPickyRig(t, j, rc, senders) }
	end := func() {
		m := r.running[0].metrics.Load()
		require.NoError(t, r.Close())
		tries += testutil.ToFloat64(m.isolationRequests)
		dropped += testutil.ToFloat64(m.failed[queue.Samples]) + testutil.ToFloat64(m.dropped[queue.Samples].WithLabelValues(reasonOnReplay))
		for _, reason := range []string{"max_size", reasonStopped} {
			dropped += testutil.ToFloat64(r.metrics.expired[queue.Samples].WithLabelValues("a", reason))
		}
	}
	open()
	for range 40 {
		switch n := rnd.Intn(20); {
		case n < 10:
			for range 1 + rnd.Intn(8) {
				r.commit(20 + rnd.Intn(100))
			}
			if rnd.Intn(3) == 0 {
				j.cut()
			}
		case n < 13:
			kind := kinds[rnd.Intn(len(kinds))]
			unsure = unsure || kind == "500" || kind == "reset"
			rc.do(func() {
				for range 1 + rnd.Intn(5) {
					rc.bad[strconv.Itoa(rnd.Intn(100))] = refusals[kind]
				}
			})
		case n < 14:
			rc.do(func() { clear(rc.bad) })
		case n < 15:
			unsure = true // 503 is.
			rc.do(func() { rc.down = !rc.down })
		case n < 17:
			end()
			open()
		case n < 18:
			unsure = true
			rc.do(func() { rc.frozen = true })
			saved, err := os.ReadFile(filepath.Join(j.dir, savepoint.CurrentName))
			require.NoError(t, err)
			end()
			require.NoError(t, os.WriteFile(filepath.Join(j.dir, savepoint.CurrentName), saved, 0o600))
			rc.do(func() { rc.frozen = false })
			open()
		case n < 19 && j.head.Load().Segment > 0:
			segment := rnd.Intn(j.head.Load().Segment) + 1
			require.NoError(t, r.Forfeit(t.Context(), cursor.Position{Segment: segment}, "max_size"))
			require.NoError(t, r.Persist(t.Context()))
			require.NoError(t, j.wal.Truncate(segment))
		default:
			require.NoError(t, r.Persist(t.Context()))
			floor := j.gate.Floor().Position.Segment
			require.NoError(t, j.wal.Truncate(floor))
		}
	}
	rc.do(func() { clear(rc.bad); rc.down = false })
	require.Eventually(t, func() bool {
		streams := r.running[0].streams()
		return len(streams) == 1 && streams[0].queue.Done(*j.head.Load()) && streams[0].isolation.waitingApart() == 0
	}, time.Minute, time.Millisecond, "%s", stringer(func() string {
		return fmt.Sprintf("%d apart, %+v", r.running[0].streams()[0].isolation.waitingApart(), r.running[0].streams()[0].queue.Stats())
	}))
	end()
	stored := rc.has(but())
	if unsure {
		require.GreaterOrEqual(t, float64(stored)+dropped, float64(j.count), "lost: %d stored, %v dropped, %d committed", stored, dropped, j.count)
	} else {
		require.Equal(t, float64(j.count), float64(stored)+dropped)
		rc.do(func() {
			require.LessOrEqual(t, float64(rc.again), tries, "beyond one sample for each attempt with what came behind")
		})
	}
	rc.do(func() { require.Zero(t, rc.early, "I4") })
	require.NoError(t, j.wal.Close())
}

// TestPoisonIsNoRateLimit defends that series which an endpoint does not take show no
// limit on the rate of requests, also while more waits of each than fits into a
// request: others would wait with them.
func TestPoisonIsNoRateLimit(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newPicky()
	r := newPickyRig(t, j, rc, 1)
	r.conf.QueueConfig.MaxSamplesPerSend = 50
	r.apply(r.conf)
	rc.do(func() {
		rc.slow = 2 * time.Millisecond // So that more comes meanwhile.
		for _, name := range []string{"3", "17", "18"} {
			rc.bad[name] = refusals["429"]
		}
	})
	for range 30 {
		r.commit(40)
	}
	r.arrives("all others", 30*37, but("3", "17", "18"))
	require.False(t, r.running[0].streams()[0].limit.known())
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}
