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

package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ackwal/ackwal/conformance/wire"

	"github.com/prometheus/prometheus/model/labels"
)

// Paths at a receiver.
const (
	writePath = "/api/v1/write"
	otlpPath  = "/v1/metrics"
)

// Arrival is one sample of the target's counter in a receiver's log.
type Arrival struct {
	Series int   // Value of [SeriesLabel].
	Number int64 // Of the scrape, which is the sample's value.
	T      int64 // Timestamp in milliseconds.
	Fate   Fate
}

// Request is one request in a receiver's log.
type Request struct {
	At       time.Time
	Protocol wire.Protocol
	Status   int
	// Served is how many scrapes the target had served.
	Served   int64
	Arrivals []Arrival
}

// Receiver takes remote write of both versions and metrics in OTLP over HTTP, and
// remembers all that arrived.
// It is safe for concurrent use.
type Receiver struct {
	name     string
	protocol wire.Protocol // The only one it takes, or empty.
	clock    func() int64
	database *database // That requests are passed on to, or nil.

	// answering is held for reading from the storing of a request until its
	// answer is on the wire, so that closing the connections never leaves the
	// sender without the answer to a request that was taken.
	answering sync.RWMutex
	closings  int // Guarded by answering.

	mtx      sync.Mutex
	addr     string
	server   *http.Server // Nil while connections are refused.
	status   int          // Answer to everything, if it is not 0.
	delay    time.Duration
	poisoned int // Series, -1 if there is none.
	store    *store
	requests []Request
	notify   chan struct{} // Closed and replaced at each request.
	err      error
}

// newReceiver starts a receiver. clock tells how many scrapes were served.
func newReceiver(name string, rules Rules, protocol wire.Protocol, clock func() int64) (*Receiver, error) {
	r := &Receiver{
		name: name, protocol: protocol, clock: clock,
		addr: "127.0.0.1:0", poisoned: -1, store: newStore(rules), notify: make(chan struct{}),
	}
	return r, r.Accept()
}

// URL is where samples have to be written to, by the path of the protocol.
func (r *Receiver) URL(path string) string {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return "http://" + r.addr + path
}

// Accept listens at the receiver's address, if it does not.
func (r *Receiver) Accept() error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", r.addr)
	for tries := 0; err != nil && tries < 50; tries++ {
		// Another program may have the port for a moment.
		time.Sleep(100 * time.Millisecond)
		listener, err = net.Listen("tcp", r.addr)
	}
	if err != nil {
		return fmt.Errorf("receiver %s: %w", r.name, err)
	}
	r.addr = listener.Addr().String()
	server := &http.Server{Handler: r}
	r.server = server
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.fail(err)
		}
	}()
	return nil
}

// Refuse closes the listener and all connections. No request is left half
// done: each was answered, or was not taken.
func (r *Receiver) Refuse() {
	r.answering.Lock()
	defer r.answering.Unlock()
	r.closings++
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.server != nil {
		r.server.Close()
		r.server = nil
	}
}

// Say answers everything with a status from now on, and takes nothing; 0 ends
// that.
func (r *Receiver) Say(status int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.status = status
}

// Delay takes requests only after some time.
func (r *Receiver) Delay(d time.Duration) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.delay = d
}

// Poison refuses every sample of one series of the target from now on, by the rules
// of the protocol: of a request with one nothing is stored, or the rest.
func (r *Receiver) Poison(series int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.poisoned = series
}

// Log returns all requests so far whose samples were looked at.
func (r *Receiver) Log() []Request {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return slices.Clone(r.requests)
}

func (r *Receiver) count() int {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return len(r.requests)
}

func (r *Receiver) changed() <-chan struct{} {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.notify
}

func (r *Receiver) fail(err error) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.err == nil {
		r.err = fmt.Errorf("receiver %s: %w", r.name, err)
	}
}

// trouble returns what kept the receiver from doing its work, or a request that
// no receiver could read.
func (r *Receiver) trouble() error {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.err
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.answering.RLock()
	closings := r.closings
	r.answering.RUnlock()

	body, err := io.ReadAll(q.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // The sender went away.
	}
	r.mtx.Lock()
	status, delay := r.status, r.delay
	r.mtx.Unlock()
	if status != 0 {
		http.Error(w, "fault injected by the suite", status)
		return
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-q.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}

	protocol, decode, err := r.negotiate(q)
	if err != nil {
		// Tells a sender of both versions, or of other encodings, to change.
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	samples, arrivals := []sample{}, []Arrival{}
	if err := decode(body, func(i wire.Item) {
		if i.Exemplar != nil || i.Histogram != nil {
			return
		}
		samples = append(samples, sample{series: i.Labels.String(), t: i.T, v: i.Float})
		arrivals = append(arrivals, arrivalOf(i))
	}); err != nil {
		r.fail(err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}

	r.answering.RLock()
	defer r.answering.RUnlock()
	if closings != r.closings {
		panic(http.ErrAbortHandler) // The connection is closed.
	}
	if r.database != nil {
		r.relay(w, q, body, protocol, arrivals)
		return
	}
	r.take(w, protocol, samples, arrivals)
}

// negotiate returns the protocol of a request, and what decodes its body.
func (r *Receiver) negotiate(q *http.Request) (p wire.Protocol, decode func([]byte, func(wire.Item)) error, err error) {
	contentType, encoding := q.Header.Get("Content-Type"), q.Header.Get("Content-Encoding")
	switch {
	case q.URL.Path == otlpPath:
		p, err = wire.OTLP, wire.CheckOTLP(contentType, encoding)
		decode = func(body []byte, visit func(wire.Item)) error { return wire.DecodeOTLP(encoding, body, visit) }
	case encoding != "" && encoding != "snappy":
		err = fmt.Errorf("the encoding %q is not taken, send snappy", encoding)
	default:
		p, err = wire.ProtocolOf(contentType)
		decode = func(body []byte, visit func(wire.Item)) error {
			_, err := wire.Decode(contentType, body, visit)
			return err
		}
	}
	if err == nil && r.protocol != "" && p != r.protocol {
		err = fmt.Errorf("%s is not taken, send %s", p, r.protocol)
	}
	return p, decode, err
}

// arrivalOf returns how a sample shows in the log; one that is not of the
// target's counter has no number.
func arrivalOf(i wire.Item) Arrival {
	a := Arrival{Series: -1, T: i.T}
	if i.Labels.Get(labels.MetricName) != Metric {
		return a
	}
	series, err := strconv.Atoi(i.Labels.Get(SeriesLabel))
	if number := int64(i.Float); err == nil && float64(number) == i.Float {
		a.Series, a.Number = series, number
	}
	return a
}

// note notes a request, and of what arrived with it the target's counter. The caller holds mtx.
func (r *Receiver) note(request Request, arrivals []Arrival) {
	for _, a := range arrivals {
		if a.Series >= 0 {
			request.Arrivals = append(request.Arrivals, a)
		}
	}
	r.requests = append(r.requests, request)
	close(r.notify)
	r.notify = make(chan struct{})
}

// take stores the samples of a request, notes it and answers it.
func (r *Receiver) take(w http.ResponseWriter, protocol wire.Protocol, samples []sample, arrivals []Arrival) {
	served := r.clock()
	r.mtx.Lock()
	for i, a := range arrivals {
		samples[i].poison = a.Series >= 0 && a.Series == r.poisoned
	}
	fates, stored, err := r.store.write(protocol, samples)
	request := Request{At: time.Now(), Protocol: protocol, Status: http.StatusNoContent, Served: served}
	if protocol == wire.OTLP {
		request.Status = http.StatusOK // With an empty message, which says that all was taken.
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
	if err != nil {
		request.Status = http.StatusBadRequest
	}
	for i := range arrivals {
		arrivals[i].Fate = fates[i]
	}
	r.note(request, arrivals)
	r.mtx.Unlock()

	if protocol == wire.V2 {
		const written = "X-Prometheus-Remote-Write-"
		w.Header().Set(written+"Samples-Written", strconv.Itoa(stored))
		w.Header().Set(written+"Histograms-Written", "0")
		w.Header().Set(written+"Exemplars-Written", "0")
	}
	if err != nil {
		http.Error(w, err.Error(), request.Status)
	} else {
		w.WriteHeader(request.Status)
	}
	_ = http.NewResponseController(w).Flush()
}
