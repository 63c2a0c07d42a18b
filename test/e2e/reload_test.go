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

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// reloadLimit is far below stock's flush deadline of a minute, for which a
// reload waits there if an endpoint is dead.
const reloadLimit = 30 * time.Second

// reload applies a configuration and makes sure that scraping goes on
// meanwhile, whatever the endpoints do.
func reload(t *testing.T, s *harness.Scenario, config harness.Config) {
	t.Helper()
	before := s.Target.Scrapes()
	committed := len(s.AllCommitted())
	done := make(chan error, 1)
	go func() { done <- s.Agent.Reload(config, reloadLimit) }()
	s.Until("scrapes are committed during a reload", func() bool {
		return s.Target.Scrapes() > before+5 && len(s.AllCommitted()) > committed
	})
	require.NoError(t, <-done)
}

// TestReloadInOutage defends I2 and I5: operational settings change while the
// endpoint is dead, nothing is lost or sent twice, and the new settings are
// used afterwards.
func TestReloadInOutage(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		s.Start()
		s.WaitScrapes(10)
		s.Main().Use(harness.HangUp())
		s.WaitSegments(2)

		endpoint := s.Endpoint("main")
		for _, change := range []func(*harness.Endpoint){
			func(e *harness.Endpoint) {
				e.Queue = map[string]any{"max_shards": 2, "capacity": 1000, "max_samples_per_send": 250}
			},
			func(e *harness.Endpoint) { e.Extra = map[string]any{"remote_timeout": "3s"} },
			func(e *harness.Endpoint) {
				e.Extra = map[string]any{
					"remote_timeout": "3s",
					"headers":        map[string]string{"X-Tenant": "changed"},
					"basic_auth":     map[string]string{"username": "new", "password": "secret"},
				}
			},
		} {
			change(&endpoint)
			reload(t, s, s.Agent.Config.With(endpoint))
			s.WaitSegments(1)
		}

		from := s.Main().Count()
		s.Main().Use(harness.Pass())
		v := s.Deliver(s.Main(), 0)
		s.Report(v, note("requests", s.Main().Count()))

		s.RequireIntact(s.Main(), v)
		s.RequireNoResends(s.Main())
		s.RequireSequences()
		require.Zero(t, s.Main().Refused(), "the receiver refused requests although nothing was replayed")
		for _, req := range s.Main().Requests()[from:] {
			require.Equal(t, "changed", req.Header.Get("X-Tenant"), "request %d lacks the new header", req.Number)
			require.NotEmpty(t, req.Header.Get("Authorization"), "request %d lacks the new credentials", req.Number)
		}
	})
}

// TestReloadNewURL defends the identity of endpoints: a named endpoint whose
// URL changes takes its position, and so its backlog, along.
func TestReloadNewURL(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		s.Start()
		s.WaitScrapes(10)
		old := s.Main()
		old.Refuse()
		s.WaitSegments(3)

		moved := s.AddReceiver("moved")
		endpoint := s.Endpoint("main")
		endpoint.URL = moved.URL()
		reload(t, s, s.Agent.Config.With(endpoint))
		s.WaitScrapes(5)

		due := s.AllCommitted().Without(old.Taken())
		v := s.Judge(moved, due, s.Settle(moved, due))
		s.Report(v, note("at_old_url", len(old.Taken())))

		s.RequireIntact(moved, v)
		s.RequireNoResends(moved)
		s.RequireSequences()
		again, example := moved.Taken().Shared(old.Acked(), s.Symbols)
		require.Zero(t, again, "the new URL got what the old one had acknowledged, e.g. %s", example)
	})
}

// TestReloadRemoved defends the hold of removed endpoints: a configuration
// that lacks an endpoint for a while releases nothing, and the endpoint
// resumes where it was when it comes back.
func TestReloadRemoved(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol, Receivers: []string{"main", "other"}})
		s.Start()
		s.WaitScrapes(10)
		s.Main().Refuse()
		s.WaitSegments(2)

		both := s.Agent.Config
		reload(t, s, both.With(s.Endpoint("other")))
		held := s.WAL().First
		s.WaitSegments(4)
		require.Equal(t, held, s.WAL().First, "a segment was removed during the grace time of a removed endpoint")

		require.NoError(t, s.Main().Accept())
		reload(t, s, both)
		s.WaitScrapes(5)
		v := s.Deliver(s.Main(), 0)
		other := s.Deliver(s.Proxy("other"), 0)
		s.Report(v)

		for _, name := range []string{"main", "other"} {
			s.RequireNoResends(s.Proxy(name))
		}
		s.RequireIntact(s.Main(), v)
		s.RequireIntact(s.Proxy("other"), other)
		s.RequireSequences()
		s.Until("the hold ends once everything is delivered", func() bool { return s.WAL().First > held+4 })
	})
}

// TestReloadNew defends that a really new endpoint starts at now: it gets
// nothing from before it was configured and everything from after.
func TestReloadNew(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		s.Start()
		s.WaitScrapes(10)
		s.Main().Refuse()
		s.WaitSegments(2)

		added := s.AddReceiver("added")
		before := s.AllCommitted()
		reload(t, s, s.Agent.Config.With(s.Endpoint("main"), s.Endpoint("added")))
		after := s.AllCommitted()
		s.WaitScrapes(10)

		due := s.AllCommitted().Without(after)
		v := s.Judge(added, due, s.Settle(added, due))
		require.NoError(t, s.Main().Accept())
		main := s.Deliver(s.Main(), 0)
		s.Report(v, note("main_committed", main.Committed), note("main_lost", main.Lost))

		s.RequireIntact(added, v)
		s.RequireNoResends(added)
		s.RequireIntact(s.Main(), main)
		s.RequireNoResends(s.Main())
		early, example := added.Taken().Shared(before, s.Symbols)
		require.Zero(t, early, "the new endpoint got what was committed before it was configured, e.g. %s", example)
	})
}
