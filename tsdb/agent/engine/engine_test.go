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
	"github.com/prometheus/common/model"
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
		"durable":     {Durable, &durableRemote{}, &durable.DB{}},
		"best-effort": {BestEffort, &remote.Storage{}, &agent.DB{}},
		"not set":     {"", &remote.Storage{}, &agent.DB{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir, reg, log := t.TempDir(), prometheus.NewRegistry(), promslog.NewNopLogger()
			f := Flags{Delivery: tc.delivery}
			rs := NewRemote(true, f, log, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
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
	for _, mode := range []string{Durable, BestEffort} {
		reg, dir := prometheus.NewRegistry(), t.TempDir()
		rs := NewRemote(true, Flags{Delivery: mode}, log, reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
		db, err := Open(log, nil, rs, "\x00", agent.DefaultOptions(), Flags{})
		require.Error(t, err)
		require.Nil(t, db)
		require.NoError(t, rs.Close())
	}

	_, err := Open(log, nil, struct{ Remote }{}, t.TempDir(), agent.DefaultOptions(), Flags{})
	require.ErrorContains(t, err, "no agent database")
}

// Stock's default age limit must not reach the durable engine: it would give
// up samples without being told to (I1).
func TestDurableOptions(t *testing.T) {
	opts := agent.DefaultOptions()
	opts.MaxWALTime = 90_000
	opts.NoLockfile = true
	got := durableOptions(opts, Flags{})
	require.Zero(t, got.MaxTime)
	require.Zero(t, got.MaxSize)
	require.True(t, got.NoLockfile)

	got = durableOptions(opts, Flags{MaxTimeSet: true, MaxSize: 1 << 20, SyncInterval: model.Duration(time.Second), EndpointMaxSize: 1 << 21, EndpointMaxTime: model.Duration(time.Hour)})
	require.EqualValues(t, 1<<21, got.EndpointMaxSize)
	require.Equal(t, time.Hour, got.EndpointMaxTime)
	require.Equal(t, time.Second, got.SyncInterval)
	require.Equal(t, 90*time.Second, got.MaxTime)
	require.EqualValues(t, 1<<20, got.MaxSize)
}

// Samples of a server are in its blocks, whatever the agent's flags are.
func TestServerHasStocksRemote(t *testing.T) {
	rs := NewRemote(false, Flags{Delivery: Durable}, promslog.NewNopLogger(), prometheus.NewRegistry(), nil, t.TempDir(), time.Second, nil, false)
	require.IsType(t, &remote.Storage{}, rs)
	require.NoError(t, rs.Close())
}

func TestDeliveryOptions(t *testing.T) {
	tests := map[string]struct {
		flags Flags
		want  delivery.Options
	}{
		"nothing set": {Flags{}, delivery.Options{}},
		"all set": {
			Flags{DropDenied: true, RefusedHold: model.Duration(time.Minute), RefusedHoldSet: true, ResumeAfterBestEffort: true, FreshFirst: FreshFirst{"a": 0.25}, RemovedEndpointRetention: model.Duration(time.Hour), RemovedEndpointRetentionSet: true, MaxRequestSize: 4 << 20},
			delivery.Options{DropDenied: true, RefusedHold: time.Minute, ResumeAfterBestEffort: true, FreshFirst: map[string]float64{"a": 0.25}, RemovedRetention: time.Hour, MaxRequestBytes: 4 << 20},
		},
		"default of the flag": {Flags{RemovedEndpointRetention: model.Duration(delivery.DefaultRemovedRetention)}, delivery.Options{RemovedRetention: delivery.DefaultRemovedRetention}},
		// Not the default, which 0 means in the options.
		"no grace": {Flags{RemovedEndpointRetentionSet: true}, delivery.Options{RemovedRetention: 1}},
		"no hold":  {Flags{RefusedHoldSet: true}, delivery.Options{RefusedHold: -1}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, deliveryOptions(tc.flags)) })
	}
}
