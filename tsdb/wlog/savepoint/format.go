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

package savepoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Names of the files, in the data directory beside wal/.
const (
	CurrentName  = "delivery.json"
	PreviousName = "delivery.prev.json"
)

// envelope is the outermost object, the same in every version.
type envelope struct {
	Version *int            `json:"version"`
	CRC32C  *string         `json:"crc32c"`
	Body    json.RawMessage `json:"body"`
}

// body is what version 1 holds. Pointers and nil slices tell a field that is
// missing from one that is zero.
type body struct {
	Run          *string           `json:"run"`
	Segment      *int              `json:"segment"`
	Checkpoint   *int              `json:"checkpoint"`
	Clean        *bool             `json:"clean"`
	Written      *time.Time        `json:"written"`
	Partitions   *int              `json:"partitions"`
	Fingerprints map[string]uint32 `json:"fingerprints"`
	Points       [][]int64         `json:"points"`
	Endpoints    []endpoint        `json:"endpoints"`
	End          int64             `json:"end,omitempty"`
}

type endpoint struct {
	ID         *string    `json:"id"`
	Identity   *Identity  `json:"identity"`
	Removed    *time.Time `json:"removed,omitempty"`
	Floor      []int64    `json:"floor"`
	Dispatched []int64    `json:"dispatched"`
	Acked      [][]int64  `json:"acked"`
	Isolated   *isolated  `json:"isolated,omitempty"`
	Fresh      *fresh     `json:"fresh,omitempty"`
	Counted    [][]int64  `json:"counted,omitempty"` // Segment, from, to.
	Memory     *[3]int    `json:"memory,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the text of the sum, see sumOf.
func checksum(version int, body []byte) string { return fmt.Sprintf("%08x", sumOf(version, body)) }

// sumOf covers the version as well, so that a flipped bit in it is damage and
// not a later release.
func sumOf(version int, body []byte) uint32 {
	var number [21]byte
	sum := crc32.Checksum(append(strconv.AppendInt(number[:0], int64(version), 10), '\n'), castagnoli)
	return crc32.Update(sum, castagnoli, body)
}

// Decode is the reverse of Encode. It returns a *[VersionError], with no path,
// for a whole file of a later version, and another error for everything that
// is not a whole file.
func Decode(data []byte) (File, error) {
	if len(data) > maxFileSize {
		return File{}, fmt.Errorf("larger than %d bytes", maxFileSize)
	}
	var env envelope
	if err := json.Unmarshal(data, &env); err != nil {
		return File{}, fmt.Errorf("not a savepoint: %w", err)
	}
	if env.Version == nil || env.CRC32C == nil || env.Body == nil {
		return File{}, errors.New("not a savepoint: version, crc32c or body is missing")
	}
	if sum := checksum(*env.Version, env.Body); sum != *env.CRC32C {
		return File{}, fmt.Errorf("checksum is %s, the file states %q", sum, *env.CRC32C)
	}
	if *env.Version > Version {
		return File{}, &VersionError{Version: *env.Version, Supported: Version}
	}
	if *env.Version < Version {
		return File{}, fmt.Errorf("format version %d does not exist", *env.Version)
	}
	var b body
	if err := json.Unmarshal(env.Body, &b); err != nil {
		return File{}, fmt.Errorf("body: %w", err)
	}
	f, err := b.file()
	if err == nil {
		err = f.Validate()
	}
	if err != nil {
		return File{}, fmt.Errorf("body: %w", err)
	}
	return f, nil
}

func (b *body) file() (File, error) {
	if b.Run == nil || b.Segment == nil || b.Checkpoint == nil || b.Clean == nil || b.Written == nil ||
		b.Partitions == nil || b.Fingerprints == nil || b.Points == nil || b.Endpoints == nil {
		return File{}, errors.New("a required field is missing")
	}
	// Runs of marks are expanded below, so this one comes before Validate.
	if *b.Partitions < 1 || *b.Partitions > maxPartitions {
		return File{}, fmt.Errorf("%d partitions are out of range", *b.Partitions)
	}
	f := File{
		Version:    Version,
		Run:        *b.Run,
		Segment:    *b.Segment,
		End:        b.End,
		Checkpoint: *b.Checkpoint,
		Partitions: *b.Partitions,
		Written:    b.Written.UTC(),
		Clean:      *b.Clean,
		Segments:   make(map[int]uint32, len(b.Fingerprints)),
		Endpoints:  make([]Endpoint, len(b.Endpoints)),
	}
	for text, fingerprint := range b.Fingerprints {
		segment, err := strconv.Atoi(text)
		if err != nil || segment < 0 || segment > maxSegment || strconv.Itoa(segment) != text {
			return File{}, fmt.Errorf("fingerprint of segment %q: not a segment", text)
		}
		f.Segments[segment] = fingerprint
	}
	points := make([]cursor.Point, len(b.Points))
	for i, tuple := range b.Points {
		var err error
		if points[i], err = decodePoint(tuple); err != nil {
			return File{}, fmt.Errorf("point %d: %w", i, err)
		}
	}
	for i := range b.Endpoints {
		var err error
		if f.Endpoints[i], err = b.Endpoints[i].decode(points, f.Partitions); err != nil {
			return File{}, fmt.Errorf("endpoint %d: %w", i, err)
		}
	}
	return f, nil
}

func (e *endpoint) decode(points []cursor.Point, partitions int) (Endpoint, error) {
	if e.ID == nil || e.Identity == nil {
		return Endpoint{}, errors.New("id or identity is missing")
	}
	floor, err := decodePoint(e.Floor)
	if err != nil {
		return Endpoint{}, fmt.Errorf("floor: %w", err)
	}
	dispatched, err := decodePair(e.Dispatched)
	if err != nil {
		return Endpoint{}, fmt.Errorf("dispatched: %w", err)
	}
	acked, series, err := decodeRange(e.Acked, e.Isolated, points, partitions)
	if err != nil {
		return Endpoint{}, fmt.Errorf("acked: %w", err)
	}
	second, err := e.Fresh.decode(points, partitions)
	if err != nil {
		return Endpoint{}, fmt.Errorf("fresh range: %w", err)
	}
	counted, err := decodeStretches(e.Counted)
	if err != nil {
		return Endpoint{}, fmt.Errorf("counted: %w", err)
	}
	var memory [3]int
	if e.Memory != nil {
		memory = *e.Memory
	}
	return Endpoint{
		Counted:    counted,
		Memory:     memory,
		ID:         *e.ID,
		Identity:   *e.Identity,
		Floor:      Mark{Point: floor},
		Dispatched: dispatched,
		Acked:      acked,
		Isolated:   series,
		Fresh:      second,
		Removed:    inUTC(e.Removed),
	}, nil
}

func decodeMarks(runs [][]int64, points []cursor.Point, partitions int) ([]Mark, error) {
	marks := make([]Mark, 0, partitions)
	for i, run := range runs {
		if len(run) < 1 || len(run) > 3 {
			return nil, fmt.Errorf("run %d has %d elements, not 1 to 3", i, len(run))
		}
		point, count, skip := run[0], int64(1), int64(0)
		if len(run) > 1 {
			count = run[1]
		}
		if len(run) > 2 {
			skip = run[2]
		}
		if point < 0 || point >= int64(len(points)) {
			return nil, fmt.Errorf("run %d: there is no point %d", i, point)
		}
		if count < 1 || count > int64(partitions-len(marks)) {
			return nil, fmt.Errorf("run %d: %d marks are out of range", i, count)
		}
		if skip < 0 || skip > maxSkip {
			return nil, fmt.Errorf("run %d: skip %d is out of range", i, skip)
		}
		for range count {
			marks = append(marks, Mark{Point: points[point], Skip: int(skip)})
		}
	}
	return marks, nil
}

func decodeStretches(tuples [][]int64) (out []Stretch, err error) {
	for _, t := range tuples {
		if len(t) != 3 || t[0] < 0 || t[0] > maxSegment {
			return nil, fmt.Errorf("%v is no part of a segment", t)
		}
		out = append(out, Stretch{Segment: int(t[0]), From: t[1], To: t[2]})
	}
	return out, nil
}

func decodePoint(tuple []int64) (cursor.Point, error) {
	if len(tuple) != 3 {
		return cursor.Point{}, fmt.Errorf("a point has %d elements, not 3", len(tuple))
	}
	position, err := decodePosition(tuple[0], tuple[1])
	if err != nil {
		return cursor.Point{}, err
	}
	if tuple[2] < 0 || tuple[2] > 1<<32-1 {
		return cursor.Point{}, fmt.Errorf("checksum %d is out of range", tuple[2])
	}
	return cursor.Point{Position: position, CRC: uint32(tuple[2])}, nil
}

func decodePosition(segment, offset int64) (cursor.Position, error) {
	if segment < 0 || segment > maxSegment || offset < 0 || offset > maxOffset {
		return cursor.Position{}, fmt.Errorf("position %d:%d is out of range", segment, offset)
	}
	return cursor.Position{Segment: int(segment), Offset: offset}, nil
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}

// maxFileSize bounds what Load reads. A thousand endpoints of which no two
// marks are equal stay far below it.
const maxFileSize = 64 << 20

// fresh is how a [Fresh] is written.
type fresh struct {
	From              []int64   `json:"from"`
	Dispatched        []int64   `json:"dispatched"`
	Acked             [][]int64 `json:"acked"`
	Isolated          *isolated `json:"isolated,omitempty"`
	BacklogDispatched []int64   `json:"backlog_dispatched"`
}

func (f *fresh) decode(points []cursor.Point, partitions int) (*Fresh, error) {
	if f == nil {
		return nil, nil
	}
	var (
		out Fresh
		err error
	)
	if out.From, err = decodePoint(f.From); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if out.Dispatched, err = decodePair(f.Dispatched); err != nil {
		return nil, fmt.Errorf("dispatched: %w", err)
	}
	if out.BacklogDispatched, err = decodePair(f.BacklogDispatched); err != nil {
		return nil, fmt.Errorf("backlog_dispatched: %w", err)
	}
	if out.Acked, out.Isolated, err = decodeRange(f.Acked, f.Isolated, points, partitions); err != nil {
		return nil, fmt.Errorf("acked: %w", err)
	}
	return &out, nil
}

func decodePair(tuple []int64) (cursor.Position, error) {
	if len(tuple) != 2 {
		return cursor.Position{}, fmt.Errorf("a position has %d elements, not 2", len(tuple))
	}
	return decodePosition(tuple[0], tuple[1])
}

// isolated is how they are written, beside what readers that do not know them
// have to see.
type isolated struct {
	Acked  [][]int64 `json:"acked"`  // The true marks.
	Series [][]int64 `json:"series"` // Point, skip, and the hash in two halves.
}

// decodeRange is the reverse of encodeRange.
func decodeRange(acked [][]int64, extra *isolated, points []cursor.Point, partitions int) ([]Mark, []Isolated, error) {
	if extra == nil {
		marks, err := decodeMarks(acked, points, partitions)
		return marks, nil, err
	}
	marks, err := decodeMarks(extra.Acked, points, partitions)
	if err != nil {
		return nil, nil, fmt.Errorf("isolated: %w", err)
	}
	if len(extra.Series) == 0 {
		return nil, nil, errors.New("isolated: there is no series")
	}
	series := make([]Isolated, 0, len(extra.Series))
	for i, t := range extra.Series {
		const half = 1<<32 - 1
		if len(t) != 4 || t[0] < 0 || t[0] >= int64(len(points)) || t[1] < 0 || t[1] > maxSkip || t[2] < 0 || t[2] > half || t[3] < 0 || t[3] > half {
			return nil, nil, fmt.Errorf("isolated: %v, number %d, is no series", t, i)
		}
		series = append(series, Isolated{Series: uint64(t[2])<<32 | uint64(t[3]), Mark: Mark{Point: points[t[0]], Skip: int(t[1])}})
	}
	return marks, series, nil
}

// VersionError is a savepoint in the format of a later release. It is an error
// to start on: what that release saved is intact and must neither be
// overwritten nor sent from somewhere else.
type VersionError struct {
	Path string
	// Version is what the file states, Supported the highest that is read.
	Version, Supported int
}

// Error says what happened and what to do about it.
func (e *VersionError) Error() string {
	return fmt.Sprintf("savepoint %s has format version %d, this release reads up to %d: start the release that wrote it or a later one; "+
		"to go on without the saved positions, move %s and %s out of the directory", e.Path, e.Version, e.Supported, CurrentName, PreviousName)
}
