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

package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	suite "github.com/ackwal/ackwal/conformance"
	"github.com/ackwal/ackwal/conformance/wire"
)

const (
	envBinary = "ACKWAL_PROMETHEUS"
	envStock  = "ACKWAL_STOCK_PROMETHEUS"
)

func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes and takes minutes")
	}
	path := os.Getenv(envBinary)
	if path == "" {
		path = "../../bin/prometheus"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	require.FileExistsf(t, path, "there is no Prometheus binary: build it with `make build`, or name one with %s", envBinary)
	return path
}

// TestDurable defends I1, I2, I4, I8 and I9 from outside, by the same rules for
// all senders: nothing is lost, reordered, or sent again without a crash; a
// flipped byte costs a part of what its file held and nothing else.
func TestDurable(t *testing.T) {
	for _, protocol := range []wire.Protocol{wire.V1, wire.V2} {
		t.Run(protocol.Short(), func(t *testing.T) {
			results := suite.RunTests(t, suite.Options{
				Sender:       suite.DurableAgent(binary(t)),
				Protocol:     protocol,
				Rules:        suite.Strict,
				NoDuplicates: true,
				Parallel:     4,
			})
			require.Len(t, results, len(suite.Cases())+1, "isolation shows two receivers")
			for _, r := range results {
				if r.Verdict == suite.NotApplicable && (r.Case == "full-disk" || r.Case == "late") {
					continue // It may not be possible here, which is said; there is no database.
				}
				require.NotEqual(t, suite.NotApplicable, r.Verdict, "%s has to apply", r.Case)
				if !strings.HasPrefix(r.Case, "corruption-") {
					require.Equal(t, r.LostWhileFull, r.Lost, r.Case)
				}
			}
		})
	}
}

// TestDatabase defends I2 and I8 by what a real receiver has when it is queried, and the
// part of the suite that does so: stock's Prometheus has everything, once.
func TestDatabase(t *testing.T) {
	database, err := suite.NamedBackend("prometheus", binary(t))
	require.NoError(t, err)
	for _, protocol := range []wire.Protocol{wire.V1, wire.V2} {
		o := suite.Options{
			Sender: suite.DurableAgent(binary(t)), Protocol: protocol, Backend: database, Parallel: 4,
			Cases: []string{"outage", "crash-in-catch-up", "isolation", "poison"},
		}
		results, err := suite.Run(t.Context(), o)
		require.NoError(t, err)
		require.Len(t, results, 5)
		for i, r := range results {
			if i == 4 {
				require.Equal(t, suite.NotApplicable, r.Verdict, r.Case)
				continue
			}
			require.Equal(t, suite.OK, r.Verdict, "%s: %v", r.Case, r.Notes)
			require.Positive(t, r.Delivered)
			require.Zero(t, r.Duplicated)
		}
	}
	stock := suite.Options{
		Sender: suite.StockAgent(binary(t)).With("--storage.agent.delivery=best-effort"), Backend: database, Cases: []string{"outage"},
	}
	results, err := suite.Run(t.Context(), stock)
	require.NoError(t, err)
	require.Equal(t, suite.LostSamples, results[0].Verdict)
}

// TestStock defends the suite: stock's agent fails where it is known to lose.
func TestStock(t *testing.T) {
	sender := suite.StockAgent(binary(t))
	if path := os.Getenv(envStock); path != "" {
		sender.Binary = path
	} else {
		sender = sender.With("--storage.agent.delivery=best-effort")
	}
	loses := []string{"outage", "restart-in-outage", "start-with-backlog", "poison", "reload-in-outage"}
	o := suite.Options{Sender: sender, Cases: append(loses, "restart-healthy"), Parallel: 4}
	results, err := suite.Run(t.Context(), o)
	require.NoError(t, err)
	report := suite.NewReport(o, results)
	table := strings.Builder{}
	require.NoError(t, report.WriteTable(&table, true))
	require.False(t, report.Passed, "\n%s", table.String())
	for i, r := range results {
		if i < len(loses) {
			require.Equal(t, suite.LostSamples, r.Verdict, r.Case)
			require.Positive(t, r.Delivered, "%s: nothing at all was delivered, so something else is wrong", r.Case)
		} else {
			require.Equal(t, suite.OK, r.Verdict, r.Case)
		}
	}
}
