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
	"fmt"
	"hash/crc32"
	"io"

	"github.com/prometheus/prometheus/util/compression"
)

const (
	// PageSize is the size of a page in bytes. Frames do not cross pages.
	PageSize = 32 * 1024
	// HeaderSize is the size of a frame's header in bytes.
	HeaderSize = 7
)

// Castagnoli is the table of the checksums in frame headers.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Type is the role of a frame in its record.
type Type uint8

// The types as stored in the low three bits of a header's first byte.
const (
	Pad    Type = 0
	Full   Type = 1
	First  Type = 2
	Middle Type = 3
	Last   Type = 4
)

const (
	typeBits   = 0b0000_0111
	snappyFlag = 0b0000_1000
	zstdFlag   = 0b0001_0000
)

// Begins reports whether a frame of this type is the beginning of a record.
func (t Type) Begins() bool { return t == Full || t == First }

// Ends reports whether a frame of this type is the end of a record.
func (t Type) Ends() bool { return t == Full || t == Last }

// Header is a decoded frame header.
type Header struct {
	Type        Type
	Compression compression.Type
	Length      int    // Of the payload, in bytes.
	CRC         uint32 // CRC-32C of the payload.
}

// Size returns the bytes the frame takes in the file.
func (h Header) Size() int { return HeaderSize + h.Length }

var (
	errType   = errors.New("frame type is none of the known ones")
	errLength = errors.New("frame reaches beyond the end of its page")
)

// Decode reads the header in the first HeaderSize bytes of b, of which room
// bytes are left in the page. It does not look at the payload.
func Decode(b []byte, room int) (Header, error) {
	h := Header{
		Type:        Type(b[0] & typeBits),
		Compression: compression.None,
		Length:      int(binary.BigEndian.Uint16(b[1:3])),
		CRC:         binary.BigEndian.Uint32(b[3:HeaderSize]),
	}
	switch {
	case b[0]&snappyFlag != 0:
		h.Compression = compression.Snappy
	case b[0]&zstdFlag != 0:
		h.Compression = compression.Zstd
	}
	if h.Type == Pad || h.Type > Last {
		return h, fmt.Errorf("%w: %d", errType, h.Type)
	}
	if h.Size() > room {
		return h, fmt.Errorf("%w: %d bytes where %d are left", errLength, h.Size(), room)
	}
	return h, nil
}

// RoundUp turns the offset at which a frame ends into the offset at which the
// next one can start: unless a header fits in the page, that is the next page.
func RoundUp(offset int64) int64 {
	if room := PageSize - offset%PageSize; room < HeaderSize {
		return offset + room
	}
	return offset
}

// PageOf returns the offset of the page that holds the given offset.
func PageOf(offset int64) int64 { return offset - offset%PageSize }

// Used returns where the padding begins that ends a file of whole pages, which is the
// end of the file if there is none. A page of zeros is no padding.
func Used(src io.ReaderAt, size int64) (int64, error) {
	if size == 0 || size%PageSize != 0 {
		return size, nil
	}
	page := make([]byte, PageSize)
	if _, err := src.ReadAt(page, size-PageSize); err != nil && !errors.Is(err, io.EOF) {
		return size, err
	}
	if used := len(bytes.TrimRight(page, "\x00")); used > 0 {
		size += int64(used) - PageSize
	}
	return size, nil
}

// zero reports whether b has only zero bytes.
func zero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
