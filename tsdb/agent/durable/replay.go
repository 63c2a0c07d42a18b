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
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// replay takes into a table what checkpoint and segments say about series, once
// and in their order. It belongs to one goroutine; others decode ahead of it.
type replay struct {
	table *series.Table

	segment int  // The one that is read; a checkpoint counts as its number.
	note    bool // Whether outcome.defined is wanted.
	// owners maps refs that are not the first of their label set to the series
	// whose timestamps they raise.
	owners map[chunks.HeadSeriesRef]*series.Series
	// early has what refs without a series so far were seen with. The series
	// record may follow: another appender committed first.
	early map[chunks.HeadSeriesRef]earlySamples

	outcome replayed
}

type earlySamples struct {
	last  int64
	count int
}

// replayed says what a replay found.
type replayed struct {
	segments    int
	maxRef      chunks.HeadSeriesRef // Highest ref that anything in the log mentions.
	unknown     int                  // Samples and exemplars without a series.
	unknownRefs int
	displaced   int   // Refs that got another meaning.
	undecodable int   // Records.
	unreadable  int64 // Bytes.
	// defined are the refs that have a series record, if only segments after
	// one were read.
	defined []chunks.HeadSeriesRef
}

// maxSaneRef bounds the refs that count for the next one to be handed out.
const maxSaneRef = chunks.HeadSeriesRef(math.MaxUint64 / 2)

// replayLog reads the log in dir, which has been repaired: the checkpoint and all
// segments, or only the segments after the one given, if that is not -1. known
// says whether a ref that is not in the table is known elsewhere; it may be nil. at is
// told how many bytes are read, of how many.
func replayLog(l *slog.Logger, table *series.Table, dir string, after int, at func(done, total int64), known func(chunks.HeadSeriesRef) bool) (replayed, error) {
	r := &replay{
		table:  table,
		note:   after >= 0,
		owners: map[chunks.HeadSeriesRef]*series.Series{},
		early:  map[chunks.HeadSeriesRef]earlySamples{},
	}
	var parts []part
	if after < 0 {
		checkpoint, number, err := wlog.LastCheckpoint(dir)
		switch {
		case errors.Is(err, record.ErrNotFound):
		case err != nil:
			return replayed{}, fmt.Errorf("find last checkpoint in %s: %w", dir, err)
		default:
			p, err := checkpointPart(checkpoint, number)
			if err != nil {
				return replayed{}, err
			}
			parts = append(parts, p)
		}
	}
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return replayed{}, fmt.Errorf("list segments in %s: %w", dir, err)
	}
	// Segments up to the checkpoint's number are there only if a crash kept
	// them from being removed. Reading them again does no harm, and spares the
	// question whether they really are what the checkpoint was made of.
	for i := max(first, after+1); first >= 0 && i <= last; i++ {
		parts = append(parts, segmentPart(dir, i))
		r.outcome.segments++
	}
	decodeAhead(l, parts, r.take, at)
	// Refs that only the unreadable part mentions are not handed out again: it may
	// become readable. No series takes less than this of the log.
	const leastPerSeries = 4
	r.outcome.maxRef += chunks.HeadSeriesRef(r.outcome.unreadable / leastPerSeries)
	for ref, e := range r.early {
		if known != nil && known(ref) {
			delete(r.early, ref)
			continue
		}
		r.outcome.unknown += e.count
	}
	r.outcome.unknownRefs = len(r.early)
	return r.outcome, nil
}

// take takes into account what a few records of a part say.
func (r *replay) take(p part, f *seriesRecords) {
	r.segment = p.segment
	r.outcome.undecodable += f.undecodable
	r.outcome.unreadable += f.unreadable
	for i := range f.defs {
		r.series(f.defs[i].Ref, f.defs[i].Labels)
	}
	for _, s := range f.seen {
		r.sample(s.ref, s.t)
	}
	for _, m := range f.described {
		if s := r.table.Resolve(m.Ref); s != nil {
			r.table.SetMetadata(s, metadata.Metadata{Type: record.ToMetricType(m.Type), Unit: m.Unit, Help: m.Help})
		}
	}
}

func (r *replay) series(ref chunks.HeadSeriesRef, lset labels.Labels) {
	r.seen(ref)
	if r.note {
		r.outcome.defined = append(r.outcome.defined, ref)
	}
	s, displaced := r.table.Insert(ref, lset, r.segment)
	if displaced {
		r.outcome.displaced++
		delete(r.owners, ref)
	}
	if s.Ref() != ref {
		r.owners[ref] = s
	}
	if e, ok := r.early[ref]; ok {
		s.RaiseTimestamp(e.last)
		delete(r.early, ref)
	}
}

// sample notes that ref has a sample at t, or an exemplar, for which t is the
// beginning of time.
func (r *replay) sample(ref chunks.HeadSeriesRef, t int64) {
	s := r.table.Resolve(ref)
	if s == nil {
		r.seen(ref)
		e, ok := r.early[ref]
		if !ok {
			e.last = math.MinInt64
		}
		r.early[ref] = earlySamples{last: max(e.last, t), count: e.count + 1}
		return
	}
	if s.Alias() {
		s.Mentioned(r.segment)
		owner := r.owners[ref]
		if owner == nil {
			// The alias is older than what is replayed.
			owner = r.table.First(s)
			r.owners[ref] = owner
		}
		s = owner
	}
	if s != nil {
		s.RaiseTimestamp(t)
	}
}

// seen makes sure that the ref is not handed out to another series: readers of
// what is left of its samples would take them for that series'.
func (r *replay) seen(ref chunks.HeadSeriesRef) {
	if ref < maxSaneRef {
		r.outcome.maxRef = max(r.outcome.maxRef, ref)
	}
}
