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
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/util/compression"
)

// smallRecords logs n records of 1000 bytes, of which 32 begin in each page.
func smallRecords(t testing.TB, l *testLog, n int) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		l.log(t, makeRecord(rng, uint64(i), 1000))
	}
}

// damageLog has five pages: two that hold whole records of 1000 bytes and one
// that fills them up, a third with a record that reaches into the fourth, which
// is filled up, and a last one that is not full.
func damageLog(t *testing.T) *testLog {
	l := newTestLog(t, 8, compression.None)
	for range 2 {
		smallRecords(t, l, 32)
		l.log(t, make([]byte, PageSize-32*1007-HeaderSize))
	}
	smallRecords(t, l, 33)
	l.log(t, make([]byte, PageSize-(33*1007+HeaderSize-PageSize)-HeaderSize))
	smallRecords(t, l, 10)
	return l
}

// Each kind of damage costs what it says and no more, and is reported (I9).
func TestDamage(t *testing.T) {
	const (
		size = 1000 + HeaderSize
		page = PageSize
	)
	for _, tc := range []struct {
		name   string
		change func(b []byte) []byte
		from   int64 // End of the last record before the damage.
		to     int64 // Where reading goes on.
		cause  string
	}{
		{"payload", func(b []byte) []byte { b[3*size+500] ^= 1; return b }, 3 * size, 4 * size, "checksum"},
		{"checksum", func(b []byte) []byte { b[4] ^= 1; return b }, 0, size, "checksum"},
		{"length", func(b []byte) []byte { b[1] ^= 0x80; return b }, 0, page, "beyond the end of its page"},
		{"type", func(b []byte) []byte { b[page] = 7; return b }, page, 2 * page, "type"},
		{"zero byte", func(b []byte) []byte { b[page+size] = 0; return b }, page + size, 2 * page, "not zero"},
		{"no first frame", func(b []byte) []byte { b[0] = byte(frame.Last); return b }, 0, size, "no beginning"},
		{"no last frame", func(b []byte) []byte { b[3*page] = byte(frame.Middle); return b }, 2*page + 32*size, 3*page + 33*size - page + HeaderSize, "ends before"},
		{"zero page", func(b []byte) []byte { clear(b[3*page : 4*page]); return b }, 2*page + 32*size, 4 * page, "ends before"},
		{"two records", func(b []byte) []byte { b[10] ^= 1; b[size+10] ^= 1; return b }, 0, 2 * size, "checksum"},
		{"a page that begins within a record", func(b []byte) []byte { b[3*page+10] ^= 1; return b }, 2*page + 32*size, 3*page + 33*size - page + HeaderSize, "checksum"},
		{"a length and what follows it", func(b []byte) []byte { b[page+1] ^= 0x80; b[page+size] ^= 1; return b }, page, 2 * page, "beyond the end of its page"},
		{"snappy flag", func(b []byte) []byte { b[0] |= 8; return b }, 0, size, "decompress"},
		{"zstd flag", func(b []byte) []byte { b[0] |= 16; return b }, 0, size, "decompress"},
		{"last page", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, 4*page + 9*size, 4*page + 10*size, "checksum"},
		{"flag of the last record", func(b []byte) []byte { b[4*page+9*size] |= 8; return b }, 4*page + 9*size, 4*page + 10*size, "decompress"},
		{"cut", func(b []byte) []byte { return b[:2*page+10] }, 2 * page, 2*page + 10, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := damageLog(t)
			all := drain(t, open(t, l.dir, Position{}))
			dir := t.TempDir()
			b := tc.change(readSegment(t, l.dir, 0))
			writeSegment(t, dir, 0, b)
			writeSegment(t, dir, 1, nil)
			items := drain(t, open(t, dir, Position{}))
			requireResumable(t, dir, items)

			var gap *Item
			for i := range items {
				if items[i].Kind == Gap {
					require.Nil(t, gap, "a second gap")
					gap = &items[i]
				}
			}
			require.NotNil(t, gap)
			require.Equal(t, tc.from, gap.Start.Offset)
			require.Equal(t, tc.from, gap.Err.From)
			require.Equal(t, tc.to, gap.End.Offset)
			require.Equal(t, tc.to, gap.Err.To)
			require.ErrorContains(t, gap.Err, tc.cause)
			require.Error(t, errors.Unwrap(gap.Err))

			// Exactly the records outside of the gap are read, at their old
			// places.
			for _, item := range items {
				if item.Kind != Record {
					continue
				}
				for all[0].Start.Offset >= tc.from && all[0].Start.Offset < tc.to {
					all = all[1:]
				}
				require.Equal(t, all[0].End, item.End)
				require.True(t, bytes.Equal(all[0].Data, item.Data))
				all = all[1:]
			}
			for _, item := range all {
				require.GreaterOrEqual(t, item.Start.Offset, tc.from)
				require.True(t, item.Start.Offset < tc.to || item.Start.Offset >= int64(len(b)))
			}
			require.Equal(t, Seal, items[len(items)-1].Kind)
		})
	}
}

// No writer leaves a page of zeros, but a loss of power does: it is damage wherever
// records may begin, up to the end of the segment if that is how far it goes (I9). What
// follows in a segment that is written to may still come (I2).
func TestZeros(t *testing.T) {
	for name, tc := range map[string]struct{ from, to, size int }{
		"all of a page":           {0, PageSize, PageSize},
		"all of pages":            {0, 4 * PageSize, 4 * PageSize},
		"all of less than a page": {0, 1000, 1000},
		"all but a whole page":    {PageSize, 4*PageSize + 500, 4*PageSize + 500},
		"a page between records":  {PageSize, 2 * PageSize, 4*PageSize + 500},
	} {
		t.Run(name, func(t *testing.T) {
			l := damageLog(t)
			whole := readSegment(t, l.dir, 0)
			b := bytes.Clone(whole)
			clear(b[tc.from:tc.to])
			dir := t.TempDir()
			writeSegment(t, dir, 0, b[:tc.size])
			tail := open(t, dir, Position{})
			before := drain(t, tail)
			if tc.to == tc.size {
				require.Empty(t, slices.DeleteFunc(slices.Clone(before), func(it Item) bool { return it.Kind == Record }))
				writeSegment(t, dir, 0, whole)
				require.Equal(t, len(l.recs), len(before)+len(drain(t, tail)), "they are read once they are there")
				writeSegment(t, dir, 0, b[:tc.size])
			}

			writeSegment(t, dir, 1, nil)
			items := drain(t, open(t, dir, Position{}))
			requireResumable(t, dir, items)
			gap := slices.IndexFunc(items, func(it Item) bool { return it.Kind == Gap })
			require.GreaterOrEqual(t, gap, 0)
			require.Equal(t, Position{Offset: int64(tc.from)}, items[gap].Start.Position)
			require.Equal(t, int64(tc.to), items[gap].Err.To)
			require.Equal(t, Position{Offset: int64(tc.to)}, items[gap].End.Position)
			require.Equal(t, Position{Segment: 1}, items[len(items)-1].End.Position)
		})
	}
}

// Damage at the end of the segment that is written to is not reported before it
// is certain: the writer may be busy with those bytes (I2), but it does not
// stop the reading for ever either (I9).
func TestDamageInTheLastSegment(t *testing.T) {
	for _, how := range []string{"repaired", "followed", "sealed"} {
		t.Run(how, func(t *testing.T) {
			l := newTestLog(t, 4, compression.None)
			l.log(t, []byte("one"))
			end := HeaderSize + 3
			l.log(t, []byte("two"))
			b := readSegment(t, l.dir, 0)
			b[end+HeaderSize] ^= 1
			writeSegment(t, l.dir, 0, b)

			tail := open(t, l.dir, Position{})
			require.Len(t, drain(t, tail), 1)
			require.Empty(t, drain(t, tail))

			switch how {
			case "repaired":
				b[end+HeaderSize] ^= 1
				writeSegment(t, l.dir, 0, b)
				requireRecords(t, [][]byte{[]byte("two")}, records(drain(t, tail)))
			case "followed":
				l.log(t, []byte("three"))
				items := drain(t, tail)
				require.Len(t, items, 2)
				require.Equal(t, Gap, items[0].Kind)
				require.Equal(t, "three", string(items[1].Data))
			case "sealed":
				_, err := l.wl.NextSegmentSync()
				require.NoError(t, err)
				items := drain(t, tail)
				require.Len(t, items, 2)
				require.Equal(t, Gap, items[0].Kind)
				require.Equal(t, Seal, items[1].Kind)
			}
		})
	}
}

// Whatever is done to the bytes of a segment, reading ends, gives only records
// that were written, in their order, and all that no damaged page holds (I9).
func TestRandomDamage(t *testing.T) {
	const pages = 8
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 2))
		c := compression.Types()[seed%3]
		l := newTestLog(t, pages, c)
		for i := 0; ; i++ {
			rec := makeRecord(rng, uint64(i), 16+randomSize(rng, 3))
			l.log(t, rec)
			if _, last, err := SegmentRange(l.dir); err != nil || last > 0 {
				require.NoError(t, err)
				break
			}
		}
		all := drain(t, open(t, l.dir, Position{}))
		b := readSegment(t, l.dir, 0)

		damaged := map[int64]bool{}
		for range 1 + rng.IntN(4) {
			from := rng.IntN(len(b))
			size := 1
			if rng.IntN(2) == 0 {
				size = rng.IntN(PageSize)
			}
			part := b[from:min(from+size, len(b))]
			if bytes.Equal(part, make([]byte, len(part))) {
				continue
			}
			for page := frame.PageOf(int64(from)); page < int64(from+len(part)); page += PageSize {
				damaged[page] = true
			}
			if rng.IntN(2) == 0 {
				clear(part)
			} else {
				part[rng.IntN(len(part))] ^= byte(1 << rng.IntN(8))
			}
		}
		writeSegment(t, l.dir, 0, b)

		// Records that must survive: no byte of theirs is in a damaged page.
		var must [][]byte
		for _, item := range all {
			if item.Kind == Record && item.Start.Segment == 0 && !touches(damaged, item) {
				must = append(must, item.Data)
			}
		}
		items := drain(t, open(t, l.dir, Position{}))
		requireResumable(t, l.dir, items)
		got := records(items)
		for _, rec := range got {
			require.NotEmpty(t, l.recs)
			for !bytes.Equal(rec, l.recs[0]) {
				l.recs = l.recs[1:]
				require.NotEmpty(t, l.recs, "seed %d: a record that was never written, or twice", seed)
			}
			l.recs = l.recs[1:]
			if len(must) > 0 && bytes.Equal(rec, must[0]) {
				must = must[1:]
			}
		}
		require.Empty(t, must, "seed %d: undamaged records were not read", seed)
	}
}

// touches reports whether a part of the item is in one of the pages.
func touches(pages map[int64]bool, item Item) bool {
	for page := frame.PageOf(item.Start.Offset); page < item.End.Offset; page += PageSize {
		if pages[page] {
			return true
		}
	}
	return false
}

// requireResumable checks that reading from the end of any item gives the items
// after it.
func requireResumable(t testing.TB, dir string, items []Item) {
	t.Helper()
	for i, item := range items {
		if item.Kind != Gap && i%7 != 0 {
			continue
		}
		tail, err := Open(dir, item.End.Position)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, item.End, tail.Point())
		require.Equal(t, items[i+1:], append([]Item{}, drain(t, tail)...))
		require.NoError(t, tail.Close())
	}
}

// FuzzTail reads arbitrary bytes as a segment: it must end, agree with upstream
// about whole segments, and go on anywhere (I9).
func FuzzTail(f *testing.F) {
	for _, c := range compression.Types() {
		l := newTestLog(f, 4, c)
		l.log(f, []byte("one"), bytes.Repeat([]byte("two"), 50), nil)
		f.Add(readSegment(f, l.dir, 0))
		l.log(f, bytes.Repeat([]byte("three "), PageSize/5))
		f.Add(readSegment(f, l.dir, 0))
	}
	f.Add([]byte{})
	f.Add([]byte{byte(frame.First), 0, 0, 0, 0, 0, 0})
	f.Add([]byte{byte(frame.Full), 0, 0, 0, 0, 0, 0})
	f.Add(append(make([]byte, PageSize), byte(frame.Full), 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		writeSegment(t, dir, 0, b)
		live := drain(t, open(t, dir, Position{}))
		writeSegment(t, dir, 1, nil)
		items := drain(t, open(t, dir, Position{}))
		require.Equal(t, live, append([]Item(nil), items[:len(live)]...))
		require.Equal(t, Seal, items[len(items)-1].Kind)
		requireResumable(t, dir, items)

		whole := true
		for _, item := range items {
			whole = whole && item.Kind != Gap
		}
		want, err := stockRecords(t, dir, 0)
		if err == nil && whole {
			requireRecords(t, want, records(items))
		}
		require.False(t, whole && err != nil && !slack(b), "upstream finds damage: %v", err)
	})
}

// slack reports whether the bytes too few for a header at the end of some page
// may be other than zero, which upstream minds and a Tail does not.
func slack(b []byte) bool {
	for page := 0; page < len(b); page += PageSize {
		from := page + PageSize - HeaderSize + 1
		to := min(page+PageSize, len(b))
		if from < to && !bytes.Equal(b[from:to], make([]byte, to-from)) {
			return true
		}
	}
	return false
}

func ExampleCorruption() {
	fmt.Println(&Corruption{Segment: 3, From: 100, To: 32768, Err: errors.New("checksum does not match")})
	// Output: bytes 100 to 32768 of segment 00000003 of the write-ahead log are unreadable: checksum does not match
}
