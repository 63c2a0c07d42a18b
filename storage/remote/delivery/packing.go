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

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// collect lists the items of the request, partition by partition, in the order
// of the log within each, or in the order of the log if the request is in order;
// exemplars behind their samples.
func (s *sender) collect() {
	s.forget()
	s.items = s.req.AppendItems(s.items)
	s.items = s.grouping.arrange(s.items, s.groups())
}

// groups reports whether samples of one series share a time series: while
// catching up, where there are several, and not in the replay range, where each
// has to be alone. In live operation receivers see what stock sends them.
func (s *sender) groups() bool { return s.req.Behind && !s.req.Replay }

// work is what deliver has to send: items, or a request in order as a whole, whose items
// are not listed, since it is encoded as it lies in the log.
type work struct {
	whole bool
	items []queue.ItemView // Used as scratch space.
}

// list makes items of a request that was packed as a whole.
func (s *sender) list(set *settings, w *work) {
	if w.whole {
		s.collect()
		var ignored drops // They are counted already.
		*w = work{items: s.filter(set, s.items, &ignored)}
	}
}

// pack encodes what is to be delivered, and leaves what of it is to be sent, of which the
// first n items are in the request. A request in order that is encoded as a whole stays
// one. The encoded request is valid until the next call.
func (s *sender) pack(set *settings, w *work) (p *encodedRequest, n int) {
	s.giveBack()
	s.judgedBy(set)
	if w.whole {
		if most := s.stream.sizes.most.Load(); most == 0 || s.req.Items <= int(most) {
			if p := s.packInOrder(set); p != nil {
				return p, 0
			}
		}
		s.collect()
		*w = work{items: s.items}
	}
	w.items = s.screen(&s.own, set, w.items)
	return &s.own, s.encode(&s.own, set, w.items)
}

// packInOrder encodes the request in order, or takes what another endpoint did
// of it. It returns nil if not all of it is to be sent now, or in one request.
func (s *sender) packInOrder(set *settings) *encodedRequest {
	if set.queue.SampleAgeLimit != 0 {
		return nil // What is too old is another thing with every attempt.
	}
	if cache := s.stream.endpoint.cache.Load(); cache != nil && !set.classic && cache.group == set.cacheKey() {
		if sh, made := cache.get(s.req.Key()); sh != nil {
			s.cache, s.shared = cache, sh
			if made {
				sh.whole = s.fillInOrder(&sh.encodedRequest, set)
				cache.filled(sh)
			}
			if sh.whole {
				return &sh.encodedRequest
			}
			s.giveBack()
			return nil
		}
	}
	if s.fillInOrder(&s.own, set) {
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

// fillInOrder fills p with the request in order. It returns false if it is too
// large for one.
func (s *sender) fillInOrder(p *encodedRequest, set *settings) (whole bool) {
	if !s.simple(set) {
		s.collect()
		items := s.screen(p, set, s.items)
		return s.encode(p, set, items) == len(items)
	}
	s.ready(p)
	pk, done := s.packing(p, set)
	defer done()
	external := set.rules.external
	for l := range s.req.Lists() {
		for i := range l.Items {
			if pk.enc.Len() > set.requestBytes {
				return false
			}
			it := l.At(i)
			pk.enc.TableSeries(it.Series, external, pk.metadata(it.Series))
			pk.enc.Float(it.ST(), it.T, it.V)
			p.highest = max(p.highest, it.T)
		}
	}
	p.sent[queue.Samples], p.items = s.req.Items, s.req.Items
	pk.by.finish(pk.enc, p, pk.grouped)
	return true
}

// simple reports whether everything in the request is sent, with the labels it
// has.
func (s *sender) simple(set *settings) bool {
	return !s.apart && s.req.Plain() && !set.classic && len(set.rules.configs) == 0 && set.queue.SampleAgeLimit == 0
}

// ready empties p and prepares to fill it.
func (s *sender) ready(p *encodedRequest) {
	*p = encodedRequest{payload: p.payload}
	if s.conversion == nil {
		s.conversion = newConversion(&s.stream.layouts)
	}
	clear(s.conversion.changes)
}

// packing waits until the request can be encoded. The caller calls done when it is.
func (s *sender) packing(p *encodedRequest, set *settings) (pk packing, done func()) {
	all := s.stream.endpoint.encoders
	by, enc, waited := all.take(set)
	s.state.waited += waited
	pk = packing{p: p, set: set, by: by, enc: enc, judgements: s.judgements, grouped: s.groups(), table: s.stream.endpoint.src.Table}
	return pk, func() { all.give(by) }
}

// screen empties p and returns the items that are to be sent, in the memory of
// the argument. What is left out is counted in p.
func (s *sender) screen(p *encodedRequest, set *settings, items []queue.ItemView) []queue.ItemView {
	s.ready(p)
	s.judgements = s.judgements[:0]
	if !s.simple(set) {
		items = s.filter(set, items, &p.dropped)
	}
	if set.classic {
		pk := packing{p: p, set: set, judgements: s.judgements}
		items, s.judgements = s.conversion.screen(&pk, items, s.inconvertible)
	}
	return items
}

func (s *sender) inconvertible(err error) {
	s.stream.endpoint.logger.Error("A native histogram with custom buckets cannot be sent as a classic one, it is dropped", "err", err)
}

// encode fills p, which screen has prepared, with items, as many as fit into a
// request and one at least, and returns how many those are. Exemplars stay with
// their sample.
func (s *sender) encode(p *encodedRequest, set *settings, items []queue.ItemView) (n int) {
	pk, done := s.packing(p, set)
	defer done()
	if most := int(s.stream.sizes.most.Load()); most > 0 {
		items = items[:cutBefore(items, most)]
	}
	if set.classic {
		n = s.conversion.fill(&pk, items)
	} else {
		n = pk.fill(items)
	}
	p.items = n
	pk.by.finish(pk.enc, p, pk.grouped)
	return n
}

// filter drops what is not to be sent under the settings and counts it in
// dropped. Where rules apply it fills s.judgements for the rest.
func (s *sender) filter(set *settings, items []queue.ItemView, dropped *drops) []queue.ItemView {
	oldest, limited := set.tooOld(time.Now())
	kept := items[:0]
	for _, it := range items {
		switch {
		case !set.wants(it.Kind()):
		case limited && it.T < oldest:
			dropped[dropTooOld].Add(it.Kind())
		case set.protocol == encoder.V1 && !set.classic && hasCustomBuckets(it):
			dropped[dropNHCB].Add(it.Kind())
		default:
			kept = append(kept, it)
		}
	}
	items = kept
	s.judgements = s.judgements[:0]
	ruled := len(set.rules.configs) > 0
	if ruled {
		s.judgements = set.rules.judge(len(items), func(i int) *series.Series { return items[i].Series }, s.judgements)
	}
	kept, judgements := items[:0], s.judgements[:0]
	for i, it := range items {
		if ruled && s.judgements[i].drop {
			dropped[dropRule].Add(it.Kind())
			continue
		}
		if it.Kind() == queue.Exemplar && set.protocol == encoder.V2 && (len(kept) == 0 || kept[len(kept)-1].Series != it.Series) {
			dropped[dropAlone].Add(it.Kind())
			continue
		}
		kept = append(kept, it)
		if ruled {
			judgements = append(judgements, s.judgements[i])
		}
	}
	s.judgements = judgements
	return kept
}
