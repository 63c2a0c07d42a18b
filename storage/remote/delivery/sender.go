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
	"slices"
	"time"

	"github.com/golang/snappy"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/mutation"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// sender turns what it takes from its lane's queue into requests. One goroutine
// owns it; its buffers live as long as it does.
type sender struct {
	e        *lane
	req      request
	items    []flat
	verdicts []judgement
	grouping grouping

	enc     *encoder.Builder
	encFor  encoder.Protocol
	encOpts encoder.Options
	own     parcel    // What it encoded itself.
	sharing *exchange // Where borrowed is from.
	borrow  *shared   // A parcel of an exchange, or nil.

	worked time.Duration // How long the attempts took that settled the request.
}

// run delivers until the lane stops or has more senders than it wants.
func (s *sender) run() {
	e := s.e
	for e.queue.take(&s.req, e.wanted) {
		began := time.Now()
		s.worked = 0
		settled := e.reserve(s.req.end) && s.serve()
		e.rates.busy(time.Since(began))
		content := s.req.content()
		if !settled {
			e.queue.release(&s.req)
			e.queue.close() // The first failure of a stop ends it.
			return
		}
		e.queue.ack(&s.req)
		e.settled(content)
		if !e.rest(s.worked) {
			return
		}
	}
}

// serve delivers what was taken, in several requests if it is too much for one.
func (s *sender) serve() bool {
	defer s.forget()
	defer s.giveBack()
	if len(s.req.stretch) > 0 {
		return s.deliver(nil, false)
	}
	s.collect()
	rest := s.items
	for len(rest) > 0 {
		n := len(rest)
		if most := s.e.settings.Load().queue.MaxSamplesPerSend; s.groups() && n > most {
			n = cutBefore(rest, most)
		}
		began := time.Now()
		if !s.deliver(rest[:n:n], s.req.zone) {
			return false
		}
		rest = rest[n:]
		if s.groups() {
			s.e.queue.widen(time.Since(began))
		}
	}
	return true
}

// forget empties the list of items, which keeps batches in memory.
func (s *sender) forget() {
	clear(s.items)
	s.items = s.items[:0]
}

// collect lists the items of the request, partition by partition, in the order
// of the log within each, or in the order of the log if it is one of the line;
// exemplars behind their samples.
func (s *sender) collect() {
	s.forget()
	for _, sp := range s.req.stretch {
		for i := sp.from; i < sp.to; i++ {
			s.items = append(s.items, sp.entry.at(i))
		}
	}
	for _, sp := range s.req.spans {
		part := sp.entry.part(sp.part)
		plain := sp.entry.plain()
		for i := sp.from; i < sp.to; i++ {
			if plain || sp.from == 0 || !sp.entry.ahead.has(sp.part, i) {
				s.items = append(s.items, part.at(i))
			}
		}
		if !plain && sp.to < len(part.items) {
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
func (r *request) content() (t tally) {
	for _, sp := range r.stretch {
		if sp.to-sp.from == sp.entry.total {
			t.plus(sp.entry.tally)
		} else {
			t[classSamples] += sp.to - sp.from // Others are not cut.
		}
	}
	for _, sp := range r.spans {
		part := sp.entry.part(sp.part)
		part = part.from(sp.from, sp.to)
		t.plus(part.count())
	}
	return t
}

// plain reports whether the request has nothing but floats.
func (r *request) plain() bool {
	for _, sp := range r.stretch {
		if !sp.entry.plain() {
			return false
		}
	}
	for _, sp := range r.spans {
		if !sp.entry.plain() {
			return false
		}
	}
	return true
}

// deliver sends items until each is delivered or deliberately dropped, and
// reports whether it got there before the endpoint had to stop. It uses the
// slice as scratch space. Nil stands for a request of the line as a whole.
//
// replayed says that some of the items may have reached the receiver before. A
// receiver that refuses a whole request for one sample it has already would
// then make us lose the others, so such requests are split until what is
// refused is refused on its own (I2).
func (s *sender) deliver(items []flat, replayed bool) bool {
	e := s.e
	var (
		backoff time.Duration
		p       *parcel
		packed  *settings
	)
	for attempt := 0; ; attempt++ {
		set := e.settings.Load()
		if attempt > 0 && mutation.On(mutation.RetryReversed) {
			items = s.listed(packed, items)
			slices.Reverse(items)
			p = nil
		}
		if p == nil || set != packed || set.queue.SampleAgeLimit != 0 {
			if p != nil {
				// What was left out is counted, and stays out.
				items = s.listed(packed, items)
			}
			p, items = s.pack(set, items)
			packed = set
			s.countDrops(p)
		}
		if p.sent.total() == 0 {
			return true
		}
		began := time.Now()
		res := e.attempt(set, p.payload, attempt, p.sent)
		if res.Outcome != client.Retry {
			s.worked += time.Since(began)
		}
		switch res.Outcome {
		case client.Delivered:
			s.delivered(set, p, res, replayed)
			return true
		case client.TooLarge:
			if items = s.listed(set, items); middle(items) > 0 {
				return s.halves(items, replayed)
			}
			e.refused(set, p.sent, res)
			return true
		case client.Denied, client.Refused:
			if res.Outcome == client.Denied && set.holdDenied {
				break
			}
			if replayed && refusesData(res.Status) {
				s.req.refused = true
				items = s.listed(set, items)
				if middle(items) > 0 {
					return s.halves(items, replayed)
				}
				e.refusedOnReplay(p.sent, items[0], res)
				return true
			}
			e.refused(set, p.sent, res)
			return true
		}
		replayed = replayed || res.Ambiguous
		if e.stopping() {
			return false
		}
		backoff = e.pause(set, backoff, res, p.sent)
		if e.stopping() {
			return false
		}
	}
}

// halves delivers items in two requests.
func (s *sender) halves(items []flat, replayed bool) bool {
	half := middle(items)
	return s.deliver(items[:half:half], replayed) && s.deliver(items[half:], replayed)
}

// listed returns the items of a request that was packed: for one of the line
// they have not been listed yet.
func (s *sender) listed(set *settings, items []flat) []flat {
	if items != nil {
		return items
	}
	s.collect()
	var ignored drops // They are counted already.
	return s.filter(set, s.items, &ignored)
}

// refusesData reports whether a status is one that receivers use for samples
// they have already or that are out of order, rather than for the sender.
func refusesData(status int) bool {
	return status == 400 || status == 409 || status == 422
}

// pack encodes items, or the request of the line if items is nil, and returns
// the items that are in it. The parcel is valid until the next call.
func (s *sender) pack(set *settings, items []flat) (*parcel, []flat) {
	s.giveBack()
	if items == nil && set.queue.SampleAgeLimit != 0 {
		s.collect() // What is too old is another thing with every attempt.
		items = s.items
	}
	if items != nil {
		items = s.fill(&s.own, set, items)
		return &s.own, items
	}
	if ex := s.e.exchange.Load(); ex != nil && ex.group == set.kindred() {
		if sh, made := ex.get(s.req.stretchKey()); sh != nil {
			s.sharing, s.borrow = ex, sh
			if made {
				s.fillLine(&sh.parcel, set)
				ex.filled(sh)
			}
			return &sh.parcel, nil
		}
	}
	s.fillLine(&s.own, set)
	return &s.own, nil
}

// giveBack ends the use of a parcel of an exchange.
func (s *sender) giveBack() {
	if s.borrow != nil {
		s.sharing.done(s.borrow)
		s.sharing, s.borrow = nil, nil
	}
}

// stretchKey identifies the items of a request of the line.
func (r *request) stretchKey() stretchKey {
	first, last := r.stretch[0], r.stretch[len(r.stretch)-1]
	return stretchKey{first: first.entry.number, from: first.from, last: last.entry.number, to: last.to, items: r.items}
}

// fillLine fills p with the request of the line.
func (s *sender) fillLine(p *parcel, set *settings) {
	if !s.simple(set) {
		s.collect()
		s.fill(p, set, s.items)
		return
	}
	s.ready(p, set)
	external := set.rules.external
	for _, sp := range s.req.stretch {
		for i := sp.from; i < sp.to; i++ {
			it := sp.entry.at(i)
			s.enc.TableSeries(it.series, external, s.metadata(set, it.series))
			s.enc.Float(it.st(), it.t, it.v)
			p.highest = max(p.highest, it.t)
		}
	}
	p.sent[classSamples] = s.req.items
	p.payload = s.enc.FinishTo(p.payload, s.groups())
}

// simple reports whether everything in the request is sent, with the labels it
// has.
func (s *sender) simple(set *settings) bool {
	return s.req.plain() && len(set.rules.configs) == 0 && set.queue.SampleAgeLimit == 0
}

// ready empties p and prepares the encoder for it.
func (s *sender) ready(p *parcel, set *settings) {
	*p = parcel{payload: p.payload}
	if s.enc == nil || s.encFor != set.protocol || s.encOpts != set.options {
		s.enc, s.encFor, s.encOpts = encoder.New(set.protocol, set.options), set.protocol, set.options
	}
	s.enc.Reset()
}

// fill fills p with items and returns those of them that are in it.
func (s *sender) fill(p *parcel, set *settings, items []flat) []flat {
	s.ready(p, set)
	s.verdicts = s.verdicts[:0]
	if !s.simple(set) {
		items = s.filter(set, items, &p.dropped)
	}
	ruled, grouped := len(s.verdicts) > 0, s.groups()
	for i, it := range items {
		if !joins(items, i, grouped) {
			if ruled && s.verdicts[i].changed {
				s.enc.Series(s.verdicts[i].labels, nil, s.metadata(set, it.series))
			} else {
				s.enc.TableSeries(it.series, set.rules.external, s.metadata(set, it.series))
			}
		}
		switch it.kind() {
		case kindFloat:
			s.enc.Float(it.st(), it.t, it.v)
		case kindHistogram:
			s.enc.Histogram(it.st(), it.t, it.detail.extra.h)
		case kindFloatHistogram:
			s.enc.FloatHistogram(it.st(), it.t, it.detail.extra.fh)
		case kindExemplar:
			s.enc.Exemplar(it.detail.extra.labels, it.t, it.v)
		}
		p.sent.add(it.kind())
		p.highest = max(p.highest, it.t)
	}
	p.payload = s.enc.FinishTo(p.payload, grouped)
	return items
}

// metadata returns the metadata of a series where the protocol has room for it.
func (s *sender) metadata(set *settings, of *series.Series) *metadata.Metadata {
	if set.protocol != encoder.V2 {
		return nil
	}
	m, _ := s.e.src.Table.Metadata(of)
	return m
}

// filter drops what is not to be sent under the settings and counts it in
// dropped. Where rules apply it fills s.verdicts for the rest.
func (s *sender) filter(set *settings, items []flat, dropped *drops) []flat {
	oldest, limited := set.tooOld(time.Now())
	kept := items[:0]
	for _, it := range items {
		switch {
		case !set.wants(it.kind()):
		case limited && it.t < oldest:
			dropped[dropTooOld].add(it.kind())
		case set.protocol == encoder.V1 && it.customBuckets():
			dropped[dropNHCB].add(it.kind())
		default:
			kept = append(kept, it)
		}
	}
	items = kept
	s.verdicts = s.verdicts[:0]
	ruled := len(set.rules.configs) > 0
	if ruled {
		s.verdicts = set.rules.judge(len(items), func(i int) *series.Series { return items[i].series }, s.verdicts)
	}
	kept, verdicts := items[:0], s.verdicts[:0]
	for i, it := range items {
		if ruled && s.verdicts[i].drop {
			dropped[dropRule].add(it.kind())
			continue
		}
		if it.kind() == kindExemplar && set.protocol == encoder.V2 && (len(kept) == 0 || kept[len(kept)-1].series != it.series) {
			dropped[dropAlone].add(it.kind())
			continue
		}
		kept = append(kept, it)
		if ruled {
			verdicts = append(verdicts, s.verdicts[i])
		}
	}
	s.verdicts = verdicts
	return kept
}

// countDrops accounts for what a parcel leaves out.
func (s *sender) countDrops(p *parcel) {
	s.e.metrics.Load().highest.raise(p.highest)
	for i := range p.dropped {
		if p.dropped[i].total() > 0 {
			s.e.drop(dropReasons[i], p.dropped[i])
		}
	}
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

// attempt sends a payload once.
func (l *lane) attempt(set *settings, payload []byte, attempt int, sent tally) client.Result {
	m := l.metrics.Load()
	for c, n := range sent {
		m.attempted[c].Add(float64(n))
	}
	began := time.Now()
	res := set.client.Store(l.ctx, payload, attempt)
	m.latency.Observe(time.Since(began).Seconds())
	l.failing.Store(res.Outcome == client.Retry)
	switch res.Outcome {
	case client.Delivered:
		l.proven.Store(true)
	case client.Retry:
		l.proven.Store(false)
	}
	if set.logFailed && (res.Err != nil || (set.protocol == encoder.V2 && res.Written.NoDataWritten())) {
		l.logFailed(set, payload, res)
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
func (l *lane) pause(set *settings, last time.Duration, res client.Result, sent tally) (next time.Duration) {
	m := l.metrics.Load()
	for c, n := range sent {
		m.retried[c].Add(float64(n))
	}
	wait := max(last, time.Duration(set.queue.MinBackoff))
	if res.RetryAfter > 0 {
		wait = res.RetryAfter
	}
	l.logger.Warn("Failed to send batch, retrying", "err", res.Err, "wait", wait)
	l.rates.recoverable(time.Now().Add(2 * wait))
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-set.replaced:
		return 0
	case <-l.stop:
	case <-l.ctx.Done():
	}
	return min(2*wait, time.Duration(set.queue.MaxBackoff))
}
