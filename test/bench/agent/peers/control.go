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
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/grafana/regexp"

	"github.com/ackwal/ackwal/conformance/process"
)

var readyLine = regexp.MustCompile(`^ready (\{.+\})$`)

// ready is what a process says of itself in its first line.
type ready struct {
	Control string   // Address of the interface for the benchmark.
	Serving []string // Addresses of the traffic.
}

// serve announces a process and answers the benchmark until it fails. Actions
// are what can be asked of the process besides its numbers.
func serve[T any](out io.Writer, serving []string, stats func() T, actions map[string]func()) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the benchmark: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(stats()); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	for name, act := range actions {
		mux.HandleFunc("POST /"+name, func(http.ResponseWriter, *http.Request) { act() })
	}
	line, err := json.Marshal(ready{Control: listener.Addr().String(), Serving: serving})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "ready %s\n", line)
	return http.Serve(listener, mux)
}

// Peer is a process of targets or receivers, as the benchmark sees it.
type Peer[T any] struct {
	*process.Process
	ready  ready
	client http.Client
}

// Serving returns the addresses that the agent is to use.
func (p *Peer[T]) Serving() []string { return p.ready.Serving }

// Stats returns the numbers of the process.
func (p *Peer[T]) Stats() (stats T, err error) {
	err = p.ask(http.MethodGet, "stats", func(r io.Reader) error { return json.NewDecoder(r).Decode(&stats) })
	return stats, err
}

// Do has the process do something.
func (p *Peer[T]) Do(action string) error {
	return p.ask(http.MethodPost, action, func(io.Reader) error { return nil })
}

func (p *Peer[T]) ask(method, path string, read func(io.Reader) error) error {
	request, err := http.NewRequest(method, "http://"+p.ready.Control+"/"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the %s: %w", p.Name(), err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the %s for %s: %s", p.Name(), path, response.Status)
	}
	return read(response.Body)
}

// Await makes a peer of a process that was just started.
func Await[T any](p *process.Process) (*Peer[T], error) {
	found, err := p.WaitOutput(readyLine)
	if err != nil {
		return nil, err
	}
	peer := &Peer[T]{Process: p, client: http.Client{Timeout: time.Minute}}
	if err := json.Unmarshal([]byte(found[1]), &peer.ready); err != nil {
		return nil, fmt.Errorf("what the %s say of themselves: %w", p.Name(), err)
	}
	return peer, nil
}
