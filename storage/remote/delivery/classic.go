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
	"errors"
	"math"
	"slices"
	"sort"
	"sync"

	"github.com/prometheus/common/model"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// What convert_nhcb_to_classic asks for: an endpoint gets native histograms with
// custom buckets as the series of classic ones, _bucket, _count and _sum, after
// its rules were applied. One item of the log is several time series then, and
// stays one item: it is acknowledged, retried and dropped as a whole.
//
// The receiver has to be told when a bucket ends, because the histogram has other
// bounds now, because its series is stale, or because it continues as something
// else. So a stream remembers the bounds that each series was last sent with. A
// change that a request makes to them counts once the request is settled: until
// then it may be encoded again, or in parts.

// layout is the bounds of the buckets of a histogram, shared by the series that
// have the same. It never changes.
type layout struct {
	bounds []float64
	le     []string // The label of each bucket, +Inf at last.
}

func newLayout(bounds []float64) *layout {
	l := &layout{bounds: slices.Clone(bounds)}
	for _, b := range bounds {
		l.le = append(l.le, labels.FormatOpenMetricsFloat(b))
	}
	l.le = append(l.le, labels.FormatOpenMetricsFloat(math.Inf(1)))
	return l
}

// bucketOf returns the index of the bucket that a value counts in.
func (l *layout) bucketOf(v float64) int { return sort.SearchFloat64s(l.bounds, v) }

func (l *layout) same(bounds []float64) bool { return l != nil && slices.Equal(l.bounds, bounds) }

// active says what a series was last sent with. The hash tells another series
// with the same ref from it.
type active struct {
	layout *layout
	hash   uint64
}

// layouts are those of the series of one stream.
type layouts struct {
	mu     sync.Mutex
	active map[chunks.HeadSeriesRef]active
	full   int // Length of active at which series that are gone are forgotten.
}

func (l *layouts) get(s *series.Series) *layout {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.active[s.Ref()]; ok && a.hash == s.Labels().Hash() {
		return a.layout
	}
	return nil
}

// settle takes over what a request has changed. there tells whether a series is
// in the table: what left it without a stale marker is not going to end.
func (l *layouts) settle(changes map[chunks.HeadSeriesRef]active, there func(chunks.HeadSeriesRef) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, a := range changes {
		if a.layout == nil {
			delete(l.active, ref)
			continue
		}
		if l.active == nil {
			l.active = map[chunks.HeadSeriesRef]active{}
		}
		l.active[ref] = a
	}
	if len(l.active) < max(l.full, 1024) {
		return
	}
	for ref := range l.active {
		if !there(ref) {
			delete(l.active, ref)
		}
	}
	l.full = 2 * len(l.active)
}

// conversion is what a sender needs to convert, and what the request that it
// encodes changes. One goroutine owns it.
type conversion struct {
	of      *layouts
	changes map[chunks.HeadSeriesRef]active
	builder *labels.Builder
	counts  []float64
	last    *layout // Most series of a request have the same.
}

func newConversion(of *layouts) *conversion {
	return &conversion{of: of, changes: map[chunks.HeadSeriesRef]active{}, builder: labels.NewBuilder(labels.EmptyLabels())}
}

// settle is to be called when the last request encoded was delivered. One that was
// refused has told the receiver nothing.
func (c *conversion) settle(in *series.Table) {
	if c == nil || len(c.changes) == 0 {
		return
	}
	c.of.settle(c.changes, func(ref chunks.HeadSeriesRef) bool { return in.Resolve(ref) != nil })
	clear(c.changes)
}

// active returns what a series was last sent with, nil if not as a classic
// histogram.
func (c *conversion) active(of *series.Series) *layout {
	if a, ok := c.changes[of.Ref()]; ok {
		return a.layout
	}
	return c.of.get(of)
}

func (c *conversion) setActive(of *series.Series, l *layout) {
	c.changes[of.Ref()] = active{layout: l, hash: of.Labels().Hash()}
}

func (c *conversion) layoutOf(bounds []float64) *layout {
	if !c.last.same(bounds) {
		c.last = newLayout(bounds)
	}
	return c.last
}

func boundsOf(f queue.ItemView) []float64 {
	if f.Kind() == queue.Histogram {
		return f.Detail.Extra.Histogram.CustomValues
	}
	return f.Detail.Extra.FloatHistogram.CustomValues
}

// isStale reports whether the item marks the end of its series.
func isStale(f queue.ItemView) bool {
	switch f.Kind() {
	case queue.Float:
		return value.IsStaleNaN(f.V)
	case queue.Histogram:
		return value.IsStaleNaN(f.Detail.Extra.Histogram.Sum)
	case queue.FloatHistogram:
		return value.IsStaleNaN(f.Detail.Extra.FloatHistogram.Sum)
	}
	return false
}

// hasCustomBuckets reports whether the item is a native histogram with custom
// buckets, which remote write 1.0 cannot carry.
func hasCustomBuckets(f queue.ItemView) bool {
	switch f.Kind() {
	case queue.Histogram:
		return f.Detail.Extra.Histogram.Schema == histogram.CustomBucketsSchema
	case queue.FloatHistogram:
		return f.Detail.Extra.FloatHistogram.Schema == histogram.CustomBucketsSchema
	}
	return false
}

// screen drops what cannot be sent: histograms that cannot be converted, with their
// exemplars, and exemplars of histograms that are not sent where the protocol does
// not have them alone. It uses the memory of the arguments.
func (c *conversion) screen(pk *packing, items []queue.ItemView, failed func(error)) ([]queue.ItemView, []judgement) {
	kept, judgements := items[:0], pk.judgements[:0]
	const good, unsent, broken = 0, 1, 2
	state := good // Of what an exemplar belongs to.
	for i, it := range items {
		if it.Kind() != queue.Exemplar {
			state = good
			switch {
			case hasCustomBuckets(it):
				if err := c.convertible(pk, i, it); err != nil {
					failed(err)
					state = broken
				}
			case it.Kind().Class() == queue.Histograms && !pk.set.histograms:
				state = unsent
			}
		}
		switch {
		case state == broken:
			pk.p.dropped[dropConversion].Add(it.Kind())
			continue
		case state == unsent && it.Kind() == queue.Exemplar && pk.set.protocol == encoder.V2:
			pk.p.dropped[dropAlone].Add(it.Kind())
			continue
		}
		kept = append(kept, it)
		if len(pk.judgements) > 0 {
			judgements = append(judgements, pk.judgements[i])
		}
	}
	return kept, judgements
}

func (c *conversion) convertible(pk *packing, i int, it queue.ItemView) error {
	if pk.finalLabels(i, it, c.builder).Get(model.MetricNameLabel) == "" {
		return errors.New("its series has no name to derive others from")
	}
	if it.Kind() == queue.FloatHistogram {
		return it.Detail.Extra.FloatHistogram.Validate()
	}
	return it.Detail.Extra.Histogram.Validate()
}

// weightOf is how many samples an item becomes at most, where was is what its series
// was last sent with.
func weightOf(f queue.ItemView, was *layout) (n int) {
	if was != nil && f.Kind() != queue.Exemplar {
		n = len(was.le) + 2
	}
	if hasCustomBuckets(f) {
		return n + len(boundsOf(f)) + 3
	}
	return n + 1
}

// fill encodes items that screen has let through, as many as fit into a request and
// one at least, and returns how many those are.
func (c *conversion) fill(pk *packing, items []queue.ItemView) (n int) {
	var open bool // The encoder's series is that of the item before.
	for i := 0; i < len(items); i++ {
		it := items[i]
		was := c.active(it.Series)
		full := pk.enc.Len() > pk.set.requestBytes || pk.p.sent[queue.Samples]+weightOf(it, was) > pk.set.queue.MaxSamplesPerSend
		if full && i > 0 && !joins(items, i, false) {
			return i
		}
		switch {
		case it.Kind() == queue.Exemplar && was != nil:
			c.open(pk, it, pk.finalLabels(i, it, c.builder), "_bucket", was.le[was.bucketOf(it.V)])
			pk.put(it)
			open = false
			continue
		case hasCustomBuckets(it):
			exemplars := 0
			for i+exemplars+1 < len(items) && joins(items, i+exemplars+1, false) {
				exemplars++
			}
			c.convert(pk, it, pk.finalLabels(i, it, c.builder), was, items[i+1:i+1+exemplars])
			i += exemplars
			open = false
			continue
		case it.Kind() != queue.Exemplar && was != nil:
			c.end(pk, it, pk.finalLabels(i, it, c.builder), was)
			c.setActive(it.Series, nil)
			open = false
			if isStale(it) {
				continue
			}
		}
		if it.Kind().Class() == queue.Histograms && !pk.set.histograms {
			open = false // Only looked at for what it ends.
			continue
		}
		if !open || !joins(items, i, pk.grouped) {
			pk.openSeries(i, it)
		}
		pk.put(it)
		open = true
	}
	return len(items)
}

// open begins one of the series of a classic histogram.
func (c *conversion) open(pk *packing, it queue.ItemView, base labels.Labels, suffix, le string) {
	c.builder.Reset(base)
	c.builder.Set(model.MetricNameLabel, base.Get(model.MetricNameLabel)+suffix)
	if le != "" {
		c.builder.Set(model.BucketLabel, le)
	}
	pk.enc.Series(c.builder.Labels(), nil, pk.metadata(it.Series))
}

// sample adds one sample of a classic histogram as a series.
func (c *conversion) sample(pk *packing, it queue.ItemView, base labels.Labels, suffix, le string, st int64, v float64) {
	c.open(pk, it, base, suffix, le)
	pk.enc.Float(st, it.T, v)
	pk.p.sent[queue.Samples]++
	pk.p.highest = max(pk.p.highest, it.T)
}

// convert encodes a histogram with custom buckets that is known to be convertible,
// with the exemplars that follow it, each in the series of its bucket.
func (c *conversion) convert(pk *packing, it queue.ItemView, base labels.Labels, was *layout, exemplars []queue.ItemView) {
	var h any = it.Detail.Extra.Histogram
	if it.Kind() == queue.FloatHistogram {
		h = it.Detail.Extra.FloatHistogram
	}
	counts, count, sum, err := histogram.ClassicBucketCounts(h, c.counts)
	if err != nil {
		return // Not after convertible.
	}
	c.counts = counts
	now := was
	if !was.same(boundsOf(it)) {
		now = c.layoutOf(boundsOf(it))
	}
	for i, n := range c.counts {
		c.sample(pk, it, base, "_bucket", now.le[i], it.ST(), n)
		for _, e := range exemplars {
			if now.bucketOf(e.V) == i {
				pk.put(e)
			}
		}
	}
	c.sample(pk, it, base, "_count", "", it.ST(), count)
	c.sample(pk, it, base, "_sum", "", it.ST(), sum)
	if was != nil && was != now {
		c.endBuckets(pk, it, base, was, now)
	}
	if isStale(it) {
		now = nil
	}
	if now != was {
		c.setActive(it.Series, now)
	}
}

// end marks all series of a classic histogram as stale. A stale marker
// keeps its start timestamp, what continues as something else has it for itself.
func (c *conversion) end(pk *packing, it queue.ItemView, base labels.Labels, was *layout) {
	st := int64(0)
	if isStale(it) {
		st = it.ST()
	}
	stale := math.Float64frombits(value.StaleNaN)
	for _, le := range was.le {
		c.sample(pk, it, base, "_bucket", le, st, stale)
	}
	c.sample(pk, it, base, "_count", "", st, stale)
	c.sample(pk, it, base, "_sum", "", st, stale)
}

// endBuckets marks those buckets as stale that a histogram does not have any more.
func (c *conversion) endBuckets(pk *packing, it queue.ItemView, base labels.Labels, was, now *layout) {
	for i, b := range was.bounds {
		if !slices.Contains(now.bounds, b) {
			c.sample(pk, it, base, "_bucket", was.le[i], 0, math.Float64frombits(value.StaleNaN))
		}
	}
}
