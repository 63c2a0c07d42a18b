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
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/grafana/regexp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/ackwal/ackwal/conformance/process"
)

var listeningRE = regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:\d+)`)

// Prometheus is a running process that serves Prometheus' web interface.
type Prometheus struct {
	*process.Process
	base string
}

// StartPrometheus starts the binary on a port of the kernel's choice and waits
// until it says that it is ready.
func StartPrometheus(name, path, logPath string, args ...string) (*Prometheus, error) {
	proc, err := process.Start(name, path, logPath,
		append([]string{"--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle"}, args...)...)
	if err != nil {
		return nil, err
	}
	found, err := proc.WaitOutput(listeningRE)
	if err != nil {
		proc.Kill()
		return nil, err
	}
	p := &Prometheus{Process: proc, base: "http://" + found[1]}
	if err := p.waitReady(); err != nil {
		proc.Kill()
		return nil, err
	}
	return p, nil
}

func (p *Prometheus) waitReady() error {
	deadline := time.Now().Add(process.HangLimit)
	for {
		_, err := p.get("/-/ready")
		if err == nil {
			return nil
		}
		if !p.Running() || time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %w\n%s", p.Name(), err, p.Tail(30))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *Prometheus) get(path string) ([]byte, error) {
	return p.request(http.MethodGet, path, process.HangLimit)
}

func (p *Prometheus) head(path string) ([]byte, error) {
	return p.request(http.MethodHead, path, process.HangLimit)
}

func (p *Prometheus) request(method, path string, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return text, nil
}

// Metrics is a scrape of a process' own metrics.
type Metrics map[string]*dto.MetricFamily

// Metrics scrapes the process.
func (p *Prometheus) Metrics() (Metrics, error) {
	ctx, cancel := context.WithTimeout(context.Background(), process.HangLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", p.Name(), err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", p.Name(), err)
	}
	return families, nil
}

// Sum adds up all series of a counter, gauge or untyped metric whose labels
// include the given name and value pairs. A metric that is not there is 0.
func (m Metrics) Sum(name string, pairs ...string) (sum float64) {
	for _, metric := range m[name].GetMetric() {
		have := map[string]string{}
		for _, l := range metric.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		matches := true
		for i := 0; i+1 < len(pairs); i += 2 {
			matches = matches && have[pairs[i]] == pairs[i+1]
		}
		if matches {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
		}
	}
	return sum
}

// HeapBytes returns what the process' heap holds after a garbage collection,
// the least of a few readings.
func (p *Prometheus) HeapBytes() (least float64, err error) {
	for range 3 {
		if _, err := p.get("/debug/pprof/heap?gc=1"); err != nil {
			return 0, fmt.Errorf("garbage collection in %s: %w", p.Name(), err)
		}
		metrics, err := p.Metrics()
		if err != nil {
			return 0, err
		}
		now := metrics.Sum("go_memstats_heap_alloc_bytes")
		if now == 0 {
			return 0, errors.New("the process has no metric go_memstats_heap_alloc_bytes")
		}
		if least == 0 || now < least {
			least = now
		}
	}
	return least, nil
}
