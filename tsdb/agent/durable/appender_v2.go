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
	"fmt"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
)

// appenderV2 is the second version of the appender interface over a batch.
type appenderV2 struct {
	batch
}

// Append implements storage.AppenderV2. Of two histograms, the one of floats is
// taken.
func (a *appenderV2) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if fh != nil {
		h = nil
	}
	in := sample{st: st, t: t, v: v, h: h, fh: fh}
	if err := a.check(in); err != nil {
		return 0, err
	}
	s, err := a.acquire(ref, ls)
	if err != nil {
		return 0, err
	}
	last := s.LastSampleTimestamp()
	if a.db.opts.EnableSTAsZeroSample && st != 0 {
		a.tryZero(s, last, in)
	}
	if a.tooOld(last, t) {
		return 0, a.refuseTooOld(s)
	}
	a.add(s, in)
	a.describe(s, opts.Metadata)

	// A stale marker has nothing to say but that it is one.
	if len(opts.Exemplars) > 0 && !in.stale() {
		err = a.appendExemplars(s, opts.Exemplars)
	}
	return storage.SeriesRef(s.Ref()), err
}

// stale reports whether the sample marks the end of a series.
func (v sample) stale() bool {
	switch {
	case v.fh != nil:
		return value.IsStaleNaN(v.fh.Sum)
	case v.h != nil:
		return value.IsStaleNaN(v.h.Sum)
	default:
		return value.IsStaleNaN(v.v)
	}
}

// tryZero adds a zero sample at the start timestamp of in, if that lies between
// the series' last timestamp and the sample's. Otherwise there is nothing to do,
// and nothing wrong: it is the same start as before, or none that makes sense.
func (a *appenderV2) tryZero(s *series.Series, last int64, in sample) {
	if in.st >= in.t || in.st <= last {
		reason := storage.ErrOutOfOrderST
		if in.st >= in.t {
			reason = storage.ErrSTNewerThanSample
		}
		a.db.logger.Debug("No zero sample for a start timestamp", "series", s.Labels(), "st", in.st, "t", in.t, "reason", reason)
		return
	}
	zero := sample{t: in.st}
	// A zero sample is a counter reset by definition. Layout and custom values
	// are those of the sample, which lets receivers keep both in one chunk.
	switch {
	case in.fh != nil:
		zero.fh = &histogram.FloatHistogram{
			CounterResetHint: histogram.CounterReset, CustomValues: in.fh.CustomValues,
			Schema: in.fh.Schema, ZeroThreshold: in.fh.ZeroThreshold,
		}
	case in.h != nil:
		zero.h = &histogram.Histogram{
			CounterResetHint: histogram.CounterReset, CustomValues: in.h.CustomValues,
			Schema: in.h.Schema, ZeroThreshold: in.h.ZeroThreshold,
		}
	}
	// The zero sample needs a pin of its own, and gets it, since s has one.
	if a.db.table.Pin(s) {
		a.add(s, zero)
	}
}

// appendExemplars adds those that are valid and new, and returns what was wrong
// with the others as a partial error.
func (a *appenderV2) appendExemplars(s *series.Series, es []exemplar.Exemplar) error {
	var wrong []storage.ExemplarError
	for i, e := range es {
		if _, err := a.addExemplar(s, e); err != nil {
			wrong = append(wrong, storage.ExemplarError{Index: i, Err: err})
		}
	}
	if len(wrong) > 0 {
		return &storage.AppendPartialError{ExemplarErrors: wrong}
	}
	return nil
}

// AppendExemplars implements storage.ExemplarAppenderV2. It takes exemplars that come without a sample: remote write has
// them apart from the samples of their series, which is known already.
func (a *appenderV2) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (storage.SeriesRef, error) {
	s := a.db.known(ref, ls)
	if s == nil {
		return 0, fmt.Errorf("exemplars for unknown series, ref %d, labels %s: %w", ref, ls, storage.ErrNotFound)
	}
	before := len(a.exemplars)
	err := a.appendExemplars(s, es)
	if len(a.exemplars) == before {
		s.Unpin()
		return storage.SeriesRef(s.Ref()), err
	}
	a.noteUnlogged(s)
	a.pinned = append(a.pinned, s)
	return storage.SeriesRef(s.Ref()), err
}

// Commit implements storage.AppenderTransaction.
func (a *appenderV2) Commit() error {
	defer a.db.appendersV2.Put(a)
	return a.commit()
}

// Rollback implements storage.AppenderTransaction.
func (a *appenderV2) Rollback() error {
	defer a.db.appendersV2.Put(a)
	a.clear()
	return nil
}
