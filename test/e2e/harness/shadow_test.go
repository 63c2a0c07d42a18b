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

package harness

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// TestShadow defends the ground truth: segments that the agent removed are
// still known, a sample is found although its series record comes later, and
// what is torn or damaged afterwards does not hide what was committed before.
func TestShadow(t *testing.T) {
	dir := t.TempDir()
	walDir := filepath.Join(dir, "wal")
	log := slog.New(slog.DiscardHandler)
	w, err := wlog.NewSize(log, nil, walDir, 4*32*1024, compression.Snappy)
	require.NoError(t, err)

	symbols := NewSymbols()
	shadow, err := newShadow(walDir, filepath.Join(dir, "shadow"), symbols, withExternalLabels)
	require.NoError(t, err)
	defer shadow.close()

	var enc record.Encoder
	lset := labels.FromStrings("__name__", "x")
	want := Set{}
	sample := func(at int64) {
		require.NoError(t, w.Log(enc.Samples([]record.RefSample{{Ref: 7, T: at, V: float64(at)}}, nil)))
		want[Point{symbols.ID(withExternalLabels(lset)), SampleKind, at}] = FloatValue(float64(at))
	}
	check := func() {
		t.Helper()
		got, err := shadow.Committed(0, -1)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}

	sample(1)
	_, err = shadow.Committed(0, -1)
	require.NoError(t, err)
	require.Equal(t, 1, shadow.Unresolved(), "the series record is missing")
	require.NoError(t, w.Log(enc.Series([]record.RefSeries{{Ref: 7, Labels: lset}}, nil)))
	check()
	require.Zero(t, shadow.Unresolved())

	for at := int64(2); at < 6; at++ {
		_, err := w.NextSegmentSync()
		require.NoError(t, err)
		sample(at)
		check()
	}
	require.NoError(t, w.Truncate(3))
	check()
	require.NoError(t, w.Close())

	torn, err := TornTail(walDir)
	require.NoError(t, err)
	require.False(t, torn)
	require.NoError(t, Tear(walDir, 4))
	torn, err = TornTail(walDir)
	require.NoError(t, err)
	require.True(t, torn)
	check()

	content, err := os.ReadFile(wlog.SegmentName(walDir, 3))
	require.NoError(t, err)
	require.NoError(t, replace(wlog.SegmentName(walDir, 3), content[:5]))
	check()
	require.Equal(t, 4, shadow.Last())
}
