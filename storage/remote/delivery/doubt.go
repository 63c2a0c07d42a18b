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
	"math/rand/v2"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// A request that fails again and again fails because the endpoint is down, or
// because of something in it. As long as it is not known which, no more requests
// are made than in any outage, but every second attempt is a different request: one
// series of the failing one or, since all of it may be at fault, one sample behind it.
// Once one of them is taken, the endpoint is up, and what is left goes on trial
// (division.go).

const (
	// doubtAfter is how many attempts fail before there is a doubt. One is enough
	// if it took the whole of remote_timeout.
	doubtAfter = 3
	// divideFirst is how many refused requests in a row are divided whatever the
	// endpoint has taken before. One that refuses more most likely refuses everything.
	// Of each of those, up to the number of probeMany, so many series as probes says are
	// tried alone; of each that follows, one series.
	divideFirst = 2
	probeMany   = 8
	probes      = 5
	// soundings are how many are tried of a request that is too large for an
	// endpoint that has taken nothing yet: the size may be a pretext, and its parts
	// may have nothing in them that is taken.
	soundings = 10
	// probesAtOnce is how many are made in a row if they get no answer.
	probesAtOnce = 4
	// leastInTurn is how often a request is tried in its turn.
	leastInTurn = 4
	// slowAnswer is how long an answer other than a good one takes that says nothing
	// about how long others take.
	slowAnswer = 3 * time.Second
	// loneTries is how often a request of one series, or of the replay range, which may
	// have some that are not taken and nothing else, is tried, with nothing else to try
	// in its place, before it is put aside without a proof that others are taken.
	loneTries = 32
	// otherEvery is how many series of a request are tried in its place until it is
	// the turn of a sample from behind it.
	otherEvery = 4
	// limitedFailures is how often a request fails before there is a doubt if the
	// endpoint limits the rate of requests, and limitedTaken how many others are
	// taken meanwhile before it counts as one with something that is not taken.
	limitedFailures = 30
	limitedTaken    = 3
)

// doubt is what a sender knows of a request that fails.
type doubt struct {
	failures  int
	inBetween bool      // The endpoint had taken something just before it failed first.
	scarce    bool      // It was answered as if there were too many requests.
	turned    bool      // It has had its turn,
	began     time.Time // which began then,
	inTurn    int       // and in which it failed so often.
	hung      bool      // An attempt took the whole of remote_timeout, or was answered with Retry-After.
	limited   bool      // The last failure is most likely one of the rate of requests.
	delivered int64     // Requests that the stream had delivered when it failed first,
	taken     int64     // and that the endpoint had taken.
	tries     int       // Other requests that were made in its place.
}

func (d *doubt) noteFailure(s *stream, hung bool, res client.Result) {
	if d.failures == 0 {
		d.delivered, d.taken = s.delivered.Load(), s.endpoint.taken.Load()
		d.inBetween = time.Since(s.endpoint.lastTaken.Load()) < limitPace
	}
	d.failures++
	if d.scarce = scarce(res); d.turned {
		d.inTurn++
	}
	d.hung, d.limited = d.hung || hung, d.scarce && s.limit.known()
}

// isDue reports whether it is time for another request in the place of this.
func (d *doubt) isDue(toDoubt time.Duration) bool {
	switch {
	case d.limited:
		return d.failures >= limitedFailures
	case d.scarce:
		return d.hadTurn(toDoubt)
	}
	return d.failures >= doubtAfter || d.hung
}

// hadTurn reports whether the request was repeated in its turn for long enough. Time
// alone says nothing where it went by in one pause that was asked for.
func (d *doubt) hadTurn(toDoubt time.Duration) bool {
	return d.turned && d.inTurn >= leastInTurn && time.Since(d.began) >= toDoubt
}

// showsLimit reports whether it is most likely for a limit on the rate of requests that a
// request failed which is taken now as it was: the endpoint had just taken others.
func (d *doubt) showsLimit() bool { return d.failures > 0 && d.scarce && d.inBetween }

// proven reports whether it is something in the request that is not taken.
func (d *doubt) proven(s *stream) bool {
	taken := s.delivered.Load() - d.delivered
	if d.limited {
		return taken >= limitedTaken
	}
	return taken > 0
}

// bySeries returns items by series, in the order in which they come first.
// Different refs of a label set are one series.
func bySeries(items []queue.ItemView) (groups [][]queue.ItemView) {
	known, groupOf := hashes{}, map[uint64]int{}
	for _, it := range items {
		hash := known.of(it.Series)
		i, met := groupOf[hash]
		if !met {
			i = len(groups)
			groupOf[hash] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], it)
	}
	return groups
}

// probe makes another request in the place of one that fails, and reports
// whether the endpoint takes something, with what of items is left then.
func (s *sender) probe(set *settings, items []queue.ItemView, d *doubt) (left []queue.ItemView, alive bool) {
	if d.proven(s.stream) {
		return items, true
	}
	d.tries++
	groups := bySeries(items)
	n := len(groups)
	if n == 1 || d.tries%otherEvery == 0 {
		if d.tries < otherEvery {
			return items, false
		}
		if !s.tryOther(set) && (n == 1 || s.req.Replay) && d.tries >= loneTries {
			return items, true // Nothing can show it, and others may wait for this one.
		}
		return items, d.proven(s.stream)
	}
	// A single one at any place: neighbours are alike, and of many that are not
	// taken one that is taken is found soonest so.
	for range probesAtOnce {
		i := rand.IntN(n)
		first, rest := groups[i], []queue.ItemView(nil)
		if d.scarce { // It may be that no more are taken at once.
			first, rest = firstOf(first)
		}
		if s.try(set, first).Outcome == client.Delivered {
			items = append(without(groups, i), rest...)
		} else if s.state.gaveUp {
			continue // The next has twice as long, still short beside the request itself.
		}
		break
	}
	return items, len(items) == 0 || d.proven(s.stream)
}

// without returns the items of all groups but one.
func without(groups [][]queue.ItemView, i int) (left []queue.ItemView) {
	for j, g := range groups {
		if j != i {
			left = append(left, g...)
		}
	}
	return left
}

// takesOthers reports whether the endpoint, which refused a request, takes something
// else: it has since the request was refused first, or does now. It returns what is left
// of items.
func (s *sender) takesOthers(set *settings, items []queue.ItemView, d *doubt) (left []queue.ItemView, taken bool) {
	e := s.stream.endpoint
	if d.failures > 0 {
		return items, e.taken.Load() > d.taken // Others are tried in its place, see probe.
	}
	before := e.taken.Load()
	if len(items) > 1 {
		if left, taken = s.sound(set, items, probes); taken {
			return left, true
		}
	}
	s.tryOther(set)
	return items, e.taken.Load() > before
}

// divideRefused puts a refused request on trial, unless the refusal is meant for all of
// it. A receiver that tells how much it stored has stored the others; one that
// refuses everything is asked only a few times more, and one that does not know the
// sender (401, 407) not at all. 403 may be about what was sent.
func (s *sender) divideRefused(set *settings, items []queue.ItemView, replayed bool, res client.Result) bool {
	st := s.stream
	if len(items) < 2 || !res.Written.Nothing() || credentials(res.Status) {
		return false
	}
	before := st.refusals.Inc() - 1
	if before < divideFirst || st.endpoint.tookLately() {
		s.park(items, replayed)
		return true
	}
	most := 1
	if before < probeMany {
		most = probes
	}
	left, alive := s.sound(set, items, most)
	if alive {
		s.park(left, replayed || s.state.unsure)
	}
	return alive
}

// sound tries some of the series alone, until the endpoint takes one, and returns
// what is left then.
func (s *sender) sound(set *settings, items []queue.ItemView, most int) (left []queue.ItemView, alive bool) {
	groups := bySeries(items)
	n := len(groups)
	for _, i := range rand.Perm(n)[:min(most, n)] {
		first, rest := firstOf(groups[i]) // It may be that it takes no more than one sample.
		if s.try(set, first).Outcome == client.Delivered {
			return append(without(groups, i), rest...), true
		}
	}
	return items, false
}

// firstOf returns the first sample of a series, with its exemplars, and the rest.
func firstOf(g []queue.ItemView) (first, rest []queue.ItemView) {
	one := 1
	for one < len(g) && g[one].Kind() == queue.Exemplar {
		one++
	}
	return g[:one:one], g[one:]
}

// park puts items on trial, so that what comes behind them need not wait for
// them.
func (s *sender) park(items []queue.ItemView, replayed bool) {
	if len(items) > 0 {
		s.stream.isolation.park(&s.req, items, &trial{replayed: replayed, alive: true})
	}
}

// tryOther delivers a sample that waits behind the request and is of none of its
// series: that is what an endpoint takes if all of the request is at fault. It reports
// whether there was one, and not one that the rules drop: that shows nothing.
func (s *sender) tryOther(set *settings) (found bool) {
	o, ok := s.stream.queue.TakeOther(&s.req, s.stream.isolation.isolates)
	if !ok {
		return false
	}
	// It lies behind the request: the dispatch watermark has to be past it, too.
	var res client.Result
	if s.stream.reserve(o.End()) {
		res = s.try(set, []queue.ItemView{o.ItemView})
	}
	delivered := res.Outcome == client.Delivered
	s.stream.queue.FinishOther(o, delivered)
	if delivered {
		s.stream.endpoint.countSettled(queue.Counts{queue.Samples: 1})
	}
	return delivered || res.Err != nil
}
