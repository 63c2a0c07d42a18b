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

package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// put appends a frame of the given type with a payload of n bytes.
func put(b []byte, t Type, n int) []byte {
	payload := bytes.Repeat([]byte{byte(n) | 1}, n)
	b = append(b, byte(t))
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(payload, Castagnoli))
	return append(b, payload...)
}

func pad(b []byte) []byte {
	return append(b, make([]byte, (PageSize-len(b)%PageSize)%PageSize)...)
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		name string
		b    []byte
		room int
		want error
	}{
		{"full", put(nil, Full, 10), 17, nil},
		{"compressed", put(nil, Last|snappyFlag, 10), 17, nil},
		{"no room", put(nil, Full, 10), 16, errLength},
		{"padding", make([]byte, HeaderSize), 100, errType},
		{"unknown type", put(nil, 5, 0), 100, errType},
	} {
		_, err := Decode(tc.b, tc.room)
		require.ErrorIs(t, err, tc.want, tc.name)
	}
	h, err := Decode(put(nil, First|zstdFlag, 300), PageSize)
	require.NoError(t, err)
	require.Equal(t, Header{Type: First, Compression: "zstd", Length: 300, CRC: h.CRC}, h)
	require.Equal(t, 307, h.Size())
}

// Sequences that a writer cannot leave are damage, and reading goes on at the
// next frame that begins one (I9).
func TestScannerSequences(t *testing.T) {
	const fill = PageSize - HeaderSize
	next := func(b []byte) []byte { return put(pad(b), Full, 1) }
	for _, tc := range []struct {
		name   string
		b      []byte
		strict bool
		want   string // One letter per result.
	}{
		{"nothing", nil, true, "E"},
		{"records", put(put(nil, Full, 1), Full, 0), true, "RRE"},
		{"in parts", put(put(put(nil, First, fill), Middle, fill), Last, 3), true, "RE"},
		{"padding", next(put(nil, Full, 1)), true, "RRE"},
		{"pages of zeros", append(make([]byte, 3*PageSize), put(nil, Full, 1)...), true, "DRE"},
		{"a page of zeros within a record", put(append(put(nil, First, fill), make([]byte, PageSize)...), Full, 1), true, "DRE"},
		{"nothing but zeros", make([]byte, 3*PageSize), false, "D"},
		{"zeros up to the end", append(pad(put(nil, Full, 1)), 0, 0), true, "RD"},
		{"torn header", []byte{byte(Full), 0}, true, "T"},
		{"torn payload", put(nil, Full, 10)[:12], true, "T"},
		{"torn record", put(nil, First, fill), true, "T"},
		{"end within padding", append(put(nil, Full, 1), 0, 0), true, "RE"},
		{"padding that is none", next(append(put(nil, Full, 1), 0, 1)), true, "RDRE"},
		{"padding within a record", next(put(nil, First, 10)), true, "DRE"},
		{"rest of a record after padding", put(pad(put(nil, First, 10)), Last, 3), true, "D"},
		{"first after first", put(put(put(nil, First, fill), First, fill), Last, 1), true, "DRE"},
		{"full after first", put(put(nil, First, fill), Full, 3), true, "DRE"},
		{"full after first within a page", next(put(put(nil, First, 10), Full, 3)), true, "DRRE"},
		{"last after nothing", next(put(nil, Last, 3)), true, "DRE"},
		{"middle after full", next(put(put(nil, Full, 3), Middle, 3)), true, "RDRE"},
		{"a record after the rest of one", put(put(put(nil, Full, fill-300), Last, 3), Full, 2), true, "RDRE"},
		{"a record after a wrong checksum", put(wrong(nil, Full, 20), Full, 2), true, "DRE"},
		{"a record in the page that a lost one ends in", put(put(wrong(nil, First, fill), Last, 30), Full, 2), true, "DRE"},
		{"nothing but empty frames", put(put(nil, Last, 3), Full, 0), true, "D"},
		{"no page to go on with", put(nil, Last, 3), true, "D"},
		{"bytes after the last header", next(append(put(nil, Full, fill-3), 0, 0, 1)), true, "RDRE"},
		{"bytes after the last header that no reader reads", next(append(put(nil, Full, fill-3), 0, 0, 1)), false, "RRE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for pages := 1; pages < 4; pages++ {
				s := NewScanner(pages)
				s.Strict = tc.strict
				s.Reset(bytes.NewReader(tc.b), 0)
				got := ""
				for more := true; more; {
					_, err := s.Next()
					damage := (*Damage)(nil)
					switch {
					case err == nil:
						got += "R"
					case errors.Is(err, io.EOF):
						got += "E"
						more = false
					case errors.Is(err, io.ErrUnexpectedEOF):
						got += "T"
						more = false
					case errors.As(err, &damage):
						got += "D"
						_, more, err = s.Resync(damage.Retry)
						require.NoError(t, err)
					}
				}
				require.Equal(t, tc.want, got)
			}
		})
	}
}

// broken fails to read from an offset on.
type broken struct {
	io.ReaderAt
	from int64
}

// wrong is put with a checksum that does not match.
func wrong(b []byte, typ Type, n int) []byte {
	at := len(b)
	b = put(b, typ, n)
	b[at+3] ^= 1
	return b
}

var errBroken = errors.New("broken")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.from {
		return 0, errBroken
	}
	return b.ReaderAt.ReadAt(p, off)
}

// An error of the disk is neither the end nor damage.
func TestScannerReadError(t *testing.T) {
	b := pad(put(put(nil, Full, 1), Full, 2))
	b = put(b, Full, 3)
	s := NewScanner(1)
	s.Reset(broken{bytes.NewReader(b), PageSize}, 0)
	for range 2 {
		_, err := s.Next()
		require.NoError(t, err)
	}
	_, err := s.Next()
	require.ErrorIs(t, err, errBroken)
	_, _, err = s.Resync(PageSize)
	require.ErrorIs(t, err, errBroken)
	_, _, err = Ending(broken{bytes.NewReader(b), 0}, 8)
	require.ErrorIs(t, err, errBroken)
}

// Ending finds the ends of records and nothing else.
func TestEnding(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var b []byte
	for len(b) < 5*PageSize {
		room := PageSize - len(b)%PageSize
		if room < HeaderSize {
			b = pad(b)
			continue
		}
		if n := rng.IntN(3000); n+HeaderSize <= room {
			b = put(b, Full, n)
			continue
		}
		switch rng.IntN(3) {
		case 0:
			b = pad(b)
		case 1:
			b = put(put(b, First, room-HeaderSize), Last, rng.IntN(300))
		default:
			b = put(put(put(b, First, room-HeaderSize), Middle, PageSize-HeaderSize), Last, rng.IntN(300))
		}
	}
	ends := map[int64]uint32{}
	s := NewScanner(1)
	s.Reset(bytes.NewReader(b), 0)
	padding := map[int64]bool{}
	for last := int64(0); ; {
		r, err := s.Next()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		ends[r.End] = r.CRC
		for at := last + 1; at <= r.Start; at++ {
			padding[at] = true
		}
		last = r.End
	}
	for off := int64(1); off <= int64(len(b)); off++ {
		if off%13 != 0 && ends[off] == 0 && ends[off-1] == 0 && ends[off+1] == 0 && off%PageSize != 0 {
			continue
		}
		crc, place, err := Ending(bytes.NewReader(b), off)
		require.NoError(t, err)
		want, ok := ends[off]
		switch {
		case ok:
			require.Equal(t, Boundary, place, "offset %d", off)
			require.Equal(t, want, crc)
		case padding[off]:
			require.Equal(t, Boundary, place, "offset %d", off)
			require.Zero(t, crc)
		default:
			require.NotEqual(t, Boundary, place, "offset %d", off)
			require.Zero(t, crc)
		}
	}
	_, place, err := Ending(bytes.NewReader(b), int64(len(b))+1)
	require.NoError(t, err)
	require.Equal(t, Unknown, place)
}
