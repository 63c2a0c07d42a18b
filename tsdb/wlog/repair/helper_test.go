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

package repair

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// Segments of the test logs have few pages, and records of all kinds and sizes.
const testPages = 3

// files is a directory in memory: the names, with slashes, and contents of the
// files in it.
type files map[string][]byte

// segment is the name of a segment.
func segment(k int) string { return segmentName(k) }

// gone puts what a repair makes in the place of segments.
func (f files) gone(segments ...int) {
	for _, k := range segments {
		f[segment(k)] = frame.Gone()
	}
}

// write makes a directory wal with the files, and returns its name.
func (f files) write(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "wal")
	require.NoError(t, os.Mkdir(dir, 0o777))
	for name, b := range f {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, b, 0o666))
	}
	return dir
}

// read returns the files in a directory.
func read(t testing.TB, dir string) files {
	t.Helper()
	f := files{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	}))
	return f
}

// clone returns a copy that can be changed.
func (f files) clone() files {
	c := files{}
	for name, b := range f {
		c[name] = bytes.Clone(b)
	}
	return c
}

// requireSame compares without printing contents.
func requireSame(t testing.TB, want, got files) {
	t.Helper()
	for name := range got {
		require.Contains(t, names(want), name)
	}
	for name, b := range want {
		require.Contains(t, names(got), name)
		require.True(t, bytes.Equal(b, got[name]), "%s differs", name)
	}
}

// fill puts filler from one offset of a segment to another.
func fill(b []byte, from, to int) {
	for from < to {
		end := min(from-from%frame.PageSize+frame.PageSize, to)
		frame.Fill(b[from:end])
		from = end
	}
}

func names(f files) []string {
	var n []string
	for name := range f {
		n = append(n, name)
	}
	return n
}

// randomRecord returns a record as an agent writes it.
func randomRecord(rng *rand.Rand) []byte {
	var (
		enc   record.Encoder
		ref   = chunks.HeadSeriesRef(1 + rng.IntN(1000))
		now   = int64(1_700_000_000_000) + rng.Int64N(1_000_000)
		count = 1 + rng.IntN(30)
	)
	if rng.IntN(8) == 0 {
		count = 1000 + rng.IntN(5000)
	}
	switch rng.IntN(8) {
	case 0, 1:
		var series []record.RefSeries
		for i := range min(count, 1000) {
			series = append(series, record.RefSeries{
				Ref:    ref + chunks.HeadSeriesRef(i),
				Labels: labels.FromStrings("__name__", "metric", "instance", strings.Repeat("x", rng.IntN(20)), "le", string(rune('a'+rng.IntN(26)))),
			})
		}
		return enc.Series(series, nil)
	case 2:
		var exemplars []record.RefExemplar
		for range min(count, 100) {
			exemplars = append(exemplars, record.RefExemplar{Ref: ref, T: now, V: rng.Float64(), Labels: labels.FromStrings("trace", "a")})
		}
		return enc.Exemplars(exemplars, nil)
	case 3:
		h := record.RefHistogramSample{Ref: ref, T: now, H: tsdbutil.GenerateTestHistogram(int64(rng.IntN(100)))}
		rec, _ := enc.HistogramSamples([]record.RefHistogramSample{h}, nil)
		return rec
	case 4:
		h := tsdbutil.GenerateTestFloatHistogram(int64(rng.IntN(100)))
		rec, _ := enc.FloatHistogramSamples([]record.RefFloatHistogramSample{{Ref: ref, T: now, FH: h}}, nil)
		return rec
	case 5:
		return enc.Metadata([]record.RefMetadata{{Ref: ref, Type: uint8(record.Counter), Unit: "seconds", Help: "Help."}}, nil)
	default:
		var samples []record.RefSample
		for range count {
			samples = append(samples, record.RefSample{Ref: ref, T: now + rng.Int64N(10000), V: rng.Float64()})
		}
		return enc.Samples(samples, nil)
	}
}

// newLog returns a log of a checkpoint and the segments 3 to 8.
func newLog(t testing.TB, seed uint64, c compression.Type) files {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	fill := func(dir string, first, last int) {
		wl, err := wlog.NewSize(nil, nil, dir, testPages*frame.PageSize, c)
		require.NoError(t, err)
		for range first {
			_, err := wl.NextSegmentSync()
			require.NoError(t, err)
		}
		require.NoError(t, wl.Truncate(first))
		for {
			require.NoError(t, wl.Log(randomRecord(rng), randomRecord(rng)))
			_, k, err := wlog.Segments(dir)
			require.NoError(t, err)
			if k == last && rng.IntN(5) == 0 {
				break
			}
			if rng.IntN(20) == 0 && k < last {
				_, err := wl.NextSegmentSync()
				require.NoError(t, err)
			}
			if k > last {
				require.NoError(t, os.Remove(wlog.SegmentName(dir, k)))
				break
			}
		}
		require.NoError(t, wl.Close())
	}
	fill(dir, 3, 8)
	fill(wlog.CheckpointDir(dir, 2), 0, 2)
	return read(t, dir)
}

// placed is a record and where it is.
type placed struct {
	file       string
	start, end int64
	data       []byte
}

// records returns the records of all segments and checkpoints.
func (f files) records() []placed {
	var recs []placed
	for name, b := range f {
		if _, ok := parseNumber(filepath.Base(name)); !ok {
			continue
		}
		s := frame.NewScanner(1)
		s.Reset(bytes.NewReader(b), 0)
		for {
			r, err := s.Next()
			if err != nil {
				break
			}
			recs = append(recs, placed{name, r.Start, r.End, bytes.Clone(r.Data)})
		}
	}
	return recs
}

// requireReadable checks that upstream reads everything in the directory: the
// checkpoint and segments as replay does, each segment live as the watcher
// does, and that its agent opens it without a repair.
func requireReadable(t testing.TB, dir string) {
	t.Helper()
	ranges := []wlog.SegmentRange{{Dir: dir, First: -1, Last: -1}}
	cp, _, err := wlog.LastCheckpoint(dir)
	if !errors.Is(err, record.ErrNotFound) {
		require.NoError(t, err)
		ranges = append([]wlog.SegmentRange{{Dir: cp, First: -1, Last: -1}}, ranges...)
	}
	r, err := wlog.NewSegmentsRangeReader(ranges...)
	require.NoError(t, err)
	rd := wlog.NewReader(r)
	for rd.Next() {
	}
	require.NoError(t, rd.Err())
	require.NoError(t, r.Close())

	for _, sr := range ranges {
		first, last, err := wlog.Segments(sr.Dir)
		require.NoError(t, err)
		for k := first; k <= last && k >= 0; k++ {
			s, err := wlog.OpenReadSegment(wlog.SegmentName(sr.Dir, k))
			require.NoError(t, err)
			live := wlog.NewLiveReader(promslog.NewNopLogger(), wlog.NewLiveReaderMetrics(nil), s)
			for live.Next() {
			}
			require.ErrorIs(t, live.Err(), io.EOF, "segment %d", k)
			require.NoError(t, s.Close())
		}
	}
	requireOpens(t, dir)
}

// OpenStock has upstream's agent open a data directory and close it. The external test
// sets it, because in the fork the agent's imports lead to this package.
var OpenStock func(data string, log io.Writer) error

// requireOpens checks that upstream's agent opens a log without a repair.
func requireOpens(t testing.TB, dir string) {
	t.Helper()
	data := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(data, "wal"), os.DirFS(dir)))
	var log bytes.Buffer
	require.NoError(t, OpenStock(data, &log))
	require.NotContains(t, log.String(), "attempting repair")
}

// requireRepaired repairs the directory and checks what holds afterwards in any
// case (I7). It returns the report and what is there then.
func requireRepaired(t testing.TB, dir string) (Report, files) {
	t.Helper()
	report, err := Directory(dir, Options{})
	require.NoError(t, err)
	repaired := read(t, dir)
	requireReadable(t, dir)

	again, err := Directory(dir, Options{})
	require.NoError(t, err)
	require.Empty(t, again.Damages)
	requireSame(t, repaired, read(t, dir))
	return report, repaired
}
