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
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

func denied(status int) *client.Result {
	return &client.Result{Status: status, Outcome: client.Denied, Err: errors.New("not you, or not here")}
}

func refusedWith(status int) *client.Result {
	return &client.Result{Status: status, Outcome: client.Refused, Err: errors.New("no")}
}

// TestRefusalOfEverythingHolds defends I2: a receiver that comes back from an outage as
// one that refuses everything, for a wrong password or a URL that leads nowhere, costs
// nothing. What it is sent is held, and a gauge and a line say so.
func TestRefusalOfEverythingHolds(t *testing.T) {
	for _, res := range []*client.Result{denied(401), denied(403), denied(404), denied(407), refusedWith(400), refusedWith(405), refusedWith(422)} {
		for _, senders := range []int{1, 4} {
			t.Run(fmt.Sprintf("%d/senders=%d", res.Status, senders), func(t *testing.T) {
				t.Parallel()
				j, rc := openJournal(t, t.TempDir(), nil), newPicky()
				r := newPickyRig(t, j, rc, senders)
				r.conf.QueueConfig.MaxSamplesPerSend = 50
				r.apply(r.conf)
				r.commit(50)
				r.arrives("before", 50, but())
				asked := 0
				rc.do(func() { rc.down, rc.whileDown, asked = true, res, rc.requests })
				for range 40 {
					r.commit(50)
				}
				l := r.running[0].streams()[0]
				require.Eventually(t, func() (enough bool) {
					rc.do(func() { enough = rc.requests > asked+40*senders && l.failing.Load() })
					return enough
				}, time.Minute, time.Millisecond)

				e := r.running[0]
				e.observe()
				require.Positive(t, r.value("prometheus_remote_storage_refusing_seconds", nil))

				rc.do(func() { rc.down = false })
				r.arrives("once it is corrected", 41*50, but())
				require.Zero(t, r.value("prometheus_remote_storage_refused_total", map[string]string{"code": strconv.Itoa(res.Status)}))
				e.observe()
				require.Zero(t, r.value("prometheus_remote_storage_refusing_seconds", nil))
				require.NoError(t, r.Close())
				rc.do(func() {
					require.Zero(t, rc.early, "I4")
					require.Zero(t, rc.again)
				})
				require.NoError(t, j.wal.Close())
			})
		}
	}
}

// TestRefusalOfEverythingAfterRestart: a series that waits alone is held, too, of which the
// savepoint says that all of it may have been sent.
func TestRefusalOfEverythingAfterRestart(t *testing.T) {
	for _, res := range []*client.Result{denied(404), refusedWith(400)} {
		t.Run(strconv.Itoa(res.Status), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			rc.bad["7"] = *unavailable(0)
			r := newPickyRig(t, j, rc, 1)
			const commits = 30
			for range commits {
				r.commit(100)
			}
			r.arrives("while a series waits", commits*99, but("7"))
			require.NoError(t, r.Close())

			asked := 0
			rc.do(func() { rc.down, rc.whileDown, asked = true, res, rc.requests })
			r = newPickyRig(t, j, rc, 1)
			r.commit(100)
			require.Eventually(t, func() (enough bool) {
				rc.do(func() { enough = rc.requests > asked+60 })
				return enough
			}, time.Minute, time.Millisecond)
			rc.do(func() { rc.down = false; delete(rc.bad, "7") })
			r.arrives("once it is corrected", (commits+1)*100, but())
			require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"reason": reasonOnReplay}))
			require.Zero(t, r.value("prometheus_remote_storage_refused_total", nil))
			r.end()
			rc.do(func() { require.Zero(t, rc.early, "I4") })
		})
	}
}

// endHold has the hold of an hour end that began when everything was refused first.
func endHold(e *endpoint) {
	e.refusal.mtx.Lock()
	defer e.refusal.mtx.Unlock()
	e.refusal.clock = e.refusal.clock.Add(-time.Hour)
}

// TestHoldOfRefusalsEnds: what is refused with a status that may be meant is held for a
// time only, and then dropped, each sample counted.
func TestHoldOfRefusalsEnds(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(func(int) *client.Result { return refusedWith(400) })
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{RefusedHold: time.Hour})
	r.attach(remoteWrite("a"))
	for range 20 {
		r.commit(100)
	}
	e := r.running[0]
	require.Eventually(t, func() bool { return e.streams()[0].pauses.Load() > 10 }, time.Minute, time.Millisecond)
	require.Zero(t, r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}))
	drops := r.Holders()[0].Refused
	require.NotNil(t, drops, "it is foreseen")
	require.Greater(t, *drops, time.Minute)
	endHold(e)
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}) == 2000
	}, time.Minute, time.Millisecond)
	drops = r.Holders()[0].Refused
	require.NotNil(t, drops)
	require.Zero(t, *drops, "what comes is dropped, too")
	rc.set(nil)
	r.commit(100)
	r.complete("a", 100)
	require.Eventually(t, func() bool { return r.Holders()[0].Refused == nil }, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestRefusalsByTurns: two proxies behind one URL may answer by turns. That is one refusal,
// which lasts as long as nothing is taken; the hold of what may be meant begins anew only
// after a status that is always held.
func TestRefusalsByTurns(t *testing.T) {
	for name, tc := range map[string]struct {
		by    [2]*client.Result
		drops bool
	}{
		"400 and 422": {[2]*client.Result{refusedWith(400), refusedWith(422)}, true},
		"403 and 404": {[2]*client.Result{denied(403), denied(404)}, false},
		"400 and 403": {[2]*client.Result{refusedWith(400), denied(403)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var (
				log syncedBuffer
				r   refusal
				set = &settings{refusedHold: 10 * time.Minute}
				l   = slog.New(slog.NewTextHandler(&log, nil))
			)
			for range 13 {
				for _, res := range tc.by {
					r.noteRefused(*res)
					r.since, r.clock = r.since.Add(-time.Minute/2), r.clock.Add(-time.Minute/2)
					r.tell(l, set)
				}
			}
			require.InDelta(t, 13*60, r.lasts().Seconds(), 5)
			require.Equal(t, tc.drops, r.over(set.refusedHold))
			require.Len(t, line(t, log.String(), "The endpoint refuses everything"), 1)
			require.Len(t, line(t, log.String(), "The endpoint still refuses everything"), map[bool]int{true: 1}[tc.drops])
		})
	}
}

// TestReceiverWithoutV2 defends I2: a receiver that knows only remote write 1.0 and ignores
// the content type, as some do, takes everything of 2.0 and stores nothing. That is held,
// too, until the protocol is corrected. So is what one takes that says that it stores nothing.
func TestReceiverWithoutV2(t *testing.T) {
	for _, says := range []bool{false, true} {
		t.Run(strconv.FormatBool(says), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newReceiver() // It is one.
			if says {
				rc.set(func(int) *client.Result {
					return &client.Result{Status: 204, Outcome: client.Delivered, Written: client.Written{Confirmed: true}}
				})
			}
			r, log := logged(t, j, map[string]*receiver{"a": rc}, Options{RefusedHold: time.Hour})
			v1, v2 := remoteWrite("a"), remoteWrite("a")
			v2.ProtobufMessage = remoteapi.WriteV2MessageType
			r.attach(v2)
			for range 20 {
				r.commit(100)
			}
			require.Eventually(t, func() bool { return rc.asked() > 100 }, time.Minute, time.Millisecond)
			require.Positive(t, r.running[0].refusal.lasts())
			require.Zero(t, r.value("prometheus_remote_storage_refused_total", nil))
			require.Zero(t, r.value("prometheus_remote_storage_samples_failed_total", nil))
			rc.set(nil)
			r.apply(v1)
			r.complete("a", 2000)
			r.end()
			require.NotContains(t, log.all(), "lost")
			require.Contains(t, log.all(), errNotStored.Error())
		})
	}
}

// TestRefusalIsTold: a line says once that an endpoint refuses everything, another one that
// it is not held any more.
func TestRefusalIsTold(t *testing.T) {
	for _, tc := range []struct {
		res   *client.Result
		lasts time.Duration
		want  string
	}{
		{denied(401), time.Second, `^$`},
		{denied(401), time.Hour, `^[^\n]*level=ERROR msg="The endpoint refuses everything; the samples are kept and the requests repeated until [^\n]* status=401 [^\n]* err="not you, or not here"\n$`},
		{refusedWith(400), time.Second, `^$`},
		{refusedWith(400), time.Minute, `^[^\n]*level=ERROR msg="The endpoint refuses everything; the samples are kept and the requests repeated for a while[^\n]* status=400 [^\n]* err=no[^\n]*\n$`},
		{refusedWith(400), time.Hour, `^[^\n]*level=ERROR msg="The endpoint still refuses everything; [^\n]* status=400 [^\n]* err=no[^\n]*\n$`},
	} {
		var (
			log syncedBuffer
			r   refusal
		)
		r.noteRefused(*tc.res)
		r.since = time.Now().Add(-tc.lasts)
		r.clock = r.since
		for range 3 {
			r.tell(slog.New(slog.NewTextHandler(&log, nil)), &settings{refusedHold: 10 * time.Minute})
			r.noteRefused(*tc.res)
		}
		require.Regexp(t, tc.want, log.String())
		r.noteTaken()
		require.Zero(t, r.lasts())
	}
}

// TestLateSamplesAreNotHeld: what a receiver refuses because it comes too late would come
// later still if it was held.
func TestLateSamplesAreNotHeld(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(func(int) *client.Result {
		res := refusedWith(400)
		res.Late = true
		return res
	})
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	r.attach(remoteWrite("a"))
	r.commit(100)
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}) == 100
	}, time.Minute, time.Millisecond)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
}

// TestRefusalOfEverythingInTrial: an endpoint that begins to refuse everything while it is
// found out which series it does not take loses what waits of no more than a few of the
// others: a refusal counts without a proof for so many series, and then for all that a
// series has.
func TestRefusalOfEverythingInTrial(t *testing.T) {
	for _, after := range []int{3, 10, 40} {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			rc.whileDown, rc.failAfter = denied(404), after
			for i := range 20 {
				rc.bad[strconv.Itoa(i)] = *denied(404)
			}
			good := func(name string) bool { n, _ := strconv.Atoi(name); return n >= 20 }
			r := newPickyRig(t, j, rc, 1)
			r.conf.QueueConfig.MaxSamplesPerSend = 2000
			r.apply(r.conf)
			const commits = 4
			for range commits {
				r.commit(450)
			}
			require.Eventually(t, func() (enough bool) {
				rc.do(func() { enough = rc.requests > after+60 })
				return enough
			}, time.Minute, time.Millisecond)
			rc.do(func() { rc.failAfter = 0 })
			require.Eventually(t, func() bool {
				return rc.has(good)+int(r.value("prometheus_remote_storage_refused_total", nil)) == commits*450
			}, time.Minute, time.Millisecond, "what does not arrive is counted")
			require.GreaterOrEqual(t, rc.has(good), commits*(430-suspectsEach))
			require.NoError(t, r.Close())
			require.NoError(t, j.wal.Close())
		})
	}
}

// newTrialRig returns a rig whose receiver is down, with more series to send than can be on
// their own, so that they are put on trial, how many samples these are, and an answer that
// refuses them for good.
func newTrialRig(t *testing.T) (r *rig, j *journal, rc *receiver, samples int, late func() *client.Result) {
	const series, commits = maxSuspects + 500, 4
	j, rc = openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(unavailable)
	r = newRig(t, j, map[string]*receiver{"a": rc}, Options{})
	c := remoteWrite("a")
	c.QueueConfig.MaxSamplesPerSend = series
	r.attach(c)
	for range commits {
		r.commit(series)
	}
	e := r.running[0]
	require.Eventually(t, e.streams()[0].failing.Load, time.Minute, time.Millisecond)
	e.lastTaken.Store(time.Now().Add(time.Hour)) // It takes others, for all that is known.
	return r, j, rc, series * commits, func() *client.Result {
		res := refusedWith(400)
		res.Late = true
		return res
	}
}

// TestLateSamplesOfManySeries: all that an endpoint refuses for good after an outage is dropped
// and counted, also if it is of more series than can be on their own.
func TestLateSamplesOfManySeries(t *testing.T) {
	r, _, rc, samples, late := newTrialRig(t)
	e := r.running[0]
	rc.set(func(int) *client.Result { return late() })
	refused := func() int {
		return int(r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}))
	}
	require.Eventually(t, func() bool { return refused() > maxSuspects+100 }, time.Minute, time.Millisecond)
	e.lastTaken.Store(time.Time{}) // It has not.
	require.Eventually(t, func() bool { return refused() == samples }, time.Minute, time.Millisecond)
	r.end()
}

// crashed returns the journal as it goes on after the process was killed.
func crashed(t *testing.T, r *rig) *journal {
	t.Helper()
	require.NoError(t, r.Persist(t.Context()))
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(r.journal.dir)))
	r.end()
	r.journal.dir = dir
	return r.journal.again()
}

// losePositions removes the savepoints.
func losePositions(t *testing.T, j *journal) {
	t.Helper()
	for _, name := range []string{savepoint.CurrentName, savepoint.PreviousName} {
		require.NoError(t, os.Remove(filepath.Join(j.dir, name)))
	}
}

// TestRefusalOfEverythingInReplayRange defends I2: of what may have been sent before, in a
// crash or because the positions are lost, nothing is dropped for a refusal while the
// endpoint takes nothing, not even for one that receivers use for duplicates, and
// when the hold is over it counts as lost.
func TestRefusalOfEverythingInReplayRange(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, over := range []bool{false, true} {
			t.Run(fmt.Sprintf("lost=%t/over=%t", lost, over), func(t *testing.T) {
				t.Parallel()
				j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
				receivers := map[string]*receiver{"a": rc}
				rc.set(unavailable)
				r := newRig(t, j, receivers, Options{})
				r.attach(remoteWrite("a"))
				for range 40 {
					r.commit(100)
				}
				require.Eventually(t, r.running[0].streams()[0].failing.Load, time.Minute, time.Millisecond)
				j = crashed(t, r)
				if lost {
					losePositions(t, j)
				}
				rc.set(func(int) *client.Result { return refusedWith(400) })
				asked := rc.asked()
				r, log := logged(t, j, receivers, Options{RefusedHold: time.Hour})
				r.attach(remoteWrite("a"))
				r.commit(100)
				e := r.running[0]
				require.Eventually(t, func() bool { return rc.asked() > asked+200 }, time.Minute, time.Millisecond)
				onReplay := map[string]string{"reason": reasonOnReplay}
				require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", onReplay))
				require.Zero(t, r.value("prometheus_remote_storage_refused_total", nil))
				require.Positive(t, e.refusal.lasts())
				if over {
					endHold(e)
					require.Eventually(t, func() bool {
						return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}) == 4100
					}, time.Minute, time.Millisecond)
				} else {
					rc.set(nil)
					r.complete("a", 4100)
				}
				require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", onReplay))
				r.end()
				require.Equal(t, over, strings.Contains(log.all(), `level=ERROR msg="Samples are lost: the endpoint refused them for good"`))
			})
		}
	}
}

// TestDuplicatesOfStrictReceiver defends I2 and the way past what was stored before: a
// receiver that refuses what it has, in words that are not known, takes what is new, and
// nothing counts as lost.
func TestDuplicatesOfStrictReceiver(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for _, senders := range []int{1, 4} {
			t.Run(fmt.Sprintf("lost=%t/senders=%d", lost, senders), func(t *testing.T) {
				t.Parallel()
				j, rc := openJournal(t, t.TempDir(), nil), newPicky()
				r := newPickyRig(t, j, rc, senders)
				require.NoError(t, r.Persist(t.Context()))
				for range 20 {
					r.commit(100)
				}
				r.arrives("before", 2000, but())
				saved, err := os.ReadFile(filepath.Join(j.dir, savepoint.CurrentName))
				require.NoError(t, err)
				require.NoError(t, r.Persist(t.Context()))
				r.end()
				j = j.again()
				if lost {
					losePositions(t, j)
				} else {
					require.NoError(t, os.WriteFile(filepath.Join(j.dir, savepoint.CurrentName), saved, 0o600))
					_ = os.Remove(filepath.Join(j.dir, savepoint.PreviousName))
				}
				rc.do(func() { rc.strict, rc.unclear, rc.again = true, true, 0 })
				r = newPickyRig(t, j, rc, senders)
				l := r.running[0].streams()[0]
				r.commit(90) // Of some series there is nothing new.
				r.arrives("what is new", 2090, but())
				require.Eventually(t, func() bool { return l.floor() == *j.head.Load() }, time.Minute, time.Millisecond)
				require.Zero(t, r.value("prometheus_remote_storage_refused_total", nil))
				require.Positive(t, r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"reason": reasonOnReplay}))
				r.end()
				require.Zero(t, rc.early, "I4")
			})
		}
	}
}

// TestDuplicatesOfFussyReceiver: one that refuses a request with nothing in it, too, is held
// until something shows that it takes others; nothing is lost that it does not have.
func TestDuplicatesOfFussyReceiver(t *testing.T) {
	for _, senders := range []int{1, 4} {
		t.Run(strconv.Itoa(senders), func(t *testing.T) {
			t.Parallel()
			j, rc := openJournal(t, t.TempDir(), nil), newPicky()
			rc.strict, rc.unclear, rc.lose = true, true, 1
			rc.fussy = denied(403) // That says nothing of anything else.
			r := newPickyRig(t, j, rc, senders)
			r.commit(100)
			e := r.running[0]
			require.Eventually(t, func() bool { return e.refusal.lasts() > 0 }, time.Minute, time.Millisecond)
			require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", nil))
			e.refusal.mtx.Lock()
			require.False(t, e.refusal.held(), "the hold does not end")
			e.refusal.mtx.Unlock()
			r.commit(200)
			r.arrives("what is new", 300, but())
			l := e.streams()[0]
			require.Eventually(t, func() bool { return l.floor() == *j.head.Load() }, time.Minute, time.Millisecond)
			r.end()
			require.Zero(t, rc.early, "I4")
		})
	}
}

// TestRestIsNotReplayed defends I2: what did not fit into a request whose answer was lost was
// never sent, and is held like everything else.
func TestRestIsNotReplayed(t *testing.T) {
	j, rc := openJournal(t, t.TempDir(), nil), newReceiver()
	rc.set(func(n int) *client.Result {
		switch n {
		case 1:
			return &client.Result{Outcome: client.Retry, Ambiguous: true, Err: errReset}
		case 2:
			return nil
		}
		return refusedWith(400)
	})
	r := newRig(t, j, map[string]*receiver{"a": rc}, Options{RefusedHold: time.Hour, MaxRequestBytes: 4 << 10})
	c := remoteWrite("a")
	c.QueueConfig.MaxSamplesPerSend, c.QueueConfig.MaxShards = 1000, 1
	r.attach(c)
	r.commit(1000)
	require.Eventually(t, func() bool { return rc.asked() > 200 }, time.Minute, time.Millisecond)
	require.Zero(t, r.value("prometheus_remote_storage_samples_dropped_total", nil))
	require.Zero(t, r.value("prometheus_remote_storage_refused_total", nil))
	rc.set(nil)
	r.complete("a", 1000)
	r.end()
}

// TestRefusedBacklogOfTwoStreams defends I2 and I5: whether an endpoint takes other things is
// a question to all of its streams. A backlog that is refused while what is new is taken
// is dropped and counted, and the backlog ends.
func TestRefusedBacklogOfTwoStreams(t *testing.T) {
	r := newFreshRig(t, openJournal(t, t.TempDir(), nil), newLateReceiver(), freshOptions())
	r.outage()
	until := r.until
	release := r.blockOld(3)
	r.divided()
	r.rc.set(func(_ context.Context, oldest, _ int64) *client.Result {
		if oldest > until {
			return nil
		}
		return refusedWith(400)
	})
	release()
	for len(r.running[0].streams()) > 1 {
		r.live(1)
	}
	require.Eventually(t, func() bool {
		n, _ := r.rc.counts()
		refused := r.value("prometheus_remote_storage_refused_total", nil) + r.value("prometheus_remote_storage_samples_dropped_total", map[string]string{"reason": reasonOnReplay})
		return n+int(refused) == r.journal.count
	}, time.Minute, time.Millisecond, "what does not arrive is counted")
	r.end()
}

// TestOutageWhileParked: a sender that comes to wait for a trial shows that the endpoint takes
// something. While it waits on, it shows nothing more: the trial asks as in any outage.
func TestOutageWhileParked(t *testing.T) {
	_, _, r := failingRig(t)
	st := r.running[0].newStream(make([]savepoint.Mark, queue.Partitions), nil, cursor.Position{}) // It is not at work.
	w, iso, now := newIsolator(st), st.isolation, time.Now()
	iso.trial, w.division = &trial{}, &division{}
	inVain := func() {
		w.division.parts, w.division.left = nil, []*isolated{{}}
		w.endTrial()
		w.division.due = now.Add(time.Hour)
	}
	asks := func() bool {
		w.stepDivision(now)
		return !w.division.alive
	}
	for n := range 3 {
		inVain()
		require.True(t, asks(), "%d senders wait", n)
		go iso.park(&queue.Request{}, nil, &trial{})
		require.Eventually(t, func() bool { return iso.timesParked() == n+1 }, time.Minute, time.Millisecond)
		require.False(t, asks(), "another one came")
	}
	iso.close()
	st.cancel()
	r.end()
}

// TestOutageInTrial defends I2: what is on trial is not dropped because its receiver went away
// after it had refused much of it one by one.
func TestOutageInTrial(t *testing.T) {
	r, j, rc, _, late := newTrialRig(t)
	e := r.running[0]
	var n atomic.Int64
	rc.set(func(int) *client.Result {
		if k := n.Inc(); k > 300 {
			if k == 320 {
				e.lastTaken.Store(time.Now().Add(-takesFor - time.Second)) // The outage has lasted.
			}
			return unavailable(0)
		}
		return late()
	})
	require.Eventually(t, func() bool { return n.Load() > 340 }, time.Minute, time.Millisecond)
	refused := r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"})
	require.Less(t, refused, 400.0)
	require.Zero(t, r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "503"}), "nothing is dropped in an outage")
	rc.set(nil)
	r.complete("a", j.count-int(refused))
	r.end()
}
