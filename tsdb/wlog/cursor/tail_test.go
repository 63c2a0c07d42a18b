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
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// A tail that follows a writer in another goroutine sees every record once and
// in order, whatever the moment it reads at (I2).
func TestFollowConcurrentWriter(t *testing.T) {
	const n = 3000
	for _, c := range compression.Types() {
		t.Run(c, func(t *testing.T) {
			l := newTestLog(t, 2, c)
			notify := make(chan struct{}, 1)
			done := make(chan error, 1)
			go func() {
				rng := rand.New(rand.NewPCG(5, 5))
				var err error
				for i := 0; i < n && err == nil; i++ {
					err = l.wl.Log(makeRecord(rng, uint64(i), 16+rng.IntN(900)))
					select {
					case notify <- struct{}{}:
					default:
					}
				}
				done <- err
				close(notify)
			}()

			rng := rand.New(rand.NewPCG(5, 5))
			tail := open(t, l.dir, Position{})
			writing := true
			for i := 0; i < n; {
				item, err := tail.Next()
				if errors.Is(err, ErrCaughtUp) {
					require.True(t, writing, "caught up after %d records", i)
					_, writing = <-notify
					continue
				}
				require.NoError(t, err)
				require.NotEqual(t, Gap, item.Kind, "%v", item.Err)
				if item.Kind == Record {
					require.Equal(t, makeRecord(rng, uint64(i), 16+rng.IntN(900)), item.Data)
					i++
				}
				if i%100 == 0 {
					// Change the reader, as an endpoint that detaches does.
					require.NoError(t, tail.Close())
					tail = open(t, l.dir, item.End.Position)
				}
			}
			require.NoError(t, <-done)
			_, err := tail.Next()
			require.ErrorIs(t, err, ErrCaughtUp)
		})
	}
}

// A record is visible only when it is whole, however its bytes arrive, and what
// is cut off at the end of a finished segment is a gap (I2, I9).
func TestGrowsByteByByte(t *testing.T) {
	l := newTestLog(t, 4, compression.None)
	rng := rand.New(rand.NewPCG(1, 1))
	for i, size := range []int{20, 0, PageSize, 100, PageSize + 500, 3} {
		l.log(t, makeRecord(rng, uint64(i), size))
	}
	all := drain(t, open(t, l.dir, Position{}))
	b := readSegment(t, l.dir, 0)

	dir := t.TempDir()
	writeSegment(t, dir, 0, nil)
	live := open(t, dir, Position{})
	next := 0
	for n := 1; n <= len(b); n++ {
		// All sizes near the ends of records, and some in between.
		near := n%997 == 0
		for _, item := range all {
			near = near || abs(int64(n)-item.End.Offset) < 10 || abs(int64(n)-item.Start.Offset) < 10
		}
		if !near {
			continue
		}
		writeSegment(t, dir, 0, b[:n])
		for _, item := range drain(t, live) {
			require.Equal(t, all[next], item)
			next++
		}
		if next < len(all) {
			require.Greater(t, RecordEnd(all[next].End.Offset), int64(n))
		}

		// The same bytes in a segment that is finished.
		writeSegment(t, dir, 1, nil)
		sealed := drain(t, open(t, dir, Position{}))
		require.NoError(t, os.Remove(wlog.SegmentName(dir, 1)))
		require.Equal(t, all[:next], sealed[:next])
		rest := sealed[next:]
		require.Equal(t, Seal, rest[len(rest)-1].Kind)
		if end := live.Point().Offset; end < int64(n) {
			require.Len(t, rest, 2)
			require.Equal(t, Gap, rest[0].Kind)
			require.Equal(t, end, rest[0].Err.From)
			require.Equal(t, int64(n), rest[0].Err.To)
		} else {
			require.Len(t, rest, 1)
		}
	}
	require.Len(t, all, next)
}

func abs(n int64) int64 { return max(n, -n) }

// The end of the data is the end of the segment only once the next exists.
func TestSeal(t *testing.T) {
	l := newTestLog(t, 2, compression.None)
	tail := open(t, l.dir, Position{})
	_, err := tail.Next()
	require.ErrorIs(t, err, ErrCaughtUp)
	l.log(t, []byte("one"))
	require.Len(t, drain(t, tail), 1)

	_, err = l.wl.NextSegmentSync()
	require.NoError(t, err)
	items := drain(t, tail)
	require.Len(t, items, 1)
	require.Equal(t, Item{
		Kind:  Seal,
		Start: items[0].Start,
		End:   Point{Position: Position{Segment: 1}},
	}, items[0])
	require.Equal(t, int64(HeaderSize+3), items[0].Start.Offset)

	// An empty segment is sealed like any other.
	_, err = l.wl.NextSegmentSync()
	require.NoError(t, err)
	items = drain(t, tail)
	require.Len(t, items, 1)
	require.Equal(t, Seal, items[0].Kind)
	require.Equal(t, Position{Segment: 2}, items[0].End.Position)
}

// What is written between the read that met the end of the data and the moment
// the next segment is seen is not skipped (I2).
func TestWrittenBeforeSeal(t *testing.T) {
	for name, batch := range map[string][][]byte{
		"records":          {[]byte("two"), []byte("three")},
		"rest of a record": {make([]byte, 2*PageSize)},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t, 4, compression.None)
			l.log(t, []byte("one"))
			tail := open(t, l.dir, Position{})
			require.Len(t, drain(t, tail), 1)

			if len(batch) == 1 {
				l.log(t, batch...)
				whole := readSegment(t, l.dir, 0)
				require.NoError(t, os.Truncate(wlog.SegmentName(l.dir, 0), PageSize))
				tail.stat = func(path string) (os.FileInfo, error) {
					writeSegment(t, l.dir, 0, whole)
					writeSegment(t, l.dir, 1, nil)
					return os.Stat(path)
				}
			} else {
				tail.stat = func(path string) (os.FileInfo, error) {
					l.log(t, batch...)
					_, err := l.wl.NextSegmentSync()
					require.NoError(t, err)
					tail.stat = os.Stat
					return os.Stat(path)
				}
			}
			for _, want := range batch {
				item, err := tail.Next()
				require.NoError(t, err)
				require.Equal(t, Record, item.Kind)
				require.True(t, bytes.Equal(want, item.Data))
			}
			item, err := tail.Next()
			require.NoError(t, err)
			require.Equal(t, Seal, item.Kind)
		})
	}
}

// tornReads shows what is written after the offset as zero or as garbage in the
// first reads, as a file system may that is busy with those bytes.
type tornReads struct {
	segmentFile
	from, to int64
	fill     byte
	reads    int
}

func (r *tornReads) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.segmentFile.ReadAt(b, off)
	if r.reads > 0 && off+int64(n) > r.from {
		r.reads--
		for at := max(off, r.from); at < min(off+int64(n), r.to); at++ {
			b[at-off] = r.fill
		}
	}
	return n, err
}

// Bytes that a writer is busy with are not damage, although the pages after
// them can be read already (I2).
func TestTornReads(t *testing.T) {
	for _, fill := range []byte{0, 1, 0xff} {
		l := newTestLog(t, 8, compression.None)
		rec := make([]byte, PageSize-HeaderSize)
		for i := range rec {
			rec[i] = byte(i)
		}
		l.log(t, rec, rec, rec)
		tail := open(t, l.dir, Position{})
		tail.file = &tornReads{segmentFile: tail.file, from: PageSize + 100, to: 2 * PageSize, fill: fill, reads: 1}
		tail.rewind()
		requireRecords(t, l.recs, records(drain(t, tail)))
	}
}

// A segment that is cut back to its last committed record after a failed write
// ends there: what was half-read of the failed one is no damage.
func TestCutBackAfterFailedWrite(t *testing.T) {
	for name, cut := range map[string]int64{"to a record": 0, "further": 20} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t, 4, compression.None)
			rng := rand.New(rand.NewPCG(1, 1))
			l.log(t, makeRecord(rng, 0, 100))
			tail := open(t, l.dir, Position{})
			require.Len(t, drain(t, tail), 1)
			end := tail.Point().Offset

			l.log(t, makeRecord(rng, 1, 2*PageSize))
			require.NoError(t, os.Truncate(wlog.SegmentName(l.dir, 0), 2*PageSize))
			require.Empty(t, drain(t, tail))

			require.NoError(t, os.Truncate(wlog.SegmentName(l.dir, 0), end-cut))
			require.Empty(t, drain(t, tail))
			writeSegment(t, l.dir, 1, nil)
			items := drain(t, tail)
			require.Len(t, items, 1)
			require.Equal(t, Seal, items[0].Kind)

			// So does a tail that is opened beyond the end.
			items = drain(t, open(t, l.dir, Position{Offset: end + 1000}))
			require.Len(t, items, 1)
			require.Equal(t, Seal, items[0].Kind)
		})
	}
}

// A tail opened beyond the end of a segment that may still grow waits.
func TestOpenBeyondTheEnd(t *testing.T) {
	l := newTestLog(t, 4, compression.None)
	l.log(t, []byte("one"))
	tail := open(t, l.dir, Position{Offset: 2*HeaderSize + 6})
	require.Empty(t, drain(t, tail))
	l.log(t, []byte("two"))
	require.Empty(t, drain(t, tail))
	l.log(t, []byte("six"))
	items := drain(t, tail)
	require.Len(t, items, 1)
	require.Equal(t, "six", string(items[0].Data))
	require.NotZero(t, items[0].Start.CRC)
}

// An offset at which no record ends is not skipped to: the segment is read from
// its start.
func TestOpenWithinRecord(t *testing.T) {
	l := newTestLog(t, 8, compression.None)
	rng := rand.New(rand.NewPCG(1, 1))
	l.log(t, []byte("first"), makeRecord(rng, 1, 3*PageSize), []byte("third"))
	for _, offset := range []int64{1, HeaderSize, HeaderSize + 4, HeaderSize + 6, 1000, PageSize, 2*PageSize - 1, 2 * PageSize, 2*PageSize + 20} {
		items := drain(t, open(t, l.dir, Position{Offset: offset}))
		requireRecords(t, l.recs, records(items))
	}
}

func TestSegmentGone(t *testing.T) {
	_, err := Open(t.TempDir(), Position{Segment: 3})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Open(t.TempDir(), Position{Segment: -1})
	require.Error(t, err)

	// A segment removed while it is read, with all that follow it, would never
	// be sealed.
	dir := t.TempDir()
	writeSegment(t, dir, 0, nil)
	tail := open(t, dir, Position{})
	_, err = tail.Next()
	require.ErrorIs(t, err, ErrCaughtUp)
	if err := os.Remove(wlog.SegmentName(dir, 0)); err != nil {
		t.Skipf("open files cannot be removed here: %v", err)
	}
	_, err = tail.Next()
	require.ErrorIs(t, err, os.ErrNotExist)

	// The next segment is gone when it is opened.
	writeSegment(t, dir, 0, nil)
	writeSegment(t, dir, 1, nil)
	tail = open(t, dir, Position{})
	item, err := tail.Next()
	require.NoError(t, err)
	require.Equal(t, Seal, item.Kind)
	require.NoError(t, os.Remove(wlog.SegmentName(dir, 1)))
	_, err = tail.Next()
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "00000001")

	require.NoError(t, tail.Close())
	_, err = tail.Next()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestSegmentRange(t *testing.T) {
	dir := t.TempDir()
	first, last, err := SegmentRange(dir)
	require.NoError(t, err)
	require.Equal(t, []int{-1, -1}, []int{first, last})
	for _, k := range []int{7, 8} {
		writeSegment(t, dir, k, nil)
	}
	first, last, err = SegmentRange(dir)
	require.NoError(t, err)
	require.Equal(t, []int{7, 8}, []int{first, last})
	writeSegment(t, dir, 11, nil)
	_, _, err = SegmentRange(dir)
	require.Error(t, err)
	_, _, err = SegmentRange(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Following a writer does not allocate per record.
func TestNextDoesNotAllocate(t *testing.T) {
	l := newTestLog(t, 64, compression.Snappy)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 1500 {
		l.log(t, makeRecord(rng, uint64(i), 300))
	}
	tail := open(t, l.dir, Position{})
	_, err := tail.Next()
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := tail.Next(); err != nil {
			panic(err)
		}
	}))
}
