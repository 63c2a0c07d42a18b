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
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// TestDefine covers tables that are fed from another writer's log: the last
// definition holds, and the outcome for one series is never taken for that of
// another with its ref (I3).
func TestDefine(t *testing.T) {
	table := New(Options{})
	a, b := labels.FromStrings("__name__", "a"), labels.FromStrings("__name__", "b")
	var removed []chunks.HeadSeriesRef
	table.OnRemove(func(refs []chunks.HeadSeriesRef) {
		for _, ref := range refs {
			require.Nil(t, table.Resolve(ref), "listeners come first")
		}
		removed = append(removed, refs...)
	})
	table.Define(1, a, 0, 0)
	old := table.Resolve(1)
	table.Define(1, a, 3, 3)
	require.Zero(t, table.Resolve(1).DefinedIn())
	require.Same(t, old, table.Resolve(1))
	require.Equal(t, 3, old.RetiredAt())
	require.False(t, old.Gone())

	table.Define(1, b, 1, 1)
	require.Equal(t, []chunks.HeadSeriesRef{1}, removed)
	require.True(t, old.Gone())
	require.Equal(t, a, old.Labels(), "holders of the old series may use it")
	require.Equal(t, b, table.Resolve(1).Labels())
	require.Equal(t, 1, table.Resolve(1).RetiredAt())

	// Other refs of a label set are series of their own.
	table.Define(2, b, 4, 4)
	require.Equal(t, b, table.Resolve(2).Labels())
	require.Equal(t, 4, table.Resolve(2).RetiredAt())
	table.Define(3, a, 1, 1)
	table.Resolve(3).Mentioned(5)
	active, retired := table.Len()
	require.Equal(t, 3, active+retired)

	require.Equal(t, []chunks.HeadSeriesRef{1}, table.DropUnmentioned(2))
	require.Nil(t, table.Resolve(1))
	require.Equal(t, []chunks.HeadSeriesRef{1, 1}, removed)
	table.Define(2, b, 4, 4)
	require.Equal(t, b, table.Resolve(2).Labels(), "it does not depend on the one that had the labels first")
	require.ElementsMatch(t, []chunks.HeadSeriesRef{2, 3}, table.DropUnmentioned(6))
	active, retired = table.Len()
	require.Zero(t, active+retired)
	require.Empty(t, table.DropUnmentioned(100))

	// They come back.
	table.Define(2, b, 7, 7)
	require.Equal(t, b, table.Resolve(2).Labels())
}
