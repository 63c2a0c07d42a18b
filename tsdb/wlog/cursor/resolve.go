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
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// Saved is a point together with what identifies its segment, as it is kept
// over a restart.
type Saved struct {
	Point
	// Fingerprint is that of the point's segment when the point was saved, see
	// the function of that name.
	Fingerprint uint32
}

// Fingerprint returns what identifies a segment among those that had or will
// have the same number: the CRC-32C over its first fragment, header included.
// It is 0 while there is none, or none that can be read. The error is
// os.ErrNotExist if there is no such segment.
func Fingerprint(walDir string, segment int) (uint32, error) {
	f, err := os.Open(wlog.SegmentName(walDir, segment))
	if err != nil {
		return 0, fmt.Errorf("fingerprint segment %08d of the write-ahead log: %w", segment, err)
	}
	defer f.Close()
	return fingerprint(f), nil
}

func fingerprint(src io.ReaderAt) uint32 {
	scan := frame.NewScanner(1)
	scan.Reset(src, 0)
	_, raw, err := scan.Peek()
	if err != nil || len(raw) == 0 {
		return 0 // Nothing, damage, or a disk that refuses to read.
	}
	return max(1, crc32.Checksum(raw, frame.Castagnoli))
}

// Verdict says how a saved position was resolved.
type Verdict uint8

const (
	// Exact means that the position was found again.
	Exact Verdict = iota
	// Sealed means that the segment is the one that was saved but ends before
	// the position, as after a power cut. Its rest cannot be had any more; the
	// position is the start of the next segment, which need not exist yet.
	Sealed
	// SegmentStart means that the segment is not, or not with certainty, the
	// one that was saved. The position is its start.
	SegmentStart
	// Oldest means that the segment is gone. The position is the start of the
	// oldest one there is.
	Oldest
	// Ahead means that the log does not reach as far: it was wiped or cut by a
	// repair, and what it holds was never read. The position is the start of
	// the oldest segment there is.
	Ahead
)

// String returns the verdict as used in logs and label values.
func (v Verdict) String() string {
	switch v {
	case Exact:
		return "exact"
	case Sealed:
		return "sealed"
	case SegmentStart:
		return "segment_start"
	case Oldest:
		return "oldest"
	case Ahead:
		return "ahead"
	default:
		return fmt.Sprintf("verdict %d", uint8(v))
	}
}

// Resolve returns where to go on reading for a saved position. All verdicts but
// Exact and Sealed mean that records may be read a second time. The start of a
// segment is found again whatever the fingerprint, and so is the start of the one
// after the last. In a log without segments everything else resolves to
// the start of segment 0.
//
// The log may be written to meanwhile, but no segments may be removed.
func Resolve(walDir string, s Saved) (Position, Verdict, error) {
	first, last, err := SegmentRange(walDir)
	if err != nil {
		return Position{}, SegmentStart, err
	}
	oldest := Position{Segment: max(first, 0)}
	switch {
	case s.Segment < 0 || s.Offset < 0:
		return oldest, Oldest, nil
	case s.Segment == last+1 && s.Offset == 0:
		return s.Position, Exact, nil
	case s.Segment > last:
		return oldest, Ahead, nil
	case s.Segment < first:
		return oldest, Oldest, nil
	case s.Offset == 0:
		return s.Position, Exact, nil
	}
	v, err := identify(walDir, s)
	switch {
	case err != nil:
		return Position{}, SegmentStart, fmt.Errorf("resolve position %s of the write-ahead log: %w", s.Position, err)
	case v == Exact:
		return s.Position, v, nil
	case v == Sealed:
		return Position{Segment: s.Segment + 1}, v, nil
	default:
		return Position{Segment: s.Segment}, v, nil
	}
}

// PointAt returns a position between two records together with the checksum of
// the record that ends there, so that it can be saved. A position that is none
// resolves to the start of its segment later on.
func PointAt(walDir string, p Position) (Point, error) {
	if p.Offset == 0 {
		return Point{Position: p}, nil
	}
	f, err := os.Open(wlog.SegmentName(walDir, p.Segment))
	if err != nil {
		return Point{}, fmt.Errorf("look at position %s of the write-ahead log: %w", p, err)
	}
	defer f.Close()
	crc, _, err := boundary(f, p.Offset)
	if err != nil {
		return Point{}, fmt.Errorf("look at position %s of the write-ahead log: %w", p, err)
	}
	return Point{Position: p, CRC: crc}, nil
}

// identify compares a saved point with the segment that has its number now. Its
// verdict is Exact, Sealed or SegmentStart.
func identify(walDir string, s Saved) (Verdict, error) {
	f, err := os.Open(wlog.SegmentName(walDir, s.Segment))
	if errors.Is(err, fs.ErrNotExist) {
		return SegmentStart, err
	}
	if err != nil {
		return SegmentStart, nil //nolint:nilerr // It cannot be told whether it is the same.
	}
	defer f.Close()

	if fp := fingerprint(f); fp == 0 || fp != s.Fingerprint {
		return SegmentStart, nil
	}
	info, err := f.Stat()
	if err != nil {
		return SegmentStart, err
	}
	if info.Size() < s.Offset {
		return Sealed, nil
	}
	// What the disk refuses to read is not known to be the same.
	crc, ok, err := boundary(f, s.Offset)
	if err != nil || !ok || crc != s.CRC {
		return SegmentStart, nil
	}
	return Exact, nil
}
