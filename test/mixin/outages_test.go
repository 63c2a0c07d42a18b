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

package mixin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// outages are what agents recorded, with the alerts that fired, and those that still do
// after half an hour.
var outages = []struct {
	name         string
	fired, still []string
}{
	{name: "well"},
	{name: "dead", fired: []string{"AgentEndpointBehind one"}},
	{
		name:  "limit",
		fired: []string{"AgentEndpointBehind one", "AgentGaveUpSamples one", "AgentLogFillsUp one", "AgentLogNearlyFull one", "AgentLossNear one"},
		still: []string{"AgentEndpointBehind one", "AgentGaveUpSamples one", "AgentLogFillsUp one", "AgentLogNearlyFull one", "AgentLossNear one"},
	},
	{
		name: "budget",
		// Each segment is taken before it is kept for as long as AgentLogFillsUp waits.
		fired: []string{"AgentEndpointBehind one", "AgentGaveUpSamples one", "AgentLossNear one"},
		still: []string{"AgentEndpointBehind one", "AgentGaveUpSamples one"},
	},
	{name: "denied", fired: []string{"AgentEndpointRefuses one"}},
	{name: "refused", fired: []string{"AgentSamplesRefused one"}},
	{name: "series", fired: []string{"AgentSeriesNotTaken one"}, still: []string{"AgentSeriesNotTaken one"}},
	{name: "full", fired: []string{"AgentCommitsRefused", "AgentLogBroken"}},
	{
		name:  "damaged",
		fired: []string{"AgentGaveUpSamples one", "AgentLogDamaged", "AgentLogDamaged one", "AgentLossNear one"},
		still: []string{"AgentLogDamaged", "AgentLogDamaged one"},
	},
	{
		name:  "savepoint",
		fired: []string{"AgentEndpointBehind one", "AgentSavepointNotWritten", "AgentSavepointOld"},
		still: []string{"AgentEndpointBehind one", "AgentSavepointNotWritten", "AgentSavepointOld"},
	},
	{name: "snapshot", fired: []string{"AgentSnapshotNotWritten"}, still: []string{"AgentSnapshotNotWritten"}},
}

// recorded returns the series of an outage.
func recorded(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	require.NoError(t, err)
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		series, values, _ := strings.Cut(strings.TrimSpace(line), "} ")
		all[series+"}"] = values
	}
	return all
}

// TestRecordedOutages evaluates the alerts on what agents recorded in outages: in each those
// fire that are meant for it, for the endpoint that is concerned.
func TestRecordedOutages(t *testing.T) {
	for _, o := range outages {
		t.Run(o.name, func(t *testing.T) {
			evaluate(t, recorded(t, o.name), expectation{hasFired, 31, o.fired}, expectation{firing, 31, o.still})
		})
	}
}
