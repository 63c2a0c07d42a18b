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
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

const (
	// Version is the version of the format this package writes, and the highest
	// it reads.
	Version = 1

	// Limits of what a file may state. They keep a reader on any platform, and
	// one that holds numbers as IEEE 754 doubles, exact.
	maxPartitions = 4096
	maxSegment    = math.MaxInt32
	maxOffset     = 1<<53 - 1
	maxSkip       = math.MaxInt32
)

// Identity says which configured endpoint a saved position belongs to, across
// restarts and changes of the configuration. It is comparable. Apart from the
// configured name it holds hashes only, so that the file holds no secrets. How
// the hashes are made and compared is the write side's business.
type Identity struct {
	// Name is the configured name, empty if there is none. Valid UTF-8.
	Name string `json:"name,omitempty"`
	// URLHash is a hash of the URL without user information.
	URLHash string `json:"url"`
	// RulesHash is a hash of the relabelling rules, empty without rules.
	RulesHash string `json:"rules,omitempty"`
	// TenantHash is a hash of what tells tenants behind one URL apart, empty
	// if nothing does.
	TenantHash string `json:"tenant,omitempty"`
}

// Mark is how far one partition of one endpoint has been acknowledged:
// everything of the partition before the point, and Skip items after it. As JSON
// it is its point; the marks of partitions are run-length encoded.
type Mark struct {
	cursor.Point
	// Skip counts the items of the partition that follow the point in the log
	// and are acknowledged too. Items are float samples, histograms of either
	// kind and exemplars whose series belongs to the partition, in the order
	// of the log, whether the endpoint wants them or not. A reader applies it
	// only if the point was found exactly and no range of the log is missing
	// between the point and the item; otherwise it counts as 0.
	Skip int
}

// Endpoint is what is saved about one remote endpoint. It is written as tagged, in
// the order of its fields: to add a member takes a field here, what Validate has to
// say about it, and a line in docs/format/savepoint.md. It has to be optional.
type Endpoint struct {
	// ID is the ULID that the endpoint was given when it was first seen.
	ID string `json:"id"`
	// Identity finds the endpoint in the configuration.
	Identity Identity `json:"identity"`
	// Label is what metrics and logs call an endpoint without a name, empty if that is
	// not known. Valid UTF-8.
	Label string `json:"label,omitempty"`
	// Removed is when the endpoint disappeared from the configuration, nil
	// while it is configured.
	Removed *time.Time `json:"removed,omitempty"`
	// RemovedAt is where the log ended then, the zero position if that is not known.
	RemovedAt cursor.Position `json:"removed_at,omitzero"`
	// Floor is the lowest point that the endpoint still needs the log from. It
	// is not after any of Acked. Its Skip has no meaning and is not stored.
	Floor Mark `json:"floor"`
	// Dispatched is the dispatch watermark: nothing at or after it can have been
	// sent. It is raised ahead of the sending and may lie beyond the end of
	// the log.
	Dispatched cursor.Position `json:"dispatched"`
	// Acked holds a mark per partition.
	Acked []Mark `json:"-"`
	// Isolated are the series that are less far than their partitions. Floor is
	// not after any of them.
	Isolated []Isolated `json:"-"`
	runs
	// Fresh is the second range, nil if there is one range only. With it, Floor
	// and Acked are those of the first, and Dispatched is not before the
	// dispatch watermark of either.
	Fresh *Fresh `json:"fresh,omitempty"`
	// Counted are parts of the log from Floor on that could not be read and
	// were counted as lost to the endpoint.
	Counted []Range `json:"counted,omitempty"`
	// Memory is how many samples, histograms and exemplars the endpoint has yet
	// to acknowledge that are in memory only, because their part of the log was
	// forfeited to a limit.
	Memory [3]int `json:"memory,omitzero"`
	// ForfeitedBefore is the segment before which the log is forfeited to a limit,
	// and counted, although marks are before it for what is in memory; 0 if there is
	// none.
	ForfeitedBefore int `json:"given_up,omitempty"`
	// Uncounted is how many bytes, samples and segments of the log starts have found
	// to be lost to the endpoint that were not counted yet.
	Uncounted [3]int64 `json:"uncounted,omitzero"`
}

// runs are the marks of a range as they are written, by the number of their point
// in the file's table. They are set while a file is encoded or decoded only.
type runs struct {
	Runs  [][]int64 `json:"acked"`
	Apart *apart    `json:"isolated,omitempty"`
}

// apart is what releases that know isolated series read beside the marks of a range,
// which are cautious then.
type apart struct {
	Runs   [][]int64 `json:"acked"`  // The true marks.
	Series [][]int64 `json:"series"` // Point, skip, and the hash in two halves.
}

// unset is in place of a position that has not been read. One that is required has no
// other value to tell it from the start of the log.
var unset = cursor.Position{Segment: math.MinInt}

// UnmarshalJSON reads an endpoint but for its marks.
func (e *Endpoint) UnmarshalJSON(data []byte) error {
	type plain Endpoint
	*e = Endpoint{Floor: Mark{Point: cursor.Point{Position: unset}}, Dispatched: unset}
	err := json.Unmarshal(data, (*plain)(e))
	switch {
	case err != nil:
	case e.Floor.Position == unset:
		err = errors.New("floor: a point has 0 elements, not 3")
	case e.Dispatched == unset:
		err = errors.New("dispatched: a position has 0 elements, not 2")
	}
	if err != nil {
		return fmt.Errorf("endpoint %q: %w", e.ID, err)
	}
	if len(e.Counted) == 0 {
		e.Counted = nil // As it is written.
	}
	e.Removed = inUTC(e.Removed)
	return nil
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.UTC()
	return &utc
}

// Range is a part of a segment: the bytes from one offset up to another.
type Range struct {
	Segment  int
	From, To int64
}

// MarshalJSON returns the part as it is stored, [segment, from, to].
func (r Range) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "[%d,%d,%d]", r.Segment, r.From, r.To), nil
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (r *Range) UnmarshalJSON(data []byte) error {
	var t []int64
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	if len(t) != 3 || t[0] < 0 || t[0] > maxSegment {
		return fmt.Errorf("%v is no part of a segment", t)
	}
	*r = Range{Segment: int(t[0]), From: t[1], To: t[2]}
	return nil
}

// MarksFor returns the marks of the given number of partitions. If the file
// was written with another number, the items of the old partitions are spread
// over the new ones, and the floor is all that is known of each. The result
// does not share memory with e.
func (e *Endpoint) MarksFor(partitions int) []Mark {
	if len(e.Acked) == partitions {
		return slices.Clone(e.Acked)
	}
	marks := make([]Mark, partitions)
	for i := range marks {
		marks[i].Point = e.Floor.Point
	}
	return marks
}

// marks yields the marks of all ranges.
func (e *Endpoint) marks(yield func(Mark) bool) {
	if r := e.Fresh; eachMark(e.Acked, e.Isolated, yield) && r != nil {
		eachMark(r.Acked, r.Isolated, yield)
	}
}

// eachMark yields the marks of a range and returns whether more are wanted.
func eachMark(acked []Mark, series []Isolated, yield func(Mark) bool) bool {
	for _, m := range acked {
		if !yield(m) {
			return false
		}
	}
	for _, s := range series {
		if !yield(s.Mark) {
			return false
		}
	}
	return true
}

// segments yields the segments that a stored point lies in, with repetitions.
func (e *Endpoint) segments(yield func(int) bool) {
	if !yield(e.Floor.Segment) || (e.Fresh != nil && !yield(e.Fresh.From.Segment)) {
		return
	}
	last := -1
	for m := range e.marks {
		if m.Segment != last && !yield(m.Segment) {
			return
		}
		last = m.Segment
	}
}

// File is the content of a savepoint. It is written as tagged, like an [Endpoint].
type File struct {
	// Version of the format that the file was read from. Write takes 0 for the
	// current one.
	Version int `json:"-"`
	// Run is the ULID of the engine's run that wrote the file.
	Run string `json:"run"`
	// Segment is the last segment which that run is known to have opened, -1
	// for none.
	Segment int `json:"segment"`
	// Density is how many items some lately read bytes of the log held, and how many
	// bytes: what cannot be read later is estimated by it.
	Density [2]int64 `json:"density,omitzero"`
	// Checkpoint is the number of the checkpoint the run wrote or found, -1
	// for none.
	Checkpoint int `json:"checkpoint"`
	// Clean is set by the last write of a graceful stop: nothing was in flight
	// any more, and nothing was sent after it.
	Clean bool `json:"clean"`
	// Written is when the file was written. The caller of Write sets it; it is
	// stored in UTC with nanoseconds.
	Written time.Time `json:"written"`
	// Partitions is the number of partitions, and so of marks per endpoint.
	Partitions int `json:"partitions"`
	// Segments holds the fingerprint of each segment that a stored point lies in, and
	// of those that Referenced returns, see [cursor.Saved]. Entries for other segments are not stored; a
	// missing one reads as 0.
	Segments map[int]uint32 `json:"-"`
	tables
	// Endpoints are kept in the order given.
	Endpoints []Endpoint `json:"endpoints"`
	// End is where the committed records of Segment ended when the file was
	// written, in bytes; 0 if that is not known.
	End int64 `json:"end,omitempty"`
	// EndCRC is the checksum of the record that ends there, as in a point; 0 if it is
	// not known.
	EndCRC uint32 `json:"end_crc,omitempty"`
	// Followed says that the log is another writer's.
	Followed bool `json:"followed,omitempty"`
	// Sizes are those of the segments up to the one before Segment, in bytes and
	// ascending order, as they were when they were finished; 0 is unknown. It is
	// for logs of which nothing else says so.
	Sizes []int64 `json:"sizes,omitempty"`
}

// SizeOf returns what Sizes says of a segment.
func (f *File) SizeOf(segment int) int64 {
	if at := segment - f.Segment + len(f.Sizes); at >= 0 && at < len(f.Sizes) {
		return f.Sizes[at]
	}
	return 0
}

// tables are what the rest of a file refers to, as they are written. They are set
// while it is encoded or decoded only.
type tables struct {
	Fingerprints map[string]uint32 `json:"fingerprints"`
	Points       []tuple           `json:"points"`
}

// tuple is a point in the file's table. With many isolated series there are many, and
// a call of MarshalJSON for each would take longer than all the rest.
type tuple [3]int64

// UnmarshalJSON takes no more and no fewer than the three numbers of a point.
func (t *tuple) UnmarshalJSON(data []byte) error {
	var p cursor.Point
	err := p.UnmarshalJSON(data)
	*t = tupleOf(p)
	return err
}

func tupleOf(p cursor.Point) tuple { return tuple{int64(p.Segment), p.Offset, int64(p.CRC)} }

func (t tuple) point() cursor.Point {
	return cursor.Point{Position: cursor.Position{Segment: int(t[0]), Offset: t[1]}, CRC: uint32(t[2])}
}

// Last returns the last segment that had records, by whose fingerprint this log is told
// from another. There is none if it is negative.
func (f *File) Last() (segment int) {
	if f.End == 0 {
		return f.Segment - 1
	}
	return f.Segment
}

// identified is how many of the last segments another writer's log is known by, in case
// some of them are gone.
const identified = 4

// Referenced returns, in ascending order, the segments that Segments should hold
// a fingerprint of: those that a stored point lies in, and the last with records,
// or the last few. Dispatch watermarks do not count, they are compared and never resolved.
func (f *File) Referenced() []int {
	seen := map[int]struct{}{}
	for last := f.Last(); last >= 0; last-- {
		seen[last] = struct{}{}
		if !f.Followed || len(seen) == identified {
			break
		}
	}
	for i := range f.Endpoints {
		for s := range f.Endpoints[i].segments {
			seen[s] = struct{}{}
		}
	}
	segments := make([]int, 0, len(seen))
	for s := range seen {
		segments = append(segments, s)
	}
	slices.Sort(segments)
	return segments
}

// Validate reports the first thing that makes f unfit to be stored. A file
// that Load returns passes.
func (f *File) Validate() error {
	if f.Version != 0 && f.Version != Version {
		return fmt.Errorf("version %d is not %d", f.Version, Version)
	}
	if _, err := ulid.ParseStrict(f.Run); err != nil {
		return fmt.Errorf("run %q is not a ULID: %w", f.Run, err)
	}
	if f.Segment < -1 || f.Segment > maxSegment {
		return fmt.Errorf("last segment %d is out of range", f.Segment)
	}
	if f.End < 0 || f.End > maxOffset {
		return fmt.Errorf("end %d of the last segment is out of range", f.End)
	}
	for _, n := range f.Sizes {
		if n < 0 || n > maxOffset {
			return fmt.Errorf("size %d of a segment is out of range", n)
		}
	}
	for _, n := range f.Density {
		if n < 0 || n > maxOffset {
			return fmt.Errorf("density %v is out of range", f.Density)
		}
	}
	if f.Checkpoint < -1 || f.Checkpoint > maxSegment {
		return fmt.Errorf("checkpoint %d is out of range", f.Checkpoint)
	}
	if f.Partitions < 1 || f.Partitions > maxPartitions {
		return fmt.Errorf("%d partitions are out of range", f.Partitions)
	}
	if f.Written.IsZero() {
		return errors.New("the time of writing is not set")
	}
	ids := make(map[string]struct{}, len(f.Endpoints))
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		if err := e.validate(f.Partitions); err != nil {
			return fmt.Errorf("endpoint %d (id %q, name %q): %w", i, e.ID, e.Identity.Name, err)
		}
		if _, ok := ids[e.ID]; ok {
			return fmt.Errorf("endpoint %d: id %q is used twice", i, e.ID)
		}
		ids[e.ID] = struct{}{}
	}
	return nil
}

func (e *Endpoint) validate(partitions int) error {
	if _, err := ulid.ParseStrict(e.ID); err != nil {
		return fmt.Errorf("id is missing or not a ULID: %w", err)
	}
	if e.Identity.Name == "" && e.Identity.URLHash == "" {
		return errors.New("identity is missing: neither a name nor a hash of the URL identifies it")
	}
	for _, s := range []string{e.Identity.Name, e.Identity.URLHash, e.Identity.RulesHash, e.Identity.TenantHash, e.Label} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("identity or label %q is not UTF-8", s)
		}
	}
	if err := validatePosition(e.Floor.Position); err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	if err := validatePosition(e.Dispatched); err != nil {
		return fmt.Errorf("dispatch watermark: %w", err)
	}
	if len(e.Acked) != partitions {
		return fmt.Errorf("%d marks for %d partitions", len(e.Acked), partitions)
	}
	for p, m := range e.Acked {
		if err := m.validate(); err != nil {
			return fmt.Errorf("mark of partition %d: %w", p, err)
		}
		// The log is released up to the floor, so a mark below it would be
		// of a partition whose samples may be gone (I1).
		if m.Before(e.Floor.Position) {
			return fmt.Errorf("floor %s is after the mark %s of partition %d", e.Floor.Position, m.Position, p)
		}
	}
	if err := validateIsolated(e.Isolated, e.Floor.Position); err != nil {
		return err
	}
	for _, n := range e.Memory {
		if n < 0 || n > maxSkip {
			return fmt.Errorf("%v in memory is out of range", e.Memory)
		}
	}
	for _, n := range e.Uncounted {
		if n < 0 || n > maxOffset {
			return fmt.Errorf("%v that are yet to be counted is out of range", e.Uncounted)
		}
	}
	if e.ForfeitedBefore < 0 || e.ForfeitedBefore > maxSegment {
		return fmt.Errorf("segment %d, before which the log is forfeited, is out of range", e.ForfeitedBefore)
	}
	for _, c := range e.Counted {
		if c.Segment < 0 || c.Segment > maxSegment || c.From < 0 || c.From >= c.To || c.To > maxOffset {
			return fmt.Errorf("counted part %v is out of range", c)
		}
	}
	if e.Removed != nil && e.Removed.IsZero() {
		return errors.New("the time of removal is not set")
	}
	if err := validatePosition(e.RemovedAt); err != nil {
		return fmt.Errorf("end of the log at the removal: %w", err)
	}
	if e.Fresh != nil {
		if err := e.validateFresh(); err != nil {
			return fmt.Errorf("fresh range: %w", err)
		}
	}
	return nil
}

func validatePosition(p cursor.Position) error {
	if p.Segment < 0 || p.Segment > maxSegment || p.Offset < 0 || p.Offset > maxOffset {
		return fmt.Errorf("position %d:%d is out of range", p.Segment, p.Offset)
	}
	return nil
}
