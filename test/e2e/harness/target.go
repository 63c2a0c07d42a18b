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
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/atomic"
)

// SequenceMetric is the name of the gauge that carries the number of the
// scrape, counted from 1 by the target.
const SequenceMetric = "e2e_sequence"

// Paths that a target serves.
const (
	PlainPath = "/plain" // Many gauges as text.
	RichPath  = "/rich"  // Native histograms and exemplars.
)

// Target is an instance to scrape. Every series of a scrape has the number of
// the scrape as its value, so that a missing one is seen without any other
// knowledge. It is safe for concurrent use.
type Target struct {
	series   int
	listener net.Listener
	server   *http.Server

	plain      atomic.Int64
	rich       atomic.Int64
	generation atomic.Int64
}

func newTarget(series int) (*Target, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the target: %w", err)
	}
	t := &Target{series: series, listener: listener}

	registry := prometheus.NewRegistry()
	if err := registry.Register(&richCollector{scrapes: &t.rich}); err != nil {
		return nil, fmt.Errorf("registering the target's collector: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(PlainPath, t.servePlain)
	mux.Handle(RichPath, promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.PanicOnError}))
	t.server = &http.Server{Handler: mux}
	go func() { _ = t.server.Serve(listener) }()
	return t, nil
}

// Address is the host and port to scrape.
func (t *Target) Address() string { return t.listener.Addr().String() }

// Scrapes returns how many scrapes of the plain path were served.
func (t *Target) Scrapes() int64 { return t.plain.Load() }

// NextGeneration gives a tenth of the series another label value: those of
// the generation before end and as many new ones begin.
func (t *Target) NextGeneration() { t.generation.Inc() }

func (t *Target) close() { t.server.Close() }

func (t *Target) servePlain(w http.ResponseWriter, _ *http.Request) {
	n := t.plain.Inc()
	generation := t.generation.Load()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "# TYPE %s gauge\n%s %d\n# TYPE e2e_value gauge\n", SequenceMetric, SequenceMetric, n)
	for i := range t.series {
		of := int64(0)
		if i%10 == 0 {
			of = generation
		}
		fmt.Fprintf(out, "e2e_value{index=\"%d\",generation=\"%d\"} %d\n", i, of, n)
	}
	// A scraper that goes away is not the target's concern.
	_ = out.Flush()
}

var (
	nativeDesc  = prometheus.NewDesc("e2e_native_seconds", "A native histogram.", []string{"index"}, nil)
	classicDesc = prometheus.NewDesc("e2e_classic_seconds", "A histogram that is scraped as one with custom buckets.", []string{"index"}, nil)
	counterDesc = prometheus.NewDesc("e2e_requests_total", "A counter with an exemplar.", []string{"index"}, nil)
)

const richSeries = 3

// richCollector makes what the text format lacks. All values follow from the
// number of the scrape.
type richCollector struct {
	scrapes *atomic.Int64
}

// Describe implements prometheus.Collector.
func (*richCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- nativeDesc
	ch <- classicDesc
	ch <- counterDesc
}

// Collect implements prometheus.Collector.
func (c *richCollector) Collect(ch chan<- prometheus.Metric) {
	n := c.scrapes.Inc()
	now := time.Now()
	for i := range richSeries {
		index := strconv.Itoa(i)
		buckets := map[int]int64{-2: n, 0: 2 * n, 3: 3 * n}
		ch <- prometheus.MustNewConstNativeHistogram(nativeDesc, uint64(7*n), float64(n),
			buckets, map[int]int64{1: n}, 0, 3, 1e-9, now.Add(-time.Hour), index)
		ch <- prometheus.MustNewConstHistogram(classicDesc, uint64(4*n), float64(n),
			map[float64]uint64{0.5: uint64(n), 5: uint64(3 * n)}, index)
		ch <- prometheus.MustNewMetricWithExemplars(
			prometheus.MustNewConstMetric(counterDesc, prometheus.CounterValue, float64(n), index),
			prometheus.Exemplar{Value: float64(n), Labels: prometheus.Labels{"scrape": strconv.FormatInt(n, 10)}, Timestamp: now},
		)
	}
}
