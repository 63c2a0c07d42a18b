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
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/util/compression"
)

// savedLog is a log of two segments to save positions of.
type savedLog struct {
	dir         string
	segments    [2][]byte
	items       []Item // Records of segment 0.
	fingerprint uint32
}

func newSavedLog(f *testing.F, c compression.Type) *savedLog {
	l := newTestLog(f, 4, c)
	rng := rand.New(rand.NewPCG(7, uint64(len(c))))
	s := &savedLog{dir: l.dir}
	for id := range uint64(60) {
		l.log(f, makeRecord(rng, id, 16+randomSize(rng, 2)/4))
	}
	_, err := l.wl.NextSegmentSync()
	require.NoError(f, err)
	l.log(f, makeRecord(rng, 1000, 50))
	for k := range s.segments {
		s.segments[k] = readSegment(f, l.dir, k)
	}
	for _, item := range drain(f, open(f, l.dir, Position{})) {
		if item.Kind == Record && item.Start.Segment == 0 {
			s.items = append(s.items, item)
		}
	}
	s.fingerprint, err = Fingerprint(l.dir, 0)
	require.NoError(f, err)
	return s
}

// damage changes a segment as a crash, a bad disk or another program may: by flipping
// bits, cutting it off, zeroing a part, or putting one part in place of another.
func damage(b, how []byte) []byte {
	b = bytes.Clone(b)
	for ; len(how) >= 5 && len(b) > 0; how = how[5:] {
		at := int(binary.BigEndian.Uint32(how)>>8) % len(b)
		n := min(len(b)-at, 1+int(how[3])*16)
		switch how[4] % 4 {
		case 0:
			b[at] ^= 1 << (how[3] % 8)
		case 1:
			b = b[:at]
		case 2:
			clear(b[at : at+n])
		case 3:
			copy(b[at:at+n], b[len(b)/2:])
		}
	}
	return b
}

// FuzzResolve finds saved positions, whether between two records or not, in a
// segment that was flipped and cut since. It must never resolve to behind the
// position, unless the segment ends before it, nor to where reading fails; what
// was to be read after the position is read; and in a segment that was not
// changed every end of a record is found exactly, and nothing within one (I2, I9).
func FuzzResolve(f *testing.F) {
	var logs []*savedLog
	for _, c := range compression.Types() {
		logs = append(logs, newSavedLog(f, c))
	}
	for i := range logs {
		which := byte(i)
		size := uint32(len(logs[i].segments[0]))
		f.Add(which, uint32(5), true, []byte{})
		f.Add(which, uint32(40), true, []byte{0, 0x10, 0, 0, 0})       // A bit before.
		f.Add(which, uint32(40), true, []byte{0, 0xf0, 0, 0, 0})       // A bit after, or near.
		f.Add(which, uint32(59), true, []byte{0, 0x40, 0, 0, 1})       // Cut before.
		f.Add(which, uint32(3), true, []byte{0, 0, 3, 1, 0})           // The fingerprint.
		f.Add(which, uint32(1), true, []byte{0, 0, 0, 0, 1})           // Empty.
		f.Add(which, uint32(30), true, []byte{0, 0x80, 0, 255, 2})     // Zeros.
		f.Add(which, uint32(30), true, []byte{0, 0x20, 0, 255, 3})     // Something else.
		f.Add(which, size+1, false, []byte{})                          // Behind the end.
		f.Add(which, uint32(PageSize-3), false, []byte{})              // In what is left of a page.
		f.Add(which, uint32(PageSize), false, []byte{})                // A page's start.
		f.Add(which, uint32(PageSize+1), false, []byte{0, 0x80, 1, 0}) // Within a header.
		f.Add(which, uint32(100), false, []byte{})                     // Within a record.
	}
	f.Fuzz(func(t *testing.T, which byte, at uint32, edge bool, how []byte) {
		l := logs[int(which)%len(logs)]
		pos := Position{Offset: int64(at) % int64(len(l.segments[0])+2*PageSize)}
		if edge {
			pos = l.items[int(at)%len(l.items)].End.Position
		}
		point, err := PointAt(l.dir, pos)
		require.NoError(t, err)

		changed := damage(l.segments[0], how)
		dir := t.TempDir()
		writeSegment(t, dir, 0, changed)
		writeSegment(t, dir, 1, l.segments[1])
		got, verdict, err := Resolve(dir, Saved{Point: point, Fingerprint: l.fingerprint})
		require.NoError(t, err)

		if pos.Before(got) {
			require.Equal(t, Sealed, verdict)
			require.Equal(t, Position{Segment: 1}, got)
			require.Less(t, int64(len(changed)), pos.Offset)
		}
		if verdict == Exact {
			require.Equal(t, pos, got)
		}
		if bytes.Equal(changed, l.segments[0]) {
			// What fills up a page belongs to the end of the record before it.
			found, within := pos.Offset == 0, false
			for _, item := range l.items {
				found = found || item.End.Position == pos
				within = within || item.Start.Before(pos) && pos.Before(item.End.Position)
			}
			require.True(t, !found || verdict == Exact, "%s is %s", pos, verdict)
			require.False(t, within && verdict == Exact, "%s is %s", pos, verdict)
		}

		after := map[Position][]byte{}
		for _, item := range drain(t, open(t, dir, got)) {
			if item.Kind == Record {
				after[item.Start.Position] = item.Data
			}
		}
		for _, item := range drain(t, open(t, dir, Position{})) {
			if item.Kind == Record && !item.Start.Before(pos) {
				data, ok := after[item.Start.Position]
				require.True(t, ok, "the record at %s is passed over from %s (%s)", item.Start, got, verdict)
				require.True(t, bytes.Equal(item.Data, data))
			}
		}
	})
}
