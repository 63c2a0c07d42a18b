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
	"math/rand"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// seed returns the seed of a randomised test, from the environment to repeat a
// run, and shows it.
func seed(t *testing.T) int64 {
	value, err := strconv.ParseInt(os.Getenv("ACKWAL_E2E_SEED"), 10, 64)
	if err != nil {
		value = time.Now().UnixNano()
	}
	t.Logf("ACKWAL_E2E_SEED=%d", value)
	return value
}

// moment waits for one to n requests and then up to a tenth of a second more,
// so that the next thing happens at no particular point of anything.
func moment(s *harness.Scenario, rng *rand.Rand, n int) {
	s.WaitRequests(s.Main(), 1+rng.Intn(n))
	time.Sleep(time.Duration(rng.Intn(100_000)) * time.Microsecond)
}

// TestCrashFlapping defends I4 and I8: repeated kills at random moments, with a
// receiver that also fails in every way, lose nothing.
func TestCrashFlapping(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		rng := rand.New(rand.NewSource(seed(t)))
		s.Main().Use(harness.Flap(rng.Int63()))
		for range 7 {
			s.Start()
			moment(s, rng, 30)
			s.Kill()
		}
		s.Main().Use(harness.Pass())
		s.Start()
		requireSurvived(s, 7)
	})
}

// requireSurvived waits until everything is delivered that was committed in spite
// of so many kills, and demands that nothing is lost and no more than I8 allows
// came again.
func requireSurvived(s *harness.Scenario, kills int) {
	v := s.Deliver(s.Main(), 0)
	s.Report(v, note("kills", kills), note("refused_requests", s.Main().Refused()))

	s.RequireIntact(s.Main(), v)
	s.RequireSequences()
	s.RequireBoundedResends(s.Main())
}

// TestCrashInCatchUp defends I8 where positions move fastest: kills while a
// backlog is delivered.
func TestCrashInCatchUp(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{
			Protocol: protocol,
			Queue:    map[string]any{"max_samples_per_send": 200, "max_shards": 2},
		})
		rng := rand.New(rand.NewSource(seed(t)))
		s.Start()
		s.WaitScrapes(5)
		s.Main().Refuse()
		s.WaitSegments(8)
		require.NoError(t, s.Main().Accept())
		s.Main().Use(harness.Slow(50 * time.Millisecond))
		for range 4 {
			moment(s, rng, 40)
			s.Kill()
			s.Start()
		}
		s.Main().Use(harness.Pass())
		requireSurvived(s, 4)
	})
}

// TestCrashHanging defends I8 and the positions per partition: one request has
// been applied and is never answered while everything else moves on. After the
// kill no more is sent again than that request held and what was acknowledged
// after the last savepoint, however long it hung.
func TestCrashHanging(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{
			Protocol: protocol,
			Queue:    map[string]any{"min_shards": 4, "max_shards": 4, "max_samples_per_send": 50},
			Extra:    map[string]any{"remote_timeout": "1m"},
		})
		s.Start()
		s.WaitScrapes(5)
		for range 2 {
			s.Main().Use(harness.HangSome(1))
			s.Until("a request hangs", func() bool { return s.Main().Waiting(nil) > 0 })
			s.WaitSegments(4)
			s.WaitRequests(s.Main(), 20)
			s.Kill()
			s.Main().Use(harness.Pass())
			s.Start()
			s.WaitScrapes(10)
		}
		requireSurvived(s, 2)
	})
}
