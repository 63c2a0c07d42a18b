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
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/golang/snappy"

	"github.com/ackwal/ackwal/conformance/process"
	"github.com/ackwal/ackwal/conformance/wire"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// Receiver is a stock-mode Prometheus that takes remote write and has no
// out-of-order window. It can be stopped and started again on its data.
type Receiver struct {
	Name   string
	path   string
	dir    string
	log    string
	config string
	proc   *Prometheus // Nil while it is down.
	proxy  *Proxy      // Told the address after each start.
}

// Start starts the receiver and connects it to its proxy.
func (r *Receiver) Start() error {
	proc, err := StartPrometheus("receiver "+r.Name, r.path, r.log,
		"--config.file="+r.config,
		"--storage.tsdb.path="+filepath.Join(r.dir, "tsdb"),
		"--web.enable-remote-write-receiver",
		"--enable-feature=exemplar-storage",
	)
	if err != nil {
		return err
	}
	r.proc = proc
	r.proxy.Forward(proc.base)
	return nil
}

// Stop ends the receiver gracefully and disconnects it from its proxy.
func (r *Receiver) Stop() error {
	r.proxy.Forward("")
	proc := r.proc
	r.proc = nil
	_, err := proc.Terminate()
	return err
}

// kill takes the receiver down in the clean-up of a test.
func (r *Receiver) kill() {
	if r.proc != nil {
		r.proc.Kill()
	}
}

// Samples reads back everything the receiver holds, stale markers included.
func (r *Receiver) Samples(symbols *Symbols) (Set, error) {
	query := prompb.ReadRequest{Queries: []*prompb.Query{{
		StartTimestampMs: 0,
		EndTimestampMs:   math.MaxInt64 / 2,
		Matchers:         []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_RE, Name: labels.MetricName, Value: ".+"}},
	}}}
	raw, err := query.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding a read request: %w", err)
	}
	client := http.Client{Timeout: process.HangLimit}
	resp, err := client.Post(r.proc.base+"/api/v1/read", "application/x-protobuf", bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		return nil, fmt.Errorf("reading back from %s: %w", r.Name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading back from %s: %w", r.Name, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading back from %s: %s: %s", r.Name, resp.Status, body)
	}
	if raw, err = snappy.Decode(nil, body); err != nil {
		return nil, fmt.Errorf("decompressing what %s holds: %w", r.Name, err)
	}
	var answer prompb.ReadResponse
	if err := answer.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("decoding what %s holds: %w", r.Name, err)
	}
	held := Set{}
	builder := labels.NewScratchBuilder(0)
	for _, result := range answer.Results {
		for _, ts := range result.Timeseries {
			id := symbols.ID(ts.ToLabels(&builder, nil))
			for _, s := range ts.Samples {
				held[Point{id, SampleKind, s.Timestamp}] = FloatValue(s.Value)
			}
			for _, h := range ts.Histograms {
				held[Point{id, SampleKind, h.Timestamp}] = HistogramValue(wire.FloatHistogram(h))
			}
		}
	}
	return held, nil
}

// Exemplars reads back every exemplar the receiver holds.
func (r *Receiver) Exemplars(symbols *Symbols) (Set, error) {
	query := url.Values{
		"query": {`{__name__=~".+"}`},
		"start": {"0"},
		"end":   {strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)},
	}
	text, err := r.proc.get("/api/v1/query_exemplars?" + query.Encode())
	if err != nil {
		return nil, fmt.Errorf("reading back exemplars from %s: %w", r.Name, err)
	}
	var answer struct {
		Data []struct {
			SeriesLabels labels.Labels `json:"seriesLabels"`
			Exemplars    []struct {
				Labels    labels.Labels `json:"labels"`
				Value     string        `json:"value"`
				Timestamp float64       `json:"timestamp"` // In seconds.
			} `json:"exemplars"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("decoding the exemplars of %s: %w", r.Name, err)
	}
	held := Set{}
	for _, series := range answer.Data {
		id := symbols.ID(series.SeriesLabels)
		for _, e := range series.Exemplars {
			v, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				return nil, fmt.Errorf("decoding the exemplars of %s: %w", r.Name, err)
			}
			at := int64(math.Round(e.Timestamp * 1000))
			held[Point{id, ExemplarKind, at}] = ExemplarValue(exemplar.Exemplar{Labels: e.Labels, Value: v})
		}
	}
	return held, nil
}

// receiverConfig scrapes nothing; the intervals only silence validation.
const receiverConfig = "global:\n  scrape_interval: 1m\n"
