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
	"errors"
	"hash/crc32"
	"io"
)

// Place says what an offset is in the chain of frames of its page.
type Place uint8

const (
	// Unknown means that the frames before the offset cannot be followed.
	Unknown Place = iota
	// Inside means that the offset is within a frame or within a record.
	Inside
	// Boundary means that a record ends at the offset, or that it lies in the
	// padding after one.
	Boundary
)

// Ending follows the frame headers of the page before offset, which must be
// above zero, and returns what the offset is in it. The checksum is the one in
// the header of the last frame of the record that ends exactly there; it is 0
// where none does and where the payload does not match it.
func Ending(src io.ReaderAt, offset int64) (uint32, Place, error) {
	page := PageOf(offset - 1)
	goal := int(offset - page) // In (0, PageSize].
	b := make([]byte, goal)
	n, err := src.ReadAt(b, page)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, Unknown, err
	}
	if n < goal {
		return 0, Unknown, nil
	}
	var (
		last Header
		body []byte
	)
	for at := 0; ; {
		// At is the end of the last frame; next is where one could follow.
		next := int(RoundUp(int64(at)))
		switch {
		case next == goal && last.Type.Ends():
			if crc32.Checksum(body, Castagnoli) != last.CRC {
				return 0, Boundary, nil
			}
			return last.CRC, Boundary, nil
		case next >= goal:
			return 0, Inside, nil
		case Type(b[at]) == Pad:
			if zero(b[at:goal]) {
				return 0, Boundary, nil
			}
			return 0, Unknown, nil
		case goal-at < HeaderSize:
			return 0, Inside, nil
		}
		if last, err = Decode(b[at:], PageSize-at); err != nil {
			return 0, Unknown, nil
		}
		if at+last.Size() > goal {
			return 0, Inside, nil
		}
		body = b[at+HeaderSize : at+last.Size()]
		at += last.Size()
	}
}

// Begins reports whether a whole frame that begins a record is at offset.
func Begins(src io.ReaderAt, offset int64) (bool, error) {
	b := make([]byte, PageSize-offset%PageSize)
	n, err := src.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if n < HeaderSize {
		return false, nil
	}
	h, err := Decode(b, len(b))
	if err != nil || !h.Type.Begins() || h.Length == 0 || h.Size() > n {
		return false, nil
	}
	return crc32.Checksum(b[HeaderSize:h.Size()], Castagnoli) == h.CRC, nil
}
