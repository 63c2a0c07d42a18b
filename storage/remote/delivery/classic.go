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
// Whoever stores the classic series has to be told when a bucket ends, because
// the histogram has other bounds now, because its series is stale, or because it
// continues as something else. So a stream remembers the bounds that each series
// was last sent with. What a request changes in that counts once the request is
// settled: until then it may be encoded again, or in parts.

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

func (f flat) bounds() []float64 {
	if f.kind() == kindHistogram {
		return f.detail.extra.h.CustomValues
	}
	return f.detail.extra.fh.CustomValues
}

// stale reports whether the item marks the end of its series.
func (f flat) stale() bool {
	switch f.kind() {
	case kindFloat:
		return value.IsStaleNaN(f.v)
	case kindHistogram:
		return value.IsStaleNaN(f.detail.extra.h.Sum)
	case kindFloatHistogram:
		return value.IsStaleNaN(f.detail.extra.fh.Sum)
	}
	return false
}

// customBuckets reports whether the item is a native histogram with custom
// buckets, which remote write 1.0 cannot carry.
func (f flat) customBuckets() bool {
	switch f.kind() {
	case kindHistogram:
		return f.detail.extra.h.Schema == histogram.CustomBucketsSchema
	case kindFloatHistogram:
		return f.detail.extra.fh.Schema == histogram.CustomBucketsSchema
	}
	return false
}

// screen drops what cannot be sent: histograms that cannot be converted, with their
// exemplars, and exemplars of histograms that are not sent where the protocol does
// not have them alone. It uses the memory of the arguments.
func (c *conversion) screen(pk *packing, items []flat, failed func(error)) ([]flat, []judgement) {
	kept, verdicts := items[:0], pk.verdicts[:0]
	const good, unsent, broken = 0, 1, 2
	state := good // Of what an exemplar belongs to.
	for i, it := range items {
		if it.kind() != kindExemplar {
			state = good
			switch {
			case it.customBuckets():
				if err := c.convertible(pk, i, it); err != nil {
					failed(err)
					state = broken
				}
			case classOf[it.kind()] == classHistograms && !pk.set.histograms:
				state = unsent
			}
		}
		switch {
		case state == broken:
			pk.p.dropped[dropConversion].add(it.kind())
			continue
		case state == unsent && it.kind() == kindExemplar && pk.set.protocol == encoder.V2:
			pk.p.dropped[dropAlone].add(it.kind())
			continue
		}
		kept = append(kept, it)
		if len(pk.verdicts) > 0 {
			verdicts = append(verdicts, pk.verdicts[i])
		}
	}
	return kept, verdicts
}

func (c *conversion) convertible(pk *packing, i int, it flat) error {
	if pk.finalLabels(i, it, c.builder).Get(model.MetricNameLabel) == "" {
		return errors.New("its series has no name to derive others from")
	}
	if it.kind() == kindFloatHistogram {
		return it.detail.extra.fh.Validate()
	}
	return it.detail.extra.h.Validate()
}

// weight is how many samples an item becomes at most, where was is what its series
// was last sent with.
func (f flat) weight(was *layout) (n int) {
	if was != nil && f.kind() != kindExemplar {
		n = len(was.le) + 2
	}
	if f.customBuckets() {
		return n + len(f.bounds()) + 3
	}
	return n + 1
}

// fill encodes items that screen has let through, as many as fit into a request and
// one at least, and returns how many those are.
func (c *conversion) fill(pk *packing, items []flat) (n int) {
	var open bool // The encoder's series is that of the item before.
	for i := 0; i < len(items); i++ {
		it := items[i]
		was := c.active(it.series)
		full := pk.enc.Len() > pk.set.requestBytes || pk.p.sent[classSamples]+it.weight(was) > pk.set.queue.MaxSamplesPerSend
		if full && i > 0 && !joins(items, i, false) {
			return i
		}
		switch {
		case it.kind() == kindExemplar && was != nil:
			c.open(pk, it, pk.finalLabels(i, it, c.builder), "_bucket", was.le[was.bucketOf(it.v)])
			pk.put(it)
			open = false
			continue
		case it.customBuckets():
			exemplars := 0
			for i+exemplars+1 < len(items) && joins(items, i+exemplars+1, false) {
				exemplars++
			}
			c.convert(pk, it, pk.finalLabels(i, it, c.builder), was, items[i+1:i+1+exemplars])
			i += exemplars
			open = false
			continue
		case it.kind() != kindExemplar && was != nil:
			c.end(pk, it, pk.finalLabels(i, it, c.builder), was)
			c.setActive(it.series, nil)
			open = false
			if it.stale() {
				continue
			}
		}
		if classOf[it.kind()] == classHistograms && !pk.set.histograms {
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
func (c *conversion) open(pk *packing, it flat, base labels.Labels, suffix, le string) {
	c.builder.Reset(base)
	c.builder.Set(model.MetricNameLabel, base.Get(model.MetricNameLabel)+suffix)
	if le != "" {
		c.builder.Set(model.BucketLabel, le)
	}
	pk.enc.Series(c.builder.Labels(), nil, pk.metadata(it.series))
}

// sample adds one sample of a classic histogram as a series.
func (c *conversion) sample(pk *packing, it flat, base labels.Labels, suffix, le string, st int64, v float64) {
	c.open(pk, it, base, suffix, le)
	pk.enc.Float(st, it.t, v)
	pk.p.sent[classSamples]++
	pk.p.highest = max(pk.p.highest, it.t)
}

// convert encodes a histogram with custom buckets that is known to be convertible,
// with the exemplars that follow it, each in the series of its bucket.
func (c *conversion) convert(pk *packing, it flat, base labels.Labels, was *layout, exemplars []flat) {
	var h any = it.detail.extra.h
	if it.kind() == kindFloatHistogram {
		h = it.detail.extra.fh
	}
	counts, count, sum, err := histogram.ClassicBucketCounts(h, c.counts)
	if err != nil {
		return // Not after convertible.
	}
	c.counts = counts
	now := was
	if !was.same(it.bounds()) {
		now = c.layoutOf(it.bounds())
	}
	for i, n := range c.counts {
		c.sample(pk, it, base, "_bucket", now.le[i], it.st(), n)
		for _, e := range exemplars {
			if now.bucketOf(e.v) == i {
				pk.put(e)
			}
		}
	}
	c.sample(pk, it, base, "_count", "", it.st(), count)
	c.sample(pk, it, base, "_sum", "", it.st(), sum)
	if was != nil && was != now {
		c.endBuckets(pk, it, base, was, now)
	}
	if it.stale() {
		now = nil
	}
	if now != was {
		c.setActive(it.series, now)
	}
}

// end marks all series of a classic histogram as stale. A stale marker
// keeps its start timestamp, what continues as something else has it for itself.
func (c *conversion) end(pk *packing, it flat, base labels.Labels, was *layout) {
	st := int64(0)
	if it.stale() {
		st = it.st()
	}
	stale := math.Float64frombits(value.StaleNaN)
	for _, le := range was.le {
		c.sample(pk, it, base, "_bucket", le, st, stale)
	}
	c.sample(pk, it, base, "_count", "", st, stale)
	c.sample(pk, it, base, "_sum", "", st, stale)
}

// endBuckets marks those buckets as stale that a histogram does not have any more.
func (c *conversion) endBuckets(pk *packing, it flat, base labels.Labels, was, now *layout) {
	for i, b := range was.bounds {
		if !slices.Contains(now.bounds, b) {
			c.sample(pk, it, base, "_bucket", was.le[i], 0, math.Float64frombits(value.StaleNaN))
		}
	}
}
