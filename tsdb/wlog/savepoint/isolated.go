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
	"fmt"
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Isolated is a series of which an endpoint has had less acknowledged than of
// the partition it belongs to: the endpoint does not take it while it takes
// others, which went past it.
//
// A reader that does not know isolated series finds in the place of the marks of
// their partitions the lowest mark of theirs, and so sends the others once more.
// Nothing is lost.
type Isolated struct {
	// Series is labels.StableHash of the series. Its partition is the rest of a
	// division by the number of partitions.
	Series uint64
	// Mark is how far the series is acknowledged. Its Skip counts items of the
	// partition, whatever series they are of.
	Mark Mark
}

// IsolatedFor returns a copy of the isolated series, those of a fresh range aside,
// for the given number of partitions. If the file was written with another number
// they are of no use, and MarksFor begins at the floor, which is not after any of
// them.
func (e *Endpoint) IsolatedFor(partitions int) []Isolated {
	if len(e.Acked) != partitions {
		return nil
	}
	return slices.Clone(e.Isolated)
}

// Cautious returns what is known of a range without regard to isolated series:
// of each partition the lowest mark.
func Cautious(acked []Mark, series []Isolated) []Mark {
	out := slices.Clone(acked)
	for _, s := range series {
		if p := s.Series % uint64(len(out)); s.Mark.Less(out[p]) {
			out[p] = s.Mark
		}
	}
	return out
}

// Less reports whether m is before o, also within one batch.
func (m Mark) Less(o Mark) bool {
	if c := m.Compare(o.Position); c != 0 {
		return c < 0
	}
	return m.Skip < o.Skip
}

// validateIsolated checks that no isolated series lies before a position, from
// which on the log is kept for the range.
func validateIsolated(series []Isolated, from cursor.Position) error {
	for _, s := range series {
		if err := s.Mark.validate(); err != nil {
			return fmt.Errorf("mark of isolated series %016x: %w", s.Series, err)
		}
		if s.Mark.Before(from) {
			return fmt.Errorf("mark %s of isolated series %016x is before %s", s.Mark.Position, s.Series, from)
		}
	}
	return nil
}
