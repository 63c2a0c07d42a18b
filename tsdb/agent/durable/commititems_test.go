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
	"math/rand"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// counted is an item as a position counts it.
type counted struct {
	ref   chunks.HeadSeriesRef
	kind  string
	st, t int64
}

// listing lists the items of an in-memory commit.
type listing []counted

func (l *listing) Float(s *series.Series, st, t int64, _ float64) {
	*l = append(*l, counted{s.Ref(), "float", st, t})
}

func (l *listing) Histogram(s *series.Series, st, t int64, _ *histogram.Histogram) {
	*l = append(*l, counted{s.Ref(), "histogram", st, t})
}

func (l *listing) FloatHistogram(s *series.Series, st, t int64, _ *histogram.FloatHistogram) {
	*l = append(*l, counted{s.Ref(), "float histogram", st, t})
}

func (l *listing) Exemplar(s *series.Series, t int64, _ float64, _ labels.Labels) {
	*l = append(*l, counted{s.Ref(), "exemplar", 0, t})
}

// read lists what a reader of the records finds.
func (l *listing) read(t *testing.T, recs [][]byte) {
	dec := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
	for _, rec := range recs {
		switch dec.Type(rec) {
		case record.Samples, record.SamplesV2:
			all, err := dec.Samples(rec, nil)
			require.NoError(t, err)
			for _, s := range all {
				*l = append(*l, counted{s.Ref, "float", s.ST, s.T})
			}
		case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
			all, err := dec.HistogramSamples(rec, nil)
			require.NoError(t, err)
			for _, s := range all {
				*l = append(*l, counted{s.Ref, "histogram", s.ST, s.T})
			}
		case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
			all, err := dec.FloatHistogramSamples(rec, nil)
			require.NoError(t, err)
			for _, s := range all {
				*l = append(*l, counted{s.Ref, "float histogram", s.ST, s.T})
			}
		case record.Exemplars:
			all, err := dec.Exemplars(rec, nil)
			require.NoError(t, err)
			for _, e := range all {
				*l = append(*l, counted{e.Ref, "exemplar", 0, e.T})
			}
		default:
			require.Fail(t, "unexpected record", "type %s", dec.Type(rec))
		}
	}
}

// TestCommitItemsMatchRecords defends I2 and I8: what an in-memory commit has is,
// item by item and in the same order, what a reader of the log finds, with any
// mixture of kinds, records of any size and both ways to keep start timestamps.
// Saved positions count items, so that another order would skip others after a
// restart.
func TestCommitItemsMatchRecords(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	for run := range 60 {
		opts := DefaultOptions()
		opts.EnableSTStorage = run%2 == 0
		db, err := open(promslog.NewNopLogger(), nil, nil, t.TempDir(), opts, realEnvironment)
		require.NoError(t, err)
		db.recordLimit = 100 << rnd.Intn(12)
		app := db.AppenderV2(t.Context()).(*appenderV2)
		for i := range rnd.Intn(200) {
			var (
				h     *histogram.Histogram
				fh    *histogram.FloatHistogram
				aopts storage.AOptions
			)
			switch rnd.Intn(8) {
			case 0:
				h = tsdbutil.GenerateTestHistogram(int64(i))
			case 1:
				h = tsdbutil.GenerateTestCustomBucketsHistogram(int64(i))
			case 2:
				fh = tsdbutil.GenerateTestFloatHistogram(int64(i))
			case 3:
				fh = tsdbutil.GenerateTestCustomBucketsFloatHistogram(int64(i))
			case 4:
				aopts.Exemplars = []exemplar.Exemplar{{Labels: labels.FromStrings("trace", "x"), Value: float64(i), Ts: int64(i)}}
			}
			lset := labels.FromStrings("__name__", "m", "i", string(rune('a'+rnd.Intn(20))))
			_, err := app.Append(0, lset, int64(i), int64(1000+i), 1, h, fh, aopts)
			require.NoError(t, err)
		}
		var got, read listing
		items := app.itemsInto(nil)
		items.collector = &got
		app.encodeSamples(&db.encoder, db.recordLimit, items)
		read.read(t, app.out.recs)
		require.Equal(t, read, got)
		require.NoError(t, app.Rollback())
		require.NoError(t, db.Close())
	}
}
