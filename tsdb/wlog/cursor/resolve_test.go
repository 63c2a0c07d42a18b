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

package cursor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// Reading on from the end of any item yields exactly the items after it, and
// the end of the last record is where the writer is (I2, I8).
func TestResumeFromEveryPoint(t *testing.T) {
	const pages = 4
	for _, c := range compression.Types() {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s/%d", c, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				l := newTestLog(t, pages, c)
				live := open(t, l.dir, Position{})
				var followed []Item
				for len(l.recs) < 150 {
					if rng.IntN(40) == 0 {
						_, err := l.wl.NextSegmentSync()
						require.NoError(t, err)
					}
					var batch [][]byte
					for range 1 + rng.IntN(4) {
						batch = append(batch, makeRecord(rng, uint64(len(l.recs)+len(batch)), randomSize(rng, pages)))
					}
					l.log(t, batch...)
					followed = append(followed, drain(t, live)...)

					segment, offset, err := l.wl.LastSegmentAndOffset()
					require.NoError(t, err)
					require.Equal(t, Position{Segment: segment, Offset: RecordEnd(int64(offset))}, live.Point().Position)
					info, err := os.Stat(wlog.SegmentName(l.dir, segment))
					require.NoError(t, err)
					require.Equal(t, info.Size(), live.Point().Offset)
				}
				requireRecords(t, l.recs, records(followed))

				all := drain(t, open(t, l.dir, Position{}))
				require.Equal(t, followed, all)
				for i, item := range all {
					require.NotEqual(t, Gap, item.Kind)
					tail := open(t, l.dir, item.End.Position)
					require.Equal(t, item.End, tail.Point())
					require.Equal(t, all[i+1:], append([]Item{}, drain(t, tail)...))

					fp, err := Fingerprint(l.dir, item.End.Segment)
					require.NoError(t, err)
					pos, verdict, err := Resolve(l.dir, Saved{Point: item.End, Fingerprint: fp})
					require.NoError(t, err)
					require.Equal(t, Exact, verdict)
					require.Equal(t, item.End.Position, pos)
				}
			})
		}
	}
}

// A saved position is taken only where it can be shown to be the same place,
// and otherwise resolves to an earlier one (I2, I8).
func TestResolve(t *testing.T) {
	at := func(segment int, offset int64) Position { return Position{Segment: segment, Offset: offset} }
	for _, tc := range []struct {
		name    string
		change  func(t *testing.T, dir string, s *Saved)
		want    func(s Saved) Position
		verdict Verdict
	}{
		{
			"found", func(*testing.T, string, *Saved) {},
			func(s Saved) Position { return s.Position }, Exact,
		},
		{
			"start of a segment, whatever the fingerprint",
			func(_ *testing.T, _ string, s *Saved) { *s = Saved{Point: Point{Position: at(6, 0)}, Fingerprint: 1} },
			func(Saved) Position { return at(6, 0) }, Exact,
		},
		{
			"after the last segment",
			func(_ *testing.T, _ string, s *Saved) { *s = Saved{Point: Point{Position: at(8, 0)}} },
			func(Saved) Position { return at(8, 0) }, Exact,
		},
		{
			"other segment of that number",
			func(_ *testing.T, _ string, s *Saved) { s.Fingerprint++ },
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"no fingerprint was saved",
			func(_ *testing.T, _ string, s *Saved) { s.Fingerprint = 0 },
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"other record ends there",
			func(_ *testing.T, _ string, s *Saved) { s.CRC++ },
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"no record ends there",
			func(_ *testing.T, _ string, s *Saved) { s.Offset-- },
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"the record that ends there is damaged",
			func(t *testing.T, dir string, s *Saved) {
				b := readSegment(t, dir, 6)
				b[s.Offset-1] ^= 1
				writeSegment(t, dir, 6, b)
			},
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"an earlier record of the page is damaged",
			func(t *testing.T, dir string, s *Saved) {
				b := readSegment(t, dir, 6)
				b[s.Offset-1500] ^= 1
				writeSegment(t, dir, 6, b)
			},
			func(s Saved) Position { return s.Position }, Exact,
		},
		{
			"blanked by a repair",
			func(t *testing.T, dir string, s *Saved) {
				b := readSegment(t, dir, 6)
				clear(b[s.Offset-1007:])
				writeSegment(t, dir, 6, b)
			},
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"cut off by a power failure",
			func(t *testing.T, dir string, s *Saved) {
				require.NoError(t, os.Truncate(wlog.SegmentName(dir, 6), s.Offset-1))
			},
			func(Saved) Position { return at(7, 0) }, Sealed,
		},
		{
			"cut off in the last segment",
			func(t *testing.T, dir string, s *Saved) {
				require.NoError(t, os.Remove(wlog.SegmentName(dir, 7)))
				require.NoError(t, os.Truncate(wlog.SegmentName(dir, 6), s.Offset-1))
			},
			func(Saved) Position { return at(7, 0) }, Sealed,
		},
		{
			"cut off altogether",
			func(t *testing.T, dir string, _ *Saved) { writeSegment(t, dir, 6, nil) },
			func(Saved) Position { return at(6, 0) }, SegmentStart,
		},
		{
			"segment removed",
			func(_ *testing.T, _ string, s *Saved) { s.Segment = 2 },
			func(Saved) Position { return at(5, 0) }, Oldest,
		},
		{
			"segment number ahead of the log",
			func(_ *testing.T, _ string, s *Saved) { s.Segment = 8 },
			func(Saved) Position { return at(5, 0) }, Ahead,
		},
		{
			"start of a segment further ahead",
			func(_ *testing.T, _ string, s *Saved) { s.Segment, s.Offset = 9, 0 },
			func(Saved) Position { return at(5, 0) }, Ahead,
		},
		{
			"not a position",
			func(_ *testing.T, _ string, s *Saved) { s.Offset = -1 },
			func(Saved) Position { return at(5, 0) }, Oldest,
		},
		{
			"log wiped",
			func(t *testing.T, dir string, _ *Saved) {
				for k := 5; k <= 7; k++ {
					require.NoError(t, os.Remove(wlog.SegmentName(dir, k)))
				}
			},
			func(Saved) Position { return at(0, 0) }, Ahead,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newTestLog(t, 4, compression.None)
			for range 5 {
				_, err := l.wl.NextSegmentSync()
				require.NoError(t, err)
			}
			require.NoError(t, l.wl.Truncate(5))
			for range 2 {
				smallRecords(t, l, 40)
				_, err := l.wl.NextSegmentSync()
				require.NoError(t, err)
			}
			require.NoError(t, l.wl.Close())

			items := drain(t, open(t, l.dir, Position{Segment: 6}))
			s := Saved{Point: items[35].End}
			var err error
			s.Fingerprint, err = Fingerprint(l.dir, 6)
			require.NoError(t, err)
			require.NotZero(t, s.Fingerprint)

			tc.change(t, l.dir, &s)
			pos, verdict, err := Resolve(l.dir, s)
			require.NoError(t, err)
			require.Equal(t, tc.verdict.String(), verdict.String())
			require.Equal(t, tc.want(s), pos)
		})
	}

	_, _, err := Resolve(filepath.Join(t.TempDir(), "none"), Saved{})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A position after a gap is found again like any other.
func TestResolveAfterGap(t *testing.T) {
	l := newTestLog(t, 4, compression.None)
	smallRecords(t, l, 32)
	l.log(t, make([]byte, PageSize-32*1007-HeaderSize))
	smallRecords(t, l, 20)
	b := readSegment(t, l.dir, 0)
	b[20*1007+500] ^= 1
	writeSegment(t, l.dir, 0, b)
	fp, err := Fingerprint(l.dir, 0)
	require.NoError(t, err)
	gaps := 0
	for _, item := range drain(t, open(t, l.dir, Position{})) {
		if item.Kind == Gap {
			gaps++
			require.Equal(t, int64(21*1007), item.End.Offset)
		}
		pos, verdict, err := Resolve(l.dir, Saved{Point: item.End, Fingerprint: fp})
		require.NoError(t, err)
		require.Equal(t, Exact, verdict)
		require.Equal(t, item.End.Position, pos)
	}
	require.Equal(t, 1, gaps)
}

// The fingerprint is there with the first fragment, and stays the same.
func TestFingerprint(t *testing.T) {
	l := newTestLog(t, 4, compression.None)
	fp, err := Fingerprint(l.dir, 0)
	require.NoError(t, err)
	require.Zero(t, fp)

	l.log(t, []byte("one"))
	fp, err = Fingerprint(l.dir, 0)
	require.NoError(t, err)
	require.NotZero(t, fp)
	smallRecords(t, l, 50)
	again, err := Fingerprint(l.dir, 0)
	require.NoError(t, err)
	require.Equal(t, fp, again)

	b := readSegment(t, l.dir, 0)
	for name, changed := range map[string][]byte{
		"torn":    b[:HeaderSize+2],
		"damaged": append([]byte{b[0] ^ 2}, b[1:]...),
		"padding": make([]byte, PageSize),
	} {
		writeSegment(t, l.dir, 1, changed)
		fp, err = Fingerprint(l.dir, 1)
		require.NoError(t, err)
		if name == "damaged" {
			require.NotEqual(t, again, fp)
		} else {
			require.Zero(t, fp)
		}
	}
	_, err = Fingerprint(l.dir, 4)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestPosition(t *testing.T) {
	a, b, c := Position{1, 500}, Position{1, 501}, Position{2, 0}
	require.True(t, a.Before(b))
	require.True(t, b.Before(c))
	require.False(t, c.Before(a))
	require.Zero(t, a.Compare(Position{1, 500}))
	require.Equal(t, "00000012:4096", Position{12, 4096}.String())
	require.Equal(t, int64(PageSize), RecordEnd(PageSize-HeaderSize+1))
	require.Equal(t, int64(PageSize-HeaderSize), RecordEnd(PageSize-HeaderSize))
	require.Equal(t, int64(PageSize), RecordEnd(PageSize))
	require.Equal(t, "record seal gap kind 9", Record.String()+" "+Seal.String()+" "+Gap.String()+" "+Kind(9).String())
}
