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

package parity

import (
	"bytes"
	"fmt"
	"math"
	"math/rand"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The jobs are scraped side by side and show different things.
const (
	jobText    = "text"    // OpenMetrics: counters that reset, churn, exemplars, start times.
	jobCustom  = "custom"  // The same, histograms being converted to custom buckets.
	jobNative  = "native"  // Protobuf with native histograms.
	jobStamped = "stamped" // Times chosen by the target, some of them in the past.
)

const (
	openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	plainText   = "text/plain; version=0.0.4"
	delimited   = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// page is the answer to one scrape.
type page struct {
	status      int
	contentType string
	body        []byte
}

// script is what the jobs show from scrape to scrape. Every agent that asks is
// shown all of it from the start: the agents scrape at different times, so
// that what they find must depend on how often they have asked, not on when.
type script struct {
	jobs map[string][]page

	mtx    sync.Mutex
	served map[string]int // By path.
	late   []string       // Scrapes that were given up before the answer was out.
}

func newScript(t *testing.T, rng *rand.Rand, base time.Time, length int) *script {
	t.Helper()
	s := &script{jobs: map[string][]page{}, served: map[string]int{}}
	text, custom, stamped := newTextPages(rng, base), newTextPages(rng, base), newStampedPages(rng, base)
	native := newNativePages(rng, base)
	jobs := []struct {
		name string
		next func() page
	}{
		{jobText, text.next},
		{jobCustom, custom.next},
		{jobStamped, stamped.next},
		{jobNative, func() page { return native.next(t) }},
	}
	for n := range length {
		for _, job := range jobs {
			p := job.next()
			// The target is down now and then, but not at first: then
			// everything would start later.
			if n > 0 && rng.Intn(10) == 0 {
				p = page{status: http.StatusInternalServerError}
			}
			s.jobs[job.name] = append(s.jobs[job.name], p)
		}
	}
	return s
}

// ServeHTTP serves paths /agent/job.
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	job := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	s.mtx.Lock()
	n := s.served[r.URL.Path]
	s.served[r.URL.Path]++
	s.mtx.Unlock()
	p := page{status: http.StatusOK, contentType: plainText}
	if n < len(s.jobs[job]) {
		p = s.jobs[job][n]
	}
	w.Header().Set("Content-Type", p.contentType)
	w.WriteHeader(p.status)
	_, err := w.Write(p.body)
	if err != nil || r.Context().Err() != nil {
		s.mtx.Lock()
		s.late = append(s.late, fmt.Sprintf("%s, page %d", r.URL.Path, n))
		s.mtx.Unlock()
	}
}

// clock renders a time as OpenMetrics wants it.
func clock(t time.Time) string {
	return fmt.Sprintf("%d.%03d", t.Unix(), t.Nanosecond()/1e6)
}

var oddities = []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 1e-300, 5e300}

func reading(rng *rand.Rand) float64 {
	if rng.Intn(8) == 0 {
		return oddities[rng.Intn(len(oddities))]
	}
	return math.Round(rng.NormFloat64()*1000) / 8
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 0):
		return fmt.Sprintf("%+f", v)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// counting is a counter that is sometimes reset.
type counting struct {
	value   float64
	created time.Time
}

func (c *counting) advance(rng *rand.Rand, now time.Time) {
	if c.created.IsZero() || rng.Intn(6) == 0 {
		*c = counting{created: now}
	}
	c.value += float64(rng.Intn(20))
}

// textPages are pages in OpenMetrics' text format.
type textPages struct {
	rng      *rand.Rand
	now      time.Time // Of start times and exemplars; long before the scrapes.
	n        int
	counters [5]counting
	observed [3]counting
	help     string
}

func newTextPages(rng *rand.Rand, base time.Time) *textPages {
	return &textPages{rng: rng, now: base.Add(-time.Hour), help: "At first."}
}

func (p *textPages) exemplar(b *bytes.Buffer) {
	switch p.rng.Intn(3) {
	case 0:
		fmt.Fprintf(b, " # {trace=\"%08x\"} %d\n", p.rng.Uint32(), p.rng.Intn(9))
	case 1:
		fmt.Fprintf(b, " # {trace=\"%08x\",span=\"ü\"} %d %s\n", p.rng.Uint32(), p.rng.Intn(9), clock(p.now.Add(2*time.Hour)))
	default:
		b.WriteByte('\n')
	}
}

func (p *textPages) next() page {
	p.n++
	p.now = p.now.Add(time.Second)
	if p.rng.Intn(5) == 0 {
		p.help = fmt.Sprintf("Since page %d.", p.n)
	}
	b := &bytes.Buffer{}
	fmt.Fprintf(b, "# TYPE page gauge\npage %d\n", p.n)

	fmt.Fprintf(b, "# TYPE work counter\n# HELP work %s\n", p.help)
	for i := range p.counters {
		c := &p.counters[i]
		c.advance(p.rng, p.now)
		fmt.Fprintf(b, "work_total{idx=\"%d\",noise=\"%d\"} %v", i, i%2, c.value)
		p.exemplar(b)
		fmt.Fprintf(b, "work_created{idx=\"%d\",noise=\"%d\"} %s\n", i, i%2, clock(c.created))
	}

	fmt.Fprint(b, "# TYPE level_bytes gauge\n# UNIT level_bytes bytes\n# HELP level_bytes Comes and goes.\n")
	for i := range 25 {
		if p.rng.Intn(3) == 0 {
			continue
		}
		replay := ""
		if i%4 == 0 {
			replay = `,zone="own"`
		}
		fmt.Fprintf(b, "level_bytes{idx=\"%d\",of=\"a\\\"b\\n語\"%s} %s\n", i, replay, number(reading(p.rng)))
	}
	// Series that are not seen again.
	for i := range p.rng.Intn(4) {
		fmt.Fprintf(b, "level_bytes{of=\"page %d\",idx=\"%d\"} %d\n", p.n, i, i)
	}

	fmt.Fprint(b, "# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds How long.\n")
	for i := range p.observed {
		c := &p.observed[i]
		c.advance(p.rng, p.now)
		for j, le := range []string{"0.1", "1.0", "+Inf"} {
			fmt.Fprintf(b, "took_seconds_bucket{idx=\"%d\",le=\"%s\"} %v", i, le, math.Floor(c.value*float64(j+1)/3))
			p.exemplar(b)
		}
		fmt.Fprintf(b, "took_seconds_count{idx=\"%d\"} %v\ntook_seconds_sum{idx=\"%d\"} %v\n", i, c.value, i, c.value/4)
		fmt.Fprintf(b, "took_seconds_created{idx=\"%d\"} %s\n", i, clock(c.created))
	}
	fmt.Fprintf(b, "# TYPE rank summary\nrank{quantile=\"0.5\"} %s\nrank_sum %d\nrank_count %d\n# EOF\n", number(reading(p.rng)), p.n*2, p.n)
	return page{status: http.StatusOK, contentType: openMetrics, body: b.Bytes()}
}

// stampedPages choose their own times: a second apart, sometimes one that was
// there before, and start times that an agent may have to make samples of.
// They lie ahead of the scrapes, because stock never sends what is older than
// its endpoint.
type stampedPages struct {
	rng      *rand.Rand
	now      time.Time
	counters [6]counting
}

func newStampedPages(rng *rand.Rand, base time.Time) *stampedPages {
	return &stampedPages{rng: rng, now: base.Add(2 * time.Minute)}
}

func (p *stampedPages) next() page {
	p.now = p.now.Add(time.Second)
	b := &bytes.Buffer{}
	fmt.Fprint(b, "# TYPE late counter\n")
	for i := range p.counters {
		c := &p.counters[i]
		c.advance(p.rng, p.now.Add(-500*time.Millisecond))
		at := p.now
		if p.rng.Intn(4) == 0 {
			at = at.Add(time.Duration(p.rng.Intn(5)-5) * time.Second)
		}
		fmt.Fprintf(b, "late_total{idx=\"%d\"} %v %s\n", i, c.value, clock(at))
		fmt.Fprintf(b, "late_created{idx=\"%d\"} %s\n", i, clock(c.created))
	}
	fmt.Fprint(b, "# TYPE twice gauge\n")
	for i := range 5 {
		for range p.rng.Intn(3) {
			fmt.Fprintf(b, "twice{idx=\"%d\"} %s %s\n", i, number(reading(p.rng)), clock(p.now.Add(time.Duration(p.rng.Intn(2))*time.Second)))
		}
	}
	fmt.Fprint(b, "# EOF\n")
	return page{status: http.StatusOK, contentType: openMetrics, body: b.Bytes()}
}

// nativePages show native histograms: of integers and floats, counters and
// gauges, with buckets that come and go.
type nativePages struct {
	rng  *rand.Rand
	base time.Time
	n    int
}

func newNativePages(rng *rand.Rand, base time.Time) *nativePages {
	return &nativePages{rng: rng, base: base}
}

func (p *nativePages) next(t *testing.T) page {
	p.n++
	b := &bytes.Buffer{}
	out := expfmt.NewEncoder(b, delimited)
	for _, family := range []*dto.MetricFamily{
		p.family("native_seconds", dto.MetricType_HISTOGRAM, false),
		p.family("native_floats_seconds", dto.MetricType_HISTOGRAM, true),
		p.family("native_gauge_seconds", dto.MetricType_GAUGE_HISTOGRAM, false),
		p.family("native_gauge_floats_seconds", dto.MetricType_GAUGE_HISTOGRAM, true),
	} {
		require.NoError(t, out.Encode(family))
	}
	return page{status: http.StatusOK, contentType: delimited, body: b.Bytes()}
}

func (p *nativePages) family(name string, typ dto.MetricType, floats bool) *dto.MetricFamily {
	f := &dto.MetricFamily{Name: proto.String(name), Help: proto.String("Native " + name), Unit: proto.String("seconds"), Type: typ.Enum()}
	for i := range 3 {
		if p.rng.Intn(8) == 0 {
			continue
		}
		f.Metric = append(f.Metric, &dto.Metric{
			Label:     []*dto.LabelPair{{Name: proto.String("idx"), Value: proto.String(strconv.Itoa(i))}},
			Histogram: p.histogram(floats),
		})
	}
	return f
}

func (p *nativePages) histogram(floats bool) *dto.Histogram {
	h := &dto.Histogram{
		Schema:           proto.Int32(int32(p.rng.Intn(6) - 1)),
		ZeroThreshold:    proto.Float64(1e-9),
		SampleSum:        proto.Float64(float64(p.rng.Intn(1000))),
		CreatedTimestamp: timestamppb.New(p.base.Add(-time.Hour).Add(time.Duration(p.n/5) * time.Second)),
	}
	if p.rng.Intn(2) == 0 {
		h.Exemplars = []*dto.Exemplar{{
			Label:     []*dto.LabelPair{{Name: proto.String("trace"), Value: proto.String(strconv.FormatUint(uint64(p.rng.Uint32()), 16))}},
			Value:     proto.Float64(1),
			Timestamp: timestamppb.New(p.base.Add(time.Hour).Add(time.Duration(p.n) * time.Second)),
		}}
	}
	spans := func() (spans []*dto.BucketSpan, buckets int) {
		for range 1 + p.rng.Intn(3) {
			length := uint32(1 + p.rng.Intn(3))
			spans = append(spans, &dto.BucketSpan{Offset: proto.Int32(int32(1 + p.rng.Intn(3))), Length: proto.Uint32(length)})
			buckets += int(length)
		}
		return spans, buckets
	}
	count := uint64(p.rng.Intn(5) + 1) // Of the zero bucket, to begin with.
	h.ZeroCount, h.ZeroCountFloat = proto.Uint64(count), proto.Float64(float64(count))
	fill := func(buckets int) (deltas []int64, counts []float64) {
		before := int64(0)
		for range buckets {
			now := int64(p.rng.Intn(30))
			deltas, counts = append(deltas, now-before), append(counts, float64(now))
			count, before = count+uint64(now), now
		}
		return deltas, counts
	}
	var positive, negative int
	h.PositiveSpan, positive = spans()
	h.PositiveDelta, h.PositiveCount = fill(positive)
	h.NegativeSpan, negative = spans()
	h.NegativeDelta, h.NegativeCount = fill(negative)
	if floats {
		h.PositiveDelta, h.NegativeDelta, h.ZeroCount = nil, nil, nil
		h.SampleCountFloat = proto.Float64(float64(count))
		return h
	}
	h.PositiveCount, h.NegativeCount, h.ZeroCountFloat = nil, nil, nil
	h.SampleCount = proto.Uint64(count)
	return h
}
