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
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Position is a place between two records of a write-ahead log: the end of one
// record and the start of the next. Offset counts bytes from the start of the
// segment's file. The end of a record that leaves no room for a further header
// in its page is the start of the next page. The zero value is the start of
// segment 0, which is before everything.
//
// A position orders records of one log; it does not identify one. Numbers of
// segments are used again after a repair or a wiped log, see [Saved].
type Position struct {
	Segment int
	Offset  int64
}

// Compare returns -1, 0 or +1 as p is before, at or after q.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Segment, q.Segment); c != 0 {
		return c
	}
	return cmp.Compare(p.Offset, q.Offset)
}

// Before reports whether p is strictly before q.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// Earlier returns the one of two positions that is before the other.
func Earlier(p, q Position) Position {
	if q.Before(p) {
		return q
	}
	return p
}

// Later returns the one of two positions that is behind the other.
func Later(p, q Position) Position {
	if p.Before(q) {
		return q
	}
	return p
}

// SegmentSize returns how many bytes the file of a segment has, 0 if there is none or
// the disk does not say.
func SegmentSize(walDir string, segment int) int64 {
	info, err := os.Stat(wlog.SegmentName(walDir, segment))
	if err != nil {
		return 0
	}
	return info.Size()
}

// String renders the position as segment and offset, in the way segment files
// are named: 00000012:4096.
func (p Position) String() string {
	return fmt.Sprintf("%08d:%d", p.Segment, p.Offset)
}

// MarshalJSON returns the position as it is stored, [segment, offset].
func (p Position) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d]", p.Segment, p.Offset), nil
}

// UnmarshalJSON is the reverse of MarshalJSON. Checking the range of the numbers is
// left to the callers that store positions.
func (p *Position) UnmarshalJSON(data []byte) error {
	t, err := tuple(data, "position", 2)
	if err == nil {
		*p = Position{Segment: int(t[0]), Offset: t[1]}
	}
	return err
}

// Point is a position together with the checksum that identifies the record
// ending there.
type Point struct {
	Position
	// CRC is the CRC-32C in the header of the last fragment of the record that
	// ends at the position, and 0 at the start of a segment.
	CRC uint32
}

// MarshalJSON returns the point as it is stored, [segment, offset, checksum].
func (p Point) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d,%d]", p.Segment, p.Offset, p.CRC), nil
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (p *Point) UnmarshalJSON(data []byte) error {
	t, err := tuple(data, "point", 3)
	if err != nil {
		return err
	}
	if t[2] < 0 || t[2] > math.MaxUint32 {
		return fmt.Errorf("checksum %d is out of range", t[2])
	}
	*p = Point{Position: Position{Segment: int(t[0]), Offset: t[1]}, CRC: uint32(t[2])}
	return nil
}

// tuple reads n numbers, of which the first is that of a segment.
func tuple(data []byte, what string, n int) (t []int64, err error) {
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, err
	}
	if len(t) != n {
		return nil, fmt.Errorf("a %s has %d elements, not %d", what, len(t), n)
	}
	if t[0] < 0 || t[0] > math.MaxInt32 {
		return nil, fmt.Errorf("segment %d is out of range", t[0])
	}
	return t, nil
}
