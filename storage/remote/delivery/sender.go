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
	"log/slog"
	"strconv"
	"time"

	"github.com/golang/snappy"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// sender turns what it takes from its endpoint's queue into requests. One
// goroutine owns it; its buffers live as long as it does.
type sender struct {
	e        *endpoint
	req      request
	items    []flat
	verdicts []judgement
	grouping grouping

	enc      *encoder.Builder
	encFor   encoder.Protocol
	encOpts  encoder.Options
	payload  []byte
	settings *settings
}

// run delivers until the endpoint stops or has more senders than it wants.
func (s *sender) run() {
	e := s.e
	for e.queue.take(&s.req, e.wanted) {
		s.collect()
		began := time.Now()
		e.reserve(s.req.end)
		settled := s.deliver(s.items, s.req.zone)
		e.rates.busy(time.Since(began))
		content := s.content()
		if !settled {
			e.queue.release(&s.req)
			e.queue.close() // The first failure of a stop ends it.
			return
		}
		e.queue.ack(&s.req)
		e.settled(content)
	}
}

// collect lists the items of the request, partition by partition, in the order
// of the log within each, exemplars behind their samples.
func (s *sender) collect() {
	clear(s.items)
	s.items = s.items[:0]
	for _, sp := range s.req.spans {
		part := sp.entry.part(sp.part)
		for i := sp.from; i < sp.to; i++ {
			if sp.from == 0 || !sp.entry.ahead.has(&part[i]) {
				s.items = append(s.items, flat{item: &part[i], batch: sp.entry.batch})
			}
		}
		if sp.to < len(part) {
			s.items = sp.entry.ahead.add(s.items, sp, part)
		}
	}
	s.items = s.grouping.arrange(s.items, s.groups())
}

// groups reports whether samples of one series share a time series: while
// catching up, where there are several, and not in the replay zone, where each
// has to stand alone. In live operation receivers see what stock sends them.
func (s *sender) groups() bool { return s.req.behind && !s.req.zone }

// content counts what the request took from the queue.
func (s *sender) content() (t tally) {
	for _, sp := range s.req.spans {
		for _, it := range sp.entry.part(sp.part)[sp.from:sp.to] {
			t.add(it.kind)
		}
	}
	return t
}

// deliver sends items until each is delivered or deliberately dropped, and
// reports whether it got there before the endpoint had to stop. It uses the
// slice as scratch space.
//
// replayed says that some of the items may have reached the receiver before. A
// receiver that refuses a whole request for one sample it has already would
// then make us lose the others, so such requests are split until what is
// refused is refused on its own (I2).
func (s *sender) deliver(items []flat, replayed bool) bool {
	e := s.e
	var backoff time.Duration
	for attempt := 0; ; attempt++ {
		set := e.settings.Load()
		items = s.filter(set, items)
		if len(items) == 0 {
			return true
		}
		var sent tally
		for i := range items {
			sent.add(items[i].kind)
		}
		s.encode(set, items)
		res := e.attempt(set, s.payload, attempt, sent)
		switch res.Outcome {
		case client.Delivered:
			s.delivered(set, items, sent, res, replayed)
			return true
		case client.TooLarge:
			if half := middle(items); half > 0 {
				return s.deliver(items[:half:half], replayed) && s.deliver(items[half:], replayed)
			}
			e.refused(set, sent, res)
			return true
		case client.Denied, client.Refused:
			if res.Outcome == client.Denied && set.holdDenied {
				break
			}
			if replayed && refusesData(res.Status) {
				s.req.refused = true
				if half := middle(items); half > 0 {
					return s.deliver(items[:half:half], replayed) && s.deliver(items[half:], replayed)
				}
				e.refusedOnReplay(sent, items[0], res)
				return true
			}
			e.refused(set, sent, res)
			return true
		}
		replayed = replayed || res.Ambiguous
		if e.stopping() {
			return false
		}
		backoff = e.pause(set, backoff, res, sent)
		if e.stopping() {
			return false
		}
	}
}

// refusesData reports whether a status is one that receivers use for samples
// they have already or that are out of order, rather than for the sender.
func refusesData(status int) bool {
	return status == 400 || status == 409 || status == 422
}

// filter drops what is not to be sent under the present settings and counts it.
// It fills s.verdicts for the rest.
func (s *sender) filter(set *settings, items []flat) []flat {
	var (
		dropped = map[string]*tally{}
		count   = func(reason string, it flat) {
			if dropped[reason] == nil {
				dropped[reason] = &tally{}
			}
			dropped[reason].add(it.kind)
		}
		oldest, limited = set.tooOld(time.Now())
		kept            = items[:0]
	)
	for _, it := range items {
		switch {
		case !set.wants(it.kind):
		case limited && it.t < oldest:
			count(reasonTooOld, it)
		case set.protocol == encoder.V1 && it.customBuckets():
			count(reasonNHCB, it)
		default:
			kept = append(kept, it)
		}
	}
	items = kept
	s.verdicts = set.rules.judge(len(items), func(i int) *series.Series { return items[i].series }, s.verdicts)
	kept, verdicts := items[:0], s.verdicts[:0]
	for i, it := range items {
		if s.verdicts[i].drop {
			count(reasonDropped, it)
			continue
		}
		if it.kind == kindExemplar && set.protocol == encoder.V2 && (len(kept) == 0 || kept[len(kept)-1].series != it.series) {
			count(reasonAlone, it)
			continue
		}
		kept, verdicts = append(kept, it), append(verdicts, s.verdicts[i])
	}
	s.verdicts = verdicts
	highest := int64(0)
	for _, it := range kept {
		highest = max(highest, it.t)
	}
	s.e.metrics.Load().highest.raise(highest)
	for reason, t := range dropped {
		s.e.drop(reason, *t)
	}
	return kept
}

// customBuckets reports whether the item is a native histogram with custom
// buckets, which remote write 1.0 cannot carry.
func (f flat) customBuckets() bool {
	switch f.kind {
	case kindHistogram:
		return f.batch.extras[f.extra].h.Schema == histogram.CustomBucketsSchema
	case kindFloatHistogram:
		return f.batch.extras[f.extra].fh.Schema == histogram.CustomBucketsSchema
	}
	return false
}

// encode builds the request for items into s.payload.
func (s *sender) encode(set *settings, items []flat) {
	if s.enc == nil || s.encFor != set.protocol || s.encOpts != set.options {
		s.enc, s.encFor, s.encOpts = encoder.New(set.protocol, set.options), set.protocol, set.options
	}
	s.enc.Reset()
	for i, it := range items {
		if !joins(items, i, s.groups()) {
			v := &s.verdicts[i]
			s.enc.Series(v.labels, v.external, nil)
		}
		switch it.kind {
		case kindFloat:
			s.enc.Float(it.st, it.t, it.v)
		case kindHistogram:
			s.enc.Histogram(it.st, it.t, it.batch.extras[it.extra].h)
		case kindFloatHistogram:
			s.enc.FloatHistogram(it.st, it.t, it.batch.extras[it.extra].fh)
		case kindExemplar:
			s.enc.Exemplar(it.batch.extras[it.extra].labels, it.t, it.v)
		}
	}
	s.payload, _ = s.enc.Finish()
}

// delivered accounts for a request the endpoint has taken. Receivers of remote
// write 2.0 tell how much of it they stored.
func (s *sender) delivered(set *settings, items []flat, sent tally, res client.Result, replayed bool) {
	e := s.e
	highest := int64(0)
	for _, it := range items {
		highest = max(highest, it.t)
	}
	m := e.metrics.Load()
	m.highestSent.raise(highest)
	m.bytes.Add(float64(len(s.payload)))
	if replayed {
		m.resent.Add(float64(sent.total()))
	}
	if res.StatsErr != nil {
		e.logger.Warn("The endpoint accepted a request and its statistics on it cannot be read; all of it counts as stored", "err", res.StatsErr)
		return
	}
	if set.protocol == encoder.V1 && !res.Written.Confirmed {
		return
	}
	if missing := unwritten(sent, res); missing.total() > 0 {
		e.fail(missing, strconv.Itoa(res.Status))
		hint := "the receiver stored only a part"
		if res.Written.NoDataWritten() && set.protocol == encoder.V2 {
			hint = "the receiver stored nothing; it may not know remote write 2.0 and ignore the content type"
		}
		e.logger.Error("The endpoint accepted a request, and did not store all of it", "hint", hint,
			"failedSampleCount", missing[classSamples], "failedHistogramCount", missing[classHistograms], "failedExemplarCount", missing[classExemplars])
	}
}

// unwritten is what a response's statistics leave out.
func unwritten(sent tally, res client.Result) (t tally) {
	t[classSamples] = max(sent[classSamples]-res.Written.Samples, 0)
	t[classHistograms] = max(sent[classHistograms]-res.Written.Histograms, 0)
	t[classExemplars] = max(sent[classExemplars]-res.Written.Exemplars, 0)
	return t
}

// attempt sends a payload once.
func (e *endpoint) attempt(set *settings, payload []byte, attempt int, sent tally) client.Result {
	m := e.metrics.Load()
	for c, n := range sent {
		m.attempted[c].Add(float64(n))
	}
	began := time.Now()
	res := set.client.Store(e.ctx, payload, attempt)
	m.latency.Observe(time.Since(began).Seconds())
	e.failing.Store(res.Outcome == client.Retry)
	if set.logFailed && (res.Err != nil || (set.protocol == encoder.V2 && res.Written.NoDataWritten())) {
		e.logFailed(set, payload, res)
	}
	return res
}

// logFailed logs a failed request with its content, as failed_request_logging
// asks for.
func (e *endpoint) logFailed(set *settings, payload []byte, res client.Result) {
	if !e.logger.Enabled(e.ctx, slog.LevelDebug) {
		return
	}
	raw, err := snappy.Decode(nil, payload)
	var req any = &prompb.WriteRequest{}
	if set.protocol == encoder.V2 {
		req = &writev2.Request{}
	}
	if err == nil {
		err = req.(interface{ Unmarshal([]byte) error }).Unmarshal(raw)
	}
	if err != nil {
		req = err // Ours to mend: the encoder's output cannot be read.
	}
	e.logger.Debug("Failed to send remote write request", "protocol", set.protocol.String(), "req", req, "status", res.Status, "err", res.Err)
}

// pause waits before the next attempt, as long as the receiver asks for or the
// back-off says. It ends early when the endpoint stops or its settings change.
func (e *endpoint) pause(set *settings, last time.Duration, res client.Result, sent tally) (next time.Duration) {
	m := e.metrics.Load()
	for c, n := range sent {
		m.retried[c].Add(float64(n))
	}
	wait := max(last, time.Duration(set.queue.MinBackoff))
	if res.RetryAfter > 0 {
		wait = res.RetryAfter
	}
	e.logger.Warn("Failed to send batch, retrying", "err", res.Err, "wait", wait)
	e.rates.recoverable(time.Now().Add(2 * wait))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-set.replaced:
		return 0
	case <-e.stop:
	case <-e.ctx.Done():
	}
	return min(2*wait, time.Duration(set.queue.MaxBackoff))
}

// refused accounts for a request the endpoint refused for good.
func (e *endpoint) refused(set *settings, sent tally, res client.Result) {
	missing := sent
	if res.Written.Confirmed {
		missing = unwritten(sent, res)
	}
	e.fail(missing, strconv.Itoa(res.Status))
	e.logger.Error("non-recoverable error", "failedSampleCount", missing[classSamples], "failedHistogramCount", missing[classHistograms],
		"failedExemplarCount", missing[classExemplars], "protocol", set.protocol.String(), "err", res.Err)
}

// refusedOnReplay accounts for one item that was refused when it was, perhaps,
// sent for the second time.
func (e *endpoint) refusedOnReplay(sent tally, it flat, res client.Result) {
	e.drop(reasonOnReplay, sent)
	e.logger.Debug("The endpoint refused a sample it may have already", "ref", chunks.HeadSeriesRef(it.series.Ref()), "timestamp", it.t, "err", res.Err)
}

func (e *endpoint) fail(t tally, code string) {
	m := e.metrics.Load()
	for c, n := range t {
		m.failed[c].Add(float64(n))
	}
	m.refused.WithLabelValues(code).Add(float64(t.total()))
}

func (e *endpoint) drop(reason string, t tally) {
	m := e.metrics.Load()
	for c, n := range t {
		if n > 0 {
			m.dropped[c].WithLabelValues(reason).Add(float64(n))
		}
	}
}

// settled accounts for items that left the queue.
func (e *endpoint) settled(t tally) {
	m := e.metrics.Load()
	for c, n := range t {
		m.pending[c].Sub(float64(n))
	}
}

// countUnknown tells of items that could not be attributed to a series.
func (e *endpoint) countUnknown(t tally) {
	if n := t.total(); n > 0 {
		e.logger.Error("Dropped items of the log whose series is not known", "count", n)
	}
}
