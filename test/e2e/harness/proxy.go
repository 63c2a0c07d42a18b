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
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ackwal/ackwal/conformance/process"
)

const writePath = "/api/v1/write"

// Proxy is between an agent and a receiver, does to requests what its plan
// says and records all of them. It is safe for concurrent use.
type Proxy struct {
	*Recorder
	Name    string
	address string // Stays the same while the listener is closed.
	symbols *Symbols
	clock   func() int64
	client  *http.Client

	// answering is held for reading while an answer is recorded and put on the
	// wire, so that no answer is recorded that a closed connection swallows.
	// It guards the number of times that all connections were closed.
	answering sync.RWMutex
	closings  int

	mtx      sync.Mutex
	server   *http.Server // Nil while refusing connections.
	plan     Plan
	released chan struct{} // Closed when the plan is replaced.
	receiver string        // Base URL; "" for none.
}

// newProxy starts a proxy without a receiver that passes everything on.
func newProxy(name string, symbols *Symbols, clock func() int64) (*Proxy, error) {
	p := &Proxy{
		Recorder: newRecorder(),
		Name:     name,
		address:  "127.0.0.1:0",
		symbols:  symbols,
		clock:    clock,
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: process.HangLimit},
		plan:     Pass(),
		released: make(chan struct{}),
	}
	return p, p.Accept()
}

// URL is where the agent has to write to.
func (p *Proxy) URL() string { return "http://" + p.address + writePath }

// Use replaces the plan. Requests that hang are cut off.
func (p *Proxy) Use(plan Plan) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.plan = plan
	close(p.released)
	p.released = make(chan struct{})
}

// Forward sets the receiver by its base URL, "" if there is none.
func (p *Proxy) Forward(base string) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	p.receiver = base
}

// Refuse closes the listener and every connection: connections are refused.
func (p *Proxy) Refuse() {
	p.mtx.Lock()
	server := p.server
	p.server = nil
	p.mtx.Unlock()
	if server != nil {
		p.answering.Lock()
		defer p.answering.Unlock()
		p.closings++
		server.Close()
	}
}

// Accept listens again after Refuse, at the same address.
func (p *Proxy) Accept() error {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.address)
	for tries := 0; err != nil && tries < 50; tries++ {
		// Another process may have been given the port for a moment.
		time.Sleep(100 * time.Millisecond)
		listener, err = net.Listen("tcp", p.address)
	}
	if err != nil {
		return fmt.Errorf("listening for %s: %w", p.Name, err)
	}
	p.address = listener.Addr().String()
	server := &http.Server{Handler: p}
	p.server = server
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.fail(fmt.Errorf("proxy %s: %w", p.Name, err))
		}
	}()
	return nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.answering.RLock()
	closings := p.closings
	p.answering.RUnlock()

	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The agent went away while it was sending.
	}
	protocol, entries, err := decodeRequest(r.Header.Get("Content-Type"), body, p.symbols)
	if err != nil {
		p.fail(fmt.Errorf("proxy %s: %w", p.Name, err))
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req := &Request{Protocol: protocol, Header: r.Header.Clone(), Clock: p.clock(), entries: entries}
	p.arrive(req)

	p.mtx.Lock()
	plan, released, receiver := p.plan, p.released, p.receiver
	p.mtx.Unlock()
	fate := plan(req)

	if fate.Delay > 0 {
		select {
		case <-time.After(fate.Delay):
		case <-r.Context().Done():
			return
		}
	}

	var resp *http.Response
	if fate.Forward {
		resp, err = p.forward(r, receiver, body)
		if err != nil {
			// There is no receiver: to the agent that is a lost connection.
			cut(w)
			return
		}
		p.forwarded(req, resp.StatusCode)
	}
	p.end(w, r, exchange{req, fate, resp, closings}, released)
}

// forward hands the request to the receiver and returns its answer, the body
// of which has been read.
func (p *Proxy) forward(r *http.Request, receiver string, body []byte) (*http.Response, error) {
	if receiver == "" {
		return nil, errors.New("no receiver")
	}
	// The request must reach the receiver even if the agent is killed now: it
	// was on the wire.
	out, err := http.NewRequest(http.MethodPost, receiver+writePath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		if name != "Authorization" {
			out.Header[name] = values
		}
	}
	resp, err := p.client.Do(out)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return resp, nil
}

// exchange is a request on its way back to the agent.
type exchange struct {
	req      *Request
	fate     Fate
	resp     *http.Response // Nil if the receiver was not asked.
	closings int            // Of the proxy when the request arrived.
}

func (p *Proxy) end(w http.ResponseWriter, r *http.Request, x exchange, released <-chan struct{}) {
	switch x.fate.Ending {
	case Relay, Mute:
		for name, values := range x.resp.Header {
			if strings.HasPrefix(name, "X-Prometheus") || name == "Content-Type" {
				w.Header()[name] = values
			}
		}
		text, err := io.ReadAll(x.resp.Body)
		if err != nil {
			cut(w)
			return
		}
		if x.fate.Ending == Mute && x.resp.StatusCode/100 != 2 {
			text = []byte("no\n")
		}
		p.reply(w, r, x, x.resp.StatusCode, text)
	case Say:
		if x.fate.RetryAfter != "" {
			w.Header().Set("Retry-After", x.fate.RetryAfter)
		}
		p.reply(w, r, x, x.fate.Status, []byte("fault injected by the test: "+strconv.Itoa(x.fate.Status)+"\n"))
	case Hang:
		select {
		case <-released:
			cut(w)
		case <-r.Context().Done():
		}
	case Reset:
		cut(w)
	}
}

// reply records an answer and puts it on the wire. The agent may go away at
// any time, which is part of the game; if it is known to be gone it has no
// answer.
func (p *Proxy) reply(w http.ResponseWriter, r *http.Request, x exchange, status int, text []byte) {
	p.answering.RLock()
	defer p.answering.RUnlock()
	if x.closings != p.closings || r.Context().Err() != nil {
		return // The connection is closed.
	}
	p.answer(x.req, status)
	if status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	}
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = w.Write(text)
	}
	_ = http.NewResponseController(w).Flush()
}

// cut closes the connection so that the peer sees a reset.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}
