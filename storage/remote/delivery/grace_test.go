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

	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// TestGraceWithWrongClock: a removed endpoint is retained for the grace time
// and no longer, also if its savepoint says that it was removed in the future,
// as it does when the clock was set back.
func TestGraceWithWrongClock(t *testing.T) {
	j, a, r := failingRig(t)
	r.commit(100)
	r.apply()
	require.NoError(t, r.Close())

	store := savepoint.NewStore(j.dir)
	f, _, err := store.Load()
	require.NoError(t, err)
	require.Len(t, f.Endpoints, 1)
	removed := time.Now().AddDate(1, 0, 0)
	f.Endpoints[0].Removed = &removed
	require.NoError(t, store.Write(f, true))

	r = newRig(t, j, map[string]*receiver{"a": a}, Options{RemovedRetention: time.Hour})
	r.attach()
	retained := r.statesToSave()
	require.Len(t, retained, 1)
	require.False(t, retained[0].removed.After(time.Now()), "removed at %s", retained[0].removed)
	r.expire(time.Now())
	require.Len(t, r.statesToSave(), 1)
	require.Eventually(t, func() bool {
		r.expire(time.Now().Add(time.Hour)) // Not while the savepoint writer looks.
		return len(r.statesToSave()) == 0
	}, time.Minute, time.Millisecond)
	require.Empty(t, j.gate.Holders())
	r.end()
}

// TestCounted: what is loaded counts by the process's own clock.
// TestCounted: what is loaded counts by the process's own clock.
func TestCounted(t *testing.T) {
	now := time.Now()
	require.Nil(t, byClock(nil, now))
	for _, ago := range []time.Duration{0, time.Minute, 24 * time.Hour} {
		wall := now.Add(-ago).Round(0) // As a file has it.
		at := byClock(&wall, now)
		require.Equal(t, ago, now.Sub(*at))
		require.NotEqual(t, at.Round(0), *at, "there is no reading of the monotonic clock")
	}
	future := now.Add(time.Hour).Round(0)
	require.Equal(t, now, *byClock(&future, now))
}
