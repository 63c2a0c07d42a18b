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
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/test/e2e/harness"
)

// TestPromtoolDrain defends I1 and I2 for the command that delivers what a killed agent
// has left: an attempt in the outage loses nothing, the one after it delivers
// everything, and one more sends nothing again. What the commands that only look say
// before and after is what the receiver has.
func TestPromtoolDrain(t *testing.T) {
	forProtocols(t, func(t *testing.T, protocol harness.Protocol) {
		s := harness.New(t, harness.Options{Protocol: protocol})
		tool := func(want int, command string, flags ...string) string {
			t.Helper()
			out, code, err := s.Agent.Tool(command, flags...)
			require.NoError(t, err, "%s", out)
			require.Equal(t, want, code, "%s", out)
			return out
		}
		toBeSent := func() (n int) {
			var status struct {
				Endpoints []struct{ Samples, Histograms, Exemplars int }
			}
			require.NoError(t, json.Unmarshal([]byte(tool(0, "status", "--format=json")), &status))
			require.Len(t, status.Endpoints, 1)
			e := status.Endpoints[0]
			return e.Samples + e.Histograms + e.Exemplars
		}
		s.Start()
		s.WaitScrapes(10)
		s.Main().Refuse()
		s.WaitSegments(3)
		require.Positive(t, toBeSent(), "of an agent that is running")
		s.Kill()
		backlog := toBeSent()
		require.Positive(t, backlog)
		tool(0, "verify")
		require.Contains(t, tool(0, "drain", "--dry-run"), "samples")

		require.Contains(t, tool(3, "drain", "--timeout=2s"), "Run the same command again")
		require.Equal(t, backlog, toBeSent(), "an attempt in the outage has lost something")
		require.NoError(t, s.Main().Accept())
		s.Main().Use(harness.Pass())
		out := tool(0, "drain")
		require.Contains(t, out, "left: nothing")
		v := s.Deliver(s.Main(), 0)
		s.Report(v, note("drained", backlog))
		s.RequireIntact(s.Main(), v)
		s.RequireBoundedResends(s.Main())
		require.Zero(t, toBeSent())

		requests := s.Main().Count()
		require.Contains(t, tool(0, "drain"), "nothing to deliver")
		require.Equal(t, requests, s.Main().Count(), "a second run sent something")
		require.NotEmpty(t, tool(0, "cat", "--limit=1"))
		require.Contains(t, tool(0, "savepoint"), "main")
	})
}
