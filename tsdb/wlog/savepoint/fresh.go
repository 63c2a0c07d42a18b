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
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Fresh is the second range of an endpoint that delivers what is new before it
// has delivered what is old. The first range, the backlog, then ends where this
// one begins: Endpoint.Acked and Endpoint.Floor are those of the backlog.
//
// A reader that does not know it takes the marks of the backlog for those of
// the whole log and sends the fresh range once more; as Endpoint.Dispatched is
// not before Fresh.Dispatched, all of it counts as perhaps sent. So nothing is
// lost.
type Fresh struct {
	// From is where the backlog ends and the fresh range begins: the end of a
	// commit. No mark of the backlog is after it, none of Acked before it.
	From cursor.Point `json:"from"`
	// Dispatched is the dispatch watermark of the fresh range. It is not before
	// From.
	Dispatched cursor.Position `json:"dispatched"`
	// Acked holds a mark per partition, of the fresh range.
	Acked []Mark `json:"-"`
	// Isolated are the isolated series of the range.
	Isolated []Isolated `json:"-"`
	runs
	// BacklogDispatched is the dispatch watermark of the backlog. It is not after
	// From.
	BacklogDispatched cursor.Position `json:"backlog_dispatched"`
}

// UnmarshalJSON reads a range but for its marks.
func (f *Fresh) UnmarshalJSON(data []byte) error {
	type plain Fresh
	*f = Fresh{From: cursor.Point{Position: unset}, Dispatched: unset, BacklogDispatched: unset}
	if err := json.Unmarshal(data, (*plain)(f)); err != nil {
		return fmt.Errorf("fresh range: %w", err)
	}
	switch unset {
	case f.From.Position:
		return errors.New("fresh range: from: a point has 0 elements, not 3")
	case f.Dispatched:
		return errors.New("fresh range: dispatched: a position has 0 elements, not 2")
	case f.BacklogDispatched:
		return errors.New("fresh range: backlog_dispatched: a position has 0 elements, not 2")
	}
	return nil
}

// FreshFor returns a copy of the fresh range for the given number of
// partitions, nil if there is none. If the file was written with another
// number it is of no use and left out: where the backlog of a new partition
// ends is then not known, and MarksFor begins at the floor.
func (e *Endpoint) FreshFor(partitions int) *Fresh {
	if e.Fresh == nil || len(e.Acked) != partitions {
		return nil
	}
	f := *e.Fresh
	f.Acked, f.Isolated = slices.Clone(f.Acked), slices.Clone(f.Isolated)
	return &f
}

// validateFresh checks that the two ranges of e meet at one point and that
// nothing of either lies in the other.
func (e *Endpoint) validateFresh() error {
	f := e.Fresh
	for _, at := range []struct {
		what string
		pos  cursor.Position
	}{{"from", f.From.Position}, {"dispatch watermark", f.Dispatched}, {"dispatch watermark of the backlog", f.BacklogDispatched}} {
		if err := validatePosition(at.pos); err != nil {
			return fmt.Errorf("%s: %w", at.what, err)
		}
	}
	switch {
	case f.Dispatched.Before(f.From.Position):
		return fmt.Errorf("dispatch watermark %s is before the beginning %s", f.Dispatched, f.From.Position)
	case f.From.Before(f.BacklogDispatched):
		return fmt.Errorf("dispatch watermark %s of the backlog is after its end %s", f.BacklogDispatched, f.From.Position)
	case e.Dispatched.Before(f.Dispatched):
		// A reader that ignores the range would take what was sent for new.
		return fmt.Errorf("dispatch watermark %s of the endpoint is before that of the fresh range, %s", e.Dispatched, f.Dispatched)
	case len(f.Acked) != len(e.Acked):
		return fmt.Errorf("%d marks for %d partitions", len(f.Acked), len(e.Acked))
	}
	if err := validateIsolated(f.Isolated, e.Floor.Position); err != nil {
		return err
	}
	for p, m := range f.Acked {
		if err := m.validate(); err != nil {
			return fmt.Errorf("mark of partition %d: %w", p, err)
		}
		if m.Before(f.From.Position) {
			return fmt.Errorf("mark %s of partition %d is before the beginning %s", m.Position, p, f.From.Position)
		}
		switch b := e.Acked[p]; {
		case f.From.Before(b.Position):
			return fmt.Errorf("mark %s of the backlog of partition %d is after its end %s", b.Position, p, f.From.Position)
		case b.Position == f.From.Position && b.Skip > 0:
			return fmt.Errorf("mark of the backlog of partition %d skips items after its end", p)
		}
	}
	return nil
}

func (m Mark) validate() error {
	if err := validatePosition(m.Position); err != nil {
		return err
	}
	if m.Skip < 0 || m.Skip > maxSkip {
		return fmt.Errorf("skip %d is out of range", m.Skip)
	}
	return nil
}
