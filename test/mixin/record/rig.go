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

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/grafana/regexp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/conformance/process"
	"github.com/ackwal/ackwal/conformance/wire"
)

// rig is an agent with what is around it.
type rig struct {
	binary, dir string
	flags       []string
	agent       *process.Process
	base        string // URL of the agent.
	target      *target
	minute      atomic.Int64
}

// volume is the file system that the data directory is on. The log of the agent is not.
func (r *rig) volume() string { return filepath.Join(r.dir, "volume") }

func (r *rig) data() string { return filepath.Join(r.volume(), "data") }

// target is what the agent scrapes. Its series get new names when it is renewed.
type target struct{ generation, scrapes atomic.Int64 }

func (t *target) renew() { t.generation.Inc() }

// ServeHTTP implements [http.Handler].
func (t *target) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	n := t.scrapes.Inc()
	for i := range 2000 {
		fmt.Fprintf(w, "load{n=\"%d\",generation=\"%d\"} %d\n", i, t.generation.Load(), n*int64(1+i%97))
	}
}

var listening = regexp.MustCompile(`msg="Listening on".* address=(127\.0\.0\.1:\d+)`)

// start runs the agent until it listens.
func (r *rig) start() error {
	agent, err := process.Start("agent", r.binary, filepath.Join(r.dir, "agent.log"), append([]string{
		"--agent",
		"--config.file=" + filepath.Join(r.dir, "agent.yml"),
		"--storage.agent.path=" + r.data(),
		"--web.listen-address=127.0.0.1:0",
	}, r.flags...)...)
	if err != nil {
		return err
	}
	r.agent = agent
	found, err := agent.WaitOutput(listening)
	if err != nil {
		return err
	}
	r.base = "http://" + found[1]
	return nil
}

// record has an agent go through the outage, and writes down what its metrics say.
func (o outage) record(binary, dir, to string, minute time.Duration, wanted map[string]bool) (err error) {
	r := &rig{binary: binary, dir: dir, flags: o.flags, target: &target{}}
	if err := os.MkdirAll(r.volume(), 0o755); err != nil {
		return err
	}
	if o.volume > 0 {
		if err := mount(r.volume(), fmt.Sprintf("size=%dm", o.volume)); err != nil {
			return err
		}
	}
	defer func() {
		for _, dir := range []string{filepath.Join(r.data(), "series"), r.volume()} {
			if e := syscall.Unmount(dir, syscall.MNT_DETACH); e != nil && !errors.Is(e, syscall.EINVAL) { // It is not mounted.
				err = errors.Join(err, e)
			}
		}
	}()
	mux := http.NewServeMux()
	mux.Handle("/metrics", r.target)
	mux.HandleFunc("/two", func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/one", func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var items []wire.Item
		if err == nil && o.answer != nil {
			_, err = wire.Decode(req.Header.Get("Content-Type"), body, func(i wire.Item) { items = append(items, i) })
		}
		status, message := http.StatusNoContent, ""
		switch {
		case err != nil:
			status, message = http.StatusInternalServerError, err.Error()
		case o.answer != nil:
			status, message = o.answer(int(r.minute.Load()), items)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, message)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	config := fmt.Sprintf(`
global: {scrape_interval: 5s}
scrape_configs: [{job_name: load, static_configs: [{targets: [%q]}]}]
remote_write:
- {name: one, url: "%[2]s/one"}
- {name: two, url: "%[2]s/two"}
`, strings.TrimPrefix(server.URL, "http://"), server.URL)
	if err := os.WriteFile(filepath.Join(r.dir, "agent.yml"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := r.start(); err != nil {
		return err
	}
	defer func() { r.agent.Kill() }()

	tape := tape{outage: o.name, server: server.URL, began: time.Now(), wanted: wanted, values: map[string][]float64{}}
	ticker := time.NewTicker(minute)
	defer ticker.Stop()
	for m := range minutes {
		r.minute.Store(int64(m))
		if act := o.at[m]; act != nil {
			if err := act(r); err != nil {
				return err
			}
		}
		<-ticker.C
		if err := tape.add(r.base); err != nil {
			slog.Warn("A scrape failed", "outage", o.name, "minute", m, "err", err)
		}
	}
	return tape.write(to)
}

// tape is what was recorded, by series; what was not there is not a number.
type tape struct {
	outage, server string
	began          time.Time
	wanted         map[string]bool // Metrics.
	scrapes        int
	values         map[string][]float64
}

// instants are metrics that are points in time.
var instants = regexp.MustCompile(`(timestamp|timestamp_in|start_time)_seconds$`)

func (t *tape) add(base string) error {
	defer func() { t.scrapes++ }()
	response, err := http.Get(base + "/metrics")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return err
	}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
			if instants.MatchString(name) && v > 0 {
				v -= float64(t.began.UnixMilli()) / 1000
			}
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM: // Buckets would be most of what is recorded.
				t.put(name+"_count", m, float64(m.GetHistogram().GetSampleCount()))
				t.put(name+"_sum", m, m.GetHistogram().GetSampleSum())
			case dto.MetricType_SUMMARY:
				t.put(name+"_count", m, float64(m.GetSummary().GetSampleCount()))
				t.put(name+"_sum", m, m.GetSummary().GetSampleSum())
			default:
				t.put(name, m, v)
			}
		}
	}
	return nil
}

func (t *tape) put(name string, m *dto.Metric, v float64) {
	if !t.wanted[name] {
		return
	}
	labels := []string{fmt.Sprintf("instance=%q", t.outage), `job="agent"`}
	for _, l := range m.GetLabel() {
		// The address of the receiver is another one each time.
		labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), strings.ReplaceAll(l.GetValue(), t.server, "http://receiver")))
	}
	slices.Sort(labels)
	series := name + "{" + strings.Join(labels, ",") + "}"
	for len(t.values[series]) < t.scrapes {
		t.values[series] = append(t.values[series], math.NaN())
	}
	t.values[series] = append(t.values[series], v)
}

// write has a line for each series, its values as promtool reads them.
func (t *tape) write(to string) error {
	var lines []string
	for series, values := range t.values {
		for len(values) < t.scrapes {
			values = append(values, math.NaN())
		}
		lines = append(lines, series+" "+notation(values)+"\n")
	}
	slices.Sort(lines)
	return os.WriteFile(to, []byte(strings.Join(lines, "")), 0o644)
}

// notation has values as promtool reads them: _ for none, 7x3 for 7 and three more of it.
func notation(values []float64) string {
	text := func(v float64) string {
		if math.IsNaN(v) {
			return "_"
		}
		return strconv.FormatFloat(v, 'g', 7, 64)
	}
	var out []string
	for i := 0; i < len(values); {
		n := 1
		for i+n < len(values) && text(values[i+n]) == text(values[i]) {
			n++
		}
		switch s := text(values[i]); {
		case s == "_" && n > 1:
			out = append(out, "_x"+strconv.Itoa(n))
		case n > 1 && !math.IsInf(values[i], 0):
			out = append(out, s+"x"+strconv.Itoa(n-1))
		default:
			for range n {
				out = append(out, strings.TrimPrefix(s, "+"))
			}
		}
		i += n
	}
	return strings.Join(out, " ")
}
