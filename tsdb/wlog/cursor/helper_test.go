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
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// testLog is a log written by upstream's writer, with what it should hold.
type testLog struct {
	dir  string
	wl   *wlog.WL
	recs [][]byte
}

func newTestLog(t testing.TB, pages int, c compression.Type) *testLog {
	t.Helper()
	l := &testLog{dir: t.TempDir()}
	wl, err := wlog.NewSize(nil, nil, l.dir, pages*PageSize, c)
	require.NoError(t, err)
	l.wl = wl
	t.Cleanup(func() { _ = l.wl.Close() })
	return l
}

func (l *testLog) log(t testing.TB, recs ...[]byte) {
	t.Helper()
	require.NoError(t, l.wl.Log(recs...))
	l.recs = append(l.recs, recs...)
}

// makeRecord returns a record that differs from all others with another id. One
// half of it can be compressed.
func makeRecord(rng *rand.Rand, id uint64, size int) []byte {
	rec := make([]byte, size)
	for i := size / 2; i < size; i++ {
		rec[i] = byte(rng.Uint32())
	}
	if size >= 16 {
		binary.BigEndian.PutUint64(rec[8:], id)
	}
	if frame.IsFiller(rec) {
		rec[0]++ // No writer leaves that.
	}
	return rec
}

// randomSize favours the sizes at which pages and segments end.
func randomSize(rng *rand.Rand, pages int) int {
	switch rng.IntN(10) {
	case 0:
		return rng.IntN(3)
	case 1:
		return PageSize - HeaderSize - rng.IntN(2*HeaderSize+2)
	case 2:
		return rng.IntN((pages - 1) * (PageSize - HeaderSize))
	case 3, 4:
		return rng.IntN(PageSize)
	default:
		return rng.IntN(500)
	}
}

// drain reads until the tail has caught up.
func drain(t testing.TB, tail *Tail) []Item {
	t.Helper()
	var items []Item
	for {
		item, err := tail.Next()
		if errors.Is(err, ErrCaughtUp) {
			return items
		}
		require.NoError(t, err)
		require.Equal(t, item.End, tail.Point())
		require.True(t, item.Start.Before(item.End.Position), "%s is not before %s", item.Start, item.End)
		item.Data = bytes.Clone(item.Data)
		items = append(items, item)
	}
}

func open(t testing.TB, dir string, at Position) *Tail {
	t.Helper()
	tail, err := Open(dir, at)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tail.Close() })
	return tail
}

// records returns the data of the items that are records.
func records(items []Item) [][]byte {
	var recs [][]byte
	for _, item := range items {
		if item.Kind == Record {
			recs = append(recs, item.Data)
		}
	}
	return recs
}

// stockRecords returns what upstream's reader reads from a segment.
func stockRecords(t testing.TB, dir string, segment int) ([][]byte, error) {
	t.Helper()
	r, err := wlog.NewSegmentsRangeReader(wlog.SegmentRange{Dir: dir, First: segment, Last: segment})
	require.NoError(t, err)
	defer r.Close()
	var recs [][]byte
	rd := wlog.NewReader(r)
	for rd.Next() {
		recs = append(recs, append([]byte{}, rd.Record()...))
	}
	return recs, rd.Err()
}

func requireRecords(t testing.TB, want, got [][]byte) {
	t.Helper()
	// The records themselves are too long to be printed.
	if len(want) != len(got) {
		t.Fatalf("%d records where there should be %d", len(got), len(want))
	}
	for i := range want {
		require.True(t, bytes.Equal(want[i], got[i]), "record %d differs", i)
	}
}

func readSegment(t testing.TB, dir string, segment int) []byte {
	t.Helper()
	b, err := os.ReadFile(wlog.SegmentName(dir, segment))
	require.NoError(t, err)
	return b
}

func writeSegment(t testing.TB, dir string, segment int, b []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(wlog.SegmentName(dir, segment), b, 0o666))
}
