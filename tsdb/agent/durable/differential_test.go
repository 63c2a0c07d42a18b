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
	"maps"
	"math"
	"math/rand"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/agent"
)

// class is an error in the terms that callers can tell apart.
func class(err error) string {
	if partial, ok := errors.AsType[*storage.AppendPartialError](err); ok {
		var all []string
		for _, e := range partial.ExemplarErrors {
			all = append(all, class(e))
		}
		return "partial: " + strings.Join(all, ", ")
	}
	for _, known := range []error{
		storage.ErrOutOfOrderSample, storage.ErrOutOfOrderST, storage.ErrSTNewerThanSample,
		storage.ErrExemplarLabelLength, storage.ErrNotFound, tsdb.ErrInvalidSample, tsdb.ErrInvalidExemplar,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	switch {
	case err == nil:
		return "ok"
	case strings.Contains(err.Error(), "unknown series ref"):
		return "unknown series ref"
	default:
		return err.Error()
	}
}

// player makes the same calls to both storages, and writes down the answers.
type player struct {
	s       storage.Storage
	v1      storage.Appender
	v2      storage.AppenderV2
	refs    map[string]storage.SeriesRef
	answers []string
}

func (p *player) note(what string, l labels.Labels, ref storage.SeriesRef, err error) {
	p.answers = append(p.answers, fmt.Sprintf("%s: %t %s", what, ref != 0, class(err)))
	if ref != 0 && err == nil {
		p.refs[l.String()] = ref
	}
}

func (p *player) one() storage.Appender {
	if p.v1 == nil {
		p.v1 = p.s.Appender(context.Background())
	}
	return p.v1
}

func (p *player) two() storage.AppenderV2 {
	if p.v2 == nil {
		p.v2 = p.s.AppenderV2(context.Background())
	}
	return p.v2
}

func (p *player) end(commit bool) {
	for _, a := range []storage.AppenderTransaction{p.one(), p.two()} {
		if commit {
			p.note("commit", labels.EmptyLabels(), 0, a.Commit())
		} else {
			p.note("rollback", labels.EmptyLabels(), 0, a.Rollback())
		}
	}
	p.v1, p.v2 = nil, nil
}

func (p *player) float(ref storage.SeriesRef, l labels.Labels, t int64, v float64) {
	ref, err := p.one().Append(ref, l, t, v)
	p.note("Append", l, ref, err)
}

func (p *player) histogram(l labels.Labels, t int64, h *histogram.Histogram, fh *histogram.FloatHistogram) {
	ref, err := p.one().AppendHistogram(p.refs[l.String()], l, t, h, fh)
	p.note("AppendHistogram", l, ref, err)
}

func (p *player) zero(l labels.Labels, t, st int64) {
	ref, err := p.one().AppendSTZeroSample(0, l, t, st)
	p.note("AppendSTZeroSample", l, ref, err)
}

func (p *player) zeroHistogram(l labels.Labels, t, st int64, h *histogram.Histogram, fh *histogram.FloatHistogram) {
	ref, err := p.one().AppendHistogramSTZeroSample(0, l, t, st, h, fh)
	p.note("AppendHistogramSTZeroSample", l, ref, err)
}

func (p *player) exemplar(l labels.Labels, e exemplar.Exemplar) {
	ref, err := p.one().AppendExemplar(p.refs[l.String()], l, e)
	p.note("AppendExemplar", l, ref, err)
}

func (p *player) any(l labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, es ...exemplar.Exemplar) {
	ref, err := p.two().Append(p.refs[l.String()], l, st, t, v, h, fh, storage.AOptions{Exemplars: es})
	p.note("AppendV2", l, ref, err)
}

func exemplarOf(id string, t int64) exemplar.Exemplar {
	return exemplar.Exemplar{Labels: labels.FromStrings("trace_id", id), Value: 1.5, Ts: t, HasTs: true}
}

var (
	badHistogram      = &histogram.Histogram{Schema: 0, Count: 1, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1}}
	badFloatHistogram = badHistogram.ToFloat(nil)
	stale             = math.Float64frombits(value.StaleNaN)
	twice             = labels.FromStrings("a", "1", "a", "2")
)

// plays are sequences that cover each rule of acceptance.
var plays = map[string]func(p *player){
	"floats": func(p *player) {
		p.float(0, metric(1), 100, 1)
		p.float(0, metric(1), 100, 2) // Nothing is committed yet.
		p.float(0, metric(2), 50, math.Inf(1))
		p.end(true)
		p.float(0, metric(1), 100, 3)
		p.float(p.refs[metric(1).String()], metric(1), 101, stale)
		p.float(999, metric(2), 60, 1) // Unknown ref.
		p.end(true)
	},
	"invalid labels": func(p *player) {
		p.float(0, labels.EmptyLabels(), 1, 1)
		p.float(0, labels.FromStrings("a", ""), 1, 1)
		p.float(0, twice, 1, 1)
		p.any(labels.EmptyLabels(), 0, 1, 1, nil, nil)
		p.any(twice, 0, 1, 1, nil, nil)
		p.float(0, labels.FromStrings("__name__", "x", "gone", ""), 1, 1)
		p.end(true)
	},
	"window": func(p *player) {
		p.float(0, metric(1), 1000, 1)
		p.end(true)
		for _, t := range []int64{999, 900, 899, 1000, 1001, math.MinInt64, math.MaxInt64} {
			p.float(0, metric(1), t, 1)
			p.any(metric(1), 0, t, 2, nil, nil)
		}
		p.end(true)
		p.float(0, metric(2), math.MinInt64, 1)
		p.float(0, metric(2), math.MinInt64+1, 1)
		p.end(true)
	},
	"histograms": func(p *player) {
		p.histogram(metric(1), 10, exponential(1), nil)
		p.histogram(metric(2), 10, custom(1), nil)
		p.histogram(metric(3), 10, nil, exponential(2).ToFloat(nil))
		p.histogram(metric(4), 10, nil, custom(2).ToFloat(nil))
		p.histogram(metric(5), 10, exponential(3), custom(3).ToFloat(nil))
		p.histogram(metric(6), 10, badHistogram, nil)
		p.histogram(metric(6), 10, nil, badFloatHistogram)
		p.end(true)
		p.histogram(metric(1), 10, exponential(1), nil)
		p.histogram(metric(1), 11, custom(5), nil)
		p.any(metric(7), 5, 10, 0, exponential(1), nil)
		p.any(metric(8), 5, 10, 0, nil, custom(1).ToFloat(nil))
		p.any(metric(9), 5, 10, 0, exponential(1), custom(1).ToFloat(nil))
		p.any(metric(9), 5, 11, 0, badHistogram, nil)
		p.any(metric(9), 5, 11, 0, nil, badFloatHistogram)
		p.end(true)
	},
	"exemplars": func(p *player) {
		p.exemplar(metric(1), exemplarOf("early", 1))
		p.float(0, metric(1), 10, 1)
		p.exemplar(metric(1), exemplarOf("a", 10))
		p.exemplar(metric(1), exemplarOf("a", 10))
		p.exemplar(metric(1), exemplarOf("b", 9))
		p.exemplar(metric(1), exemplarOf(strings.Repeat("x", 200), 11))
		p.exemplar(metric(1), exemplarOf(strings.Repeat("ö", 120), 11))
		p.exemplar(metric(1), exemplarOf(strings.Repeat("ö", 121), 11))
		p.exemplar(metric(1), exemplar.Exemplar{Labels: twice})
		p.end(true)
		p.exemplar(metric(1), exemplarOf(strings.Repeat("ö", 120), 11))
		p.exemplar(metric(1), exemplarOf("a", 10))
		p.any(metric(2), 0, 10, 1, nil, nil, exemplarOf("a", 1), exemplarOf("a", 1), exemplar.Exemplar{Labels: twice}, exemplarOf("b", 1))
		p.any(metric(2), 0, 11, stale, nil, nil, exemplarOf("c", 1))
		p.any(metric(3), 0, 11, 0, &histogram.Histogram{Sum: stale}, nil, exemplarOf("c", 1))
		p.end(true)
		p.exemplar(metric(2), exemplarOf("alone", 3))
		p.end(true)
	},
	"start timestamps": func(p *player) {
		p.zero(metric(1), 100, 50)
		p.float(0, metric(1), 100, 1)
		p.zero(metric(1), 100, 50)
		p.zero(metric(1), 100, 100)
		p.zero(metric(1), 100, 101)
		p.end(true)
		p.zero(metric(1), 200, 50)
		p.zero(metric(1), 99, 60)
		p.zero(metric(1), 200, 150)
		p.end(false)
		p.zero(metric(1), 200, 150)
		p.zeroHistogram(metric(2), 100, 50, exponential(1), nil)
		p.zeroHistogram(metric(2), 100, 50, exponential(1), nil)
		p.zeroHistogram(metric(3), 100, 50, nil, exponential(1).ToFloat(nil))
		p.zeroHistogram(metric(3), 100, 100, nil, exponential(1).ToFloat(nil))
		p.zeroHistogram(metric(3), 100, 60, badHistogram, nil)
		p.end(true)
		p.any(metric(4), 50, 100, 1, nil, nil)
		p.any(metric(4), 50, 110, 1, nil, nil)
		p.end(true)
		p.any(metric(4), 50, 120, 1, nil, nil)
		p.any(metric(4), 130, 130, 1, nil, nil)
		p.any(metric(5), 50, 100, 0, custom(1), nil)
		p.any(metric(6), 50, 100, 0, nil, exponential(1).ToFloat(nil))
		p.any(metric(6), 100, 50, 0, nil, exponential(1).ToFloat(nil))
		p.end(true)
	},
	"rollback": func(p *player) {
		p.float(0, metric(1), 10, 1)
		p.any(metric(2), 0, 10, 1, nil, nil)
		p.end(false)
		p.float(p.refs[metric(1).String()], metric(1), 5, 2)
		p.any(metric(2), 0, 5, 2, nil, nil)
		p.end(true)
	},
	"empty": func(p *player) { p.end(true); p.end(false) },
}

// randomPlay makes n calls that are the same for the same seed.
func randomPlay(seed int64, n int) func(p *player) {
	return func(p *player) {
		rnd := rand.New(rand.NewSource(seed))
		for range n {
			l, t := metric(rnd.Intn(6)), int64(1000+rnd.Intn(300))
			st := t - 150 + int64(rnd.Intn(200))
			var h *histogram.Histogram
			var fh *histogram.FloatHistogram
			switch rnd.Intn(5) {
			case 0:
				h = exponential(int64(rnd.Intn(10)))
			case 1:
				h = custom(int64(rnd.Intn(10)))
			case 2:
				fh = exponential(int64(rnd.Intn(10))).ToFloat(nil)
			case 3:
				fh = custom(int64(rnd.Intn(10))).ToFloat(nil)
			}
			switch call := rnd.Intn(20); {
			case call < 4:
				p.float(p.refs[l.String()], l, t, rnd.Float64())
			case call < 7:
				p.any(l, st, t, rnd.Float64(), h, fh, exemplarOf(strconv.Itoa(rnd.Intn(3)), t))
			case call < 10 && (h != nil || fh != nil):
				p.histogram(l, t, h, fh)
			case call < 13:
				p.zero(l, t, st)
			case call < 15 && (h != nil || fh != nil):
				p.zeroHistogram(l, t, st, h, fh)
			case call < 17:
				p.exemplar(l, exemplarOf(strconv.Itoa(rnd.Intn(3)), t))
			case call < 19:
				p.end(true)
			default:
				p.end(false)
			}
		}
		p.end(true)
	}
}

// Both storages take and refuse the same, and write the same samples in the
// same order. What differs on purpose: series whose samples are all rolled back
// are not logged; AppendHistogram without any histogram is an error; after a
// restart a series without samples has no last timestamp, where stock has 0;
// of samples that only the commit finds to be late, some more or less are
// counted, since they are gone through in the order of the appends and not by
// type. And no sample precedes the record of its series.
func TestSameAsStock(t *testing.T) {
	all := maps.Clone(plays)
	for i := range 12 {
		all[fmt.Sprintf("random %d", i)] = randomPlay(int64(i), 400)
	}
	variants := map[string]agent.Options{
		"plain":  {},
		"window": {OutOfOrderTimeWindow: 100},
		"st":     {EnableSTStorage: true, OutOfOrderTimeWindow: 100},
		"zero":   {EnableSTAsZeroSample: true},
		"both":   {EnableSTAsZeroSample: true, EnableSTStorage: true},
	}
	for variant, opts := range variants {
		for name, play := range all {
			t.Run(variant+"/"+name, func(t *testing.T) {
				stockDir, dir := t.TempDir(), t.TempDir()
				stockReg, reg := prometheus.NewRegistry(), prometheus.NewRegistry()
				stock := openStock(t, stockReg, stockDir, opts)
				ours, err := open(nil, reg, nil, dir, &Options{Options: opts}, still())
				require.NoError(t, err)

				want := &player{s: stock, refs: map[string]storage.SeriesRef{}}
				got := &player{s: ours, refs: map[string]storage.SeriesRef{}}
				play(want)
				play(got)
				require.Equal(t, want.answers, got.answers)
				_, fixed := plays[name]
				require.Equal(t, counts(t, stockReg, fixed), counts(t, reg, fixed))
				require.NoError(t, stock.Close())
				require.NoError(t, ours.Close())

				wantLog, gotLog := readLogged(t, stockDir), readLogged(t, dir)
				require.Equal(t, wantLog.samples, gotLog.samples)
				require.Zero(t, gotLog.orphans)
			})
		}
	}
}

// counts reads the counters of appends, those of late samples if told to.
func counts(t *testing.T, reg *prometheus.Registry, late bool) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	out := map[string]float64{}
	for _, f := range families {
		switch name := f.GetName(); {
		case name == "prometheus_agent_samples_appended_total", name == "prometheus_agent_exemplars_appended_total",
			late && name == "prometheus_agent_out_of_order_samples_total":
			for _, m := range f.GetMetric() {
				key := f.GetName()
				for _, l := range m.GetLabel() {
					key += " " + l.GetValue()
				}
				// Stock has no child for a type before its first sample.
				if v := m.GetCounter().GetValue(); v != 0 {
					out[key] = v
				}
			}
		}
	}
	return out
}

// Every metric of the best-effort agent is there under its name.
func TestMetricNames(t *testing.T) {
	names := func(open func(reg *prometheus.Registry, dir string) storage.Storage) map[string]bool {
		reg := prometheus.NewRegistry()
		s := open(reg, t.TempDir())
		appendFloats(t, s, 0, 1, 1)
		app := s.Appender(context.Background())
		_, err := app.AppendHistogram(0, metric(1), 1, exponential(1), nil)
		require.NoError(t, err)
		require.NoError(t, app.Commit())
		families, err := reg.Gather()
		require.NoError(t, err)
		out := map[string]bool{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				key := f.GetName() + " " + f.GetType().String()
				for _, l := range m.GetLabel() {
					key += " " + l.GetName() + "=" + l.GetValue()
				}
				out[key] = true
			}
		}
		require.NoError(t, s.Close())
		return out
	}
	want := names(func(reg *prometheus.Registry, dir string) storage.Storage {
		return openStock(t, reg, dir, agent.Options{})
	})
	got := names(func(reg *prometheus.Registry, dir string) storage.Storage {
		db, err := open(nil, reg, nil, dir, nil, still())
		require.NoError(t, err)
		return db
	})
	for name := range want {
		require.True(t, got[name], name)
	}
}
