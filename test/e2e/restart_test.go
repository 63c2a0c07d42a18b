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

const (
	// exitPromise is how long a process with a dead endpoint may take to end
	// after SIGTERM.
	exitPromise = 5 * time.Second
	// exitMargin is for what the process does besides delivery, on a machine
	// that does other things too.
	exitMargin = 3 * time.Second
)

// TestRestartInOutage defends I2: what a stop in an outage leaves unsent is in
// the WAL above the savepoint. With a dead endpoint the stop is a matter of
// seconds, whichever way the endpoint is dead.
func TestRestartInOutage(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		s.Start()
		s.WaitScrapes(10)

		s.Main().Use(harness.HangUp())
		s.WaitSegments(3)
		s.Until("a request hangs", func() bool { return s.Main().Waiting(nil) > 0 })
		hanging := s.Terminate()

		s.Main().Refuse()
		s.Start()
		s.WaitSegments(3)
		refused := s.Terminate()

		require.NoError(t, s.Main().Accept())
		s.Main().Use(harness.Pass())
		s.Start()
		v := s.Deliver(s.Main(), 0)
		s.Report(v, note("exit_hanging", hanging), note("exit_refused", refused))

		s.RequireIntact(s.Main(), v)
		s.RequireSequences()
		s.RequireNoResends(s.Main())
		require.Less(t, hanging, exitPromise+exitMargin, "SIGTERM with a hanging endpoint")
		require.Less(t, refused, exitPromise+exitMargin, "SIGTERM with an endpoint that refuses connections")
	})
}

// TestRestartHealthy defends I2 and I8: a graceful stop writes down exactly
// what was delivered, so nothing is sent twice and nothing is left out.
func TestRestartHealthy(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		for range 3 {
			s.Start()
			s.WaitScrapes(12)
			s.Terminate()
		}
		s.Start()
		v := s.Deliver(s.Main(), 0)
		s.Report(v)

		s.RequireIntact(s.Main(), v)
		s.RequireSequences()
		s.RequireNoResends(s.Main())
		require.Zero(t, s.Main().Refused(), "the receiver refused requests although nothing was replayed")
	})
}
