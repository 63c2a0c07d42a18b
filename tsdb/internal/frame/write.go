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
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/golang/snappy"

	"github.com/prometheus/prometheus/util/compression"
)

// Append appends to dst the frames of one record whose payload, compressed as
// c says, is given, and returns the extended slice. The first byte appended
// is at the given offset of the segment. Where no header fits in the page
// at offset, zero bytes come first.
func Append(dst []byte, offset int64, payload []byte, c compression.Type) []byte {
	var flags byte
	switch c {
	case compression.Snappy:
		flags = snappyFlag
	case compression.Zstd:
		flags = zstdFlag
	}
	begun := false
	for {
		if pad := RoundUp(offset) - offset; pad > 0 {
			dst = append(dst, make([]byte, pad)...)
			offset += pad
		}
		n := min(len(payload), int(PageSize-offset%PageSize)-HeaderSize)
		t := Middle
		switch ends := n == len(payload); {
		case ends && begun:
			t = Last
		case ends:
			t = Full
		case !begun:
			t = First
		}
		dst = append(dst, byte(t)|flags)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(payload[:n], Castagnoli))
		dst = append(dst, payload[:n]...)
		offset += int64(HeaderSize + n)
		payload, begun = payload[n:], true
		if t.Ends() {
			return dst
		}
	}
}

// Join returns the payload of the record that begins with the first byte of b,
// which is at the given offset of the segment, with every checksum
// verified, and how it is compressed. What follows the record in b is not
// looked at. The payload is a part of b or, if the record has several frames,
// put together in *joined, whose memory is used again. Damage comes as a *[Damage], a b that ends too early as
// io.ErrUnexpectedEOF.
func Join(b []byte, offset int64, joined *[]byte) ([]byte, compression.Type, error) {
	*joined = (*joined)[:0]
	for at, begun := 0, false; ; begun = true {
		place := RoundUp(offset + int64(at))
		at = int(place - offset)
		if len(b)-at < HeaderSize {
			return nil, "", io.ErrUnexpectedEOF
		}
		h, err := Decode(b[at:], int(PageSize-place%PageSize))
		if err == nil && h.Type.Begins() == begun {
			err = errCut
			if !begun {
				err = errOrphan
			}
		}
		if err == nil && len(b)-at < h.Size() {
			return nil, "", io.ErrUnexpectedEOF
		}
		var part []byte
		if err == nil {
			part = b[at+HeaderSize : at+h.Size()]
			if sum := crc32.Checksum(part, Castagnoli); sum != h.CRC {
				err = fmt.Errorf("%w: header says %08x, payload has %08x", errChecksum, h.CRC, sum)
			}
		}
		switch {
		case err != nil:
			return nil, "", &Damage{Offset: place, Retry: PageOf(place) + PageSize, Err: err}
		case h.Type == Full:
			return part, h.Compression, nil
		}
		*joined = append(*joined, part...)
		if h.Type == Last {
			return *joined, h.Compression, nil
		}
		at += h.Size()
	}
}

// Compress returns the data compressed with t and the type it then has:
// compression.None and the data itself if compression would not make it
// smaller. The result is valid until buf is used again.
func Compress(t compression.Type, data []byte, buf compression.EncodeBuffer) ([]byte, compression.Type, error) {
	out, err := compression.Encode(t, data, buf)
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("compress record (%s): %w", t, err)
	case t == "" || t == compression.None || len(out) >= len(data):
		return data, compression.None, nil
	}
	return out, t, nil
}

// Decompress is the reverse of Compress.
func Decompress(t compression.Type, data []byte, buf compression.DecodeBuffer) ([]byte, error) {
	if t == compression.Snappy && len(data) > 0 {
		if n, err := snappy.DecodedLen(data); err != nil || n/MaxSnappyRatio > len(data) {
			return nil, errExpand
		}
	}
	out, err := compression.Decode(t, data, buf)
	if err != nil {
		return nil, fmt.Errorf("decompress record (%s): %w", t, err)
	}
	return out, nil
}
