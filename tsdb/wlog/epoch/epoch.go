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
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// markerRef is the series reference of the stone in a marker. It is that of no
// series, and must not be a high one: the stock server raises its counter of
// references to what it finds in a stone.
const markerRef = 0

// markerSize is above the size of any marker: type, reference, two varints.
const markerSize = 1 + 8 + 2*binary.MaxVarintLen64

// Marker returns the record that every segment of a run starts with.
func Marker(run ulid.ULID) []byte {
	var enc record.Encoder
	return enc.Tombstones([]tombstones.Stone{{
		Ref: markerRef,
		Intervals: tombstones.Intervals{{
			Mint: int64(binary.BigEndian.Uint64(run[:8])),
			Maxt: int64(binary.BigEndian.Uint64(run[8:])),
		}},
	}}, nil)
}

// Parse returns the run of a marker, and false for any other record. The zero
// ULID is that of no run.
func Parse(rec []byte) (run ulid.ULID, ok bool) {
	if len(rec) == 0 || len(rec) > markerSize || record.Type(rec[0]) != record.Tombstones {
		return run, false
	}
	stones, err := (*record.Decoder)(nil).Tombstones(rec, nil)
	if err != nil || len(stones) != 1 || uint64(stones[0].Ref) != markerRef {
		return run, false
	}
	interval := stones[0].Intervals[0]
	binary.BigEndian.PutUint64(run[:8], uint64(interval.Mint))
	binary.BigEndian.PutUint64(run[8:], uint64(interval.Maxt))
	if run == (ulid.ULID{}) || !bytes.Equal(Marker(run), rec) {
		return ulid.ULID{}, false
	}
	return run, true
}

// Segment says which run opened a segment.
type Segment struct {
	Index int
	// Empty says that the segment has no complete record, damaged ones aside.
	Empty bool
	// Damaged says that the first record, and so the run, cannot be read: it is damaged,
	// the segment is missing, or the disk refuses to read. Filler or padding at the start
	// is what a repair leaves.
	Damaged bool
	// Run is the run that opened the segment. It is zero if that was another
	// engine, and if the segment is empty or damaged.
	Run ulid.ULID
}

// Foreign reports whether the segment holds records of another engine.
func (s Segment) Foreign() bool {
	return !s.Empty && !s.Damaged && s.Run == ulid.ULID{}
}

// Scan looks at the first record of every segment, in ascending order. It reads
// one fragment of each. The log may be written to meanwhile.
func Scan(walDir string) ([]Segment, error) {
	first, last, err := wlog.Segments(walDir)
	if err != nil {
		return nil, fmt.Errorf("list the segments in %s: %w", walDir, err)
	}
	if first < 0 {
		return nil, nil
	}
	segs := make([]Segment, 0, last-first+1)
	scan := frame.NewScanner(1)
	for k := first; k <= last; k++ {
		segs = append(segs, look(scan, walDir, k))
	}
	return segs, nil
}

func look(scan *frame.Scanner, walDir string, k int) Segment {
	f, err := os.Open(wlog.SegmentName(walDir, k))
	if err != nil {
		// What cannot be opened, or is a link to nowhere, is unknown, as is what
		// cannot be read.
		return Segment{Index: k, Damaged: true}
	}
	defer f.Close()

	seg := Segment{Index: k}
	scan.Reset(f, 0)
	h, _, err := scan.Peek()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		seg.Empty = true
		return seg
	case err != nil:
		// What the disk refuses to read is as good as damaged.
		seg.Damaged = true
		return seg
	case h.Type != frame.Full:
		// Padding, or a record that is longer than any marker, or the rest of
		// one.
		seg.Damaged = h.Type != frame.First
		return seg
	}
	rec, err := scan.Next()
	if err != nil {
		seg.Damaged = true
		return seg
	}
	if seg.Damaged = frame.IsFiller(rec.Data); !seg.Damaged {
		seg.Run, _ = Parse(rec.Data)
	}
	return seg
}

// LastForeign returns the number of the last segment above after that holds
// records of another engine, or -1. A segment whose first record is damaged
// counts as ours: to send what it holds again is better than to skip it.
func LastForeign(segs []Segment, after int) int {
	last := -1
	for _, s := range segs {
		if s.Index > after && s.Foreign() {
			last = max(last, s.Index)
		}
	}
	return last
}
