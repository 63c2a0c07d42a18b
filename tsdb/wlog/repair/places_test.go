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
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// scraped returns a segment as scrapes write it: per commit the samples of one
// target, some at rest, some counting and some noise.
func scraped(t *testing.T, samples int, c compression.Type) []byte {
	t.Helper()
	dir := t.TempDir()
	wl, err := wlog.NewSize(nil, nil, dir, 16<<20, c)
	require.NoError(t, err)
	var (
		rng = rand.New(rand.NewPCG(uint64(samples), 3))
		enc record.Encoder
		at  = int64(1_700_000_000_000)
	)
	for size := 0; size < 512<<10+30*samples; at += 15_000 {
		batch := make([]record.RefSample, samples)
		for i := range batch {
			batch[i] = record.RefSample{Ref: chunks.HeadSeriesRef(i + 1), T: at, V: float64(i)}
			switch i % 5 {
			case 0, 1:
				batch[i].V = float64(at/15_000*int64(i) + rng.Int64N(100))
			case 2:
				batch[i].V = rng.Float64()
			}
		}
		rec := enc.Samples(batch, nil)
		size += len(rec)
		require.NoError(t, wl.Log(rec))
	}
	require.NoError(t, wl.Close())
	b, err := os.ReadFile(wlog.SegmentName(dir, 0))
	require.NoError(t, err)
	return b
}

// One byte that flips, wherever it is, costs no record that is not in its page,
// both where the log is repaired and where it is read as it is, and of what it
// costs the bytes are told (I9).
func TestOneByteInEachPlace(t *testing.T) {
	const places = 200
	for _, samples := range []int{20, 200, 1000, 5000} {
		for _, c := range compression.Types() {
			t.Run(fmt.Sprintf("%d/%s", samples, c), func(t *testing.T) {
				whole := scraped(t, samples, c)
				before := kept(t, whole)
				ends := map[int64]int64{}
				scan := frame.NewScanner(1)
				for scan.Reset(bytes.NewReader(whole), 0); ; {
					rec, err := scan.Next()
					if err != nil {
						break
					}
					ends[rec.Start] = rec.End
				}
				dir := t.TempDir()
				path := wlog.SegmentName(dir, 0)
				// A later segment says that this one is finished.
				require.NoError(t, os.WriteFile(wlog.SegmentName(dir, 1), nil, 0o666))
				rng := rand.New(rand.NewPCG(9, uint64(samples)))
				lost := 0
				for range places {
					at := rng.IntN(len(whole))
					b := bytes.Clone(whole)
					b[at] ^= byte(1 + rng.IntN(255))
					require.NoError(t, os.WriteFile(path, b, 0o666))
					page := frame.PageOf(int64(at))
					touched := func(start int64) bool {
						return start < page+frame.PageSize && ends[start] > page
					}

					read, gaps := readAsItIs(t, dir)
					for start := range before {
						if !touched(start) && !read[start] {
							t.Fatalf("byte %d: the record at %d is not read", at, start)
						}
					}
					require.False(t, len(read) < len(before) && gaps == 0, "byte %d: the report has nothing of it", at)

					report, err := Directory(dir, Options{Logger: promslog.NewNopLogger()})
					require.NoError(t, err)
					repaired, err := os.ReadFile(path)
					require.NoError(t, err)
					after := kept(t, repaired)
					for start, crc := range before {
						if touched(start) {
							continue
						}
						if after[start] != crc {
							t.Fatalf("byte %d: the record at %d does not outlive the repair", at, start)
						}
					}
					missing := 0
					for start := range before {
						if _, ok := after[start]; !ok {
							missing++
						}
					}
					lost += missing
					told := 0
					for _, d := range report.Damages {
						told += d.Records
					}
					require.False(t, missing > 0 && told == 0, "byte %d: the report has nothing of it", at)

					// A reader of the repaired log sees what was lost.
					read, gaps = readAsItIs(t, dir)
					require.Len(t, read, len(after))
					if missing > 0 && report.Damages[0].Kind != TornTail {
						require.Positive(t, gaps, "byte %d", at)
					}
					_, err = wlog.NewSegmentsReader(dir)
					require.NoError(t, err)
				}
				require.Less(t, float64(lost)/places, 2.0)
			})
		}
	}
}

// readAsItIs returns where the records of a log begin, as a reader finds them,
// and the bytes it could not read.
func readAsItIs(t *testing.T, dir string) (starts map[int64]bool, gaps int64) {
	t.Helper()
	tail, err := cursor.Open(filepath.Clean(dir), cursor.Position{})
	require.NoError(t, err)
	defer tail.Close()
	starts = map[int64]bool{}
	for {
		item, err := tail.Next()
		require.NoError(t, err)
		switch item.Kind {
		case cursor.Record:
			starts[item.Start.Offset] = true
		case cursor.Gap:
			gaps += item.Err.To - item.Err.From
		case cursor.Seal:
			return starts, gaps
		}
	}
}
