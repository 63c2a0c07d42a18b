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
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb/chunks"
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

// costlyRules are rules with five regular expressions, of which the last changes
// a label of all.
func costlyRules(tb testing.TB) *rules {
	tb.Helper()
	var configs []*relabel.Config
	for i := range 5 {
		c := relabel.DefaultRelabelConfig
		c.SourceLabels = model.LabelNames{"__name__", "pod"}
		c.Regex = relabel.MustNewRegexp(fmt.Sprintf("(go_%d.*|kube_(pod|node)_%d.+|up%d);.*-x%d.*", i, i, i, i))
		c.Action = relabel.Drop
		c.NameValidationScheme = model.UTF8Validation
		if i == 4 {
			c.Action, c.TargetLabel, c.Replacement = relabel.Replace, "to", "x$1"
			c.SourceLabels, c.Regex = model.LabelNames{"pod"}, relabel.MustNewRegexp("pod-(.*)-abcdef")
		}
		configs = append(configs, &c)
	}
	return newRules(labels.FromStrings("cluster", "c"), configs)
}

func podLabels(i int) labels.Labels {
	return labels.FromStrings("__name__", "container_cpu_usage_seconds_total", "pod", fmt.Sprintf("pod-%d-abcdef", i),
		"namespace", "default", "node", "n1", "container", "c", "job", "cadvisor")
}

func goneSeriesFrom(from, to int) (all []*series.Series) {
	for i := from; i < to; i++ {
		all = append(all, series.Detached(chunks.HeadSeriesRef(i+1), podLabels(i)))
	}
	return all
}

// TestRulesOfGoneSeries: what rules make of a series that has left the table is
// remembered while it is met again and again, within a bound (I6), and is not the
// outcome of another.
func TestRulesOfGoneSeries(t *testing.T) {
	r := costlyRules(t)
	all := goneSeriesFrom(0, 100)
	at := func(i int) *series.Series { return all[i] }
	var out []judgement
	judged := func() {
		t.Helper()
		out = r.judge(len(all), at, out)
		for i, j := range out {
			require.True(t, j.changed)
			require.Equal(t, fmt.Sprintf("x%d", int(all[i].Ref())-1), j.labels.Get("to"))
		}
	}
	judged()
	require.Empty(t, r.pages, "no event would say when to forget it")
	require.Less(t, testing.AllocsPerRun(10, func() { out = r.judge(len(all), at, out) }), 100.0, "the rules were applied again")
	judged()

	for from := 100; from < 3*evictedGeneration; from += 1000 {
		all = goneSeriesFrom(from, from+1000)
		judged()
	}
	require.LessOrEqual(t, len(r.gone.young)+len(r.gone.old), 2*evictedGeneration)
	require.Greater(t, len(r.gone.young)+len(r.gone.old), evictedGeneration)
	for range 2 {
		r.forget(nil) // As when series leave the table.
	}
	require.Empty(t, r.gone.young)
	require.Empty(t, r.gone.old)
	judged()
}

// TestRulesBlockNoLookup defends I5: rules are applied without blocking callers that
// only look up what is known, such as endpoints that have nothing to catch up with.
func TestRulesBlockNoLookup(t *testing.T) {
	r := costlyRules(t)
	all := goneSeriesFrom(0, 10)
	r.mu.RLock() // A caller looks something up.
	done := make(chan []judgement)
	go func() { done <- r.judge(len(all), func(i int) *series.Series { return all[i] }, nil) }()
	select {
	case out := <-done:
		require.True(t, out[9].changed)
	case <-time.After(10 * time.Second):
		require.Fail(t, "series that are gone are judged under the lock of all")
	}
	r.mu.RUnlock()
}

// BenchmarkJudge measures rules with five regular expressions. One operation is
// a request of 2000 samples, of a window with 16 of each series. "beside" is what
// an endpoint waits that keeps up and has the same rules, while another one
// catches up on series that are gone.
func BenchmarkJudge(b *testing.B) {
	const samples, rounds = 2000, 16
	window := func(all []*series.Series, n int) func(int) *series.Series {
		from := n * samples / rounds
		return func(i int) *series.Series { return all[(from+i/rounds)%len(all)] }
	}
	gone := goneSeriesFrom(0, 5000)
	b.Run("gone", func(b *testing.B) {
		r := costlyRules(b)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var out []judgement
			for n := 0; pb.Next(); n++ {
				out = r.judge(samples, window(gone, n), out)
			}
		})
		b.ReportMetric(float64(b.N)*samples/b.Elapsed().Seconds(), "samples/s")
	})
	table := series.New(series.Options{})
	var live []*series.Series
	for i := range samples {
		s, _ := table.GetOrCreate(podLabels(i), func() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(i + 1) })
		live = append(live, s)
	}
	at := func(i int) *series.Series { return live[i] }
	b.Run("known/beside", func(b *testing.B) {
		r := costlyRules(b)
		out := r.judge(samples, at, nil)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			var out []judgement
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					out = r.judge(samples, window(gone, n), out)
				}
			}
		}()
		b.ResetTimer()
		for b.Loop() {
			out = r.judge(samples, at, out)
		}
		close(stop)
		<-stopped
	})
	b.Run("new", func(b *testing.B) {
		var out []judgement
		for b.Loop() {
			r := costlyRules(b)
			out = r.judge(samples, at, out)
		}
	})
}
