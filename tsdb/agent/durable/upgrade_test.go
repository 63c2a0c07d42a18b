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
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/gate"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// A directory of the best-effort storage opens, its series go on under their
// refs, and their last timestamps still count (I7).
func TestUpgrade(t *testing.T) {
	for name, opts := range map[string]agent.Options{
		"plain":      {},
		"snappy":     {WALCompression: compression.Snappy},
		"st, zstd":   {WALCompression: compression.Zstd, EnableSTStorage: true},
		"checkpoint": {CheckpointFromInMemorySeries: true, TruncateFrequency: 10 * time.Millisecond, MinWALTime: 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			stock := openStock(t, nil, dir, opts)
			now := time.Now().UnixMilli()
			appendFloats(t, stock, 0, 20, now)
			if opts.TruncateFrequency > 0 {
				require.Eventually(t, func() bool {
					_, _, err := wlog.LastCheckpoint(filepath.Join(dir, "wal"))
					return err == nil
				}, time.Minute, 10*time.Millisecond)
			}
			require.NoError(t, stock.Close())
			before := readLogged(t, dir)

			opts.TruncateFrequency = 0
			db := openTest(t, dir, nil, &Options{Options: opts}, still())
			require.ErrorIs(t, tryFloats(db, 3, 4, now), storage.ErrOutOfOrderSample)
			appendFloats(t, db, 0, 21, now+1)
			require.NoError(t, db.Close())

			after := readLogged(t, dir)
			require.Len(t, after.samples, len(before.samples)+21)
			require.Subset(t, after.samples, before.samples)
			for i := range 20 {
				require.Equal(t, before.refs[metric(i).String()], after.refs[metric(i).String()])
			}
			require.Zero(t, after.orphans)
		})
	}
}

// The best-effort storage opens what this one wrote, including markers, a
// checkpoint and the aftermath of a failed write, finds nothing wrong, and goes
// on under the same refs (I7).
func TestDowngrade(t *testing.T) {
	dir := t.TempDir()
	opts := small()
	opts.WALCompression = compression.Snappy
	db := openTest(t, dir, nil, opts, still())
	ts := time.Now().UnixMilli()
	for i := range 150 {
		appendFloats(t, db, 0, 700, ts+int64(i))
	}
	app := db.AppenderV2(context.Background())
	_, err := app.Append(0, metric(1000), 0, ts, 0, custom(1), nil, storage.AOptions{})
	require.NoError(t, err)
	require.NoError(t, app.Commit())
	require.Greater(t, len(segmentNumbers(t, dir)), 4)
	db.opts.MinWALTime = 0
	require.NoError(t, db.truncate(context.Background()))
	_, _, err = wlog.LastCheckpoint(filepath.Join(dir, "wal"))
	require.NoError(t, err)
	breakLog(t, db)
	appendFloats(t, db, 0, 700, ts+1000)
	require.NoError(t, db.Close())
	ours := readLogged(t, dir)
	require.Zero(t, ours.orphans)

	var out bytes.Buffer
	reg := prometheus.NewRegistry()
	rs := remote.NewStorage(nil, nil, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
	defer rs.Close()
	stock, err := agent.Open(slog.New(slog.NewTextHandler(&out, nil)), reg, rs, dir, &agent.Options{WALSegmentSize: opts.WALSegmentSize})
	require.NoError(t, err)
	appendFloats(t, stock, 0, 700, ts+2000)
	for _, wrong := range []string{"non-existing", "repair", "orrupt", "level=ERROR"} {
		require.NotContains(t, out.String(), wrong)
	}
	require.Zero(t, valueOf(t, reg, "prometheus_agent_corruptions_total"))
	require.Equal(t, 701.0, valueOf(t, reg, "prometheus_agent_active_series"))
	require.NoError(t, stock.Close())

	theirs := readLogged(t, dir)
	require.Equal(t, ours.samples, theirs.samples[:len(ours.samples)])
	require.Equal(t, ours.refs, theirs.refs)

	// And back again.
	again := openTest(t, dir, nil, opts, still())
	appendFloats(t, again, 0, 700, ts+3000)
	require.NoError(t, again.Close())
	require.Equal(t, ours.refs, readLogged(t, dir).refs)
}

// valueOf reads a metric without labels.
func valueOf(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// writeRecords makes a log of the given records, one list per segment.
func writeRecords(t *testing.T, dataDir string, segments ...[][]byte) {
	t.Helper()
	for _, recs := range segments {
		w, err := wlog.NewSize(nil, nil, filepath.Join(dataDir, "wal"), wlog.DefaultSegmentSize, compression.Snappy)
		require.NoError(t, err)
		require.NoError(t, w.Log(recs...))
		require.NoError(t, w.Close())
	}
}

// Logs of earlier releases have samples before the record of their series,
// several refs of one label set, and refs that changed their meaning.
func TestReplayOfOldLogs(t *testing.T) {
	var enc record.Encoder
	newSeries := func(ref chunks.HeadSeriesRef, l labels.Labels) []byte {
		return enc.Series([]record.RefSeries{{Ref: ref, Labels: l}}, nil)
	}
	float := func(ref chunks.HeadSeriesRef, t int64) []byte {
		return enc.Samples([]record.RefSample{{Ref: ref, T: t}}, nil)
	}
	dir := t.TempDir()
	writeRecords(t, dir,
		[][]byte{float(5, 100), newSeries(5, metric(5)), newSeries(6, metric(6)), float(6, 50)},
		[][]byte{newSeries(7, metric(6)), float(7, 200), float(77, 1), float(77, 2)},
		[][]byte{enc.Exemplars([]record.RefExemplar{{Ref: 7}, {Ref: 90, Labels: labels.FromStrings("a", "b")}}, nil)},
		[][]byte{newSeries(8, metric(8)), float(8, 10), newSeries(8, metric(9))},
		[][]byte{{}, {99, 1, 2}, append(newSeries(100, labels.FromStrings("a", strings.Repeat("b", 500))), 0xff)},
	)
	db := openTest(t, dir, nil, nil, still())
	require.Equal(t, 3.0, testutil.ToFloat64(db.metrics.unknownRefs), "two samples of 77 and the exemplar of 90")
	require.Equal(t, 1.0, testutil.ToFloat64(db.metrics.corruptions), "the record that cannot be decoded")

	s := db.table.Resolve(5)
	require.Equal(t, int64(100), s.LastSampleTimestamp(), "the sample came first")
	six := db.table.Resolve(6)
	require.Equal(t, int64(200), six.LastSampleTimestamp(), "raised under the other ref")
	require.True(t, db.table.Resolve(7).Alias())
	require.Equal(t, metric(6), db.table.Resolve(7).Labels())
	require.Same(t, six, db.table.Find(metric(6)))
	require.Equal(t, metric(9), db.table.Resolve(8).Labels(), "the later meaning holds")
	require.Nil(t, db.table.Resolve(77))

	// A new series must not get the ref of samples whose series is unknown.
	ref, err := db.Appender(context.Background()).Append(0, metric(1), 1, 1)
	require.NoError(t, err)
	require.Greater(t, ref, storage.SeriesRef(90))

	// The second ref of a label set resolves as long as segment 2 is there,
	// which has the last record of it.
	require.Empty(t, db.table.Drop(2))
	require.Len(t, db.table.Drop(3), 1)
}

// A log that lost its segments but not its checkpoint goes on after it: else
// the next to open it would take the new segments for superseded ones.
func TestNumbersGoOnAfterCheckpoint(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, dir, nil, small(), still())
	for i := range 40 {
		appendFloats(t, db, 0, 700, int64(i))
	}
	db.opts.MinWALTime = 0
	require.NoError(t, db.truncate(context.Background()))
	require.NoError(t, db.Close())
	_, number, err := wlog.LastCheckpoint(filepath.Join(dir, "wal"))
	require.NoError(t, err)
	for _, name := range segmentNumbers(t, dir) {
		require.NoError(t, os.Remove(wlog.SegmentName(filepath.Join(dir, "wal"), name)))
	}

	db = openTest(t, dir, nil, small(), still())
	require.Equal(t, number+1, db.journal.Head().Segment)
	appendFloats(t, db, 0, 1, 1000)
	require.NoError(t, db.Close())

	db = openTest(t, dir, nil, small(), still())
	s := db.table.Find(metric(0))
	require.Equal(t, int64(1000), s.LastSampleTimestamp())
	require.Equal(t, gate.Free, db.gate.Floor().State)
}
