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

package snapshot

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// noLinks is a file system on which files have one name.
type noLinks struct{ vfs.FS }

func (noLinks) Link(from, to string) error {
	return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EXDEV}
}

// stockReads returns what upstream's reader finds in a checkpoint.
func stockReads(t *testing.T, dir string) map[ref]labels.Labels {
	t.Helper()
	src, err := wlog.NewSegmentsReader(dir)
	require.NoError(t, err)
	defer src.Close()
	dec := record.NewDecoder(labels.NewSymbolTable(), slog.New(slog.DiscardHandler))
	r, got := wlog.NewReader(src), map[ref]labels.Labels{}
	for r.Next() {
		series, err := dec.Series(r.Record(), nil)
		require.NoError(t, err)
		for _, def := range series {
			got[def.Ref] = def.Labels
		}
	}
	require.NoError(t, r.Err())
	return got
}

// Defends I7: upstream reads every checkpoint made of a snapshot, whatever the
// compression, with links and without.
func TestStockReadsCheckpoints(t *testing.T) {
	for _, c := range []compression.Type{compression.None, compression.Snappy, compression.Zstd} {
		for name, fsys := range map[string]vfs.FS{"links": vfs.OS, "copies": noLinks{vfs.OS}} {
			t.Run(c+"/"+name, func(t *testing.T) {
				ctx, data := context.Background(), t.TempDir()
				wal := filepath.Join(data, "wal")
				require.NoError(t, os.Mkdir(wal, 0o777))
				s := open(t, filepath.Join(data, "series"), Options{FS: fsys, Compression: c})
				require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 1000))}))
				require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1000, 1500))}))
				require.NoError(t, s.Checkpoint(ctx, wal, 3))

				dir, n, err := wlog.LastCheckpoint(wal)
				require.NoError(t, err)
				require.Equal(t, 3, n)
				require.Equal(t, []string{"00000000", "00000001"}, dirNames(t, dir))
				got := stockReads(t, dir)
				require.Len(t, got, 1499)
				for r, l := range got {
					require.Equal(t, lset(int(r)), l)
				}
				chunk, err := os.Stat(s.view.chunks[0].path)
				require.NoError(t, err)
				linked, err := os.Stat(filepath.Join(dir, "00000000"))
				require.NoError(t, err)
				require.Equal(t, name == "links", os.SameFile(chunk, linked))

				// The data outlives the snapshot's own name for it.
				require.NoError(t, s.Replace(ctx, Update{State: stateOf(2)}))
				require.Len(t, stockReads(t, dir), 1499)
				require.NoError(t, s.Checkpoint(ctx, wal, 3))
				require.Equal(t, []string{"checkpoint.00000003"}, dirNames(t, wal))
				require.Equal(t, []string{"00000000"}, dirNames(t, dir))
				require.Empty(t, stockReads(t, dir))
			})
		}
	}
}

// Defends I7: upstream's agent opens a directory with such a checkpoint, and
// takes the refs of the series from it.
func TestStockAgentOpens(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	wal := filepath.Join(data, "wal")
	w, err := wlog.New(nil, nil, wal, compression.Snappy)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	s := open(t, filepath.Join(data, "series"), Options{})
	for i := range 3 {
		require.NoError(t, s.Append(ctx, Update{State: stateOf(i), Series: defs(upTo(1+i*400, 401+i*400))}))
	}
	// Upstream wants the segments to go on behind the checkpoint.
	require.NoError(t, os.Rename(filepath.Join(wal, "00000000"), filepath.Join(wal, "00000008")))
	require.NoError(t, s.Checkpoint(ctx, wal, 7))

	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	db, err := agent.Open(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})), reg, nil, data, agent.DefaultOptions())
	require.NoError(t, err)
	defer db.Close()
	app := db.Appender(ctx)
	for _, i := range []int{1, 500, 1200} {
		r, err := app.Append(0, lset(i), 1000, 1)
		require.NoError(t, err)
		require.Equal(t, i, int(r))
	}
	require.NoError(t, app.Commit())
	require.Empty(t, log.String())
}

// A checkpoint that is the same already is left alone; one that is not is
// replaced, and what a crash left is no obstacle.
func TestCheckpointAgain(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	s := open(t, filepath.Join(data, "series"), Options{})
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 10))}))
	dir := filepath.Join(data, "checkpoint.00000001")
	for _, name := range []string{dir, dir + ".tmp", dir + ".old.tmp"} {
		require.NoError(t, os.Mkdir(name, 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(name, "00000000"), []byte("another"), 0o666))
	}
	require.NoError(t, s.Checkpoint(ctx, data, 1))
	require.Len(t, stockReads(t, dir), 9)
	before, err := os.Stat(dir)
	require.NoError(t, err)
	require.NoError(t, s.Checkpoint(ctx, data, 1))
	after, err := os.Stat(dir)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(10, 20))}))
	require.NoError(t, s.Checkpoint(ctx, data, 1))
	require.Len(t, stockReads(t, dir), 19)
	require.Equal(t, []string{"checkpoint.00000001", "series"}, dirNames(t, data))

	require.Error(t, s.Checkpoint(ctx, filepath.Join(data, "series", manifestName), 1))
}

// Defends I7 and I9: upstream is never given a damaged chunk.
func TestCheckpointOfDamagedChunk(t *testing.T) {
	ctx, data := context.Background(), t.TempDir()
	dir := filepath.Join(data, "series")
	s := open(t, dir, Options{})
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 1000))}))
	flip(t, s.view.chunks[0].path, int(s.view.chunks[0].idx[2].off)+100)
	_, rep := loaded(t, s, false)
	require.Equal(t, 1, rep.DamagedBlocks)
	require.NoError(t, s.Checkpoint(ctx, data, 1))
	got := stockReads(t, filepath.Join(data, "checkpoint.00000001"))
	require.Len(t, got, 999-rep.LostSeries)
	_, rep = loaded(t, s, false)
	require.Zero(t, rep.DamagedBlocks, "what is whole was written anew")
}
