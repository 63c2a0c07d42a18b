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

package durable

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/record"
)

var _ storage.ExemplarAppenderV2 = (*appenderV2)(nil)

// What the receivers of remote write ask of an appender, exemplars and metadata
// beside the samples, by ref or by labels, has stock's answers, and the log holds
// the same.
func TestExemplarsAndMetadataAsStock(t *testing.T) {
	trace := func(id string) labels.Labels { return labels.FromStrings("trace_id", id) }
	counter := metadata.Metadata{Type: model.MetricTypeCounter, Help: "h"}
	run := func(s storage.Storage) (answers []string) {
		ctx := context.Background()
		app := s.AppenderV2(ctx).(storage.ExemplarAppenderV2)
		ref, err := app.Append(0, metric(1), 0, 10, 1, nil, nil, storage.AOptions{})
		require.NoError(t, err)
		exemplars := func(what string, ref storage.SeriesRef, l labels.Labels, es ...exemplar.Exemplar) {
			got, err := app.AppendExemplars(ref, l, es)
			answers = append(answers, what+": "+class(err))
			if err == nil {
				require.NotZero(t, got)
			}
		}
		exemplars("by ref", ref, labels.EmptyLabels(), exemplar.Exemplar{Labels: trace("a"), Value: 1, Ts: 10})
		exemplars("by labels", 0, metric(1), exemplar.Exemplar{Labels: trace("b"), Value: 2, Ts: 11}, exemplar.Exemplar{Labels: trace("c"), Value: 2, Ts: 12})
		exemplars("with an empty label", 0, labels.FromStrings("__name__", "m", "i", "1", "empty", ""), exemplar.Exemplar{Labels: trace("d"), Value: 2, Ts: 13})
		exemplars("the same again", ref, metric(1), exemplar.Exemplar{Labels: trace("d"), Value: 2, Ts: 13})
		exemplars("a wrong one among good ones", ref, metric(1),
			exemplar.Exemplar{Labels: trace("e"), Value: 3, Ts: 14},
			exemplar.Exemplar{Labels: trace(strings.Repeat("x", 200)), Value: 3, Ts: 15},
			exemplar.Exemplar{Labels: trace("f"), Value: 3, Ts: 16})
		exemplars("none", ref, metric(1))
		exemplars("of an unknown series", 0, metric(2), exemplar.Exemplar{Labels: trace("g"), Value: 1, Ts: 10})
		exemplars("of an unknown ref", 777, labels.EmptyLabels(), exemplar.Exemplar{Labels: trace("g"), Value: 1, Ts: 10})
		require.NoError(t, app.Commit())

		v1 := s.Appender(ctx)
		describe := func(what string, ref storage.SeriesRef, l labels.Labels, m metadata.Metadata) {
			got, err := v1.UpdateMetadata(ref, l, m)
			if err != nil {
				answers = append(answers, what+": refused")
				return
			}
			answers = append(answers, what+": "+map[bool]string{true: "a ref", false: "no ref"}[got != 0])
		}
		describe("by ref", ref, labels.EmptyLabels(), counter)
		describe("by labels", 0, metric(1), metadata.Metadata{Type: model.MetricTypeGauge, Help: "other"})
		describe("empty", ref, metric(1), metadata.Metadata{})
		describe("of an unknown series", 0, metric(2), counter)
		require.NoError(t, v1.Commit())

		// In a later transaction, and given up.
		app = s.AppenderV2(ctx).(storage.ExemplarAppenderV2)
		exemplars("later", ref, metric(1), exemplar.Exemplar{Labels: trace("h"), Value: 4, Ts: 17})
		require.NoError(t, app.Commit())
		app = s.AppenderV2(ctx).(storage.ExemplarAppenderV2)
		exemplars("rolled back", ref, metric(1), exemplar.Exemplar{Labels: trace("i"), Value: 4, Ts: 18})
		require.NoError(t, app.Rollback())
		return answers
	}
	for _, records := range []bool{true, false} {
		opts := small()
		opts.EnableMetadataWALRecords = records
		ourDir, stockDir := t.TempDir(), t.TempDir()
		ours := openTest(t, ourDir, nil, opts, still())
		stock := openStock(t, nil, stockDir, agent.Options{EnableMetadataWALRecords: records})
		require.Equal(t, run(stock), run(ours), "metadata-wal-records: %t", records)
		require.NoError(t, ours.Close())
		require.NoError(t, stock.Close())
		want, got := readLogged(t, stockDir).samples, readLogged(t, ourDir).samples
		require.Equal(t, 7, strings.Count(strings.Join(want, "\n"), "exemplar"))
		require.Equal(t, want, got)
		require.Equal(t, described(loggedMetadata(t, stockDir)), described(loggedMetadata(t, ourDir)))
	}
}

// described leaves out the refs, which need not be the same.
func described(recs []record.RefMetadata) (out []string) {
	for _, r := range recs {
		out = append(out, fmt.Sprint(r.Type, r.Unit, r.Help))
	}
	return out
}
