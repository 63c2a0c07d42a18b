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
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Metric is the counter that the target serves, once per series. Its value is
// the number of the scrape, counted from 1, in every series: what a sample
// says, and what is missing, is known without any other knowledge.
const (
	Metric      = "conformance_scrapes_total"
	SeriesLabel = "series"
)

// Scrape is one scrape in the target's log.
type Scrape struct {
	Number int64
	// Run counts the starts of the sender: which of them asked.
	Run int
	// Connection is the same for scrapes over one connection.
	Connection int64
	Served     time.Time
	// Whole says that all of the answer was handed to the network.
	Whole bool
}

// Target is what the sender scrapes. It is safe for concurrent use.
type Target struct {
	series int
	server *http.Server
	addr   string

	mtx         sync.Mutex
	age         time.Duration // Of the samples when they are served, 0 for no timestamps.
	scrapes     []Scrape
	run         int
	connections int64
	notify      chan struct{} // Closed and replaced at each scrape.
}

type connectionKey struct{}

// newTarget serves a number of series until it is closed.
func newTarget(series int) (*Target, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the target: %w", err)
	}
	t := &Target{series: series, addr: listener.Addr().String(), notify: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", t.serve)
	t.server = &http.Server{Handler: mux, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		t.mtx.Lock()
		defer t.mtx.Unlock()
		t.connections++
		return context.WithValue(ctx, connectionKey{}, t.connections)
	}}
	go func() { _ = t.server.Serve(listener) }()
	return t, nil
}

func (t *Target) close() { t.server.Close() }

// beginRun says that the sender is about to be started.
func (t *Target) beginRun() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.run++
}

// Log returns all scrapes so far.
func (t *Target) Log() []Scrape {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return slices.Clone(t.scrapes)
}

// Served returns the number of scrapes so far, which is that of the last one.
func (t *Target) Served() int64 {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return int64(len(t.scrapes))
}

// Age has it serve samples with timestamps that are so old.
func (t *Target) Age(age time.Duration) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.age = age
}

// timestamp is what stands behind the values of a scrape.
func (t *Target) timestamp(number int64) string {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.age == 0 {
		return ""
	}
	return fmt.Sprintf(" %d", t.scrapes[number-1].Served.Add(-t.age).UnixMilli())
}

func (t *Target) begin(r *http.Request) int64 {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	connection, _ := r.Context().Value(connectionKey{}).(int64)
	number := int64(len(t.scrapes)) + 1
	t.scrapes = append(t.scrapes, Scrape{Number: number, Run: t.run, Connection: connection, Served: time.Now()})
	close(t.notify)
	t.notify = make(chan struct{})
	return number
}

func (t *Target) serve(w http.ResponseWriter, r *http.Request) {
	number := t.begin(r)
	timestamp := t.timestamp(number)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(out, "# HELP %s Number of this scrape.\n# TYPE %s counter\n", Metric, Metric)
	for i := range t.series {
		fmt.Fprintf(out, "%s{%s=\"%d\"} %d%s\n", Metric, SeriesLabel, i, number, timestamp)
	}
	if out.Flush() != nil || http.NewResponseController(w).Flush() != nil {
		return
	}
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.scrapes[number-1].Whole = true
}
