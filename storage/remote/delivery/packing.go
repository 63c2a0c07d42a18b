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
	"time"

	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// sender turns what it takes from its stream's queue into requests. One goroutine
// owns it; its buffers live as long as it does.
type sender struct {
	e        *stream
	req      request
	items    []flat
	left     []flat // What was not delivered of the request when the stream stopped,
	partly   bool   // and whether a part was.
	verdicts []judgement
	grouping grouping

	enc     *encoder.Builder
	encFor  encoder.Protocol
	encOpts encoder.Options
	own     encodedRequest // What it encoded itself.
	cache   *requestCache  // Where shared is from.
	shared  *shared        // An encoded request of a request cache, or nil.

	conversion *conversion // To classic histograms.

	worked    time.Duration // How long the attempts took that settled the request.
	pointless bool          // A part of the request was too large for the receiver that cannot be.
	sounded   bool          // Some series of the request were tried alone.
	asked     time.Duration // What the answer to the last such request asked for,
	gaveUp    bool          // and that there was none in the time that it had.
	unsure    bool          // A part of it was sent apart, and may have been stored without an answer.
	apart     bool          // It is the isolator's: it has no request of the queue.
	judged    *settings     // Those that the request was packed with last.
}

// judgedBy takes note of the settings that say what of the request is sent, and at its
// end of those that say it of what comes next. What some leave out is saved before others
// apply.
func (s *sender) judgedBy(set *settings) {
	if s.judged != nil && s.judged != set {
		s.req.renew = s.e.marks.renew
	}
	s.judged = set
}

// forget empties what keeps batches and labels in memory.
func (s *sender) forget() {
	clear(s.items)
	s.items = s.items[:0]
	clear(s.left[len(s.left):cap(s.left)])
	clear(s.verdicts[:cap(s.verdicts)])
	s.grouping.forget()
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
// catching up, where there are several, and not in the replay range, where each
// has to stand alone. In live operation receivers see what stock sends them.
func (s *sender) groups() bool { return s.req.behind && !s.req.replay }

// content counts what the request took from the queue.
func (r *request) content() (t counts) {
	for _, sp := range r.stretch {
		if sp.to-sp.from == sp.entry.total {
			t.plus(sp.entry.counts)
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

// pack encodes items, or the request of the line if items is nil, and returns
// those that are to be sent, of which the first n are in it. The encoded request is valid
// until the next call.
func (s *sender) pack(set *settings, items []flat) (p *encodedRequest, left []flat, n int) {
	s.giveBack()
	s.judgedBy(set)
	if items == nil {
		if most := s.e.sizes.most.Load(); most == 0 || s.req.items <= int(most) {
			if p := s.packLine(set); p != nil {
				return p, nil, 0
			}
		}
		s.collect()
		items = s.items
	}
	items = s.screen(&s.own, set, items)
	n = s.encode(&s.own, set, items)
	return &s.own, items, n
}

// packLine encodes the request of the line, or takes what another endpoint did
// of it. It returns nil if not all of it is to be sent now, or in one request.
func (s *sender) packLine(set *settings) *encodedRequest {
	if set.queue.SampleAgeLimit != 0 {
		return nil // What is too old is another thing with every attempt.
	}
	if ex := s.e.cache.Load(); ex != nil && !set.classic && ex.group == set.cacheKey() {
		if sh, made := ex.get(s.req.stretchKey()); sh != nil {
			s.cache, s.shared = ex, sh
			if made {
				sh.whole = s.fillLine(&sh.encodedRequest, set)
				ex.filled(sh)
			}
			if sh.whole {
				return &sh.encodedRequest
			}
			s.giveBack()
			return nil
		}
	}
	if s.fillLine(&s.own, set) {
		return &s.own
	}
	return nil
}

// giveBack ends the use of an encoded request of a request cache.
func (s *sender) giveBack() {
	if s.shared != nil {
		s.cache.done(s.shared)
		s.cache, s.shared = nil, nil
	}
}

// stretchKey identifies the items of a request of the line.
func (r *request) stretchKey() stretchKey {
	first, last := r.stretch[0], r.stretch[len(r.stretch)-1]
	return stretchKey{first: first.entry.number, from: first.from, last: last.entry.number, to: last.to, items: r.items}
}

// fillLine fills p with the request of the line. It returns false if it is too
// large for one.
func (s *sender) fillLine(p *encodedRequest, set *settings) (whole bool) {
	if !s.simple(set) {
		s.collect()
		items := s.screen(p, set, s.items)
		return s.encode(p, set, items) == len(items)
	}
	s.ready(p, set)
	pk := s.packing(p, set)
	external := set.rules.external
	for _, sp := range s.req.stretch {
		for i := sp.from; i < sp.to; i++ {
			if s.enc.Len() > set.requestBytes {
				return false
			}
			it := sp.entry.at(i)
			s.enc.TableSeries(it.series, external, pk.metadata(it.series))
			s.enc.Float(it.st(), it.t, it.v)
			p.highest = max(p.highest, it.t)
		}
	}
	p.sent[classSamples], p.items = s.req.items, s.req.items
	p.raw = s.enc.Len()
	p.payload = s.enc.FinishTo(p.payload, s.groups())
	return true
}

// simple reports whether everything in the request is sent, with the labels it
// has.
func (s *sender) simple(set *settings) bool {
	return !s.apart && s.req.plain() && !set.classic && len(set.rules.configs) == 0 && set.queue.SampleAgeLimit == 0
}

// ready empties p and prepares the encoder for it.
func (s *sender) ready(p *encodedRequest, set *settings) {
	*p = encodedRequest{payload: p.payload}
	if s.enc == nil || s.encFor != set.protocol || s.encOpts != set.options {
		s.enc, s.encFor, s.encOpts = encoder.New(set.protocol, set.options), set.protocol, set.options
	}
	s.enc.Reset()
	if s.conversion == nil {
		s.conversion = newConversion(&s.e.layouts)
	}
	clear(s.conversion.changes)
}

func (s *sender) packing(p *encodedRequest, set *settings) packing {
	return packing{p: p, set: set, enc: s.enc, verdicts: s.verdicts, grouped: s.groups(), table: s.e.src.Table}
}

// screen empties p and returns the items that are to be sent, in the memory of
// the argument. What is left out is counted in p.
func (s *sender) screen(p *encodedRequest, set *settings, items []flat) []flat {
	s.ready(p, set)
	s.verdicts = s.verdicts[:0]
	if !s.simple(set) {
		items = s.filter(set, items, &p.dropped)
	}
	if set.classic {
		pk := s.packing(p, set)
		items, s.verdicts = s.conversion.screen(&pk, items, s.inconvertible)
	}
	return items
}

func (s *sender) inconvertible(err error) {
	s.e.logger.Error("A native histogram with custom buckets cannot be sent as a classic one, it is dropped", "err", err)
}

// encode fills p, which screen has prepared, with items, as many as fit into a
// request and one at least, and returns how many those are. Exemplars stay with
// their sample.
func (s *sender) encode(p *encodedRequest, set *settings, items []flat) (n int) {
	pk := s.packing(p, set)
	if most := int(s.e.sizes.most.Load()); most > 0 {
		items = items[:cutBefore(items, most)]
	}
	if set.classic {
		n = s.conversion.fill(&pk, items)
	} else {
		n = pk.fill(items)
	}
	p.raw, p.items = s.enc.Len(), n
	p.payload = s.enc.FinishTo(p.payload, pk.grouped)
	return n
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
		case set.protocol == encoder.V1 && !set.classic && it.customBuckets():
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
