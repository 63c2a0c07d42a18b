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

package engine

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/agent/durable"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
)

// Each flag value gives the two halves that belong together, on one registry.
func TestHalvesBelongTogether(t *testing.T) {
	tests := map[string]struct {
		delivery string
		remote   Remote
		db       DB
	}{
		"durable":     {Durable, &delivery.Storage{}, &durable.DB{}},
		"best-effort": {BestEffort, &remote.Storage{}, &agent.DB{}},
		"not set":     {"", &remote.Storage{}, &agent.DB{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir, reg, log := t.TempDir(), prometheus.NewRegistry(), promslog.NewNopLogger()
			f := Flags{Delivery: tc.delivery}
			rs := NewRemote(f.Durable(), log, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
			require.IsType(t, tc.remote, rs)
			db, err := Open(log, reg, rs, dir, agent.DefaultOptions(), f)
			require.NoError(t, err)
			require.IsType(t, tc.db, db)
			db.SetWriteNotified(rs)
			// The order of the fan-out: the database first.
			require.NoError(t, db.Close())
			require.NoError(t, rs.Close())
		})
	}
}

// A failure is a nil DB, not one that holds a nil pointer.
func TestOpenFails(t *testing.T) {
	log := promslog.NewNopLogger()
	for _, durably := range []bool{true, false} {
		reg, dir := prometheus.NewRegistry(), t.TempDir()
		rs := NewRemote(durably, log, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
		db, err := Open(log, nil, rs, "\x00", agent.DefaultOptions(), Flags{})
		require.Error(t, err)
		require.True(t, db == nil)
		require.NoError(t, rs.Close())
	}

	_, err := Open(log, nil, struct{ Remote }{}, t.TempDir(), agent.DefaultOptions(), Flags{})
	require.ErrorContains(t, err, "no agent database")
}

// Stock's default age limit must not reach the durable engine: it would give
// up samples nobody allowed it to (I1).
func TestDurableOptions(t *testing.T) {
	opts := agent.DefaultOptions()
	opts.MaxWALTime = 90_000
	opts.NoLockfile = true
	got := durableOptions(opts, Flags{})
	require.Zero(t, got.MaxTime)
	require.Zero(t, got.MaxSize)
	require.True(t, got.NoLockfile)

	got = durableOptions(opts, Flags{MaxTimeSet: true, MaxSize: 1 << 20})
	require.Equal(t, 90*time.Second, got.MaxTime)
	require.EqualValues(t, 1<<20, got.MaxSize)
}
