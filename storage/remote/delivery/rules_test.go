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

package delivery

import (
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// TestRules covers what rules store: nothing without rules, and for equal rules
// one result each.
func TestRules(t *testing.T) {
	table := series.New(series.Options{})
	var all []*series.Series
	for i, l := range []labels.Labels{
		labels.FromStrings("__name__", "kept", "env", "own"),
		labels.FromStrings("__name__", "dropped"),
		labels.FromStrings("__name__", "changed"),
	} {
		s, _ := table.GetOrCreate(l, func() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(i + 1) })
		all = append(all, s)
	}
	at := func(i int) *series.Series { return all[i] }
	external := labels.FromStrings("env", "test", "replica", "1")

	var rb rulebook
	none, err := rb.get(external, nil)
	require.NoError(t, err)
	for i, j := range none.judge(3, at, nil) {
		require.Equal(t, judgement{}, j, i)
	}
	require.Empty(t, none.pages)

	configs := []*relabel.Config{
		{SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("dropped"), Action: relabel.Drop, NameValidationScheme: model.UTF8Validation},
		{SourceLabels: model.LabelNames{"__name__", "replica"}, Separator: "/", Regex: relabel.MustNewRegexp("changed/(.*)"), Action: relabel.Replace, TargetLabel: "new", Replacement: "$1", NameValidationScheme: model.UTF8Validation},
	}
	r, err := rb.get(external, configs)
	require.NoError(t, err)
	same, err := rb.get(external, append([]*relabel.Config{}, configs...))
	require.NoError(t, err)
	require.Same(t, r, same)
	for range 2 {
		got := r.judge(3, at, nil)
		require.Equal(t, judgement{}, got[0])
		require.True(t, got[1].drop)
		require.Equal(t, judgement{changed: true, labels: labels.FromStrings("__name__", "changed", "env", "test", "replica", "1", "new", "1")}, got[2])
	}
	require.Len(t, r.changed, 1)
	r.forget([]chunks.HeadSeriesRef{1, 2, 3, 4})
	require.Empty(t, r.pages)
	require.Empty(t, r.changed)
	rb.retain(map[*rules]bool{none: true})
	require.Len(t, rb.rules, 1)
}
