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
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// Defends the guarantee that writer and readers agree: records of all sizes, as
// Append frames them, come back from the scanner, from Join at the offset of
// each, and from upstream's reader.
func TestAppendAndJoin(t *testing.T) {
	for _, c := range []compression.Type{compression.None, compression.Snappy, compression.Zstd} {
		t.Run(c, func(t *testing.T) {
			var (
				rnd     = rand.New(rand.NewPCG(5, 6))
				enc     = compression.NewSyncEncodeBuffer()
				dec     = compression.NewSyncDecodeBuffer()
				file    []byte
				offsets []int64
				records [][]byte
			)
			for i := range 400 {
				size := rnd.IntN(300)
				switch i % 20 {
				case 3:
					size = rnd.IntN(5 * PageSize)
				case 7: // Leave less room than a header takes, or none, in the page.
					size = max(1, int(RoundUp(int64(len(file))))+PageSize-len(file)%PageSize-HeaderSize-rnd.IntN(2*HeaderSize)-len(file))
				}
				rec := make([]byte, size+1)
				for j := range rec {
					rec[j] = byte(rnd.IntN(1 + 255*(i%2)))
				}
				records, offsets = append(records, rec), append(offsets, RoundUp(int64(len(file))))
				data, kind, err := Compress(c, rec, enc)
				require.NoError(t, err)
				require.LessOrEqual(t, len(data), len(rec))
				file = Append(file, int64(len(file)), data, kind)
			}

			sc := NewScanner(2)
			sc.Strict = true
			sc.Reset(bytes.NewReader(file), 0)
			r := wlog.NewReader(bytes.NewReader(file))
			var joined []byte
			for i, rec := range records {
				got, err := sc.Next()
				require.NoError(t, err)
				require.Equal(t, rec, got.Data)
				require.Equal(t, offsets[i], got.Start)

				require.True(t, r.Next(), "%v", r.Err())
				require.Equal(t, rec, r.Record())

				data, kind, err := Join(file[offsets[i]:], offsets[i], &joined)
				require.NoError(t, err)
				data, err = Decompress(kind, data, dec)
				require.NoError(t, err)
				require.Equal(t, rec, data)
			}
			_, err := sc.Next()
			require.ErrorIs(t, err, io.EOF)
			require.False(t, r.Next())
			require.NoError(t, r.Err())
		})
	}
}

// Defends the guarantee that nothing comes out whose checksum was not verified:
// cut off or changed anywhere, a record is an error.
func TestJoinRefuses(t *testing.T) {
	rec := bytes.Repeat([]byte("abcdefg"), PageSize/3)
	const at = 5000
	file := Append(nil, at, rec, compression.None)
	var joined []byte
	for n := 0; n < len(file); n += 1 + n/50 {
		_, _, err := Join(file[:n], at, &joined)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		b := bytes.Clone(file)
		b[n] ^= 0x41
		_, _, err = Join(b, at, &joined)
		require.Error(t, err, "byte %d", n)
		require.True(t, errors.As(err, new(*Damage)) || errors.Is(err, io.ErrUnexpectedEOF))
	}
	_, _, err := Join(file, at+1, &joined)
	require.ErrorAs(t, err, new(*Damage))
	middle := PageSize - at
	_, _, err = Join(file[middle:], PageSize, &joined)
	require.ErrorIs(t, err, errOrphan)
	got, _, err := Join(append(file, 1, 2, 3), at, &joined)
	require.NoError(t, err)
	require.Equal(t, rec, got)
}
