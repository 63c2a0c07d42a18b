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
	"math"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// arrival is a sample as a receiver got it.
type arrival struct {
	series string
	t      int64
}

// lateReceiver takes samples in any order, as receivers with an out-of-order
// window do, and remembers in which they came.
type lateReceiver struct {
	mtx    sync.Mutex
	times  map[arrival]int // How often each sample was stored.
	order  map[string][]int64
	stored int
	frozen bool // The process that sent the request is dead.
	// before is asked with the timestamps a request spans, ahead of storing it;
	// after it was stored, after. A result is the answer. Both may wait.
	before, after func(ctx context.Context, oldest, newest int64) *client.Result
	// poison, if not nil, are the series, by a number of their name, with which no
	// request is taken.
	poison map[uint64]bool
}

// poisonOf is how many classes of series there are for poison.
const poisonOf = 20

func newLateReceiver() *lateReceiver {
	return &lateReceiver{times: map[arrival]int{}, order: map[string][]int64{}}
}

func (*lateReceiver) Close() {}

func (r *lateReceiver) Store(ctx context.Context, body []byte, _ int) client.Result {
	var req prompb.WriteRequest
	if res := unpack(body, &req); res != nil {
		return *res
	}
	var (
		came    []arrival
		oldest  = int64(math.MaxInt64)
		newest  = int64(math.MinInt64)
		builder = labels.NewScratchBuilder(0)
	)
	for _, ts := range req.Timeseries {
		name := ts.ToLabels(&builder, nil).String()
		for _, s := range ts.Samples {
			came = append(came, arrival{name, s.Timestamp})
			oldest, newest = min(oldest, s.Timestamp), max(newest, s.Timestamp)
		}
	}
	r.mtx.Lock()
	before, after := r.before, r.after
	r.mtx.Unlock()
	if before != nil {
		if res := before(ctx, oldest, newest); res != nil {
			return *res
		}
	}
	r.mtx.Lock()
	if r.frozen {
		r.mtx.Unlock()
		return client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
	}
	for _, a := range came {
		if r.poison[xxhash.Sum64String(a.series)%poisonOf] {
			r.mtx.Unlock()
			return client.Result{Status: 429, Outcome: client.Retry, Err: errors.New("limit of the series")}
		}
	}
	for _, a := range came {
		r.times[a]++
		r.stored++
		r.order[a.series] = append(r.order[a.series], a.t)
	}
	r.mtx.Unlock()
	if after != nil {
		if res := after(ctx, oldest, newest); res != nil {
			return *res
		}
	}
	return client.Result{Status: 204, Outcome: client.Delivered}
}

func (r *lateReceiver) set(before func(ctx context.Context, oldest, newest int64) *client.Result) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.before = before
}

// refuse makes the receiver take no request with series of some classes.
func (r *lateReceiver) refuse(poison map[uint64]bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.poison = poison
}

// counts returns how many samples there are, and how often samples were stored
// that were there already.
func (r *lateReceiver) counts() (different, again int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return len(r.times), r.stored - len(r.times)
}

// has returns how many different samples there are with a time in (from, to].
func (r *lateReceiver) has(from, to int64) (n int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for a := range r.times {
		if from < a.t && a.t <= to {
			n++
		}
	}
	return n
}

// requireOrdered checks I4 within two ranges: up to and after a time, each
// series' samples came in order.
func (r *lateReceiver) requireOrdered(t testing.TB, until int64) {
	t.Helper()
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for series, times := range r.order {
		last := map[bool]int64{}
		for _, at := range times {
			require.Greater(t, at, last[at > until], "%s: %d came after %d", series, at, last[at > until])
			last[at > until] = at
		}
	}
}

func down(context.Context, int64, int64) *client.Result { return unavailable(0) }

// freshRig is a storage with one endpoint, "a", that has fresh samples first.
type freshRig struct {
	*rig
	rc *lateReceiver
	// until is the time of the last sample that was committed before the
	// receiver worked again.
	until int64
}

// restingOptions leave the backlog hardly any time: it gets one window through.
func restingOptions() (Options, *config.RemoteWriteConfig) {
	opts, conf := freshOptions(), remoteWrite("a")
	opts.FreshFirst["a"] = 1e-9
	conf.QueueConfig.MaxShards = 1
	return opts, conf
}

func freshOptions() Options {
	return Options{FreshFirst: map[string]float64{"a": 0.5}, pace: 2 * time.Millisecond}
}

func newFreshRig(t testing.TB, j *journal, rc *lateReceiver, opts Options, cs ...*config.RemoteWriteConfig) *freshRig {
	t.Helper()
	opts.newClient = func(client.Config) (storer, error) { return rc, nil }
	r := &freshRig{rig: newRig(t, j, nil, opts), rc: rc}
	if len(cs) == 0 {
		cs = append(cs, remoteWrite("a"))
	}
	r.attach(cs...)
	return r
}

// newDividedRig returns a rig whose endpoint has just got its second stream after an
// outage. Its receiver keeps what is of the backlog, but for the first few
// requests, until release is called.
func newDividedRig(t testing.TB, first int) (r *freshRig, release func()) {
	r = newFreshRig(t, openJournal(t, t.TempDir(), nil), newLateReceiver(), freshOptions())
	r.outage()
	release = r.blockOld(first)
	r.divided()
	return r, release
}

// blockOld makes the receiver keep requests with what is not after r.until,
// but for the first few, until release is called.
func (r *freshRig) blockOld(first int) (release func()) {
	var (
		mtx    sync.Mutex
		closed = make(chan struct{})
		until  = r.until
	)
	r.rc.set(func(ctx context.Context, oldest, _ int64) *client.Result {
		if oldest > until {
			return nil
		}
		mtx.Lock()
		first--
		pass := first >= 0
		mtx.Unlock()
		if pass {
			return nil
		}
		select {
		case <-closed:
			return nil
		case <-ctx.Done():
			return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: ctx.Err()}
		}
	})
	return func() { close(closed) }
}

// fail takes the receiver, which has all there is, down, and waits until that is
// noticed by what commit sends. An answer from before that is dealt with late
// would look like the end of the outage, in the middle of it.
func (r *freshRig) fail(commit func()) {
	r.t.Helper()
	s := r.running[0].streams()[0]
	require.Eventually(r.t, func() bool { return s.queue.Stats().Queued == 0 }, time.Minute, time.Millisecond)
	r.rc.set(down)
	commit()
	require.Eventually(r.t, s.failing.Load, time.Minute, time.Millisecond)
}

// outage commits something that arrives, and then much that cannot.
func (r *freshRig) outage() {
	r.t.Helper()
	r.commit(50)
	r.complete()
	r.fail(func() { r.commit(50) })
	for range 6 {
		for range 30 {
			r.commit(50)
		}
		r.journal.cut()
	}
	r.until = r.journal.time
}

// divided waits until the endpoint has two streams at work.
func (r *freshRig) divided() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		streams := r.running[0].streams()
		return len(streams) == 2 && streams[1].working()
	}, time.Minute, time.Millisecond, "the endpoint gets no second stream")
}

// isolateOnBoth commits, and waits until series are isolated on both streams. It returns
// false if the backlog ended before.
func (r *freshRig) isolateOnBoth() (isolated bool) {
	r.t.Helper()
	for range 10 {
		r.commit(50)
	}
	require.Eventually(r.t, func() bool {
		streams := r.running[0].streams()
		isolated = len(streams) == 2 && streams[0].isolation.waitingApart() > 0 && streams[1].isolation.waitingApart() > 0
		return isolated || len(streams) == 1
	}, time.Minute, time.Millisecond, "%s", stringer(r.state))
	return isolated
}

// merged waits until the endpoint has one stream again.
func (r *freshRig) merged() {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return len(r.running[0].streams()) == 1 }, time.Minute, time.Millisecond, "the backlog's stream does not end")
}

// live commits after an outage and waits until the receiver has it.
func (r *freshRig) live(commits int) {
	r.t.Helper()
	from := r.journal.time
	for range commits {
		r.commit(50)
	}
	require.Eventually(r.t, func() bool { return r.rc.has(from, r.journal.time) == 50*commits }, time.Minute, time.Millisecond, "%s", stringer(func() string {
		return fmt.Sprintf("what is new does not arrive: %d of %d from %d on; %s", r.rc.has(from, r.journal.time), 50*commits, from, r.state())
	}))
}

// state describes the streams.
func (r *freshRig) state() string {
	out := fmt.Sprintf("head %s", r.journal.head.Load())
	for _, s := range r.running[0].streams() {
		pos, moves := s.cursor.get()
		until, bounded := s.cursor.end()
		st := s.queue.Stats()
		out += fmt.Sprintf("; stream at %s (%d moves), until %s %t, begun %t, %d senders, queued %d, ready %d, waiting %d, read %s, failing %t, delivers %t",
			pos, moves, until, bounded, s.working(), s.senders(), st.Queued, st.Ready, st.Waiting, st.Read, s.failing.Load(), s.delivers.Load())
	}
	return out
}

// complete waits until the receiver has everything.
func (r *freshRig) complete() {
	r.t.Helper()
	r.completeBut(0)
}

// completeBut waits until the receiver has everything but so many samples.
func (r *freshRig) completeBut(lost int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { n, _ := r.rc.counts(); return n >= r.journal.count-lost }, time.Minute, time.Millisecond, "%s", stringer(func() string {
		n, again := r.rc.counts()
		return fmt.Sprintf("I2: receiver has %d of %d samples, %d again; %s", n, r.journal.count-lost, again, r.state())
	}))
	n, _ := r.rc.counts()
	require.Equal(r.t, r.journal.count-lost, n)
}

// saved returns what the current savepoint says of the endpoint.
func (r *freshRig) saved() savepoint.Endpoint {
	r.t.Helper()
	f, _, err := savepoint.NewStore(r.journal.dir).Load()
	require.NoError(r.t, err)
	require.Len(r.t, f.Endpoints, 1)
	return f.Endpoints[0]
}

var errReset = errors.New("connection reset")

// waitingApart returns of how many isolated series something waits.
func (iso *isolation) waitingApart() int {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	return len(iso.marks())
}
