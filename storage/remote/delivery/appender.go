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
	"context"

	"github.com/prometheus/common/model"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

var (
	_ storage.Storage               = (*Storage)(nil)
	_ storage.CostSamplingQueryable = (*Storage)(nil)
	_ storage.ExemplarAppenderV2    = (*appenderV2)(nil)
)

// The storage stores nothing: samples come to it through the log. Its appenders
// only let others count what comes in, and note the highest timestamp.

// Highest notes the timestamp in ms of a sample that was appended elsewhere.
func (s *Storage) Highest(t int64) { s.metrics.highest.raise(t) }

// Appender implements storage.Storage.
func (s *Storage) Appender(ctx context.Context) storage.Appender {
	return &appender{Appender: s.reads.Appender(ctx), s: s}
}

// AppenderV2 implements storage.Storage.
func (s *Storage) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &appenderV2{AppenderV2: s.reads.AppenderV2(ctx), s: s}
}

type appender struct {
	storage.Appender
	s       *Storage
	highest int64
}

func (a *appender) Append(ref storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	a.highest = max(a.highest, t)
	return a.Appender.Append(ref, l, t, v)
}

func (a *appender) AppendHistogram(ref storage.SeriesRef, l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	a.highest = max(a.highest, t)
	return a.Appender.AppendHistogram(ref, l, t, h, fh)
}

func (a *appender) Commit() error {
	a.s.Highest(a.highest)
	return a.Appender.Commit()
}

type appenderV2 struct {
	storage.AppenderV2
	s       *Storage
	highest int64
}

func (a *appenderV2) Append(ref storage.SeriesRef, l labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	a.highest = max(a.highest, t)
	return a.AppenderV2.Append(ref, l, st, t, v, h, fh, opts)
}

// AppendExemplars implements storage.ExemplarAppenderV2: stock's counts them.
func (a *appenderV2) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	if to, ok := a.AppenderV2.(storage.ExemplarAppenderV2); ok {
		return to.AppendExemplars(ref, ls, es)
	}
	return ref, nil
}

func (a *appenderV2) Commit() error {
	a.s.Highest(a.highest)
	return a.AppenderV2.Commit()
}

// CostSamplingQueryable implements storage.CostSamplingQueryable by remote read.
func (s *Storage) CostSamplingQueryable() (storage.SampleAndChunkQueryable, bool) {
	return s.reads.CostSamplingQueryable()
}

// StartTime implements storage.Storage: nothing is stored here.
func (*Storage) StartTime() (int64, error) { return int64(model.Latest), nil }

// Querier implements storage.Storage by remote read.
func (s *Storage) Querier(mint, maxt int64) (storage.Querier, error) {
	return s.reads.Querier(mint, maxt)
}

// ChunkQuerier implements storage.Storage by remote read.
func (s *Storage) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return s.reads.ChunkQuerier(mint, maxt)
}
