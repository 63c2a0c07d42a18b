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
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/epoch"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// fakeSender is a delivery that the test plays.
type fakeSender struct {
	delivery.Source

	attach   error
	persist  func() error // May be nil.
	forfeit  func(before cursor.Position, reason string) error
	holders  []string          // Of the last Forfeit.
	list     []delivery.Holder // In place of those of the gate, if not nil.
	notified atomic.Int64
}

func (f *fakeSender) Attach(s delivery.Source) error {
	f.Source = s
	return f.attach
}

func (f *fakeSender) Persist(context.Context) error {
	if f.persist != nil {
		return f.persist()
	}
	return nil
}

func (f *fakeSender) Forfeit(_ context.Context, before cursor.Position, reason string, ids ...string) error {
	f.holders = ids
	return f.forfeit(before, reason)
}

// Holders implements Sender: those of the gate, to which nothing is delivered.
func (f *fakeSender) Holders() (all []delivery.Holder) {
	if f.list != nil {
		return f.list
	}
	for _, h := range f.Gate.Holders() {
		all = append(all, delivery.Holder{ID: h.ID, Name: h.Name, Position: h.Position, Stuck: time.Hour})
	}
	return all
}

// holder returns a holder of the gate whose ID is its name.
func holder(name string, p cursor.Position) gate.Holder {
	return gate.Holder{ID: name, Name: name, Position: p}
}

// heldBy is what a holder keeps.
func heldBy(t *testing.T, db *DB, name string) holding {
	t.Helper()
	all, _, err := db.holdings()
	require.NoError(t, err)
	i := slices.IndexFunc(all, func(h holding) bool { return h.name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return all[i]
}

func (f *fakeSender) Notify() { f.notified.Inc() }

// testClock is a wall clock that does not move unless moved.
type testClock struct{ at atomic.Time }

func newTestClock() *testClock {
	c := &testClock{}
	c.at.Store(time.Now())
	return c
}

func (c *testClock) now() time.Time      { return c.at.Load() }
func (c *testClock) add(d time.Duration) { c.at.Store(c.at.Load().Add(d)) }

// still is an environment without maintenance, in which tests take its steps.
func still() environment {
	env := realEnvironment
	env.idle = true
	env.diskSpace = func(string) (int64, int64, error) { return 1 << 40, 1 << 41, nil }
	env.uptime = nil
	return env
}

// openTest opens a storage that is closed at the end of the test at the latest.
func openTest(t testing.TB, dir string, sender Sender, opts *Options, env environment) *DB {
	t.Helper()
	db, err := open(promslog.NewNopLogger(), prometheus.NewRegistry(), sender, dir, opts, env)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// small has segments of 4 pages, the smallest for which the limits of records
// and items are of some use.
func small() *Options {
	o := DefaultOptions()
	o.WALSegmentSize = 4 * cursor.PageSize
	return o
}

// openStock opens the best-effort storage.
func openStock(t testing.TB, reg prometheus.Registerer, dir string, opts agent.Options) *agent.DB {
	t.Helper()
	rs := remote.NewStorage(promslog.NewNopLogger(), nil, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
	t.Cleanup(func() { rs.Close() })
	db, err := agent.Open(promslog.NewNopLogger(), reg, rs, dir, &opts)
	require.NoError(t, err)
	return db
}

// metric is a series for tests.
func metric(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", strconv.Itoa(i))
}

// appendFloats commits one sample at ts for each of the series from to to-1.
func appendFloats(t testing.TB, s storage.Storage, from, to int, ts int64) {
	t.Helper()
	require.NoError(t, tryFloats(s, from, to, ts))
}

func tryFloats(s storage.Storage, from, to int, ts int64) error {
	app := s.Appender(context.Background())
	for i := from; i < to; i++ {
		if _, err := app.Append(0, metric(i), ts, float64(i)); err != nil {
			return errors.Join(err, app.Rollback())
		}
	}
	return app.Commit()
}

// logged is what a log directory holds, as text: samples in order, with the
// labels of their refs.
type logged struct {
	samples []string
	refs    map[string]chunks.HeadSeriesRef // Last ref of each label set.
	orphans int                             // Samples before or without a record of their series.
	markers map[int]int                     // By segment.
	first   map[int]string                  // Type of the first record, by segment.
	largest int                             // Record.

	pending []pendingSample
}

type pendingSample struct {
	kind string
	ref  chunks.HeadSeriesRef
	rest []any
}

// readLogged reads the last checkpoint and all segments with stock's reader.
func readLogged(t testing.TB, dataDir string) (out logged) {
	t.Helper()
	dir := filepath.Join(dataDir, "wal")
	out = logged{refs: map[string]chunks.HeadSeriesRef{}, markers: map[int]int{}, first: map[int]string{}}
	names := map[chunks.HeadSeriesRef]string{}
	defer func() {
		for _, p := range out.pending {
			out.samples = append(out.samples, strings.TrimSpace(fmt.Sprintln(append([]any{p.kind, names[p.ref]}, p.rest...)...)))
		}
	}()
	if cp, _, err := wlog.LastCheckpoint(dir); err == nil {
		in, err := wlog.NewSegmentsReader(cp)
		require.NoError(t, err)
		r := wlog.NewReader(in)
		for r.Next() {
			// Samples of a checkpoint are timestamps only.
			if t := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger()); t.Type(r.Record()) == record.Series {
				out.take(t, r.Record(), names)
			}
		}
		require.NoError(t, r.Err())
		require.NoError(t, in.Close())
	}
	first, last, err := wlog.Segments(dir)
	require.NoError(t, err)
	for i := first; i >= 0 && i <= last; i++ {
		f, err := wlog.OpenReadSegment(wlog.SegmentName(dir, i))
		require.NoError(t, err)
		in := wlog.NewSegmentBufReader(f)
		r := wlog.NewReader(in)
		dec := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
		for r.Next() {
			rec := r.Record()
			if _, ok := out.first[i]; !ok {
				out.first[i] = dec.Type(rec).String()
			}
			out.largest = max(out.largest, len(rec))
			if _, ok := epoch.Parse(rec); ok {
				out.markers[i]++
				continue
			}
			out.take(dec, rec, names)
		}
		require.NoError(t, r.Err())
		require.NoError(t, in.Close())
	}
	return out
}

func (l *logged) take(dec record.Decoder, rec []byte, names map[chunks.HeadSeriesRef]string) {
	note := func(kind string, ref chunks.HeadSeriesRef, rest ...any) {
		if _, ok := names[ref]; !ok {
			l.orphans++
		}
		l.pending = append(l.pending, pendingSample{kind, ref, rest})
	}
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	switch dec.Type(rec) {
	case record.Series:
		recs, err := dec.Series(rec, nil)
		check(err)
		for _, r := range recs {
			names[r.Ref] = r.Labels.String()
			l.refs[r.Labels.String()] = r.Ref
		}
	case record.Samples, record.SamplesV2:
		recs, err := dec.Samples(rec, nil)
		check(err)
		for _, r := range recs {
			note("float", r.Ref, r.ST, r.T, math.Float64bits(r.V))
		}
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		recs, err := dec.HistogramSamples(rec, nil)
		check(err)
		for _, r := range recs {
			note("histogram", r.Ref, r.ST, r.T, r.H, r.H.CounterResetHint, r.H.Schema, r.H.CustomValues)
		}
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		recs, err := dec.FloatHistogramSamples(rec, nil)
		check(err)
		for _, r := range recs {
			note("float histogram", r.Ref, r.ST, r.T, r.FH, r.FH.CounterResetHint, r.FH.Schema, r.FH.CustomValues)
		}
	case record.Exemplars:
		recs, err := dec.Exemplars(rec, nil)
		check(err)
		for _, r := range recs {
			note("exemplar", r.Ref, r.Labels, r.T, r.V)
		}
	}
}

// segmentNumbers lists the segments of a data directory.
func segmentNumbers(t testing.TB, dataDir string) (numbers []int) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dataDir, "wal"))
	require.NoError(t, err)
	for _, f := range files {
		if n, err := strconv.Atoi(f.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// firstSegment returns the number of the first segment, -1 if there is none.
func firstSegment(dataDir string) int {
	first, _, err := wlog.Segments(filepath.Join(dataDir, "wal"))
	if err != nil {
		return -1
	}
	return first
}

// Histograms of both layouts.
func exponential(n int64) *histogram.Histogram {
	return &histogram.Histogram{
		Schema: 1, ZeroThreshold: 0.001, ZeroCount: uint64(n), Count: uint64(4*n + 3), Sum: float64(n) * 1.5,
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: 2}, {Offset: 3, Length: 1}},
		PositiveBuckets: []int64{n + 1, 0, 0},
	}
}

func custom(n int64) *histogram.Histogram {
	return &histogram.Histogram{
		Schema: histogram.CustomBucketsSchema, Count: uint64(2*n + 1), Sum: float64(n),
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{n, 1},
		CustomValues: []float64{1, 2.5, 10},
	}
}
