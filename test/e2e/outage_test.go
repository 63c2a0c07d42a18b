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
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// outage takes the receiver away in every way there is, each for at least one
// truncation interval, while series come and go. It returns the last segment
// there was at its end.
func outage(s *harness.Scenario) int {
	proxy := s.Main()
	for _, kind := range []struct {
		begin, end func()
	}{
		{proxy.Refuse, func() { _ = proxy.Accept() }},
		{func() { proxy.Use(harness.Fail(http.StatusServiceUnavailable)) }, nil},
		{func() { proxy.Use(harness.HangUp()) }, nil},
		{func() { proxy.Use(harness.RateLimit()) }, nil},
		{func() { proxy.Use(harness.CutOff()) }, nil},
	} {
		kind.begin()
		s.Target.NextGeneration()
		s.WaitSegments(2)
		if kind.end != nil {
			kind.end()
		}
	}
	return s.Shadow.Last()
}

// TestOutage defends I1, I2 and I3: segments are cut and series end while the
// receiver is down, and still everything arrives, once and in order, and the
// WAL is forfeited up to its head afterwards.
func TestOutage(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		s.Start()
		s.WaitScrapes(10)

		require.NoError(t, s.Receiver("main").Stop())
		end := outage(s)
		peak := s.WAL()

		require.NoError(t, s.Receiver("main").Start())
		s.Main().Use(harness.Pass())
		s.WaitScrapes(5)
		v := s.Deliver(s.Main(), 0)

		var after harness.WALSize
		s.Until("the WAL shrinks to its head", func() bool {
			after = s.WAL()
			return after.First > end && after.Segments <= 4
		})
		s.Report(v, note("peak_wal_bytes", peak.Bytes), note("peak_segments", peak.Segments),
			note("wal_bytes", after.Bytes), note("segments", after.Segments))

		s.RequireIntact(s.Main(), v)
		s.RequireNoResends(s.Main())
		s.RequireSequences()
		require.Zero(t, s.Main().Refused(), "the receiver refused requests although nothing was replayed")
		require.Positive(t, s.AllCommitted().Count(harness.ExemplarKind), "there were no exemplars to deliver")
		require.Less(t, after.Bytes, peak.Bytes, "the WAL did not shrink")
	})
}

// TestRefusalOfEverything defends I2: a receiver that comes back from an outage behind a
// wrong password, or as a URL that leads nowhere, is about to be corrected. Nothing of the
// backlog is dropped, nor of what comes meanwhile.
func TestRefusalOfEverything(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			s := harness.New(t, harness.Options{Protocol: harness.V1})
			s.Start()
			s.WaitScrapes(10)

			s.Main().Refuse()
			s.WaitSegments(2)
			s.Main().Use(harness.Fail(status))
			require.NoError(t, s.Main().Accept())
			s.WaitRequests(s.Main(), 1)
			s.WaitSegments(2)
			s.WaitRequests(s.Main(), 5)
			s.Target.NextGeneration()
			s.WaitScrapes(5)
			require.Positive(t, s.Metrics().Sum("prometheus_remote_storage_refusing_seconds"))

			s.Main().Use(harness.Pass())
			s.WaitScrapes(5)
			v := s.Deliver(s.Main(), 0)
			s.Report(v)
			s.RequireIntact(s.Main(), v)
			s.RequireNoResends(s.Main())
			s.RequireSequences()
			require.Zero(t, s.Metrics().Sum("prometheus_remote_storage_refused_total"))
		})
	}
}

// TestRefusalOfEverythingAfterCrash defends I2 where a receiver may have what it refuses: an
// agent that was killed meets one that refuses everything with the status that receivers
// use for duplicates. Nothing is dropped for that. The receiver that comes back then, with
// some of it, does not say why it refuses that, which is found out all the same.
func TestRefusalOfEverythingAfterCrash(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol, Queue: map[string]any{"max_samples_per_send": 200, "max_shards": 2}})
		s.Start()
		s.WaitScrapes(5)
		s.Main().Refuse()
		s.WaitSegments(8)
		require.NoError(t, s.Main().Accept())
		s.WaitRequests(s.Main(), 20) // What is taken since the last savepoint comes again.
		s.Kill()
		s.Main().Use(harness.Fail(http.StatusBadRequest))
		s.Start()
		s.WaitScrapes(5)
		s.WaitRequests(s.Main(), 30)
		m := s.Metrics()
		require.Positive(t, m.Sum("prometheus_remote_storage_refusing_seconds"))
		require.Zero(t, m.Sum("prometheus_remote_storage_samples_dropped_total"))

		s.Main().Use(harness.Silent())
		s.WaitScrapes(5)
		requireSurvived(s, 1)
		require.Zero(t, s.Metrics().Sum("prometheus_remote_storage_refused_total"))
	})
}

// TestHarnessSeesLoss defends the other tests: with stock's engine the same
// outage loses samples, and the harness sees it.
func TestHarnessSeesLoss(t *testing.T) {
	t.Parallel()
	s := harness.New(t, harness.Options{Protocol: harness.V1, Engine: harness.Stock(t)})
	s.Start()
	s.WaitScrapes(10)

	require.NoError(t, s.Receiver("main").Stop())
	outage(s)
	require.NoError(t, s.Receiver("main").Start())
	s.Main().Use(harness.Pass())
	s.WaitScrapes(5)
	v := s.Deliver(s.Main(), 0)

	s.Report(v)
	require.Positive(t, v.Lost, "stock lost nothing in an outage of ten truncation intervals: the outage is none")
	require.Zero(t, v.Unknown, "%s", v.Example)
	s.RequireSequences()
}
