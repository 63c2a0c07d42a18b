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
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// isolator delivers what the isolation of a stream's queue holds, beside the
// senders and never in their way. One goroutine owns it.
//
// What is on trial is divided until what the endpoint does not take is found:
//
//	on trial ──▶ divided ──┬──▶ taken: its series go with the others again
//	    ▲                  ├──▶ refused for good, one sample: dropped, counted,
//	    │                  │    and the series becomes a suspect
//	    │                  ├──▶ no good answer, one series: it becomes a suspect
//	    └──────────────────┴──▶ the same, but the endpoint has taken nothing
//	                            since another was found: perhaps it is down
//
// Suspects travel alone, each at a pace of its own, until they are accepted.
type isolator struct {
	stream  *stream
	senders [refusalsAtOnce]sender // Encode and account; they take nothing from the queue.

	division *division
	logged   time.Time  // When a line with labels was logged last,
	unlogged int        // and how many were not since.
	tries    *readTries // At reading the log.

	seen    int64         // Requests the stream had delivered when a suspect failed last,
	backoff time.Duration // and how long all suspects wait if none was since.
	until   time.Time

	together time.Time     // When all suspects are tried in one request again,
	apart    time.Duration // and how long it was put off.
	nowAlone bool          // It was their turn last; one alone is next.

	sizes sizeLimit // How many samples of a suspect are taken at once.

	unproven allowance // Refusals that count without a proof.
}

// division finds out what of a request on trial the endpoint does not take:
//
//	the endpoint is known               it is not: the request is
//	to take something                   from an earlier run, or inherited
//	        │                                    │
//	        ▼  it takes or refuses something     ▼
//	     parts ◀───────────────────────────── asking ◀──┐
//	      │ ▲ │                                         │
//	      │ │ └──▶ no part is left, but some that were  │
//	      │ │      not taken alone, or too many in a    │
//	      │ │      row got no good answer ──────────────┘
//	      │ │
//	      │ └── a part is divided, or put back
//	      ▼
//	no part is left, and nothing else: the trial is over
//
// While asking, the whole request and single samples of it are sent by turns. A part that
// is taken, dropped or of one series that becomes a suspect leaves the trial.
type division struct {
	alive  bool // The endpoint takes something: parts are tried. Else it is asked whether it does.
	asking asking
	parts  []part      // What is to be tried, the last one first.
	left   []*isolated // Not taken alone, when it was not sure whether the endpoint takes anything.

	whole    wholeTry
	inVain   streak
	suspects allowance // How many more may be found.
	took     bool      // A part of it was taken.
	final    bool      // The last answer that was not good was a refusal.

	due     time.Time // When the next attempt is,
	backoff time.Duration
}

// asking is finding out whether the endpoint takes anything.
type asking struct {
	series    []*isolated // All that is on trial.
	delivered int64       // Requests the stream had delivered when that was not known any more,
	parked    int         // and how often a sender had come to wait.
	tries     int
}

// wholeTry is a request that is tried as it is, or a part of it: what it got no good answer
// for may be the rate of requests, or how many items come at once.
type wholeTry struct {
	on      bool      // It is, for a while.
	joined  bool      // Its parts were put together, because there is a limit on the rate of requests.
	until   time.Time // How long it is; zero before that has failed.
	inTurn  int       // How often it was, in that time.
	tooMany int       // Items in it, if it was in vain,
	half    int       // and in a half of a part of which both were taken.
}

// streak is what came of attempts with parts since one was taken.
type streak struct {
	refused     int         // Answers,
	refusedOnes []*isolated // and the series they were about.
	failed      int         // Attempts in a row without a good answer.
}

// allowance is how often something is taken for true without a proof: a few times for each
// request that the endpoint takes.
type allowance struct {
	at   int64 // Requests that had been delivered when it was used last,
	left int   // and how often it may be until another is.
}

// renew is called before it is used, with how many requests were delivered.
func (l *allowance) renew(delivered int64) {
	if delivered > l.at {
		l.at, l.left = delivered, suspectsEach
	}
}

// part is a part of what is on trial.
type part struct {
	series   []*isolated
	failures int // Without a good answer, that may be no fault of its own.
	of       *dividedPart
}

// dividedPart is a part that got no good answer, but one that may have been about the
// rate of requests. If both of its halves are taken, it was innocent.
type dividedPart struct {
	of    *dividedPart
	taken int
	items int // In the larger half that was.
}

const (
	// mostRefusals is how many parts of a request may be refused in a row before
	// the rest of it is dropped as a whole, if the endpoint has taken nothing for
	// takesFor, or for tookFor if it took another part of it.
	mostRefusals = 32
	tookFor      = time.Minute
	// mostFailures is how many attempts of a trial may get no good answer in a row
	// before the endpoint counts as one that is down.
	mostFailures = 24
	// suspectsEach is how many suspects are found for each request that the endpoint
	// takes: as many may be wrong if it goes down just then.
	suspectsEach = 16
	// watchFor is how long a series of which nothing comes any more is a suspect.
	watchFor = 10 * time.Minute
	// freeRefusals is how many samples of a suspect may be refused in a row before
	// it pauses between them. They are never refused together: behind duplicates, or
	// samples that are too old, are some that are taken.
	freeRefusals = 16
	// refusalsAtOnce is how many series of which a sample was refused are tried at a
	// time: one after the other, their backlog would grow where answers take long.
	refusalsAtOnce = 8
	// logEvery is the least time between two lines about single series.
	logEvery = 10 * time.Second
)

func newIsolator(s *stream) *isolator {
	w := &isolator{stream: s, tries: newReadTries(maxReadTries)}
	for i := range w.senders {
		w.senders[i] = sender{stream: s, apart: true}
	}
	return w
}

// answer is what became of an attempt.
type answer struct {
	set     *settings
	res     client.Result
	of      []*isolated
	count   []int // Items of each that it was about.
	items   int   // In the request.
	sent    queue.Counts
	first   queue.ItemView // The first item.
	dropped drops          // What was left out of it.
	again   bool           // The receiver may have had some of it before, and refuses it for that if it does.
	gaveUp  bool           // There was none in the time that it had.
	began   time.Time

	mendable bool // It is a refusal, which does not count at once.
}

// nothing reports whether there was nothing to be sent, so that the answer, if it counts
// as delivered, shows nothing.
func (a *answer) nothing() bool { return a.res.Outcome == client.Delivered && a.sent.Total() == 0 }

// divisible reports whether what was sent can be sent in parts: several series, or one
// sample by sample.
func (a *answer) divisible() bool { return len(a.of) > 1 || a.samples() > 1 }

// samples returns how many were sent, without what stays with them.
func (a *answer) samples() int { return a.sent[queue.Samples] + a.sent[queue.Histograms] }

// attempt sends what is in memory of series once, of as many as fit into a
// request, but of one at least. Exemplars stay with their sample.
func (w *isolator) attempt(part []*isolated) answer { return w.attemptBy(&w.senders[0], part) }

// attemptBy is attempt with a sender that has nothing else to do.
func (w *isolator) attemptBy(s *sender, part []*isolated) answer {
	set := w.stream.endpoint.settings.Load()
	a := answer{set: set, began: time.Now()}
	items := w.stream.isolation.oldest(&a, part, set.queue.MaxSamplesPerSend)
	timeout := w.stream.shortTimeout(set)
	if len(a.of) == 1 {
		timeout = max(timeout, a.of[0].timeout)
	}
	if len(items) > 0 {
		a.first = items[0]
		all := slices.Clone(items) // To screen, they are scratch space.
		items = s.screen(&s.own, set, items)
		a.items = s.encode(&s.own, set, items)
		a.leaveOut(all, items[a.items:])
		a.dropped, a.sent = s.own.dropped, s.own.sent
	}
	if a.sent.Total() == 0 {
		a.res.Outcome = client.Delivered // Nothing of it is to be sent.
		return a
	}
	w.send(s, &a, min(timeout, set.timeout))
	return a
}

// oldest lists what is in memory of series and fits into a request, and notes in an
// answer what it is of.
func (iso *isolation) oldest(a *answer, part []*isolated, room int) (items []queue.ItemView) {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, is := range part {
		n := len(is.items)
		if n > room && len(a.of) > 0 {
			break
		}
		n = min(n, max(room, 1))
		if len(part) == 1 && is.alone > 0 {
			n = min(n, is.alone)
		}
		for n > 0 && n < len(is.items) && is.items[n].kind() == queue.Exemplar {
			n++
		}
		for i := range is.items[:n] {
			items = append(items, is.items[i].view())
		}
		room -= n
		a.again = a.again || is.replayed
		a.of, a.count = append(a.of, is), append(a.count, n)
	}
	return items
}

// send sends what a sender has encoded, when it is its turn, and notes the answer.
func (w *isolator) send(s *sender, a *answer, timeout time.Duration) {
	st, p := w.stream, &s.own
	st.awaitTurn(st, a.set)
	if !st.reserve(cursor.Position{Offset: 1}) { // It is past that, unless it is to be renewed.
		a.res = client.Result{Outcome: client.Retry, Err: context.Cause(st.ctx)}
		return
	}
	a.began = time.Now()
	a.res, a.gaveUp = st.attemptApart(a.set, p, timeout)
	w.holdRefusal(s, a)
	switch a.res.Outcome {
	case client.Delivered:
		s.countDelivered(a.set, p, a.res, a.again)
	case client.Retry:
		m := st.endpoint.metrics.Load()
		for c, n := range a.sent {
			m.retried[c].Add(float64(n))
		}
	}
	if !a.res.Ambiguous {
		return
	}
	st.isolation.mtx.Lock()
	defer st.isolation.mtx.Unlock()
	for i, is := range a.of {
		if n := a.count[i]; n > 0 {
			is.maybeSent(justBehind(is.items[n-1].mark))
		}
	}
}

// holdRefusal makes of a refusal that an attempt of the isolator was answered with a failure,
// if it may be the endpoint that refuses everything: a sender found that, or it has taken
// nothing for a while. A series that is refused again and again while others are taken
// may go on to be.
func (w *isolator) holdRefusal(s *sender, a *answer) {
	st := w.stream
	if a.again = a.again && (!final(a.res) || s.refusedAgain(a.set, a.res)); a.again || !st.mendable(a.set, a.res) {
		return
	}
	known := len(a.of) == 1 && a.of[0].refusals > 0
	if st.endpoint.fails() || (!known && !st.endpoint.tookLately()) {
		a.res.Outcome = client.Retry
		return
	}
	a.mendable = true
}

// sure reports whether a refusal of a single series counts: it was refused several times,
// and the endpoint took something meanwhile. A few count without that.
func (w *isolator) sure(is *isolated, a answer) bool {
	if !a.mendable || is.refusals > 0 {
		return true
	}
	if is.unsureRefusals == 0 {
		is.began = a.began
	}
	is.unsureRefusals++
	if is.unsureRefusals < sureAfter {
		return false
	}
	if w.stream.endpoint.lastTaken.Load().After(is.began) {
		return true
	}
	w.unproven.renew(w.stream.endpoint.taken.Load())
	w.unproven.left--
	return w.unproven.left >= 0
}

// leaveOut leaves out of an answer what did not fit into the request.
func (a *answer) leaveOut(all, rest []queue.ItemView) {
	left := make(map[*queue.Item]bool, len(rest))
	for _, it := range rest {
		left[it.Item] = true
	}
	if len(left) == 0 {
		return
	}
	at := 0
	for i, n := range a.count {
		for k := range n {
			if left[all[at+k].Item] {
				a.count[i] = k
				if k == 0 {
					a.of, a.count = a.of[:i], a.count[:i]
				} else {
					a.of, a.count = a.of[:i+1], a.count[:i+1]
				}
				return
			}
		}
		at += n
	}
}

// settleAnswer takes off what an answer is about, and releases series of which nothing
// waits any more, if they are to be.
func (w *isolator) settleAnswer(a answer, release bool) {
	w.senders[0].countDrops(&encodedRequest{dropped: a.dropped})
	iso := w.stream.isolation
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	if a.set != w.stream.endpoint.settings.Load() {
		w.stream.dispatched.renew()
	}
	for i, is := range a.of {
		iso.takeOff(is, a.count[i])
		is.unsent()
		if len(is.items) > 0 || is.restInLog {
			continue
		}
		if release {
			iso.release(is)
		}
	}
}

// suspect makes a series one that travels alone. It returns false if there are
// too many.
func (w *isolator) suspect(is *isolated, res client.Result) bool {
	iso := w.stream.isolation
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	if !is.suspect && iso.suspects() >= maxSuspects {
		return false
	}
	set := w.stream.endpoint.settings.Load()
	is.suspect = true
	is.scarce, is.failures = scarce(res), 0
	is.alone = 1
	is.wait = set.leastBackoff()
	is.due = time.Now().Add(w.stream.betweenSuspects(set, is.wait, res.RetryAfter, 0))
	if len(is.items) > 0 {
		w.logSeries("The endpoint does not take a series while it takes others; its samples wait in the log and are tried alone", is.items[0].Series, res)
	}
	return true
}

// dropSample accounts for one item that was refused for good. Its series is a
// suspect from then on.
func (w *isolator) dropSample(a answer) {
	is := a.of[0]
	if a.again {
		w.stream.endpoint.countRefusedAgain(a.sent, a.first, a.res)
	} else {
		missing := a.sent
		if a.res.Written.Confirmed {
			missing = unwritten(a.sent, a.res)
		}
		w.stream.endpoint.countFailed(missing, strconv.Itoa(a.res.Status), spanOf([]queue.ItemView{a.first}))
		w.logSeries("The endpoint refused a sample for good; later ones of its series are sent alone until it takes one", a.first.Series, a.res)
	}
	w.settleAnswer(a, false)
	iso := w.stream.isolation
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	switch {
	case is.suspect:
	case iso.suspects() < maxSuspects:
		is.suspect, is.alone, is.due, is.refusals = true, 1, time.Now(), 1
	case len(is.items) == 0 && !is.restInLog:
		iso.release(is)
	}
}

// dropSeries accounts for series of which nothing is worth another attempt, and
// releases them.
func (w *isolator) dropSeries(all []*isolated, res client.Result) {
	var (
		sent queue.Counts
		span timeSpan
	)
	iso := w.stream.isolation
	iso.mtx.Lock()
	for _, is := range all {
		if is.gone {
			continue
		}
		if is.suspect = false; is.replayed && iso.suspects() < maxSuspects {
			is.suspect, is.alone = true, 1 // The receiver may have it: each sample counts by itself.
			continue
		}
		for _, it := range is.items {
			sent.Add(it.kind())
			span.add(it.T)
		}
		iso.takeOff(is, len(is.items))
		if is.restInLog {
			is.suspect = true // The rest of it is in the log.
			continue
		}
		iso.release(is)
	}
	iso.mtx.Unlock()
	res.Written = client.Result{}.Written
	w.stream.endpoint.countRefused(w.stream.endpoint.settings.Load(), sent, span, res)
}

// logSeries logs what happened to one series, but not of each of many.
func (w *isolator) logSeries(what string, of *series.Series, res client.Result) {
	if time.Since(w.logged) < logEvery {
		w.unlogged++
		return
	}
	w.stream.endpoint.logger.Warn(what, "series", of.Labels().String(), "status", res.Status, "err", res.Err, "not_logged_before", w.unlogged)
	w.logged, w.unlogged = time.Now(), 0
}
