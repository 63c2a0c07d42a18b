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

package harness

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Request is one attempt of an agent to deliver something. The fields up to
// the blank line do not change once the request is recorded; the others are
// guarded by the recorder.
type Request struct {
	Number   int
	Run      int // The run of the agent during which it arrived, see [Recorder.SetRun].
	Protocol Protocol
	Arrived  time.Time
	Header   http.Header
	Clock    int64 // Scrapes the target had served when the request arrived.
	entries  []entry

	answered time.Time // Zero: the agent has no answer.
	status   int       // What the agent was told.
	upstream int       // What the receiver said, 0 if it was not asked.
}

// Points calls f for every point of the request in its order.
func (r *Request) Points(f func(Point, Value)) {
	for _, e := range r.entries {
		f(e.point, e.value)
	}
}

// samples counts the samples of a request; exemplars ride along with them.
func (r *Request) samples() (n int) {
	for _, e := range r.entries {
		if e.point.Kind == SampleKind {
			n++
		}
	}
	return n
}

// Resend is a point that was sent although the agent had been told before that
// it was delivered.
type Resend struct {
	Point    Point
	Run      int // The run that sent it again.
	AckedRun int // The run that was told.
	AckedAt  time.Time
}

// ack is what the agent was last told about a point.
type ack struct {
	value Value
	run   int
	at    time.Time
}

// Recorder knows every request that reached one endpoint. It is safe for
// concurrent use.
type Recorder struct {
	mtx       sync.Mutex
	run       int
	requests  []*Request
	acked     map[Point]ack
	applied   Set                // Taken by the receiver, whatever the agent was told.
	newest    map[SeriesID]int64 // Newest acknowledged sample time per series.
	resends   []Resend
	unordered bool    // They may overtake each other.
	overtakes []Point // First acknowledged after a newer sample of its series.
	conflicts []Point // Sent with two different values.
	refused   int     // Requests the receiver answered with 4xx other than 429.
	errs      []error
	changed   chan struct{} // Closed and replaced at every answer and arrival.
}

func newRecorder() *Recorder {
	return &Recorder{
		acked:   map[Point]ack{},
		applied: Set{},
		newest:  map[SeriesID]int64{},
		changed: make(chan struct{}),
	}
}

// SetRun tells which run of the agent the requests from now on belong to.
func (r *Recorder) SetRun(run int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.run = run
}

// AllowOvertaking makes it no finding that a sample is first acknowledged after
// a newer one of its series.
func (r *Recorder) AllowOvertaking() {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.unordered = true
}

func (r *Recorder) arrive(req *Request) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	req.Number = len(r.requests)
	req.Run = r.run
	req.Arrived = time.Now()
	r.requests = append(r.requests, req)
	for _, e := range req.entries {
		was, ok := r.acked[e.point]
		if !ok {
			continue
		}
		r.resends = append(r.resends, Resend{Point: e.point, Run: req.Run, AckedRun: was.run, AckedAt: was.at})
		if was.value != e.value {
			r.conflicts = append(r.conflicts, e.point)
		}
	}
	r.wake()
}

// forwarded notes what the receiver said.
func (r *Recorder) forwarded(req *Request, status int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	req.upstream = status
	if status/100 == 4 && status != http.StatusTooManyRequests {
		r.refused++
	}
	if status/100 == 2 {
		for _, e := range req.entries {
			r.applied[e.point] = e.value
		}
	}
}

// answer notes what the agent is told. It is called before the bytes go out,
// so that the agent never knows of an acknowledgement the recorder lacks.
func (r *Recorder) answer(req *Request, status int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	req.answered = time.Now()
	req.status = status
	r.wake()
	if status/100 != 2 {
		return
	}
	for _, e := range req.entries {
		_, told := r.acked[e.point]
		_, known := r.applied[e.point]
		known = known || told
		r.acked[e.point] = ack{value: e.value, run: req.Run, at: req.answered}
		if e.point.Kind != SampleKind {
			continue
		}
		if newest, ok := r.newest[e.point.Series]; !ok || e.point.T > newest {
			r.newest[e.point.Series] = e.point.T
		} else if !known && !r.unordered {
			r.overtakes = append(r.overtakes, e.point)
		}
	}
}

func (r *Recorder) fail(err error) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.errs = append(r.errs, err)
}

// wake must be called with the lock held.
func (r *Recorder) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns a channel that is closed when something happens.
func (r *Recorder) Changed() <-chan struct{} {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.changed
}

// Acked returns what the agent was told to be delivered.
func (r *Recorder) Acked() Set {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	set := make(Set, len(r.acked))
	for p, a := range r.acked {
		set[p] = a.value
	}
	return set
}

// Taken returns what the receiver took, whatever the agent was told, and what
// the agent was told.
func (r *Recorder) Taken() Set {
	set := r.Acked()
	r.mtx.Lock()
	defer r.mtx.Unlock()
	set.Add(r.applied)
	return set
}

// AckedBetween counts the points last acknowledged after from and before to.
func (r *Recorder) AckedBetween(from, to time.Time) (n int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, a := range r.acked {
		if a.at.After(from) && a.at.Before(to) {
			n++
		}
	}
	return n
}

// Missing counts the points of due that no receiver is known to have taken,
// and how many of those cannot come any more because newer samples of their
// series were acknowledged. A receiver may have taken parts of requests that it
// refused, so only what it holds says whether those are lost.
func (r *Recorder) Missing(due Set) (missing, hopeless int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for p := range due {
		if _, ok := r.acked[p]; ok {
			continue
		}
		if _, ok := r.applied[p]; ok {
			continue
		}
		missing++
		if r.newest[p.Series] > p.T && !r.unordered {
			hopeless++
		}
	}
	return missing, hopeless
}

// Newest returns the time of the newest sample that was acknowledged.
func (r *Recorder) Newest() (newest int64) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, t := range r.newest {
		newest = max(newest, t)
	}
	return newest
}

// Requests returns the requests so far, oldest first.
func (r *Recorder) Requests() []*Request {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return append([]*Request(nil), r.requests...)
}

// Count returns the number of requests so far.
func (r *Recorder) Count() int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return len(r.requests)
}

// Waiting counts the requests without an answer that match, nil for all.
func (r *Recorder) Waiting(match func(*Request) bool) (n int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, req := range r.requests {
		if req.answered.IsZero() && (match == nil || match(req)) {
			n++
		}
	}
	return n
}

// Resends returns every point sent again after its acknowledgement.
func (r *Recorder) Resends() []Resend {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return append([]Resend(nil), r.resends...)
}

// Leftover is what one run left behind with an endpoint.
type Leftover struct {
	// Settled has when each point was done with during the run: when it was
	// acknowledged or refused without company, and if it had been part of a
	// refused request, when the last point of that one was.
	Settled map[Point]time.Time
	// Unfinished has the points of requests without an answer, and of those
	// that were refused and of which not every sample was settled afterwards.
	Unfinished Set
}

// Leftover tells what a run that has ended left behind.
func (r *Recorder) Leftover(run int) Leftover {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	left := Leftover{Settled: map[Point]time.Time{}, Unfinished: Set{}}
	refused := []*Request{}
	for _, req := range r.requests {
		if req.Run != run {
			continue
		}
		switch alone := req.samples() <= 1; {
		case req.answered.IsZero():
			req.Points(func(p Point, v Value) { left.Unfinished[p] = v })
		case req.status/100 == 2, req.status/100 == 4 && alone && req.status != http.StatusTooManyRequests:
			req.Points(func(p Point, _ Value) {
				if left.Settled[p].Before(req.answered) {
					left.Settled[p] = req.answered
				}
			})
		default:
			refused = append(refused, req)
		}
	}
	// A request that was sent again in parts counts as a whole.
	whole := map[Point]time.Time{}
	for _, req := range refused {
		open, last := false, time.Time{}
		req.Points(func(p Point, _ Value) {
			at := left.Settled[p]
			open = open || at.IsZero()
			if last.Before(at) {
				last = at
			}
		})
		req.Points(func(p Point, v Value) {
			if open {
				left.Unfinished[p] = v
			} else if whole[p].Before(last) {
				whole[p] = last
			}
		})
	}
	maps.Copy(left.Settled, whole)
	return left
}

// Findings returns what must never be seen, in words: samples of one series
// that overtook each other, points sent with two values, undecodable requests.
func (r *Recorder) Findings(symbols *Symbols) (found []string) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if n := len(r.overtakes); n > 0 {
		found = append(found, fmt.Sprintf("%d samples were first acknowledged after a newer one of their series, e.g. %s", n, symbols.Describe(r.overtakes[0])))
	}
	if n := len(r.conflicts); n > 0 {
		found = append(found, fmt.Sprintf("%d points were sent with two different values, e.g. %s", n, symbols.Describe(r.conflicts[0])))
	}
	for _, err := range r.errs {
		found = append(found, err.Error())
	}
	return found
}

// Refused counts the requests the receiver answered with a 4xx other than 429.
func (r *Recorder) Refused() int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.refused
}

// WriteTrace writes a line per request, for debugging a failure.
func (r *Recorder) WriteTrace(w io.Writer) error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	const clock = "15:04:05.000"
	for _, req := range r.requests {
		oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
		series := map[SeriesID]struct{}{}
		for _, e := range req.entries {
			oldest, newest = min(oldest, e.point.T), max(newest, e.point.T)
			series[e.point.Series] = struct{}{}
		}
		answered := "never"
		if !req.answered.IsZero() {
			answered = req.answered.Format(clock)
		}
		if _, err := fmt.Fprintf(w, "%d run=%d arrived=%s answered=%s status=%d receiver=%d points=%d series=%d from=%s to=%s attempt=%q\n",
			req.Number, req.Run, req.Arrived.Format(clock), answered, req.status, req.upstream, len(req.entries), len(series),
			time.UnixMilli(oldest).Format(clock), time.UnixMilli(newest).Format(clock), req.Header.Get("Retry-Attempt")); err != nil {
			return err
		}
	}
	return nil
}

// WriteStory writes every request that contained a point.
func (r *Recorder) WriteStory(w io.Writer, p Point) error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, req := range r.requests {
		if slices.ContainsFunc(req.entries, func(e entry) bool { return e.point == p }) {
			if _, err := fmt.Fprintf(w, "    in request %d run=%d status=%d receiver=%d points=%d\n",
				req.Number, req.Run, req.status, req.upstream, len(req.entries)); err != nil {
				return err
			}
		}
	}
	return nil
}

// StatusOf returns what the agent was told about a request, 0 for nothing.
func (r *Recorder) StatusOf(req *Request) int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return req.status
}
