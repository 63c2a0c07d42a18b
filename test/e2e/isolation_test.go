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
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// lags returns, sorted, how many scrapes further the target was when each
// scrape arrived for the first time at a proxy, for the requests from first on.
// It is a delay in a clock that a slow machine slows down as well.
func lags(s *harness.Scenario, p *harness.Proxy, first int) []int64 {
	found := []int64{}
	seen := map[harness.Point]bool{}
	for _, req := range p.Requests()[first:] {
		req.Points(func(point harness.Point, v harness.Value) {
			if s.Symbols.Labels(point.Series).Get("__name__") != harness.SequenceMetric || v.Stale() || seen[point] {
				return
			}
			seen[point] = true
			found = append(found, req.Clock-int64(v.Float()))
		})
	}
	slices.Sort(found)
	return found
}

// high is the value that nine tenths of a sorted list do not exceed.
func high(sorted []int64) int64 { return sorted[len(sorted)*9/10] }

// TestIsolation defends I5 and I6: with one endpoint dead and one slow, the
// healthy one stays as close behind the scrapes as before, the heap does not
// grow with the outage, and nothing is lost anywhere once they return.
func TestIsolation(t *testing.T) {
	// lagSlack is far below the lag of an endpoint that waits for a dead or a
	// slow one, which grows with the outage.
	const lagSlack = 8
	// heapSlack is far below what the samples of the outage would take.
	const heapSlack = 12 << 20

	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{
			Protocol:  protocol,
			Receivers: []string{"healthy", "dead", "slow"},
			Series:    1000,
		})
		healthy, dead, slow := s.Proxy("healthy"), s.Proxy("dead"), s.Proxy("slow")
		s.Start()
		s.WaitScrapes(25)
		baseline := high(lags(s, healthy, 0))

		dead.Use(harness.HangUp())
		slow.Use(harness.Slow(time.Second))
		outage := healthy.Count()
		s.WaitScrapes(20)
		heapEarly, err := s.Agent.HeapBytes()
		require.NoError(t, err)
		s.WaitScrapes(80)
		heapLate, err := s.Agent.HeapBytes()
		require.NoError(t, err)
		during := high(lags(s, healthy, outage))
		current := s.Deliver(healthy, 0)

		dead.Use(harness.Pass())
		slow.Use(harness.Pass())
		verdicts := map[*harness.Proxy]harness.Verdict{}
		for _, p := range []*harness.Proxy{dead, slow, healthy} {
			verdicts[p] = s.Deliver(p, 0)
		}
		s.Report(verdicts[dead], note("lag_before", baseline), note("lag_during", during),
			note("heap_early", int64(heapEarly)), note("heap_late", int64(heapLate)),
			note("slow_lost", verdicts[slow].Lost), note("healthy_lost", verdicts[healthy].Lost))

		s.RequireIntact(healthy, current)
		for p, v := range verdicts {
			s.RequireIntact(p, v)
			s.RequireNoResends(p)
			require.Zero(t, p.Refused(), "%s refused requests although nothing was replayed", p.Name)
		}
		s.RequireSequences()
		require.LessOrEqual(t, during, baseline+lagSlack, "scrapes that the healthy endpoint is behind")
		require.LessOrEqual(t, heapLate, heapEarly+heapSlack, "bytes of heap during the outage")
	})
}
