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

package epoch

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

var (
	runA = ulid.MustParse("01HZY3T0M4ZJ5WZ9V5Q6V7X8Y9")
	runB = ulid.MustParse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
)

// A marker is a record that upstream's decoder reads, and ours alone (I7).
func TestMarker(t *testing.T) {
	for _, run := range []ulid.ULID{runA, runB, {0: 0x80}, {15: 1}, {8: 0xff}} {
		rec := Marker(run)
		got, ok := Parse(rec)
		require.True(t, ok)
		require.Equal(t, run, got)

		dec := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
		require.Equal(t, record.Tombstones, dec.Type(rec))
		stones, err := dec.Tombstones(rec, nil)
		require.NoError(t, err)
		require.Len(t, stones, 1)
		require.Zero(t, stones[0].Ref)
		require.LessOrEqual(t, len(rec), markerSize)

		for n := range rec {
			_, ok := Parse(rec[:n])
			require.False(t, ok)
		}
		_, ok = Parse(append(bytes.Clone(rec), 0))
		require.False(t, ok)
	}
}

func TestNotAMarker(t *testing.T) {
	var enc record.Encoder
	stone := enc.Tombstones([]tombstones.Stone{{Ref: 5, Intervals: tombstones.Intervals{{Mint: 1, Maxt: 2}}}}, nil)
	zero := Marker(ulid.ULID{})
	for name, rec := range map[string][]byte{
		"empty":             {},
		"no stone":          {byte(record.Tombstones)},
		"series":            enc.Series([]record.RefSeries{{Ref: 1, Labels: labels.FromStrings("a", "b")}}, nil),
		"samples":           enc.Samples([]record.RefSample{{Ref: 1, T: 2, V: 3}}, nil),
		"stone of a series": stone,
		"two intervals":     append(Marker(runA), Marker(runB)[1:]...),
		"no run":            zero,
		// The same numbers in another encoding are not what we write.
		"long varint": append(bytes.Clone(zero[:9]), 0x80, 0x00, 0x02),
	} {
		_, ok := Parse(rec)
		require.False(t, ok, name)
	}
}

// What Scan says about segments decides what is sent, so each kind is told
// apart, and damage never makes a segment foreign (I2, I9).
func TestScan(t *testing.T) {
	dir := t.TempDir()
	segs, err := Scan(dir)
	require.NoError(t, err)
	require.Empty(t, segs)

	wl, err := wlog.NewSize(nil, nil, dir, 4*32*1024, compression.Snappy)
	require.NoError(t, err)
	var enc record.Encoder
	stock := enc.Samples([]record.RefSample{{Ref: 1, T: 2, V: 3}}, nil)
	next := func() {
		_, err := wl.NextSegmentSync()
		require.NoError(t, err)
	}
	next() // 0: empty.
	require.NoError(t, wl.Log(Marker(runA), stock))
	next() // 1: ours.
	require.NoError(t, wl.Log(stock, Marker(runA)))
	next() // 2: foreign, a marker that is not the first record does not count.
	require.NoError(t, wl.Log(bytes.Repeat([]byte{9, 8, 7, 6, 5}, 8000)))
	require.NoError(t, wl.Log(stock))
	next() // 3: foreign, whose first record is compressed.
	incompressible := make([]byte, 40000)
	for i, x := 0, uint32(1); i < len(incompressible); i++ {
		x = x*1664525 + 1013904223
		incompressible[i] = byte(x >> 24)
	}
	require.NoError(t, wl.Log(incompressible))
	next() // 4: foreign, whose first record takes more than a page.
	require.NoError(t, wl.Log(Marker(runB)))
	next() // 5: another run of ours.
	for range 4 {
		require.NoError(t, wl.Log(stock))
		next() // 6 to 9: to be damaged.
	}
	require.NoError(t, wl.Close()) // 10: empty.

	change := func(k int, f func(b []byte) []byte) {
		b, err := os.ReadFile(wlog.SegmentName(dir, k))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(wlog.SegmentName(dir, k), f(b), 0o666))
	}
	change(6, func(b []byte) []byte { b[8] ^= 1; return b })
	change(7, func(b []byte) []byte { clear(b); return b })
	change(8, func(b []byte) []byte { return b[:5] })
	change(9, func(b []byte) []byte { b[0] = 1 | 1<<4; return b })

	segs, err = Scan(dir)
	require.NoError(t, err)
	require.Equal(t, []Segment{
		{Index: 0, Empty: true},
		{Index: 1, Run: runA},
		{Index: 2},
		{Index: 3},
		{Index: 4},
		{Index: 5, Run: runB},
		{Index: 6, Damaged: true},
		{Index: 7, Damaged: true},
		{Index: 8, Empty: true},
		{Index: 9, Damaged: true},
		{Index: 10, Empty: true},
	}, segs)

	require.Equal(t, 4, LastForeign(segs, -1))
	require.Equal(t, 4, LastForeign(segs, 3))
	require.Equal(t, -1, LastForeign(segs, 4))
	require.Equal(t, -1, LastForeign(nil, -1))

	require.NoError(t, os.Remove(filepath.Join(dir, "00000010")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "00000010")))
	segs, err = Scan(dir)
	require.NoError(t, err)
	require.Equal(t, Segment{Index: 10, Damaged: true}, segs[len(segs)-1])

	require.NoError(t, os.WriteFile(filepath.Join(dir, "00000020"), nil, 0o666))
	_, err = Scan(dir)
	require.Error(t, err)
}

// FuzzParse: arbitrary bytes are a marker only if they are exactly one.
func FuzzParse(f *testing.F) {
	f.Add(Marker(runA))
	f.Add(Marker(runB))
	f.Add([]byte{byte(record.Tombstones)})
	f.Fuzz(func(t *testing.T, rec []byte) {
		if run, ok := Parse(rec); ok {
			require.Equal(t, Marker(run), rec)
			require.NotZero(t, run)
		} else {
			require.Zero(t, run)
		}
	})
}
