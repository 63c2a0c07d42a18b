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
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang/snappy"

	"github.com/ackwal/ackwal/conformance/process"
	"github.com/ackwal/ackwal/conformance/wire"

	"github.com/prometheus/prometheus/prompb"
)

// Backend describes a database that stores what a receiver of the suite is sent. The
// receiver passes all requests on, unless a case has it away, and relays the answers; what
// the database returns when it is queried is what was delivered. Everything is data, as
// with a [Sender]. Programs and Config are text/template texts over a [BackendSetup].
type Backend struct {
	Name   string
	Binary string
	// Programs are the arguments of the processes of the binary, started in this order.
	Programs [][]string
	Config   string // The text of the file at ConfigFile, if there is one.

	// URLs of what the processes serve, templates too. Ready answers 2xx when all
	// works, Write takes remote write, Query is the one for instant queries of the API
	// of Prometheus. Flush, if there is one, makes what was written visible to those.
	Ready, Write, Query, Flush string
	// Headers are those of all requests, such as a tenant's.
	Headers map[string]string
}

// BackendSetup is what the templates of a [Backend] are filled with.
type BackendSetup struct {
	Dir        string   // For all data; exists.
	ConfigFile string   // Path of the rendered configuration.
	Addr       []string // Six addresses with a host and a port.
}

// Port returns the port of an address.
func (s BackendSetup) Port(i int) string {
	_, port, _ := strings.Cut(s.Addr[i], ":")
	return port
}

// With returns the database with more arguments for its first program.
func (b Backend) With(args ...string) *Backend {
	b.Programs = slices.Clone(b.Programs)
	b.Programs[0] = append(slices.Clone(b.Programs[0]), args...)
	return &b
}

// database is a running [Backend].
type database struct {
	name                string
	processes           []*process.Process
	write, query, flush string
	headers             map[string]string
	client              *http.Client
}

// start runs the programs in a directory of their own and waits until they work.
func (b *Backend) start(ctx context.Context, dir string) (d *database, err error) {
	setup := BackendSetup{Dir: dir, ConfigFile: filepath.Join(dir, "config")}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("directory of the database: %w", err)
	}
	for range 6 {
		addr, err := process.FreeAddress()
		if err != nil {
			return nil, err
		}
		setup.Addr = append(setup.Addr, addr)
	}
	text := func(of string) string {
		var s string
		if err == nil {
			s, err = render(of, setup)
		}
		return s
	}
	config, ready := text(b.Config), text(b.Ready)
	d = &database{
		name: b.Name, write: text(b.Write), query: text(b.Query), flush: text(b.Flush), headers: b.Headers,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: process.HangLimit},
	}
	if err == nil && config != "" {
		err = os.WriteFile(setup.ConfigFile, []byte(config), 0o666)
	}
	for i, program := range b.Programs {
		args := []string{}
		for _, a := range program {
			args = append(args, text(a))
		}
		if err != nil {
			break
		}
		var p *process.Process
		if p, err = process.Start(b.Name, b.Binary, filepath.Join(dir, fmt.Sprintf("%d.log", i)), args...); err == nil {
			d.processes = append(d.processes, p)
		}
	}
	if err == nil {
		err = d.until(ctx, ready)
	}
	if err != nil {
		d.close()
		return nil, fmt.Errorf("database %s: %w", b.Name, err)
	}
	return d, nil
}

// until waits until a URL answers 2xx.
func (d *database) until(ctx context.Context, ready string) error {
	deadline := time.Now().Add(2 * process.HangLimit)
	for {
		_, err := d.get(ctx, ready)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		for _, p := range d.processes {
			if !p.Running() {
				return fmt.Errorf("it ended: %w\n%s", p.Ended(), p.Tail(15))
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("it does not get ready: %w\n%s", err, p.Tail(15))
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (d *database) close() {
	for _, p := range d.processes {
		p.Kill()
	}
}

func (d *database) get(ctx context.Context, url string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	for name, value := range d.headers {
		q.Header.Set(name, value)
	}
	resp, err := d.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// pass hands a request of a sender on, and returns the answer, whose body was read. The
// database gets it even if the sender goes away now, since it was on the wire.
func (d *database) pass(q *http.Request, body []byte) (*http.Response, []byte, error) {
	on, err := http.NewRequest(http.MethodPost, d.write, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	on.Header = q.Header.Clone()
	resp, err := d.client.Do(on)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

// present writes a sample of another sender's, of now.
func (d *database) present(ctx context.Context) error {
	request := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: "conformance_present"}},
		Samples: []prompb.Sample{{Value: 1, Timestamp: time.Now().UnixMilli()}},
	}}}
	body, err := request.Marshal()
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, d.write, http.NoBody)
	if err != nil {
		return err
	}
	for name, value := range d.headers {
		q.Header.Set(name, value)
	}
	q.Header.Set("Content-Type", "application/x-protobuf")
	q.Header.Set("Content-Encoding", "snappy")
	q.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	body = snappy.Encode(nil, body)
	for deadline := time.Now().Add(process.HangLimit); ; time.Sleep(100 * time.Millisecond) {
		resp, text, err := d.pass(q, body)
		switch {
		case err != nil:
			return fmt.Errorf("database %s: writing a sample of now: %w", d.name, err)
		case resp.StatusCode/100 == 2:
			return nil
		case resp.StatusCode/100 != 5 || time.Now().After(deadline): // It may not be ready for its first.
			return fmt.Errorf("database %s: writing a sample of now: %s: %s", d.name, resp.Status, bytes.TrimSpace(text))
		}
	}
}

// stored returns what the database has of the target's counter, as one request that it
// would have had to be sent for it.
func (d *database) stored(ctx context.Context) ([]Request, error) {
	if d.flush != "" {
		if _, err := d.get(ctx, d.flush); err != nil {
			return nil, fmt.Errorf("database %s: %w", d.name, err)
		}
	}
	body, err := d.get(ctx, d.query+"?query="+url.QueryEscape(Metric+"[6h]"))
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", d.name, err)
	}
	var answer struct {
		Status string
		Data   struct {
			ResultType string
			Result     []struct {
				Metric map[string]string
				Values [][2]any // Time in seconds and value.
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("database %s: what it answers to a query: %w", d.name, err)
	}
	if answer.Data.ResultType != "matrix" {
		return nil, fmt.Errorf("database %s: it answers %q to a query of samples", d.name, answer.Data.ResultType)
	}
	all := Request{Status: http.StatusOK}
	for _, series := range answer.Data.Result {
		i, err := strconv.Atoi(series.Metric[SeriesLabel])
		for _, v := range series.Values {
			at, isTime := v[0].(float64)
			text, isText := v[1].(string)
			value, bad := strconv.ParseFloat(text, 64)
			if err = errors.Join(err, bad); err != nil || !isTime || !isText {
				return nil, fmt.Errorf("database %s: a series %v with %v: %w", d.name, series.Metric, v, err)
			}
			all.Arrivals = append(all.Arrivals, Arrival{Series: i, Number: int64(value), T: int64(math.Round(at * 1000))})
		}
	}
	slices.SortStableFunc(all.Arrivals, func(a, b Arrival) int {
		return cmp.Or(cmp.Compare(a.Series, b.Series), cmp.Compare(a.T, b.T))
	})
	for i := 1; i < len(all.Arrivals); i++ {
		if a, b := all.Arrivals[i-1], &all.Arrivals[i]; a.Series == b.Series && a.T == b.T {
			b.Fate = Again
		}
	}
	return []Request{all}, nil
}

// relay passes a request on to the receiver's database, notes it and answers as that did.
func (r *Receiver) relay(w http.ResponseWriter, q *http.Request, body []byte, protocol wire.Protocol, arrivals []Arrival) {
	resp, text, err := r.database.pass(q, body)
	if err != nil {
		panic(http.ErrAbortHandler) // To the sender that is a lost connection.
	}
	served := r.clock()
	r.mtx.Lock()
	r.note(Request{At: time.Now(), Protocol: protocol, Status: resp.StatusCode, Served: served}, arrivals)
	r.mtx.Unlock()
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "X-Prometheus") || name == "Content-Type" || name == "Retry-After" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(text)
	_ = http.NewResponseController(w).Flush()
}

// Backends returns the names of the databases that are described here.
func Backends() []string { return slices.Sorted(maps.Keys(backends)) }

// NamedBackend returns a database by its name. binary is the path of its program.
func NamedBackend(name, binary string) (*Backend, error) {
	b, known := backends[name]
	if !known {
		return nil, fmt.Errorf("there is no database %q, only %s", name, strings.Join(Backends(), ", "))
	}
	b.Name, b.Binary = name, binary
	if err := checkProgram(binary); err != nil {
		return nil, fmt.Errorf("database %s: %w", name, err)
	}
	return &b, nil
}
