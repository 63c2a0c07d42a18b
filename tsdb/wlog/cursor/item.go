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
	"errors"
	"fmt"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// PageSize is the size in bytes of the pages of a segment.
	PageSize = frame.PageSize
	// HeaderSize is the size in bytes of the header of a record's fragment.
	HeaderSize = frame.HeaderSize
)

// ErrCaughtUp says that everything complete has been read and that the segment
// may still grow. It is not wrapped.
var ErrCaughtUp = errors.New("everything written to the log so far has been read")

// Kind says what an Item is.
type Kind uint8

const (
	// Record is a whole record.
	Record Kind = iota
	// Seal is the end of a segment that nothing is written to any more.
	Seal
	// Gap is a range of damaged bytes that was stepped over.
	Gap
)

// String returns the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Record:
		return "record"
	case Seal:
		return "seal"
	case Gap:
		return "gap"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Item is one step through a log. The end of an item is the position to go on
// from once the item has been dealt with.
type Item struct {
	Kind Kind
	// Data is the decompressed record, of kind Record only. It is valid until
	// the next call of Next and must not be changed.
	Data []byte
	// Start is where the item begins. Padding before a record belongs to
	// nothing, so it may be after the end of the item before it.
	Start Point
	// End is where the item ends; of a Seal, the start of the next segment.
	End Point
	// Err is set for kind Gap only.
	Err *Corruption
}

// Corruption is a range of bytes of a segment that holds no readable record.
// It implements error.
type Corruption struct {
	Segment  int
	From, To int64 // Byte offsets in the segment.
	Err      error // What was found wrong first.
	Refused  bool  // The disk refused to read a part of it.
	Gone     bool  // The whole segment was missing, and how long it was is not known.
}

func (c *Corruption) Error() string {
	return fmt.Sprintf("bytes %d to %d of segment %08d of the write-ahead log are unreadable: %s", c.From, c.To, c.Segment, c.Err)
}

// Unwrap returns what was found wrong first.
func (c *Corruption) Unwrap() error { return c.Err }

// RecordEnd returns the position's offset for a record whose last byte is
// before the given byte offset: the same, or the start of the next page if no
// further header fits in this one.
func RecordEnd(offset int64) int64 { return frame.RoundUp(offset) }

// SegmentRange returns the numbers of the first and the last segment in the
// directory, or twice -1 if there is none. It fails if numbers are missing in
// between.
func SegmentRange(walDir string) (first, last int, err error) {
	first, last, err = wlog.Segments(walDir)
	if err != nil {
		return -1, -1, fmt.Errorf("list the segments in %s: %w", walDir, err)
	}
	return first, last, nil
}
