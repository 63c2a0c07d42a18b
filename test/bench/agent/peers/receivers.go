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

package peers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"

	"github.com/golang/snappy"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/conformance/wire"
)

// ReceiverStats is what a receiver has taken so far.
type ReceiverStats struct {
	Counts
	Requests int64 // That were taken.
	Bytes    int64 // Of their bodies, compressed.
	Away     int64 // Requests in an outage.
	Bad      int64 // Requests that no receiver would take.
}

// OTLPPath is where receivers take OTLP over HTTP.
const OTLPPath = "/v1/metrics"

// receiver takes remote write 1.0 and 2.0, and OTLP, and keeps only numbers.
type receiver struct {
	away    *atomic.Bool
	buffers sync.Pool

	mtx   sync.Mutex
	stats ReceiverStats // Guarded by mtx.
}

// buffer is what a request needs, kept for the next one.
type buffer struct {
	body    bytes.Buffer
	raw     []byte
	counter counter
}

// ServeReceivers serves as many receivers as there are endpoints until it fails.
// Told to refuse, all answer 503 until they are told to accept.
func ServeReceivers(out io.Writer, endpoints int) error {
	debug.SetGCPercent(400)
	away := atomic.NewBool(false)
	failed := make(chan error, endpoints+1)
	var all []*receiver
	var serving []string
	for range endpoints {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listening for writes: %w", err)
		}
		r := newReceiver(away)
		all = append(all, r)
		serving = append(serving, listener.Addr().String())
		go func() { failed <- http.Serve(listener, r) }()
	}
	stats := func() (stats []ReceiverStats) {
		for _, r := range all {
			r.mtx.Lock()
			stats = append(stats, r.stats)
			r.mtx.Unlock()
		}
		return stats
	}
	go func() {
		failed <- serve(out, serving, stats, map[string]func(){
			"refuse": func() { away.Store(true) },
			"accept": func() { away.Store(false) },
		})
	}()
	return <-failed
}

func newReceiver(away *atomic.Bool) *receiver {
	r := &receiver{away: away}
	r.buffers.New = func() any { return &buffer{} }
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	b := r.buffers.Get().(*buffer)
	defer r.buffers.Put(b)
	b.body.Reset()
	if _, err := b.body.ReadFrom(q.Body); err != nil {
		panic(http.ErrAbortHandler) // The sender went away.
	}
	if r.away.Load() {
		r.note(ReceiverStats{Away: 1})
		http.Error(w, "the benchmark has an outage", http.StatusServiceUnavailable)
		return
	}
	read := b.read
	if q.URL.Path == OTLPPath {
		read = b.readOTLP
	}
	protocol, err := read(q.Header)
	if err != nil {
		r.note(ReceiverStats{Bad: 1})
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	counts := b.counter.Counts
	r.note(ReceiverStats{Counts: counts, Requests: 1, Bytes: int64(b.body.Len())})
	if protocol == wire.V2 {
		const prefix = "X-Prometheus-Remote-Write-"
		written := map[string]int64{
			"Samples": b.counter.floats, "Histograms": b.counter.histograms, "Exemplars": counts.Exemplars,
		}
		for name, n := range written {
			w.Header().Set(prefix+name+"-Written", strconv.FormatInt(n, 10))
		}
	}
	if protocol == "" {
		// What OTLP expects of a request that is taken as a whole: an empty message.
		w.Header().Set("Content-Type", q.Header.Get("Content-Type"))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// read decompresses and counts the body.
func (b *buffer) read(header http.Header) (protocol wire.Protocol, err error) {
	if encoding := header.Get("Content-Encoding"); encoding != "snappy" {
		return "", errors.New("only snappy is taken, not " + strconv.Quote(encoding))
	}
	if protocol, err = wire.ProtocolOf(header.Get("Content-Type")); err != nil {
		return "", err
	}
	if b.raw, err = snappy.Decode(b.raw[:cap(b.raw)], b.body.Bytes()); err != nil {
		return "", fmt.Errorf("decompressing: %w", err)
	}
	return protocol, b.counter.count(protocol, b.raw)
}

// readOTLP does it with a request of OTLP, which is none of remote write.
func (b *buffer) readOTLP(header http.Header) (none wire.Protocol, err error) {
	encoding := header.Get("Content-Encoding")
	if err := wire.CheckOTLP(header.Get("Content-Type"), encoding); err != nil {
		return "", err
	}
	b.counter.Counts = Counts{}
	err = wire.EachOTLP(encoding, b.body.Bytes(), b.counter.countMetric)
	return "", err
}

func (r *receiver) note(s ReceiverStats) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.stats.add(s.Counts)
	r.stats.Requests += s.Requests
	r.stats.Bytes += s.Bytes
	r.stats.Away += s.Away
	r.stats.Bad += s.Bad
}
