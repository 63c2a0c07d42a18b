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

package durable

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

func TestClaim(t *testing.T) {
	now := time.Now()
	u := usage{active: 4, activeSize: 50, other: 7}
	for i := range 4 {
		u.sealed = append(u.sealed, segmentFile{number: i, size: 100, written: now.Add(time.Duration(i-4) * time.Hour)})
	}
	for name, tc := range map[string]struct {
		from int
		lim  limits
		want claim
		loss float64
		by   string
	}{
		"no limit":  {1, limits{}, claim{bytes: 350, segments: 3, since: u.sealed[1].written, keepFrom: 1}, math.Inf(1), ""},
		"kept":      {1, limits{maxSize: 450, maxTime: 4 * time.Hour}, claim{bytes: 350, segments: 3, since: u.sealed[1].written, keepFrom: 1}, 3600, reasonEndpointMaxTime},
		"size":      {0, limits{maxSize: 260}, claim{bytes: 450, segments: 4, since: u.sealed[0].written, keepFrom: 2, reason: reasonEndpointMaxSize}, 0, reasonEndpointMaxSize},
		"time":      {0, limits{maxTime: 150 * time.Minute}, claim{bytes: 450, segments: 4, since: u.sealed[0].written, keepFrom: 2, reason: reasonEndpointMaxTime}, 0, reasonEndpointMaxTime},
		"only one":  {3, limits{maxSize: 260}, claim{bytes: 150, segments: 1, since: u.sealed[3].written, keepFrom: 3}, 3960, reasonEndpointMaxSize},
		"caught up": {4, limits{maxSize: 260, maxTime: time.Minute}, claim{bytes: 50, keepFrom: 4}, 7560, reasonEndpointMaxSize},
	} {
		t.Run(name, func(t *testing.T) {
			got := claimOf(u, tc.from, tc.lim, now)
			require.Equal(t, tc.want, got)
			seconds, reason := untilLoss(u, got, limits{}, tc.lim, now)
			require.InDelta(t, tc.loss, seconds, 1)
			require.Equal(t, tc.by, reason)
		})
	}
	// 100 bytes an hour; what the others need counts for nothing.
	c := claimOf(u, 2, limits{}, now)
	seconds, reason := untilLoss(u, c, limits{maxSize: 250 + 7 + 300}, limits{}, now)
	require.InDelta(t, 3600*3, seconds, 1)
	require.Equal(t, reasonMaxSize, reason)
	require.Zero(t, usage{}.growth())
	require.Zero(t, usage{sealed: u.sealed[:1]}.growth())
}

// An endpoint that keeps more than its budget forfeits the oldest of it, and the
// segments go at once; the others keep what is theirs (I1).
func TestEndpointBudget(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	sender := &fakeSender{}
	opts := small()
	db := openTest(t, dir, sender, opts, still())
	fill(t, db, dir, 12)
	head := db.journal.Head().Segment
	db.opts.EndpointMaxSize = 5 * int64(opts.WALSegmentSize)
	sender.Gate.Set(holder("dead", cursor.Position{Segment: 0}))
	sender.Gate.Set(holder("slow", cursor.Position{Segment: head - 2}))
	require.NoError(t, db.enforceLimits(ctx), "it is not known yet which endpoint needs what")
	require.Zero(t, firstSegment(dir))
	sender.Gate.Open()

	var before cursor.Position
	sender.forfeit = func(p cursor.Position, reason string) error {
		require.Equal(t, reasonEndpointMaxSize, reason)
		before = p
		return nil
	}
	sender.persist = func() error {
		if before != (cursor.Position{}) {
			sender.Gate.Set(holder("dead", before))
		}
		return nil
	}
	require.NoError(t, db.enforceLimits(ctx))
	require.Equal(t, []string{"dead"}, sender.holders)
	require.Equal(t, before.Segment, firstSegment(dir))
	require.Less(t, before.Segment, head-2)
	require.Equal(t, 1.0, testutil.ToFloat64(db.metrics.forfeits.WithLabelValues(reasonEndpointMaxSize)))
	require.LessOrEqual(t, heldBy(t, db, "dead").bytes, int64(12*opts.WALSegmentSize))

	// Within the budget nothing happens.
	sender.holders, sender.forfeit = nil, nil
	require.NoError(t, db.enforceLimits(ctx))
	require.Nil(t, sender.holders)
	require.Equal(t, before.Segment, firstSegment(dir))
	require.LessOrEqual(t, heldBy(t, db, "dead").bytes, db.opts.EndpointMaxSize)
	require.False(t, math.IsInf(heldBy(t, db, "dead").untilLoss, 1))
}

// What endpoints keep is worked out when it is asked for, under the labels that the other
// metrics of an endpoint have: it needs no truncation and no finished segment, and an
// endpoint that keeps up has nothing to fear.
func TestHoldings(t *testing.T) {
	dir := t.TempDir()
	sender, clock, reg := &fakeSender{}, newTestClock(), prometheus.NewRegistry()
	env := still()
	env.now = clock.now
	opts := small()
	opts.EndpointMaxSize = 1 << 20
	db, err := open(promslog.NewNopLogger(), reg, sender, dir, opts, env)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	value := func(name, endpoint string) float64 {
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if l := m.GetLabel(); f.GetName() == "prometheus_agent_wal_"+name && l[0].GetName() == "remote_name" && l[0].GetValue() == endpoint && l[1].GetValue() == "http://"+endpoint {
					return m.GetGauge().GetValue()
				}
			}
		}
		require.Fail(t, "there is no metric", "%s of %s", name, endpoint)
		return 0
	}
	at := func(name string, p cursor.Position, stuck time.Duration) delivery.Holder {
		return delivery.Holder{Name: name, URL: "http://" + name, Position: p, Stuck: stuck}
	}
	begin := db.journal.Head()
	appendFloats(t, db, 0, 20, clock.now().UnixMilli())
	clock.add(time.Minute)
	sender.list = []delivery.Holder{at("dead", begin, time.Hour), at("well", db.journal.Head(), 0)}
	require.Positive(t, value("held_bytes", "dead"))
	require.Zero(t, value("held_segments", "dead"))
	require.False(t, math.IsInf(value("seconds_until_loss", "dead"), 0), "the budget of a dead endpoint ends some time")
	require.True(t, math.IsInf(value("seconds_until_loss", "well"), 1))

	fill(t, db, dir, 4)
	sender.list = []delivery.Holder{at("dead", begin, time.Hour), at("well", db.journal.Head(), time.Second)}
	require.GreaterOrEqual(t, value("held_segments", "dead"), 3.0)
	require.Zero(t, value("held_segments", "well"))
	require.Greater(t, value("held_bytes", "dead"), value("held_bytes", "well"))
	require.False(t, math.IsInf(value("seconds_until_loss", "dead"), 0))
	require.True(t, math.IsInf(value("seconds_until_loss", "well"), 1))

	// One that keeps up is not a moment behind only because a segment was finished.
	ahead := at("well", begin, 0)
	ahead.KeepsUp = true
	sender.list = []delivery.Holder{ahead}
	require.Positive(t, value("held_segments", "well"))
	require.True(t, math.IsInf(value("seconds_until_loss", "well"), 1))

	// The time for which a removed one is retained may be over first.
	left := 7 * time.Second
	removed := at("dead", db.journal.Head(), 0)
	removed.Retained = &left
	sender.list = []delivery.Holder{removed}
	require.Equal(t, 7.0, value("seconds_until_loss", "dead"))

	// So may that for which one holds what its receiver refuses, also if it keeps up by that.
	refusing := at("well", db.journal.Head(), 0)
	refusing.Refused, refusing.KeepsUp = new(time.Duration), true
	sender.list = []delivery.Holder{refusing}
	require.Zero(t, value("seconds_until_loss", "well"))

	// It has caught up, and nothing was removed since.
	sender.list = []delivery.Holder{at("dead", db.journal.Head(), 0)}
	require.Zero(t, value("held_segments", "dead"))
	require.Zero(t, value("held_seconds", "dead"))
	require.True(t, math.IsInf(value("seconds_until_loss", "dead"), 1))
}

// How fast the log grows, and so the time until loss, does not depend on what was removed of it:
// most is, as long as it is delivered.
func TestGrowthCountsWhatWasRemoved(t *testing.T) {
	dir := t.TempDir()
	sender, clock := &fakeSender{}, newTestClock()
	env := still()
	env.now = clock.now
	db := openTest(t, dir, sender, small(), env)
	fill(t, db, dir, 6)
	written := bytesOf(t, db) - db.openedBytes.Load()
	clock.add(100 * time.Second)
	sender.Gate.Set(holder("well", db.journal.Head()))
	sender.Gate.Open()
	require.NoError(t, db.truncate(t.Context()))
	require.Less(t, bytesOf(t, db), written/2)
	_, u, err := db.holdings()
	require.NoError(t, err)
	require.InEpsilon(t, float64(written)/100, u.rate, 0.1, "a segment was begun meanwhile")
}

func bytesOf(t *testing.T, db *DB) int64 {
	t.Helper()
	u, err := measure(db.journal.dir, nil)
	require.NoError(t, err)
	return u.segments()
}

// readAtOnce is a registry whose metrics are read whenever some are added, as they may be
// while a storage is opened.
type readAtOnce struct {
	*prometheus.Registry
	t *testing.T
}

func (r readAtOnce) Register(c prometheus.Collector) error {
	err := r.Registry.Register(c)
	_, gathered := r.Gather()
	require.NoError(r.t, gathered)
	return err
}

func (r readAtOnce) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		require.NoError(r.t, r.Register(c))
	}
}

// Metrics can be read as soon as they are there: an agent answers while it opens its log.
func TestMetricsWhileItOpens(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		sender := &fakeSender{}
		db, err := open(promslog.NewNopLogger(), readAtOnce{prometheus.NewRegistry(), t}, sender, dir, small(), still())
		require.NoError(t, err)
		require.NoError(t, db.Close())
		require.NoError(t, sender.Release())
	}
}
