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
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/prompb"
)

// statusOf returns the status of the only endpoint.
func (r *rig) statusOf() EndpointStatus {
	r.t.Helper()
	all := r.Status().Endpoints
	require.Len(r.t, all, 1)
	return all[0]
}

// becomes waits until the only endpoint is in a state.
func (r *rig) becomes(want State) (s EndpointStatus) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { s = r.statusOf(); return s.State == want }, time.Minute, time.Millisecond, "%s", stringer(func() string { return string(s.State) }))
	return s
}

// An endpoint that has everything is delivering, however old the timestamps are, and shows
// nothing that is secret.
func TestStatusDelivering(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	conf := remoteWrite("a")
	conf.URL.User = url.UserPassword("somebody", "password")
	conf.URL.RawQuery = "token=hidden&tenant=1"
	r.attach(conf)
	r.commit(7)
	r.Highest(time.Now().UnixMilli())
	r.complete("a", j.count)
	require.Eventually(t, func() bool { return r.statusOf().UnackedBytes == 0 }, time.Minute, time.Millisecond)
	s := r.becomes(StateDelivering)
	require.Equal(t, "delivering", s.Description)
	require.True(t, r.Holders()[0].KeepsUp)
	require.Equal(t, "http://a/write?token=xxxxx&tenant=xxxxx", s.URL)
	require.Equal(t, "a", s.Name)
	require.Equal(t, "prometheus.WriteRequest", s.Protocol)
	require.Equal(t, *j.head.Load(), s.Position)
	require.EqualValues(t, 1, s.NewestDelivered.UnixMilli())
	require.Zero(t, *s.Behind)
	require.Zero(t, s.UnackedSamples)
	require.Positive(t, s.Senders)
	require.Nil(t, s.LastError)
	require.Empty(t, s.Drops)
	text, err := json.Marshal(r.Status())
	require.NoError(t, err)
	require.NotContains(t, string(text), "somebody")
	require.NotContains(t, string(text), "hidden")
	require.NotNil(t, r.Status().NewestSample)
	r.end()
}

// What fails is told with the answer, and how much waits for it.
func TestStatusFailing(t *testing.T) {
	denied := func(int) *client.Result {
		return &client.Result{Status: 401, Outcome: client.Denied, Err: errors.New("who are you")}
	}
	refused := func(int) *client.Result {
		return &client.Result{Status: 400, Outcome: client.Refused, Err: errors.New("no")}
	}
	silent := func(int) *client.Result {
		return &client.Result{Outcome: client.Retry, Err: errors.New("connection refused")}
	}
	for name, tc := range map[string]struct {
		answer      func(int) *client.Result
		state       State
		description string
		until       bool
	}{
		"unavailable": {unavailable, StateRetrying, "retrying: 503 Service Unavailable", false},
		"no answer":   {silent, StateRetrying, "retrying: no answer", false},
		"denied":      {denied, StateHeld, "held until mended: 401 Unauthorized", false},
		"refused":     {refused, StateHeld, "held for a while: 400 Bad Request", true},
	} {
		t.Run(name, func(t *testing.T) {
			j, rc, r := failingRig(t)
			rc.set(tc.answer)
			r.commit(50)
			require.Eventually(t, func() bool {
				s := r.statusOf()
				return s.State == tc.state && s.Description == tc.description
			}, time.Minute, time.Millisecond, "%s", stringer(func() string { return r.statusOf().Description }))
			s := r.statusOf()
			require.Equal(t, tc.answer(0).Status, s.LastError.Status)
			require.Equal(t, tc.answer(0).Err.Error(), s.LastError.Message)
			require.Equal(t, tc.until, s.Until != nil)
			require.Positive(t, s.UnackedBytes)
			require.Positive(t, s.UnackedSamples)
			require.Nil(t, s.CatchUp)

			rc.set(nil)
			r.complete("a", j.count)
			s = r.becomes(StateDelivering)
			require.NotNil(t, s.LastError, "it is the last one still")
			r.end()
		})
	}
}

// One that refuses everything, and what it refuses is dropped, is not said to deliver.
func TestStatusRefusing(t *testing.T) {
	j, rc, r := failingRig(t)
	rc.set(func(int) *client.Result {
		return &client.Result{Status: 409, Outcome: client.Refused, Late: true, Err: errors.New("too old")}
	})
	r.commit(50)
	require.Eventually(t, func() bool { return r.value("prometheus_remote_storage_refused_total", nil) == float64(j.count) }, time.Minute, time.Millisecond)
	s := r.becomes(StateRefusing)
	require.Equal(t, "refusing everything: 409 Conflict", s.Description)
	rc.set(nil)
	r.commit(50)
	r.becomes(StateDelivering)
	r.end()
}

// What a limit takes in an outage is told while that lasts, and as a drop after that.
func TestStatusOverLimit(t *testing.T) {
	j, rc, r := failingRig(t)
	r.commit(10)
	r.becomes(StateRetrying)
	for range 3 {
		j.cut()
		for range 20 {
			r.commit(200)
		}
	}
	require.NoError(t, r.Forfeit(context.Background(), cursor.Position{Segment: j.head.Load().Segment}, reasonEndpointMaxSize, r.running[0].id))
	s := r.becomes(StateOverLimit)
	require.Equal(t, "over its limit", s.Description)
	require.Len(t, s.Drops, 1)
	require.Equal(t, DropExpired, s.Drops[0].Kind)
	require.Equal(t, reasonEndpointMaxSize, s.Drops[0].Reason)
	require.EqualValues(t, r.expired(nil), s.Drops[0].Samples)
	require.Positive(t, s.Drops[0].Bytes)
	require.WithinDuration(t, time.Now(), s.Drops[0].Last, time.Minute)
	rc.set(nil)
	s = r.becomes(StateDelivering)
	require.Len(t, s.Drops, 1)
	r.end()
}

// A series that is not taken while others are does not hide behind them.
func TestStatusBlocked(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{newClient: func(client.Config) (storer, error) {
		return poisoned{rc, "3"}, nil
	}})
	r.attach(remoteWrite("a"))
	r.commit(8)
	require.Eventually(t, func() bool {
		s := r.statusOf()
		return s.State == StateBlocked && s.Description == "blocked by 1 series"
	}, time.Minute, time.Millisecond)
	require.Equal(t, 1, r.statusOf().IsolatedSeries)
	r.end()
}

// A series that is refused again and again while the rest is delivered is no refusal of
// everything: not a moment after the rest was taken, and not if there has been no rest since.
func TestStatusOfPoisonIsSteady(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{pace: time.Hour, newClient: func(client.Config) (storer, error) {
		return poisoned{rc, "3"}, nil
	}})
	r.attach(remoteWrite("a"))
	r.commit(8)
	r.becomes(StateBlocked)
	e := r.running[0]
	require.Eventually(t, func() bool { stored, _ := rc.counts(); return stored == 7 }, time.Minute, time.Millisecond)
	refused := client.Result{Status: 422, Outcome: client.Refused, Err: errors.New("no")}
	e.refusal.noteRefused(refused)
	e.noted.fail(refused, time.Now())
	require.Zero(t, r.statusOf().RefusedStatus)

	// The rest was taken long ago, and before that the series was isolated already.
	taken := time.Now().Add(-2 * takesFor)
	e.lastTaken.Store(taken)
	e.noted.become(activity{at: taken, state: StateBlocked, since: taken, apart: taken.Add(-time.Second)})
	e.refusal.noteRefused(refused)
	s := r.statusOf()
	require.Zero(t, s.RefusedStatus)
	require.NotContains(t, []State{StateHeld, StateRefusing}, s.State)

	// One that was taken before anything was isolated refuses everything. The sender may note
	// only now that the rest was taken.
	require.Eventually(t, func() bool {
		e.lastTaken.Store(taken)
		e.noted.become(activity{at: taken, state: StateBlocked, since: taken, apart: taken.Add(time.Second)})
		return r.statusOf().RefusedStatus == 422
	}, time.Minute, time.Millisecond)
	r.end()
}

// poisoned is a receiver that is unavailable for requests with a series.
type poisoned struct {
	*receiver
	series string
}

func (p poisoned) Store(ctx context.Context, body []byte, attempt int) client.Result {
	var req prompb.WriteRequest
	if res := unpack(body, &req); res != nil {
		return *res
	}
	for _, ts := range req.Timeseries {
		if slices.ContainsFunc(ts.Labels, func(l prompb.Label) bool { return l.Name == "i" && l.Value == p.series }) {
			return *unavailable(0)
		}
	}
	return p.receiver.Store(ctx, body, attempt)
}

// Who looks changes nothing of what is noted: when an endpoint began to do something, and
// what a limit took of an outage, does not depend on how often somebody asks.
func TestStatusNotesNothing(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(unavailable)
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{pace: time.Hour})
	r.attach(remoteWrite("a"))
	r.commit(10)
	e := r.running[0]
	require.Eventually(t, func() bool { return e.streams()[0].failing.Load() }, time.Minute, time.Millisecond)
	began := time.Now().Add(-time.Minute)
	noted := activity{at: began, state: StateRetrying, since: began, failing: true, turned: began}
	e.noted.become(noted)
	require.Equal(t, began.UTC(), *r.statusOf().Since)
	e.streams()[0].failing.Store(false) // For a moment, between two looks of the pacer.
	r.Status()
	require.Equal(t, noted, e.noted.activity)
	r.end()
}

// A removed endpoint is shown as long as it keeps its part of the log.
func TestStatusRemoved(t *testing.T) {
	_, _, r := failingRig(t)
	r.commit(10)
	r.becomes(StateRetrying)
	r.apply()
	s := r.becomes(StateRemoved)
	require.Equal(t, "a", s.Name)
	require.Empty(t, s.URL)
	require.Positive(t, s.UnackedBytes)
	require.WithinDuration(t, time.Now().Add(DefaultRemovedRetention), *s.Until, time.Minute)
	require.Equal(t, "removed from the configuration", s.Description)
	r.apply(remoteWrite("a"))
	r.becomes(StateRetrying)
	r.end()
}

// An endpoint with a backlog from before the start never shows that it keeps up, or that there
// is nothing to send, before that is delivered: it starts until it answers.
func TestStatusStarting(t *testing.T) {
	j, rc, r := failingRig(t)
	r.commit(100)
	r.end()

	rc.set(func(int) *client.Result { return &client.Result{Status: hang} })
	rc.entered = make(chan struct{}, 1000)
	j = j.again()
	r = newRig(t, j, map[string]*receiver{"a": rc}, Options{pace: time.Hour})
	r.attach(remoteWrite("a"))
	s := r.statusOf()
	require.Equal(t, StateStarting, s.State)
	require.Equal(t, "starting", s.Description)
	require.Nil(t, s.Behind)
	require.Positive(t, s.UnackedBytes)
	require.False(t, r.Holders()[0].KeepsUp)
	<-rc.entered
	rc.set(nil) // Of the next attempts.
	e := r.running[0]
	e.noted.course[0].at = time.Now().Add(-keepsUpWithin)
	s = r.statusOf()
	require.Equal(t, StateRetrying, s.State, "it has had its time")
	require.GreaterOrEqual(t, *s.Behind, keepsUpWithin.Seconds())
	r.end()
}

// An endpoint catches up if it has more to be sent than was written in the last seconds,
// whatever timestamps that has; it says how long it takes.
func TestStatusCatchingUp(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{pace: time.Hour})
	r.attach(remoteWrite("a"))
	r.commit(5)
	r.complete("a", j.count)
	r.becomes(StateDelivering)
	e := r.running[0]
	answers := make(chan struct{})
	rc.set(func(int) *client.Result { <-answers; return nil })
	r.commit(100) // Under way, without an answer.

	now := time.Now()
	head, floor := *j.head.Load(), e.floor()
	require.True(t, floor.Before(head))
	e.noted.course = []stage{
		{at: now.Add(-time.Minute), head: floor},
		{at: now.Add(-40 * time.Second), head: head, written: 5000, unacked: 5000},
		{at: now.Add(-20 * time.Second), head: head, written: 6000, unacked: 5000, settled: 100},
		{at: now.Add(-10 * time.Second), head: head, written: 6100, unacked: 4000, settled: 300},
	}
	s := r.statusOf()
	require.Equal(t, StateCatchingUp, s.State)
	require.InDelta(t, 40, *s.Behind, 5)
	require.InDelta(t, 10, *s.Written, 0.1)
	require.InDelta(t, 110, *s.Acked, 0.1)
	require.InDelta(t, 20, *s.Sent, 0.1)
	require.InDelta(t, float64(s.UnackedBytes)/100, *s.CatchUp, 0.1)

	// A limit that took something since counts only if it does not come on.
	r.tallies.add("a", DropExpired, ReasonMaxSize, queue.Counts{queue.Samples: 1}, 10)
	require.Equal(t, StateCatchingUp, r.statusOf().State)
	e.noted.course[3].unacked = 7000
	require.Equal(t, StateOverLimit, r.statusOf().State)
	e.noted.course[3].unacked = 4000

	// After too long without an answer it is not said to come on.
	e.lastTaken.Store(now.Add(-takesFor))
	s = r.statusOf()
	require.Equal(t, StateRetrying, s.State)
	require.Equal(t, "waiting for an answer", s.Description)
	require.Nil(t, s.CatchUp)
	close(answers)
	r.complete("a", j.count)
	r.becomes(StateDelivering)
	r.end()
}

// The course of the log is remembered for as long as there is one, in bounded memory and
// ever less exactly.
func TestCourseIsThinned(t *testing.T) {
	var n noted
	begin := time.Unix(1e9, 0)
	const seconds = 100_000
	for i := range seconds {
		n.goOn(stage{at: begin.Add(time.Duration(i) * time.Second), head: cursor.Position{Offset: int64(i)}, unacked: 7, settled: 3 * i},
			func(from, to cursor.Position) int64 { return to.Offset - from.Offset })
	}
	require.Len(t, n.course, mostStages)
	now := begin.Add((seconds - 1) * time.Second)
	for _, ago := range []int64{1, 2, 10, 100, 1000, 10_000, 90_000} {
		at, sure := n.passed(cursor.Position{Offset: seconds - 1 - ago}, now)
		require.True(t, sure)
		require.InDelta(t, float64(ago), now.Sub(at).Seconds(), 1+float64(ago)/4, "%d s ago", ago)
	}
	at, sure := n.passed(cursor.Position{Offset: seconds}, now)
	require.True(t, sure)
	require.Equal(t, now, at)
	_, sure = n.passed(cursor.Position{Offset: -1}, now)
	require.False(t, sure, "it was written before")
	v, known := n.speed()
	require.True(t, known)
	require.Equal(t, speed{1, 1, 3}, v)
}

// The time to catch up is not far from what it takes, also soon after senders were added: the
// rate doubles each second at first.
func TestSpeedFollowsTheRamp(t *testing.T) {
	const settles = 9 // Seconds from the start.
	var n noted
	begin, unacked, rate := time.Unix(1e9, 0), int64(1e9), int64(1e4)
	for second := range 30 {
		n.goOn(stage{at: begin.Add(time.Duration(second) * time.Second), unacked: unacked, settled: int(1e9 - unacked)}, func(_, _ cursor.Position) int64 { return 0 })
		unacked -= rate
		rate = min(2*rate, 16e4)
		if second >= settles {
			v, known := n.speed()
			require.True(t, known)
			require.InEpsilon(t, 16e4, v.out, 0.25, "after %d s", second)
			require.InDelta(t, v.out, v.items, 1)
		}
	}
}

// What limits take is not taken for acknowledged.
func TestSpeedLeavesOutLosses(t *testing.T) {
	var n noted
	now := time.Now()
	n.course = []stage{{at: now.Add(-10 * time.Second), unacked: 1000}, {at: now, unacked: 300, expired: 700, written: 0}}
	v, _ := n.speed()
	require.Zero(t, v.out)
	_, known := (&noted{course: n.course[:1]}).speed()
	require.False(t, known)
}

// Drops are told apart by reason, each with the time of its last, and those of other
// endpoints are not among them.
func TestTallies(t *testing.T) {
	var c tallies
	c.add("a", DropRefused, "400", queue.Counts{queue.Samples: 2}, 0)
	c.add("a", DropRefused, "400", queue.Counts{queue.Exemplars: 1}, 0)
	c.add("a", DropExpired, ReasonMaxSize, queue.Counts{queue.Histograms: 4}, 100)
	c.add("b", DropExpired, ReasonMaxTime, queue.Counts{queue.Samples: 1}, 10)
	c.add("a", DropLeftOut, reasonTooOld, queue.Counts{}, 0)
	c.add("a", DropExpired, ReasonMaxTime, queue.Counts{}, 5)
	got := c.of("a")
	require.Len(t, got, 2)
	require.Equal(t, Drop{Kind: DropExpired, Reason: ReasonMaxSize, Histograms: 4, Bytes: 100, Last: got[0].Last}, got[0])
	require.Equal(t, Drop{Kind: DropRefused, Reason: "400", Samples: 2, Exemplars: 1, Last: got[1].Last}, got[1])
	bytes, last := c.limited("a")
	require.EqualValues(t, 105, bytes)
	require.Equal(t, got[0].Last, last)
	require.Empty(t, c.of("c"))
}
