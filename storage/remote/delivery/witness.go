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
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

const (
	// mostWitnesses is how many series are tried if there is nothing to be sent of others.
	mostWitnesses = 4
	// otherPartitions is how many others are looked at if a partition has nothing new.
	otherPartitions = 8
)

// mayHave reports whether the receiver may have some of the request.
func (s *sender) mayHave() bool {
	ahead := s.stream.proof.sentAhead()
	return s.req.Replay || (ahead != cursor.Position{} && s.req.Begin().Before(ahead))
}

// prove looks for a witness that the endpoint, which refused an item that it may have,
// takes others.
func (s *sender) prove(set *settings, it queue.ItemView) (proven bool) {
	st := s.stream
	last, ok := st.proof.begin()
	if !ok {
		return false
	}
	began := time.Now()
	defer func() { st.proof.end(time.Since(began)) }()
	if last.hash != 0 && !last.from.Before(st.queue.Stats().Taken) && !st.isolation.has(last.hash) {
		// It is still ahead of all requests.
		if taken, tried := s.hear(set, last); tried {
			return taken
		}
	}
	sent := cursor.Later(st.replayEnd, st.proof.sentAhead())
	at := s.req.Marks([]queue.ItemView{it})[it.Item]
	taken, tried := s.hearOne(set, at, it.Series.Partition(), cursor.Later(sent, s.req.End))
	for _, p := range rand.Perm(queue.Partitions)[:otherPartitions] {
		if tried || st.endpoint.stopping() {
			break
		}
		if at, held := st.queue.HoldReplay(p); held {
			taken, tried = s.hearOne(set, at, p, sent)
			st.queue.GiveBack(p)
		}
	}
	return taken
}

// hearOne looks for a witness in a partition that nobody else sends anything of. tried says
// that there is one.
func (s *sender) hearOne(set *settings, from savepoint.Mark, part int, sent cursor.Position) (taken, tried bool) {
	for _, hash := range s.witnesses(from, part, sent) {
		if taken, tried = s.hear(set, testimony{hash, from, sent}); tried {
			return taken, true
		}
	}
	return false, false
}

// witnesses returns some series of a partition that have something new, those first that
// have least before that.
func (s *sender) witnesses(from savepoint.Mark, part int, sent cursor.Position) (best []uint64) {
	var (
		count = map[uint64]int{}
		known = hashes{}
		first cursor.Point // The first batch with something new.
	)
	err := s.scan(from, part, sent, func(it queue.ItemView, at savepoint.Mark, _ cursor.Position) bool {
		hash := known.of(it.Series)
		if at.Before(sent) {
			count[hash]++
			return true
		}
		if first == (cursor.Point{}) {
			first = at.Point
		}
		if at.Point == first && it.Kind() != queue.Exemplar && !s.stream.isolation.has(hash) && !slices.Contains(best, hash) {
			best = append(best, hash)
		}
		return at.Point == first
	})
	if err != nil {
		return nil
	}
	slices.SortStableFunc(best, func(a, b uint64) int { return cmp.Compare(count[a], count[b]) })
	return best[:min(len(best), mostWitnesses)]
}

// hear sends what a witness has, one by one, until something is taken, or something new is
// refused. tried says that there was something to be sent that is new.
func (s *sender) hear(set *settings, t testimony) (taken, tried bool) {
	st, known := s.stream, hashes{}
	_ = s.scan(t.from, int(t.hash%queue.Partitions), t.new, func(it queue.ItemView, at savepoint.Mark, end cursor.Position) bool {
		if it.Kind() == queue.Exemplar || known.of(it.Series) != t.hash {
			return true
		}
		st.proof.goAhead(end)
		if !st.reserve(end) || st.endpoint.stopping() {
			return false
		}
		res := s.try(set, []queue.ItemView{it})
		if res.Outcome == client.Retry && res.Err == nil {
			return true // Nothing of it is to be sent.
		}
		taken = res.Outcome == client.Delivered
		if taken {
			at.Skip++
			st.proof.note(testimony{hash: t.hash, from: at, new: cursor.Later(t.new, end)})
		}
		again := !taken && at.Before(t.new) && refusesData(res.Status)
		tried = tried || !again
		return again
	})
	return taken, tried
}

// scan reads what a partition has in the log from a mark on, up to the head or the end of
// the stream, as long as each returns true, which is told the mark of an item and where its
// batch ends. No batch begins before sent and ends behind the first record that does.
func (s *sender) scan(from savepoint.Mark, part int, sent cursor.Position, each func(it queue.ItemView, at savepoint.Mark, end cursor.Position) bool) error {
	st := s.stream
	log := newLogReader(st.endpoint.logger, st.endpoint.src, func(*cursor.Corruption) {})
	defer log.close()
	if until, bounded := st.cursor.end(); bounded {
		log.until = &until
	}
	skip := from.Skip
	for at := from.Point; st.reading.Err() == nil; {
		b, err := log.read(at, maxBatchItems, func(end cursor.Position) bool { return at.Before(sent) && !end.Before(sent) })
		if errors.Is(err, cursor.ErrCaughtUp) {
			return nil
		}
		if err != nil {
			return err
		}
		at = b.End
		if b.Gap {
			skip = 0 // What was to be skipped may be among what is missing.
		}
		list := b.Part(part)
		for i := min(skip, len(list.Items)); i < len(list.Items); i++ {
			if !each(list.At(i), savepoint.Mark{Point: b.Start, Skip: i}, b.End.Position) {
				return nil
			}
		}
		skip = max(0, skip-len(list.Items))
	}
	return context.Cause(st.reading)
}
