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

package series

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// This file is for tables that are fed from another writer's log, in which only
// records and checkpoints tell of a series' life.

// Define makes ref mean a label set from here on and notes that a segment
// mentions it. What ref meant before, if that was another label set, is
// dead when Define returns, and OnRemove's functions were told before ref
// resolves again.
//
// The record that defines lies in the segment by, which [Series.DefinedIn] returns then:
// of several records with the same labels that of the first.
//
// Like Insert, Define belongs to one goroutine. Unlike that, it may run beside
// readers, and never beside GetOrCreate or Retire.
func (t *Table) Define(ref chunks.HeadSeriesRef, lset labels.Labels, segment, by int) {
	if old := t.refs.get(ref); old != nil {
		if old.Has(lset) {
			old.Mentioned(segment)
			return
		}
		t.discard(old)
		t.announce([]chunks.HeadSeriesRef{ref})
	}
	t.insert(ref, lset, segment, int64(by)) // Without appends, lastTs is free.
	t.refs.get(ref).Mentioned(segment)
}

// DefinedIn returns the segment that Define was told. It is for series that Define has
// made.
func (s *Series) DefinedIn() int { return int(s.lastTs.Load()) }

// DropUnmentioned removes the series that no segment from floor on mentions, as
// Mentioned and Define were told, and returns their refs, in no particular
// order. It belongs to the goroutine that calls Define.
func (t *Table) DropUnmentioned(floor int) []chunks.HeadSeriesRef {
	return t.drop(func(s *Series, state int32) bool { return state <= 0 && s.RetiredAt() < floor })
}
