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

package e2e

import (
	"math"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// outageFor is longer than an endpoint may be behind without getting what is
// new first.
const outageFor = 75 * time.Second

// freshAfterOutage runs an outage with an agent that is to deliver what is new
// first, and returns when the receiver was back, in ms. It takes old samples
// slowly from then on.
func freshAfterOutage(t *testing.T, protocol harness.Protocol) (s *harness.Scenario, back int64) {
	s = harness.New(t, harness.Options{
		Protocol:   protocol,
		OutOfOrder: time.Hour,
		Queue:      map[string]any{"max_shards": 2, "max_samples_per_send": 200},
	})
	s.Agent.Flags = []string{"--storage.agent.delivery.fresh-first=main=0.5"}
	s.Start()
	s.WaitScrapes(10)
	s.Main().Refuse()
	for began := time.Now(); time.Since(began) < outageFor; {
		s.WaitScrapes(5)
	}
	back = time.Now().UnixMilli()
	s.Main().Use(slowBefore(back, 60*time.Millisecond))
	require.NoError(t, s.Main().Accept())
	s.Until("the endpoint gets what is new first", func() bool {
		return s.Metrics().Sum("prometheus_remote_storage_fresh_first_active", "remote_name", "main") == 1
	})
	return s, back
}

// span returns the times of the oldest and the newest sample of a request.
func span(req *harness.Request) (oldest, newest int64) {
	oldest = math.MaxInt64
	req.Points(func(p harness.Point, _ harness.Value) {
		if p.Kind == harness.SampleKind {
			oldest, newest = min(oldest, p.T), max(newest, p.T)
		}
	})
	return oldest, newest
}

// slowBefore delays requests with samples from before a time.
func slowBefore(at int64, delay time.Duration) harness.Plan {
	return func(req *harness.Request) harness.Fate {
		fate := harness.Fate{Forward: true}
		if oldest, _ := span(req); oldest < at {
			fate.Delay = delay
		}
		return fate
	}
}

// requireFreshFirst checks by the order of arrival that what is new did not wait
// for the backlog: of what was committed in the outage, at least half came after
// something that was committed after it.
func requireFreshFirst(t *testing.T, s *harness.Scenario, from, back int64) {
	t.Helper()
	before, after, fresh := 0, 0, 0
	for _, req := range s.Main().Requests() {
		oldest, _ := span(req)
		req.Points(func(p harness.Point, _ harness.Value) {
			switch {
			case p.Kind != harness.SampleKind || p.T < from:
			case oldest > back:
				fresh++
			case p.T < back && fresh > 0:
				after++
			case p.T < back:
				before++
			}
		})
	}
	require.Greater(t, after, before)
	require.Positive(t, fresh)
}

// requireTwoOrders checks I4 within each range: the times of a series, as they
// came first, are two ascending runs that are mixed, one of them all before the
// other.
func requireTwoOrders(t *testing.T, s *harness.Scenario) {
	t.Helper()
	seen, came := map[harness.Point]bool{}, map[harness.SeriesID][]int64{}
	for _, req := range s.Main().Requests() {
		if s.Main().StatusOf(req)/100 != 2 {
			continue
		}
		req.Points(func(p harness.Point, _ harness.Value) {
			if p.Kind == harness.SampleKind && !seen[p] {
				seen[p] = true
				came[p.Series] = append(came[p.Series], p.T)
			}
		})
	}
	// What overtook something is of the second range.
	second := int64(math.MaxInt64)
	for _, times := range came {
		least := int64(math.MaxInt64)
		for _, time := range slices.Backward(times) {
			if time > least {
				second = min(second, time)
			}
			least = min(least, time)
		}
	}
	require.Less(t, second, int64(math.MaxInt64), "nothing overtook anything")
	for series, times := range came {
		last := map[bool]int64{}
		for _, at := range times {
			require.Greater(t, at, last[at >= second], "%s", s.Symbols.Describe(harness.Point{Series: series, T: at}))
			last[at >= second] = at
		}
	}
}

// TestFreshFirst defends what the option promises: after an outage what is new
// arrives at once, while the backlog follows, and nothing of either is lost or
// sent twice. A stop in the middle costs nothing.
func TestFreshFirst(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s, back := freshAfterOutage(t, protocol)
		s.Until("something new arrives", func() bool { return s.Main().Newest() > back })
		s.Terminate()
		s.Start()
		require.Equal(t, 1.0, s.Metrics().Sum("prometheus_remote_storage_fresh_first_active", "remote_name", "main"), "the backlog was delivered before the stop, so this shows nothing")
		v := s.Deliver(s.Main(), 0)
		s.Until("the backlog is delivered", func() bool {
			return s.Metrics().Sum("prometheus_remote_storage_fresh_first_active", "remote_name", "main") == 0
		})
		s.Report(v, note("refused_requests", s.Main().Refused()))

		s.RequireIntact(s.Main(), v)
		s.RequireNoResends(s.Main())
		s.RequireSequences()
		require.Zero(t, s.Main().Refused())
		requireFreshFirst(t, s, back-outageFor.Milliseconds(), back)
		requireTwoOrders(t, s)
	})
}

// TestFreshFirstCrash defends I8 on both ranges: kills while the backlog drains
// beside what is new lose nothing, and what is sent again was under way or was
// acknowledged since the savepoint.
func TestFreshFirstCrash(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s, back := freshAfterOutage(t, protocol)
		rng := rand.New(rand.NewSource(seed(t)))
		for range 3 {
			moment(s, rng, 20)
			s.Kill()
			s.Start()
		}
		requireSurvived(s, 3)
		requireFreshFirst(t, s, back-outageFor.Milliseconds(), back)
	})
}
