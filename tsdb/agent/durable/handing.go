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
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"
)

// touch is a sample's timestamp and its series, which is pinned.
type touch struct {
	series *series.Series
	t      int64
}

// collector takes the items of a commit; *delivery.Commit is one.
type collector interface {
	Float(s *series.Series, st, t int64, v float64)
	Histogram(s *series.Series, st, t int64, h *histogram.Histogram)
	FloatHistogram(s *series.Series, st, t int64, h *histogram.FloatHistogram)
	Exemplar(s *series.Series, t int64, v float64, lset labels.Labels)
}

// handing fills what the sender gets of a commit in memory. Item by item it is
// what a reader of the records would find, in the same order: saved positions
// count items. Without a collector it does nothing.
type handing struct {
	collector
	table  *series.Table
	starts bool // The log keeps start timestamps.
}

func (h *handing) start(st int64) int64 {
	if h.starts {
		return st
	}
	return 0
}

// samples adds the floats of a run. of says which series they are, or is nil.
func (h *handing) samples(run []record.RefSample, of []touch) {
	if h.collector == nil {
		return
	}
	if of != nil {
		for i := range run {
			h.Float(of[i].series, h.start(run[i].ST), run[i].T, run[i].V)
		}
		return
	}
	for i := range run {
		// They are pinned, so that all of them resolve.
		h.Float(h.table.Resolve(run[i].Ref), h.start(run[i].ST), run[i].T, run[i].V)
	}
}

// histograms adds those of a run. Custom buckets may have a record of their own
// behind that of the others; all is false then for the first.
func (h *handing) histograms(run []record.RefHistogramSample, all bool) {
	if h.collector == nil {
		return
	}
	for i := range run {
		if s := &run[i]; all || !s.H.UsesCustomBuckets() {
			h.Histogram(h.table.Resolve(s.Ref), h.start(s.ST), s.T, s.H)
		}
	}
}

// floatHistograms is the same for histograms of floats.
func (h *handing) floatHistograms(run []record.RefFloatHistogramSample, all bool) {
	if h.collector == nil {
		return
	}
	for i := range run {
		if s := &run[i]; all || !s.FH.UsesCustomBuckets() {
			h.FloatHistogram(h.table.Resolve(s.Ref), h.start(s.ST), s.T, s.FH)
		}
	}
}

func (h *handing) exemplars(run []record.RefExemplar) {
	if h.collector == nil {
		return
	}
	for i := range run {
		h.Exemplar(h.table.Resolve(run[i].Ref), run[i].T, run[i].V, run[i].Labels)
	}
}
