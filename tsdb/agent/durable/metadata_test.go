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
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// loggedMetadata reads the metadata records of the segments, in order.
func loggedMetadata(t *testing.T, dataDir string) (out []record.RefMetadata) {
	t.Helper()
	dir := filepath.Join(dataDir, "wal")
	first, last, err := wlog.Segments(dir)
	require.NoError(t, err)
	in, err := wlog.NewSegmentsRangeReader(wlog.SegmentRange{Dir: dir, First: first, Last: last})
	require.NoError(t, err)
	defer in.Close()
	r := wlog.NewReader(in)
	dec := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
	for r.Next() {
		if dec.Type(r.Record()) == record.Metadata {
			out, err = dec.Metadata(r.Record(), out)
			require.NoError(t, err)
		}
	}
	require.NoError(t, r.Err())
	return out
}

// Metadata is logged once for each change, with either appender, comes back
// after a start from the snapshot and after one from the log, and does not
// bother the best-effort storage (I7).
func TestMetadata(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	opts := small()
	db := openTest(t, dir, nil, opts, still())
	counter := metadata.Metadata{Type: model.MetricTypeCounter, Unit: "s", Help: "First."}
	gauge := metadata.Metadata{Type: model.MetricTypeGauge, Help: "Second."}

	v1 := func(i int, ts int64, m metadata.Metadata) storage.SeriesRef {
		app := db.Appender(ctx)
		ref, err := app.Append(0, metric(i), ts, 1)
		require.NoError(t, err)
		_, err = app.UpdateMetadata(ref, labels.EmptyLabels(), m)
		require.NoError(t, err)
		require.NoError(t, app.Commit())
		return ref
	}
	v2 := func(i int, ts int64, m metadata.Metadata) storage.SeriesRef {
		app := db.AppenderV2(ctx)
		ref, err := app.Append(0, metric(i), 0, ts, 1, nil, nil, storage.AOptions{Metadata: m})
		require.NoError(t, err)
		require.NoError(t, app.Commit())
		return ref
	}
	v1(4, 1, counter)
	v2(5, 1, counter)
	require.NoError(t, db.Close())
	require.Empty(t, loggedMetadata(t, dir), "not asked for")
	opts.EnableMetadataWALRecords = true
	db = openTest(t, dir, nil, opts, still())
	one := v1(1, 1, counter)
	two := v2(2, 1, counter)
	v1(1, 2, counter)
	v2(2, 2, counter)
	v2(3, 2, metadata.Metadata{})
	v2(2, 3, gauge)
	_, err := db.Appender(ctx).UpdateMetadata(999, metric(999), counter)
	require.ErrorContains(t, err, "999")

	// What the log did not take is logged with the next sample.
	breakLog(t, db)
	three := v2(3, 4, gauge)
	want := map[int]metadata.Metadata{1: counter, 2: gauge, 3: gauge}
	check := func() {
		t.Helper()
		for i, m := range want {
			got, ok := db.table.Metadata(db.table.Find(metric(i)))
			require.True(t, ok)
			require.Equal(t, m, *got)
		}
	}
	check()
	require.NoError(t, db.Close())
	typ := record.GetMetricType
	require.Equal(t, []record.RefMetadata{
		{Ref: 3, Type: typ(counter.Type), Unit: "s", Help: "First."},
		{Ref: 4, Type: typ(counter.Type), Unit: "s", Help: "First."},
		{Ref: 4, Type: typ(gauge.Type), Help: "Second."},
		{Ref: 5, Type: typ(gauge.Type), Help: "Second."},
	}, loggedMetadata(t, dir))
	require.Equal(t, []storage.SeriesRef{3, 4, 5}, []storage.SeriesRef{one, two, three})

	db = openTest(t, dir, nil, opts, still())
	require.False(t, db.snapshotter.rebuild)
	check()
	require.NoError(t, db.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, SeriesDir)))
	db = openTest(t, dir, nil, opts, still())
	require.True(t, db.snapshotter.rebuild)
	check()
	require.NoError(t, db.Close())
	require.Zero(t, readLogged(t, dir).orphans)
	stock := openStock(t, nil, dir, agent.Options{})
	appendFloats(t, stock, 0, 5, 10)
	require.NoError(t, stock.Close())
}
