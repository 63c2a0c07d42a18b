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

// commitItems fills the in-memory commit that the sender gets. Item by item it is
// what a reader of the records would find, in the same order: saved positions
// count items. Without a collector it does nothing.
type commitItems struct {
	collector
	table  *series.Table
	starts bool // The log keeps start timestamps.
}

func (c *commitItems) start(st int64) int64 {
	if c.starts {
		return st
	}
	return 0
}

// samples adds the floats of a record. of says which series they are, or is nil.
func (c *commitItems) samples(part []record.RefSample, of []touch) {
	if c.collector == nil {
		return
	}
	if of != nil {
		for i := range part {
			c.Float(of[i].series, c.start(part[i].ST), part[i].T, part[i].V)
		}
		return
	}
	for i := range part {
		// They are pinned, so that all of them resolve.
		c.Float(c.table.Resolve(part[i].Ref), c.start(part[i].ST), part[i].T, part[i].V)
	}
}

// histograms adds those of a record. Custom buckets may have a record of their own
// behind that of the others; all is false then for the first.
func (c *commitItems) histograms(part []record.RefHistogramSample, all bool) {
	if c.collector == nil {
		return
	}
	for i := range part {
		if s := &part[i]; all || !s.H.UsesCustomBuckets() {
			c.Histogram(c.table.Resolve(s.Ref), c.start(s.ST), s.T, s.H)
		}
	}
}

// floatHistograms is the same for histograms of floats.
func (c *commitItems) floatHistograms(part []record.RefFloatHistogramSample, all bool) {
	if c.collector == nil {
		return
	}
	for i := range part {
		if s := &part[i]; all || !s.FH.UsesCustomBuckets() {
			c.FloatHistogram(c.table.Resolve(s.Ref), c.start(s.ST), s.T, s.FH)
		}
	}
}

func (c *commitItems) exemplars(part []record.RefExemplar) {
	if c.collector == nil {
		return
	}
	for i := range part {
		c.Exemplar(c.table.Resolve(part[i].Ref), part[i].T, part[i].V, part[i].Labels)
	}
}
