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
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// TestPins reads series that only the reader holds, while their numbers are
// given to other strings if that is possible at all (invariant 3).
func TestPins(t *testing.T) {
	tbl := New(Options{})
	next := chunks.HeadSeriesRef(0)
	add := func(str string) *Series {
		s, _ := tbl.GetOrCreate(labels.FromStrings("a", str), func() chunks.HeadSeriesRef { next++; return next })
		return s
	}
	add("stays") // It is pinned: the names stay.
	paused := 0
	whenGone = func() {
		paused++
		// One more object, and time for its lease: those before it are closed by
		// then, unless a reader holds their series.
		collected := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, collected)
		runtime.GC()
		<-collected
		time.Sleep(time.Millisecond)
		tbl.sweep()
		for len(tbl.symbols.free) > 0 {
			add("other " + strconv.Itoa(int(next)))
		}
	}
	defer func() { whenGone = func() {} }()

	for name, read := range map[string]func(s *Series, lset labels.Labels) bool{
		"Value":      func(s *Series, lset labels.Labels) bool { return s.Value(0) == lset.Get("a") },
		"Labels":     func(s *Series, lset labels.Labels) bool { return labels.Equal(lset, s.Labels()) },
		"Has":        func(s *Series, lset labels.Labels) bool { return s.Has(lset) },
		"SameLabels": func(s *Series, lset labels.Labels) bool { return SameLabels(Detached(1, lset), s) },
		"Partition": func(s *Series, lset labels.Labels) bool {
			return s.Partition() == int(labels.StableHash(lset)%Partitions)
		},
		"First": func(s *Series, _ labels.Labels) bool { return tbl.First(s) == nil },
	} {
		for i := range 20 {
			lset := labels.FromStrings("a", name+strconv.Itoa(i))
			s := add(lset.Get("a"))
			s.Unpin()
			require.Len(t, tbl.Retire(time.Now().Add(time.Hour), func() int { return i }), 1)
			require.Len(t, tbl.Drop(i+1), 1)
			before := paused
			require.True(t, read(s, lset), name)
			require.Greater(t, paused, before, "%s uses no number", name)
		}
	}
}
