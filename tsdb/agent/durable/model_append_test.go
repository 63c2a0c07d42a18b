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
	"math/rand"
	"strconv"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// modelWriters append side by side, each to series of its own.
const modelWriters = 3

// write commits to the writer's series, in a run that may end meanwhile.
func (m *modelRun) write(db *DB, run, writer int, st step, commits int) {
	rng := rand.New(rand.NewSource(st.seed + int64(writer)))
	for range commits {
		m.commit(db, run, rng, writer, st.width)
	}
}

// modelAppender is what both kinds of appenders come down to here.
type modelAppender struct {
	storage.AppenderTransaction
	add func(ref storage.SeriesRef, lset labels.Labels, t int64, v float64, h *histogram.Histogram, e *exemplar.Exemplar) (storage.SeriesRef, error)
}

func newModelAppender(db *DB, second bool) modelAppender {
	if second {
		app := db.AppenderV2(context.Background())
		return modelAppender{app, func(ref storage.SeriesRef, lset labels.Labels, t int64, v float64, h *histogram.Histogram, e *exemplar.Exemplar) (storage.SeriesRef, error) {
			opts := storage.AppendV2Options{}
			if e != nil {
				opts.Exemplars = []exemplar.Exemplar{*e}
			}
			return app.Append(ref, lset, 0, t, v, h, nil, opts)
		}}
	}
	app := db.Appender(context.Background())
	return modelAppender{app, func(ref storage.SeriesRef, lset labels.Labels, t int64, v float64, h *histogram.Histogram, e *exemplar.Exemplar) (_ storage.SeriesRef, err error) {
		if h != nil {
			ref, err = app.AppendHistogram(ref, lset, t, h, nil)
		} else {
			ref, err = app.Append(ref, lset, t, v)
		}
		if err == nil && e != nil {
			_, err = app.AppendExemplar(ref, lset, *e)
		}
		return ref, err
	}}
}

func (m *modelRun) commit(db *DB, run int, rng *rand.Rand, writer, width int) {
	var (
		app     = newModelAppender(db, rng.Intn(2) == 0)
		batch   []*modelSample
		own     = (len(m.series) - writer + modelWriters - 1) / modelWriters
		from    = rng.Intn(own)
		stamped = m.time.Add(int64(1 + rng.Intn(5)))
		failed  bool
	)
	for k := range min(1+rng.Intn(width), own) {
		s := m.series[writer+modelWriters*((from+k)%own)]
		sample := m.add(s, run, stamped)
		batch = append(batch, sample)
		if failed = m.append(app, s, sample, rng) != nil; failed {
			break
		}
	}
	if failed || rng.Intn(20) == 0 {
		m.rolledBack(batch)
		_ = app.Rollback() // It never fails.
		return
	}
	if app.Commit() == nil {
		m.committed(batch)
	}
}

func (*modelRun) append(app modelAppender, s *modelSeries, sample *modelSample, rng *rand.Rand) (err error) {
	var (
		ref = s.ref
		v   = float64(sample.number)
		h   *histogram.Histogram
		e   *exemplar.Exemplar
	)
	if s.refRun != sample.run || rng.Intn(4) == 0 {
		ref = 0
	}
	if s.histogram {
		h = &histogram.Histogram{
			Schema: 1, Count: 3, Sum: v,
			PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1, 1},
		}
	}
	if rng.Intn(30) == 0 {
		e = &exemplar.Exemplar{Labels: labels.FromStrings("id", strconv.Itoa(sample.number)), Value: v, Ts: sample.t, HasTs: true}
	}
	if ref, err = app.add(ref, s.lset, sample.t, v, h, e); err == nil {
		s.ref, s.refRun = ref, sample.run
	}
	return err
}
