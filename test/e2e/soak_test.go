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
	"cmp"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

const (
	// soakKills is how many kills one agent's data directory sees.
	soakKills = 50
	// soakSeries is how many series are pushed, every 10 ms.
	soakSeries = 60
)

// TestSoak kills agents at random moments, up to ACKWAL_SOAK_KILLS times and for
// ACKWAL_SOAK_TIME at the most, and defends I1, I2, I4 and I8 by it: during
// normal delivery, outages, the time after them, idleness, truncation and
// start-up. Nothing that was committed may be missing in the end, and nothing
// may be sent again but what was in flight or acknowledged after the last
// savepoint. Without ACKWAL_SOAK_KILLS it is skipped.
func TestSoak(t *testing.T) {
	want, err := strconv.ParseInt(os.Getenv("ACKWAL_SOAK_KILLS"), 10, 64)
	if err != nil {
		t.Skip("ACKWAL_SOAK_KILLS says how many kills are wanted")
	}
	bound, err := time.ParseDuration(cmp.Or(os.Getenv("ACKWAL_SOAK_TIME"), "30m"))
	require.NoError(t, err)
	var (
		begin     = time.Now()
		taken     atomic.Int64 // Kills that scenarios have taken on.
		total     soakTotal
		protocols = harness.Protocols()
	)
	t.Run("kills", func(t *testing.T) {
		for worker := range 2 {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for round := worker; !t.Failed() && time.Since(begin) < bound; round++ {
					kills := min(soakKills, want-(taken.Add(soakKills)-soakKills))
					if kills <= 0 {
						return
					}
					protocol := protocols[round%len(protocols)]
					t.Run(fmt.Sprintf("%d/%s", round, protocol.Short()), func(t *testing.T) {
						soak(t, protocol, &total, func(done int64) bool { return done < kills && time.Since(begin) < bound })
					})
				}
			})
		}
	})
	t.Logf("SOAK kills=%d committed=%d lost=%d duplicates=%d refused_requests=%d duration=%s",
		total.kills.Load(), total.committed.Load(), total.lost.Load(), total.duplicates.Load(), total.refused.Load(), time.Since(begin).Round(time.Second))
}

// soakTotal adds up scenarios.
type soakTotal struct {
	kills, committed, lost, duplicates, refused atomic.Int64
}

// soak runs one agent through kills as long as more, given how many it had, says
// so.
func soak(t *testing.T, protocol harness.Protocol, total *soakTotal, more func(kills int64) bool) {
	rng := rand.New(rand.NewSource(seed(t)))
	s := harness.New(t, harness.Options{Protocol: protocol, Queue: map[string]any{
		"max_samples_per_send": 20 + rng.Intn(400), "max_shards": 1 + rng.Intn(8), "batch_send_deadline": "20ms",
	}})
	s.Agent.Flags = append(s.Agent.Flags, harness.ReceiveFlag)
	p := s.NewPusher(soakSeries)

	// The endpoint has to be known before anything may happen to it.
	require.NoError(t, s.Agent.Start())
	require.NoError(t, p.Push())
	s.WaitRequests(s.Main(), 1)
	s.Kill()
	kills := int64(1)
	for ; more(kills) && !t.Failed(); kills++ {
		soakOnce(t, s, p, rng)
	}

	require.NoError(t, s.Main().Accept())
	s.Main().Use(harness.Pass())
	require.NoError(t, s.Agent.Start())
	require.NoError(t, p.Push())
	v := s.Deliver(s.Main(), 0)
	s.Report(v, note("kills", kills), note("refused_requests", s.Main().Refused()))
	total.kills.Add(kills)
	total.committed.Add(int64(v.Committed))
	total.lost.Add(int64(v.Lost))
	total.duplicates.Add(int64(v.Duplicates))
	total.refused.Add(int64(s.Main().Refused()))

	require.Empty(t, p.Sure().Without(s.AllCommitted()), "the agent acknowledged samples that its log did not have")
	s.RequireIntact(s.Main(), v)
	s.RequireBoundedResends(s.Main())
}

// soakOnce runs the agent in some situation and kills it.
func soakOnce(t *testing.T, s *harness.Scenario, p *harness.Pusher, rng *rand.Rand) {
	t.Helper()
	const phases = 7
	phase := rng.Intn(phases)
	if phase == 0 {
		require.NoError(t, s.Agent.StartBriefly(time.Duration(rng.Intn(300))*time.Millisecond))
		return
	}
	require.NoError(t, s.Main().Accept())
	pause, push := 10*time.Millisecond, true
	switch phase {
	case 1: // An outage.
		if rng.Intn(2) == 0 {
			s.Main().Refuse()
		} else {
			s.Main().Use([]harness.Plan{harness.Fail(503), harness.HangUp(), harness.CutOff(), harness.RateLimit()}[rng.Intn(4)])
		}
	case 2: // Catching up slowly with what the runs before have left.
		s.Main().Use(harness.Slow(time.Duration(rng.Intn(20)) * time.Millisecond))
	case 3: // Everything at once.
		s.Main().Use(harness.Flap(rng.Int63()))
	case 4: // Idleness.
		s.Main().Use(harness.Pass())
		push = false
	default: // Truncation and plain delivery.
		s.Main().Use(harness.Pass())
	}
	require.NoError(t, s.Agent.Start())
	end := time.Now().Add(time.Duration(rng.Intn(700)) * time.Millisecond)
	if phase == 5 {
		segment := s.Shadow.Last()
		s.Until("a new segment", func() bool { return s.Shadow.Last() > segment })
		end = time.Now().Add(time.Duration(rng.Intn(30)) * time.Millisecond)
	}
	for time.Now().Before(end) {
		if push {
			require.NoError(t, p.Push())
		}
		time.Sleep(pause)
	}
	if !push {
		s.Kill()
		return
	}
	// The kill comes while something is pushed.
	pushing := make(chan struct{})
	go func() {
		defer close(pushing)
		for p.Push() == nil {
		}
	}()
	time.Sleep(time.Duration(rng.Intn(5000)) * time.Microsecond)
	s.Kill()
	<-pushing
}
