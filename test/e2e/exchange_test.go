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
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// complaint matches what stock writes when a directory is not to its liking.
var complaint = regexp.MustCompile(`(?i)corrupt|non-existing|unknown series|repair|out of sequence|not sequential|decode failure|invalid record|unexpected`)

// requireContent fails the test if the current run of the agent found anything
// wrong with the directory it opened.
func requireContent(t *testing.T, s *harness.Scenario) {
	t.Helper()
	require.Empty(t, s.Agent.Grep(complaint), "run %d complains about the data directory", s.Agent.Run().Number)
	m := s.Metrics()
	for _, name := range []string{
		"prometheus_agent_corruptions_total",
		"prometheus_wal_watcher_record_decode_failures_total",
		"prometheus_agent_checkpoint_creations_failed_total",
		"prometheus_agent_checkpoint_deletions_failed_total",
	} {
		require.Contains(t, m, name, "the agent lost a metric of stock")
		require.Zero(t, m.Sum(name), "%s in run %d", name, s.Agent.Run().Number)
	}
}

// runOnce runs an engine on the scenario's directory until it has truncated
// its WAL a few times and everything it committed has arrived.
func runOnce(t *testing.T, s *harness.Scenario, engine harness.Engine) {
	t.Helper()
	s.StartEngine(engine)
	s.WaitSegments(4)
	s.Target.NextGeneration()
	s.WaitScrapes(5)
	requireContent(t, s)
}

// deliver waits for everything that the current run has committed so far. No
// engine promises what a run commits after that, up to its stop, if stock comes
// next: stock does not look back.
func deliver(s *harness.Scenario) harness.Verdict {
	return s.Deliver(s.Main(), s.Agent.Run().Number)
}

// TestUpgrade defends the way in (I7): a directory that stock wrote, and left
// gracefully or by a kill, opens and continues; nothing that stock sent is sent
// again, and everything committed from then on arrives.
func TestUpgrade(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		durable, stock := s.Agent.Engine, harness.Stock(t)

		runOnce(t, s, stock)
		s.Terminate()
		runOnce(t, s, durable)
		afterStop := deliver(s)
		s.Terminate()

		runOnce(t, s, stock)
		s.Kill()
		runOnce(t, s, durable)
		afterKill := deliver(s)
		s.Report(afterKill, note("lost_after_stop", afterStop.Lost))

		s.RequireIntact(s.Main(), afterStop)
		s.RequireIntact(s.Main(), afterKill)
		s.RequireNoResends(s.Main())
	})
}

// TestDowngrade defends the way out (I7): what we wrote opens in stock, after a
// graceful stop in an outage with a backlog of held segments and after a kill,
// and changing to and fro sends nothing twice.
func TestDowngrade(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		durable, stock := s.Agent.Engine, harness.Stock(t)

		// A graceful stop with everything delivered.
		runOnce(t, s, durable)
		s.Terminate()
		runOnce(t, s, stock)
		s.Terminate()

		// A graceful stop with a backlog. Stock does not send what was held
		// for it, and neither does the durable engine after stock.
		s.StartEngine(durable)
		s.WaitScrapes(5)
		delivered := deliver(s)
		s.Main().Refuse()
		s.Target.NextGeneration()
		s.WaitSegments(4)
		s.Terminate()
		require.NoError(t, s.Main().Accept())
		runOnce(t, s, stock)
		s.Terminate()

		// A kill. A record that the kill tore is stock's business in stock and
		// ours here, so it is repaired before.
		runOnce(t, s, durable)
		v := deliver(s)
		s.Kill()
		torn, err := harness.TornTail(s.Agent.WALDir())
		require.NoError(t, err)
		if torn {
			s.StartEngine(durable)
			s.Terminate()
		}
		runOnce(t, s, stock)
		s.Terminate()

		runOnce(t, s, durable)
		last := deliver(s)
		s.Report(last, note("runs", len(s.Agent.Runs)), note("torn", torn))

		s.RequireIntact(s.Main(), delivered)
		s.RequireIntact(s.Main(), v)
		s.RequireIntact(s.Main(), last)
		s.RequireNoResends(s.Main())
	})
}

// TestBestEffortInBetween defends I1 and I2 where the engine is changed to stock's and back
// in an outage: what ours had not delivered is delivered, exactly, nothing that stock wrote
// is, and that is counted and said, once, whatever restarts follow.
func TestBestEffortInBetween(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		durable, stock := s.Agent.Engine, harness.Stock(t)

		s.StartEngine(durable)
		s.WaitScrapes(5)
		s.Main().Refuse()
		s.Target.NextGeneration()
		s.WaitSegments(4)
		s.Terminate()

		s.Agent.TruncateEvery = time.Hour // What it removes is lost.
		s.StartEngine(stock)
		s.Target.NextGeneration()
		s.WaitScrapes(10)
		s.Terminate()
		others := s.Committed(1, 1)
		s.Agent.TruncateEvery = 0

		passed := func() (items float64, lines int) {
			m := s.Metrics()
			for _, class := range []string{"samples", "histograms", "exemplars"} {
				items += m.Sum("prometheus_remote_storage_"+class+"_dropped_total", "reason", "other_engine")
			}
			require.Zero(t, m.Sum("prometheus_remote_storage_samples_expired_total"))
			return items, len(s.Agent.Grep(regexp.MustCompile(`level=WARN.*(is passed over|is resumed).* remote_name=.* samples=[1-9].* oldest=`)))
		}
		s.StartEngine(durable)
		s.WaitScrapes(5)
		items, lines := passed()
		s.Kill()

		require.NoError(t, s.Main().Accept())
		s.StartEngine(durable)
		s.WaitScrapes(5)
		again, said := passed()
		due := s.AllCommitted().Without(others)
		held := s.Settle(s.Main(), due)
		v := s.Judge(s.Main(), due, held)
		s.Report(v, note("by_stock", len(others)), note("passed_over", items))

		s.RequireIntact(s.Main(), v)
		s.RequireNoResends(s.Main())
		n, example := held.Shared(others, s.Symbols)
		require.Zero(t, n, "what stock wrote was sent: %s", example)
		require.Equal(t, []float64{float64(len(others)), 0}, []float64{items, again})
		require.Equal(t, []int{2, 0}, []int{lines, said})
	})
}

// TestDowngradeAfterDamage defends I7 and I9: damage in the middle of a held
// segment and a torn tail cost what they held, everything else arrives, and
// stock finds nothing to complain about afterwards.
func TestDowngradeAfterDamage(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		durable, stock := s.Agent.Engine, harness.Stock(t)

		s.StartEngine(durable)
		s.WaitScrapes(10)
		s.Main().Refuse()
		s.WaitSegments(5)
		s.Kill()
		size := s.WAL()
		damaged := size.First + size.Segments/2
		require.NoError(t, harness.Damage(s.Agent.WALDir(), damaged))
		require.NoError(t, harness.Tear(s.Agent.WALDir(), size.Last))

		require.NoError(t, s.Main().Accept())
		s.StartEngine(durable)
		s.WaitScrapes(5)
		due := s.AllCommitted()
		inDamaged, err := s.Shadow.Committed(damaged, damaged)
		require.NoError(t, err)
		// No series began in the damaged segment, so nothing but its own samples
		// can be missing.
		rest := due.Without(inDamaged)
		v := s.Judge(s.Main(), rest, s.Settle(s.Main(), rest))
		reported := s.Metrics().Sum("prometheus_agent_corruptions_total")
		s.Terminate()

		runOnce(t, s, stock)
		s.Report(v, note("in_damaged_segment", len(inDamaged)), note("corruptions_reported", reported))

		s.RequireIntact(s.Main(), v)
		s.RequireBoundedResends(s.Main())
		require.Positive(t, reported, "the repair was not counted")
	})
}
