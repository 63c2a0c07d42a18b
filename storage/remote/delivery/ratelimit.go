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
	"slices"
	"sync"
	"time"

	"go.uber.org/atomic"
)

// rateLimit is whether an endpoint limits the rate of requests. That shows when
// series that were not taken are taken alone at once: no series is at fault then,
// and to try parts of requests only makes more of them.
type rateLimit struct {
	mtx              sync.Mutex
	innocent, guilty int       // Series that were found, since it was decided last.
	at               time.Time // When the last innocent one was.
	until            time.Time
	lasts            time.Duration
}

const (
	// innocentSeries is how many show a limit, and guiltyAfter how often a series
	// fails alone until it counts as one that is not taken.
	innocentSeries = 3
	guiltyAfter    = 5
	// limitPace is how long, at the most, lies between two signs of a limit: more
	// may be for other reasons.
	limitPace = 10 * time.Second
	// leastLimited and mostLimited is for how long a limit is assumed, twice as long
	// each time that it shows again.
	leastLimited = time.Minute
	mostLimited  = 16 * time.Minute
)

func (r *rateLimit) known() bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return time.Now().Before(r.until)
}

// foundGuilty takes note of a series that is not taken alone either.
func (r *rateLimit) foundGuilty() {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.guilty++
}

// foundInnocent takes note of a series that is taken alone, and reports whether it shows a
// limit that was not known.
func (r *rateLimit) foundInnocent() bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if time.Since(r.at) > limitPace {
		r.innocent = 0
	}
	r.innocent, r.at = r.innocent+1, time.Now()
	if r.innocent < innocentSeries || r.innocent < 2*r.guilty {
		return false
	}
	return r.assume()
}

// noteProof takes note of a proof: what was not taken was, in two parts.
func (r *rateLimit) noteProof() bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.assume()
}

// doubled returns twice the last time, within bounds.
func doubled(last, least, most time.Duration) time.Duration { return min(max(2*last, least), most) }

// assume begins, or prolongs, the time for which a limit is known.
func (r *rateLimit) assume() bool {
	now := time.Now()
	known := now.Before(r.until)
	if !known {
		r.lasts = doubled(r.lasts, leastLimited, mostLimited)
	}
	r.innocent, r.guilty, r.until = 0, 0, now.Add(r.lasts)
	return !known
}

// sizeLimit is how many items an endpoint takes in one request at the most, if it
// limits the rate of samples and takes none that has more than it gives out at once.
// What is known of it grows as requests of that size are taken.
type sizeLimit struct {
	most  atomic.Int32 // Items in a request, 0 if no limit is known.
	mtx   sync.Mutex
	taken int // The most that were taken in one,
	too   int // and how many were too many, which counts
	until time.Time
	lasts time.Duration
}

// unproven reports whether it is not known that so many items are taken at once, of an
// endpoint that limits some rate.
func (l *sizeLimit) unproven(n int, limited bool) bool {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return (limited || l.most.Load() > 0) && n > max(l.taken, 1)
}

// forgetTaken notes that what was taken so far says nothing: the rate is limited since.
func (l *sizeLimit) forgetTaken() {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.taken = int(l.most.Load())
}

// below reports whether n items are more than are sent now.
func (l *sizeLimit) below(n int) bool {
	most := l.most.Load()
	return most > 0 && int32(n) > most
}

// tooMany takes note that n items are not taken in one request. That most are is to be
// tried. It reports false if no more than that are sent already.
func (l *sizeLimit) tooMany(n, most int) bool {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	known := int(l.most.Load())
	if most = max(most, 1); known > 0 && known <= most {
		return false
	}
	if known == 0 || n < l.too || time.Now().After(l.until) {
		l.lasts = doubled(l.lasts, leastLimited, mostLimited)
	}
	l.taken = min(l.taken, n-1)
	l.too, l.until = n, time.Now().Add(l.lasts)
	l.most.Store(int32(most))
	return true
}

// noteTaken takes note that n items were taken in one request, of as many as wanted that
// others have. It is tried with more then, unless that was too many a while ago.
func (l *sizeLimit) noteTaken(n, wanted int) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	most := int(l.most.Load())
	if l.taken = max(l.taken, n); most == 0 || 2*n <= most {
		return
	}
	if 2*most < l.too || time.Now().After(l.until) {
		most *= 2
	}
	if most >= wanted {
		most = 0
	}
	l.most.Store(int32(most))
}

// turn lets the requests that were answered as if there were too many be repeated one
// at a time. If others were sent meanwhile, they would take what the endpoint still
// gives, and a request that comes too late each time would look like one that is not
// taken at all.
// Its owner is a sender, or a stream, in whose name the isolator asks for it.
type turn struct {
	mtx   sync.Mutex
	of    any // The owner, nil for none.
	until time.Time
	over  chan struct{} // Closed when the owner loses it.
	next  []nextTurn    // Those that were refused it, in that order.
}

type nextTurn struct {
	of    any
	lasts time.Duration
}

// take makes s the owner for a while. It reports false if there is another; s then gets
// the turn after those that were refused it before, or small requests, which fail
// sooner, would always be first.
func (t *turn) take(s any, lasts time.Duration) bool {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.of != nil && t.of != s && time.Now().Before(t.until) {
		if !slices.ContainsFunc(t.next, func(n nextTurn) bool { return n.of == s }) {
			t.next = append(t.next, nextTurn{s, lasts})
		}
		return false
	}
	t.set(s, lasts)
	return true
}

// hand makes s the owner at once, even if there is another.
func (t *turn) hand(s any, lasts time.Duration) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.set(s, lasts)
}

// give ends the turn of s, if it is the owner, or its wait for the turn.
func (t *turn) give(s any) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.forgetNext(s)
	switch {
	case t.of != s || s == nil:
	case len(t.next) > 0:
		t.set(t.next[0].of, t.next[0].lasts)
	default:
		t.of = nil
		close(t.over)
	}
}

// set makes s the owner. Callers hold mtx.
func (t *turn) set(s any, lasts time.Duration) {
	t.forgetNext(s)
	if t.of != s {
		if t.of != nil {
			close(t.over)
		}
		t.of, t.over = s, make(chan struct{})
	}
	t.until = time.Now().Add(lasts)
}

// forgetNext ends the wait of s. Callers hold mtx.
func (t *turn) forgetNext(s any) {
	t.next = slices.DeleteFunc(t.next, func(n nextTurn) bool { return n.of == s })
}

// others returns how long the turn of an owner other than s lasts, and a channel that
// is closed if it ends before.
func (t *turn) others(s any) (wait time.Duration, over <-chan struct{}) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.of == nil || t.of == s {
		return 0, nil
	}
	return time.Until(t.until), t.over
}

// prompts are the attempts that are made in spite of Retry-After, which may be
// meant for a part of a request only. They are few: most often it is meant.
type prompts struct {
	mtx  sync.Mutex
	used float64
	at   time.Time // When used was right.
}

const (
	mostPrompts = 40
	promptEvery = 30 * time.Second // Another one.
	promptsBack = 10               // For each series that is found not to be taken.
)

// take uses one up, and returns false if there is none.
func (p *prompts) take() bool {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	now := time.Now()
	p.used, p.at = max(0, p.used-float64(now.Sub(p.at))/float64(promptEvery)), now
	if p.used+1 > mostPrompts {
		return false
	}
	p.used++
	return true
}

// giveBack returns some: a series was found that Retry-After was meant for.
func (p *prompts) giveBack() {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.used = max(0, p.used-promptsBack)
}
