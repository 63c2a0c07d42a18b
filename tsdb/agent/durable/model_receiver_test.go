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

package durable

import (
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/golang/snappy"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const (
	// runHeader says which run of the agent a request comes from. What the
	// dead send does not arrive.
	runHeader = "X-Model-Run"
	// externalLabels is what every configuration adds to every series.
	externalLabels = `replica="model"`
)

// modelEndpoint is a receiver under the rules of a stock server: a request of
// remote write 1.0 is stored as a whole or not at all, one of 2.0 in part; what
// is older than the newest sample of its series is refused, or, with a window
// for out-of-order samples, what is older than that. Everything but the server
// is guarded by ledger.mtx.
type modelEndpoint struct {
	*ledger
	server  *httptest.Server
	refuses atomic.Bool // Connections are reset as soon as they are there.
	rng     *rand.Rand
	name    string // In the configuration, may be empty.
	urlHash string // In savepoints.
	window  int64  // In ms, 0 for none.
	lenient bool   // Attempts end by timeouts, so that answers get lost.

	mode    mode
	changed chan struct{} // Closed and replaced when hanging requests end.

	// What the agent was told, in ticks: the endpoint is in the configuration
	// since some time after adding, and since added at the latest.
	adding, added int64
	present       bool
	dropping      bool  // The configuration drops droppable series, or may.
	droppedUntil  int64 // Tick until which it did.

	// lapsed is when the endpoint came back after what was held for it may have
	// been forfeited.
	lapsed int64
	short  bool // What is held for it is forfeited soon.

	flags    []flags
	newest   map[string]*modelSample // By series as it arrived.
	highest  int64
	inFlight map[string]*modelRequest // By series.
	settled  []settlement
	trouble  time.Time // When a request last ended in anything but success.
	stopping bool      // Answers are not trusted to arrive.
	requests int
}

// modelRequest is a decoded request.
type modelRequest struct {
	run       int
	v2        bool
	series    []modelTimeSeries
	samples   int
	exemplars int
}

type modelTimeSeries struct {
	name    string
	samples []*modelSample
}

// plain is the name without what the configuration adds.
func (ts *modelTimeSeries) plain() string {
	return strings.Replace(ts.name, ", "+externalLabels, "", 1)
}

// hash spreads series, independently of their partitions.
func (ts *modelTimeSeries) hash() int {
	return int(xxhash.Sum64String(ts.name) >> 33)
}

func newModelEndpoint(m *ledger, seed int64) *modelEndpoint {
	e := &modelEndpoint{
		ledger: m, rng: rand.New(rand.NewSource(seed)), changed: make(chan struct{}),
		newest: map[string]*modelSample{}, inFlight: map[string]*modelRequest{}, mode: mode{kind: "ok"},
	}
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.server.Listener = &pickyListener{e.server.Listener, &e.refuses}
	e.server.Start()
	return e
}

func (e *modelEndpoint) serve(w http.ResponseWriter, r *http.Request) {
	e.mtx.Lock()
	f, changed := e.fate(), e.changed
	if f != (fate{}) || e.mode.kind == "413" {
		e.trouble = time.Now()
	}
	e.mtx.Unlock()
	if f.cut {
		if f.part {
			_, _ = io.ReadFull(r.Body, make([]byte, 1+r.ContentLength/2)) // As far as it goes.
		}
		hangUp(w)
		return
	}
	req, err := e.read(r)
	if err != nil {
		if r.Context().Err() == nil {
			e.mtx.Lock()
			e.fail("%s got a request it cannot read: %s", e.server.URL, err)
			e.mtx.Unlock()
		}
		hangUp(w)
		return
	}
	if !e.arrive(req) {
		hangUp(w)
		return
	}
	if f.delay > 0 {
		time.Sleep(f.delay)
	}
	status, ok := 0, false
	if !f.hang {
		status, ok = e.answer(w, r, req, f)
	}
	if f.hang || f.thenHang {
		wait(r, changed)
	}
	e.leave(req) // Before the sender can know.
	if !ok || f.thenCut || f.thenHang {
		hangUp(w)
		return
	}
	if f.retryAfter != "" {
		w.Header().Set("Retry-After", f.retryAfter)
	}
	if status/100 != 2 {
		http.Error(w, "as the schedule demands", status)
		return
	}
	w.WriteHeader(status)
}

// read decodes a request of either protocol and looks up what it holds.
func (e *modelEndpoint) read(r *http.Request) (*modelRequest, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if body, err = snappy.Decode(nil, body); err != nil {
		return nil, err
	}
	req := &modelRequest{v2: strings.Contains(r.Header.Get("Content-Type"), "v2")}
	if req.run, err = strconv.Atoi(r.Header.Get(runHeader)); err != nil {
		return nil, err
	}
	builder := labels.NewScratchBuilder(0)
	if !req.v2 {
		var msg prompb.WriteRequest
		if err := msg.Unmarshal(body); err != nil {
			return nil, err
		}
		for _, ts := range msg.Timeseries {
			add := req.in(e, ts.ToLabels(&builder, nil))
			for _, s := range ts.Samples {
				add(s.Timestamp, s.Value)
			}
			for _, h := range ts.Histograms {
				add(h.Timestamp, h.Sum)
			}
			req.exemplars += len(ts.Exemplars)
		}
		return req, nil
	}
	var msg writev2.Request
	if err := msg.Unmarshal(body); err != nil {
		return nil, err
	}
	for _, ts := range msg.Timeseries {
		lset, err := ts.ToLabels(&builder, msg.Symbols)
		if err != nil {
			return nil, err
		}
		add := req.in(e, lset)
		for _, s := range ts.Samples {
			add(s.Timestamp, s.Value)
		}
		for _, h := range ts.Histograms {
			add(h.Timestamp, h.Sum)
		}
		req.exemplars += len(ts.Exemplars)
	}
	return req, nil
}

// in begins a time series of the request and returns what adds a sample to it.
func (req *modelRequest) in(e *modelEndpoint, lset labels.Labels) func(t int64, v float64) {
	name := lset.String()
	req.series = append(req.series, modelTimeSeries{name: name})
	ts := &req.series[len(req.series)-1]
	return func(t int64, v float64) {
		e.mtx.Lock()
		defer e.mtx.Unlock()
		number := int(v)
		if number < 0 || number >= len(e.samples) {
			e.fail("%s got a sample of %s at %d with a value %v that was not appended", e.server.URL, name, t, v)
			return
		}
		s := e.samples[number]
		if want := strings.Replace(s.name, "}", ", "+externalLabels+"}", 1); t != s.t || name != want {
			e.fail("I3: %s got sample %d as %s at %d; it belongs to %s at %d", e.server.URL, number, name, t, want, s.t)
			return
		}
		ts.samples = append(ts.samples, s)
		req.samples++
	}
}

// arrive checks what a request may not hold, and reports whether the sender
// runs.
func (e *modelEndpoint) arrive(req *modelRequest) bool {
	e.mtx.Lock()
	defer e.mtx.Unlock()
	if req.run != e.agentRun {
		return false
	}
	e.requests++
	for _, ts := range req.series {
		for _, s := range ts.samples {
			had := e.at(s.number)
			e.set(s.number, flagSeen)
			switch {
			case s.rolled:
				e.fail("%s got sample %d of %s, which was rolled back", e.server.URL, s.number, s.name)
			case s.done > 0 && s.done < e.adding:
				e.fail("%s got sample %d of %s from before it was configured", e.server.URL, s.number, s.name)
			case had&flagSettled != 0 && !e.lenient:
				e.fail("I8: %s got sample %d of %s again, which it had acknowledged and the agent knew of", e.server.URL, s.number, s.name)
			case had&flagStored != 0:
				e.repeated++
			}
			if other := e.inFlight[s.name]; other != nil && other != req && other.run == req.run && !e.lenient {
				e.fail("I4: %s got sample %d of %s while another request with the series was under way", e.server.URL, s.number, s.name)
			}
			e.inFlight[s.name] = req
		}
	}
	return true
}

// leave ends a request.
func (e *modelEndpoint) leave(req *modelRequest) {
	e.mtx.Lock()
	defer e.mtx.Unlock()
	for name, r := range e.inFlight {
		if r == req {
			delete(e.inFlight, name)
		}
	}
}

// answer stores what is to be stored and says what the sender is told. It
// returns false if the sender has died or gone.
func (e *modelEndpoint) answer(w http.ResponseWriter, r *http.Request, req *modelRequest, f fate) (int, bool) {
	e.mtx.Lock()
	defer e.mtx.Unlock()
	if req.run != e.agentRun || r.Context().Err() != nil {
		return 0, false
	}
	e.poisoned(req, &f)
	if f.thenCut && f.fail > 0 {
		return 0, false
	}
	if f.fail > 0 {
		return f.fail, true
	}
	if e.mode.kind == "413" && req.samples > e.mode.limit {
		return http.StatusRequestEntityTooLarge, true
	}
	if f.part && f.refuse == http.StatusNoContent && !req.v2 {
		f.part, f.refuse = false, http.StatusBadRequest // Version 1.0 cannot tell.
	}
	chosen := req.series
	if f.part {
		// A series may be in the request several times.
		chosen = nil
		parity := e.rng.Intn(2)
		for _, ts := range req.series {
			if ts.hash()%2 == parity {
				chosen = append(chosen, ts)
			} else if f.refuse > 0 {
				e.excuse(ts)
			}
		}
	} else if f.refuse > 0 {
		for _, ts := range req.series {
			e.excuse(ts)
		}
		return f.refuse, true
	}
	floats, histograms, refused := e.store(req, chosen)
	status := http.StatusNoContent
	switch {
	case refused != "":
		status = http.StatusBadRequest
		e.trouble = time.Now()
	case f.then > 0:
		status = f.then
	case f.refuse > 0:
		status = f.refuse
	}
	if req.v2 && status < 500 {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(floats))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.Itoa(histograms))
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", strconv.Itoa(req.exemplars))
	}
	// A receiver of 2.0 that says it stored nothing is asked again.
	confirmed := !req.v2 || floats+histograms+req.exemplars > 0
	if status == http.StatusNoContent && confirmed && !f.thenCut && !f.thenHang {
		for _, ts := range req.series {
			for _, s := range ts.samples {
				e.settle(s.number)
			}
		}
	}
	return status, true
}

// excuse lets the samples of a time series be missing: they are refused for
// good.
func (e *modelEndpoint) excuse(ts modelTimeSeries) {
	for _, s := range ts.samples {
		e.set(s.number, flagExcused)
	}
}

// store takes samples under the rules of a stock server, and says how many, and
// why some were refused.
func (e *modelEndpoint) store(req *modelRequest, chosen []modelTimeSeries) (floats, histograms int, refused string) {
	type place struct{ series, sample int }
	bad := map[place]bool{}
	for i, ts := range chosen {
		last := e.newest[ts.name]
		for k, s := range ts.samples {
			if last == nil || s.t > last.t || s == last || (e.window > 0 && s.t >= e.highest-e.window) {
				continue
			}
			bad[place{i, k}] = true
			refused = fmt.Sprintf("out of order sample of %s: %d is before %d", ts.name, s.t, last.t)
			if f := e.at(s.number); f&(flagStored|flagExcused) == 0 {
				e.fail("I4: %s got sample %d of %s at %d only after the one at %d", e.server.URL, s.number, s.name, s.t, last.t)
			}
		}
	}
	if refused != "" && !req.v2 {
		return 0, 0, refused
	}
	for i, ts := range chosen {
		for k, s := range ts.samples {
			if bad[place{i, k}] {
				continue
			}
			if s.histogram {
				histograms++
			} else {
				floats++
			}
			last := e.newest[ts.name]
			switch had := e.at(s.number); {
			case last == nil || s.t > last.t:
				e.newest[ts.name] = s
				e.highest = max(e.highest, s.t)
			case had&(flagStored|flagExcused) == 0:
				// A stock server finds out only while it commits, does not
				// tell the sender, and without a window drops the sample.
				e.fail("I4: %s got sample %d of %s at %d after the one at %d", e.server.URL, s.number, s.name, s.t, last.t)
				continue
			}
			e.set(s.number, flagStored)
		}
	}
	return floats, histograms, refused
}
