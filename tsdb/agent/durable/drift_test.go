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

package durable

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/drift"

	"github.com/prometheus/prometheus/tsdb/agent"
)

// Every option of stock's agent storage is one that this package knows of, and
// what callers find by type assertion in stock's they find here. What upstream
// adds fails this test until something is done about it.
func TestStocksOptionsAndMethodsAreKnown(t *testing.T) {
	require.Empty(t, drift.Fields(agent.Options{}, drift.Known{
		"WALSegmentSize":               "effective, open",
		"WALCompression":               "open",
		"StripeSize":                   "not: the series table has stripes of its own",
		"TruncateFrequency":            "maintain",
		"MinWALTime":                   "minAge",
		"MaxWALTime":                   "engine: only if the user has set it, as MaxTime",
		"NoLockfile":                   "open",
		"OutOfOrderTimeWindow":         "batch.tooOld",
		"EnableSTAsZeroSample":         "appenderV2.tryZero",
		"EnableSTStorage":              "encoder",
		"EnableMetadataWALRecords":     "batch.describe",
		"CheckpointFromInMemorySeries": "not: checkpoints are always made of the snapshot's chunks",
		"CheckpointBatchSize":          "not: chunks have blocks of 128 series",
		"TruncateAcknowledgedOnly":     drift.Patched + "not: truncation always waits for acknowledgements",
	}))
	dir := t.TempDir()
	stock, ours := openStock(t, nil, t.TempDir(), agent.Options{}), openTest(t, dir, nil, small(), still())
	ctx := context.Background()
	require.Empty(t, drift.Methods(stock, ours, nil))
	embedded := drift.Known{}
	for _, name := range []string{"Appender", "AppenderV2", "ChunkQuerier", "Close", "ExemplarQuerier", "Querier", "SetWriteNotified", "StartTime"} {
		embedded[name] = "not: stock's appenders embed their DB, their callers do not ask them for it"
	}
	require.Empty(t, drift.Methods(stock.Appender(ctx), ours.Appender(ctx), embedded))
	require.Empty(t, drift.Methods(stock.AppenderV2(ctx), ours.AppenderV2(ctx), embedded))
	require.NoError(t, stock.Close())
}
