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
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Defends I1: what a removed endpoint had yet to be sent is counted when the log is let go,
// what was written after the removal is not, whatever starts lie between; and that is foreseen.
func TestRemovedIsCounted(t *testing.T) {
	j, a, r := failingRig(t)
	r.commit(70)
	r.apply()
	r.commit(30)
	left := r.Holders()[0].Retained
	require.NotNil(t, left)
	require.LessOrEqual(t, *left, DefaultRemovedRetention)
	r.end()

	j = j.again()
	r = newRig(t, j, map[string]*receiver{"a": a}, Options{RemovedRetention: time.Hour})
	r.attach()
	require.True(t, r.has("prometheus_remote_storage_samples_expired_total", map[string]string{"remote_name": "a", "reason": ReasonRemoved}), "it can be alerted on")
	r.commit(20)
	require.Eventually(t, func() bool {
		r.expire(time.Now().Add(time.Hour)) // Not while the savepoint writer looks.
		return len(r.statesToSave()) == 0
	}, time.Minute, time.Millisecond)
	require.Equal(t, 70.0, r.expired(map[string]string{"remote_name": "a", "reason": ReasonRemoved}))
	s := r.statusOf()
	require.Equal(t, StateGone, s.State)
	require.Len(t, s.Drops, 1)
	require.EqualValues(t, 70, s.Drops[0].Samples)
	require.Equal(t, ReasonRemoved, s.Drops[0].Reason)
	r.apply(remoteWrite("a"))
	require.Equal(t, s.Drops, r.statusOf().Drops, "it is there once")
	r.end()
}

// An endpoint that had everything when it was removed loses nothing.
func TestRemovedWithNothingToSend(t *testing.T) {
	j, a, r := failingRig(t)
	a.set(nil)
	r.commit(50)
	r.complete("a", j.count)
	require.Eventually(t, func() bool { return r.statusOf().UnackedBytes == 0 }, time.Minute, time.Millisecond)
	r.apply()
	r.commit(50)
	require.Nil(t, r.Holders()[0].Retained)
	require.Eventually(t, func() bool {
		r.expire(time.Now().Add(time.Hour)) // Not while the savepoint writer looks.
		return len(r.statesToSave()) == 0
	}, time.Minute, time.Millisecond)
	require.Empty(t, r.Status().Endpoints)
	r.end()
}
