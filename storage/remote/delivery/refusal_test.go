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
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
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
	e.refusal.mtx.Lock()
	e.refusal.since = e.refusal.since.Add(-time.Hour)
	e.refusal.mtx.Unlock()
	require.Eventually(t, func() bool {
		return r.value("prometheus_remote_storage_refused_total", map[string]string{"code": "400"}) == 2000
	}, time.Minute, time.Millisecond)
	rc.set(nil)
	r.commit(100)
	r.complete("a", 100)
	require.NoError(t, r.Close())
	require.NoError(t, j.wal.Close())
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
		{denied(401), time.Hour, `^[^\n]*level=ERROR msg="The endpoint refuses everything; it is held until [^\n]* status=401 [^\n]*\n$`},
		{refusedWith(400), time.Second, `^$`},
		{refusedWith(400), time.Minute, `^[^\n]*level=ERROR msg="The endpoint refuses everything; it is held for a while [^\n]* status=400 [^\n]*\n$`},
		{refusedWith(400), time.Hour, `^[^\n]*level=ERROR msg="The endpoint still refuses everything; [^\n]* status=400 [^\n]*\n$`},
	} {
		var (
			log syncedBuffer
			r   refusal
		)
		r.noteRefused(*tc.res)
		r.since = time.Now().Add(-tc.lasts)
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
			require.Eventually(t, func() bool { return rc.has(good) >= commits*(430-suspectsEach) }, time.Minute, time.Millisecond)
			require.NoError(t, r.Close())
			require.NoError(t, j.wal.Close())
		})
	}
}
