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
	"hash/crc32"

	"github.com/prometheus/prometheus/tsdb/record"
)

// Filler is records of tombstones that delete nothing, in the length that is
// wanted: a reference that no series has, and an interval of no length, both of
// which may be encoded with more bytes than necessary. Every engine passes over
// such records. No writer leaves any, so they say that something else was there.

// stone is the least that one tombstone takes: the reference and two varints.
const stone = 8 + 1 + 1

// least is what filler of several stones takes at least, with its header.
const least = HeaderSize + 1 + stone

// shortest is filler without a stone.
const shortest = HeaderSize + 1

// Fillable reports whether n bytes in the middle of a page can be filled.
func Fillable(n int) bool {
	return n == 0 || n >= least || n == shortest || n == 2*shortest
}

// Fill puts filler in the place of all of b, which lies in one page, and whose
// length must be Fillable or reach to the end of the page.
func Fill(b []byte) {
	switch n := len(b); {
	case n >= least:
		fillFrame(b)
	case n == shortest, n == 2*shortest:
		for ; len(b) > 0; b = b[shortest:] {
			fillFrame(b[:shortest])
		}
	default:
		clear(b) // Padding.
	}
}

// fillFrame makes b one frame of filler.
func fillFrame(b []byte) {
	clear(b)
	p := b[HeaderSize:]
	p[0] = byte(record.Tombstones)
	// The first stone takes up what is not enough for another one.
	for i := range (len(p) - 1) % stone {
		p[1+8+i] = 0x80
	}
	b[0] = byte(Full)
	binary.BigEndian.PutUint16(b[1:], uint16(len(p)))
	binary.BigEndian.PutUint32(b[3:], crc32.Checksum(p, Castagnoli))
}

// Gone is what a repair makes a segment of that is missing among others: filler
// without a stone, and nothing else.
func Gone() []byte {
	b := make([]byte, shortest)
	fillFrame(b)
	return b
}

// IsGone reports whether a record says that the segment it begins was missing.
func IsGone(rec Record) bool {
	return rec.Start == 0 && len(rec.Data) == 1 && IsFiller(rec.Data)
}

// IsFiller reports whether a record is filler.
func IsFiller(rec []byte) bool {
	if len(rec) == 0 || record.Type(rec[0]) != record.Tombstones || (len(rec) > 1 && len(rec) < 1+stone) {
		return false
	}
	for _, c := range rec[1:] {
		if c&0x7f != 0 {
			return false
		}
	}
	return true
}
