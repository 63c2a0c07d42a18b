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

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

var errNoHistogram = fmt.Errorf("histogram append without a histogram: %w", tsdb.ErrInvalidSample)

// appender is the first version of the appender interface over a batch.
type appender struct {
	batch
}

// SetOptions implements storage.Appender. None of the options concerns a
// storage that keeps samples only until they are sent.
func (*appender) SetOptions(*storage.AppendOptions) {}

// Append implements storage.Appender.
func (a *appender) Append(ref storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	return a.append(ref, l, sample{t: t, v: v})
}

// AppendHistogram implements storage.HistogramAppender. Of two histograms, the
// one of integers is taken; without any there is nothing that could be stored.
func (a *appender) AppendHistogram(ref storage.SeriesRef, l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if h == nil && fh == nil {
		return 0, errNoHistogram
	}
	return a.append(ref, l, sample{t: t, h: h, fh: fh})
}

func (a *appender) append(ref storage.SeriesRef, l labels.Labels, v sample) (storage.SeriesRef, error) {
	if err := a.check(v); err != nil {
		return 0, err
	}
	s, err := a.acquire(ref, l)
	if err != nil {
		return 0, err
	}
	if a.tooOld(s.LastSampleTimestamp(), v.t) {
		return 0, a.refuseTooOld(s)
	}
	a.add(s, v)
	return storage.SeriesRef(s.Ref()), nil
}

// AppendSTZeroSample implements storage.StartTimestampAppender.
func (a *appender) AppendSTZeroSample(ref storage.SeriesRef, l labels.Labels, t, st int64) (storage.SeriesRef, error) {
	return a.appendZero(ref, l, t, sample{t: st})
}

// AppendHistogramSTZeroSample implements storage.HistogramAppender. The zero
// sample is an empty histogram of the same kind.
func (a *appender) AppendHistogramSTZeroSample(ref storage.SeriesRef, l labels.Labels, t, st int64, h *histogram.Histogram, fh *histogram.FloatHistogram) (storage.SeriesRef, error) {
	if err := a.check(sample{h: h, fh: fh}); err != nil {
		return 0, err
	}
	zero := sample{t: st}
	switch {
	case h != nil:
		zero.h = &histogram.Histogram{}
	case fh != nil:
		zero.fh = &histogram.FloatHistogram{}
	default:
		return 0, errNoHistogram
	}
	return a.appendZero(ref, l, t, zero)
}

// appendZero adds the zero sample that says when the counter of the sample at t
// started. Scrapes offer the same start over and over: all but the first time
// it is out of order, for the start becomes the series' last timestamp at once
// and not with the commit, as the best-effort storage has it.
func (a *appender) appendZero(ref storage.SeriesRef, l labels.Labels, t int64, zero sample) (storage.SeriesRef, error) {
	if zero.t >= t {
		return 0, storage.ErrSTNewerThanSample
	}
	s, err := a.acquire(ref, l)
	if err != nil {
		return 0, err
	}
	last := s.LastSampleTimestamp()
	if zero.h == nil && zero.fh == nil && a.tooOld(last, t) {
		return 0, a.refuseTooOld(s)
	}
	if zero.t <= last {
		s.Unpin()
		return 0, storage.ErrOutOfOrderST
	}
	s.RaiseTimestamp(zero.t)
	a.add(s, zero)
	return storage.SeriesRef(s.Ref()), nil
}

// AppendExemplar implements storage.ExemplarAppender. The series must have been
// appended to before.
func (a *appender) AppendExemplar(ref storage.SeriesRef, _ labels.Labels, e exemplar.Exemplar) (storage.SeriesRef, error) {
	s := a.db.pinned(ref)
	if s == nil {
		return 0, fmt.Errorf("exemplar for unknown series ref %d: append a sample of the series first", ref)
	}
	taken, err := a.addExemplar(s, e)
	if !taken {
		s.Unpin()
		return 0, err
	}
	a.noteUnlogged(s)
	a.pinned = append(a.pinned, s)
	return storage.SeriesRef(s.Ref()), nil
}

// UpdateMetadata implements storage.MetadataUpdater. The series must have been
// appended to before.
func (a *appender) UpdateMetadata(ref storage.SeriesRef, l labels.Labels, m metadata.Metadata) (storage.SeriesRef, error) {
	if !a.db.opts.EnableMetadataWALRecords || m.IsEmpty() {
		return 0, nil
	}
	s := a.db.known(ref, l)
	if s == nil {
		return 0, fmt.Errorf("metadata for unknown series, ref %d, labels %s: append a sample of the series first", ref, l)
	}
	if !a.describe(s, m) {
		s.Unpin()
		return ref, nil
	}
	a.noteUnlogged(s)
	a.pinned = append(a.pinned, s)
	return storage.SeriesRef(s.Ref()), nil
}

// Commit implements storage.AppenderTransaction.
func (a *appender) Commit() error {
	defer a.db.appenders.Put(a)
	return a.commit()
}

// Rollback implements storage.AppenderTransaction.
func (a *appender) Rollback() error {
	defer a.db.appenders.Put(a)
	a.clear()
	return nil
}
