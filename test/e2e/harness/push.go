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
	"net/http"
	"strconv"
	"time"

	"github.com/golang/snappy"

	"github.com/ackwal/ackwal/conformance/process"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// ReceiveFlag lets an agent take samples by remote write, as a [Pusher] needs.
const ReceiveFlag = "--web.enable-remote-write-receiver"

// StartBriefly runs the agent for a while and kills it, whether it has come to
// work by then or not.
func (a *Agent) StartBriefly(d time.Duration) error {
	if a.Running() {
		return errors.New("the agent runs already")
	}
	name, args, err := a.begin()
	if err != nil {
		return err
	}
	args = append([]string{"--web.listen-address=127.0.0.1:0"}, args...)
	proc, err := process.Start(name, a.Engine.Path, a.logPath(), args...)
	if err != nil {
		return err
	}
	time.Sleep(d)
	if !proc.Running() {
		return fmt.Errorf("%s ended by itself: %w\n%s", name, proc.Ended(), proc.Tail(20))
	}
	return a.killed(proc.Kill())
}

// Pusher hands samples to an agent by remote write. In contrast to scraping that
// begins as soon as the agent is there, and the answer says that the samples
// were committed. It belongs to one goroutine.
type Pusher struct {
	agent   *Agent
	symbols *Symbols
	series  int
	last    int64
	count   int
	sure    Set // What the agent has said it committed.
}

// NewPusher returns a pusher of a number of series.
func (s *Scenario) NewPusher(series int) *Pusher {
	return &Pusher{agent: s.Agent, symbols: s.Symbols, series: series, sure: Set{}}
}

// Push sends a sample of each series, some of them new ones. An error means that
// it is not known whether they were committed.
func (p *Pusher) Push() error {
	p.last = max(p.last+1, time.Now().UnixMilli())
	p.count++
	req := &prompb.WriteRequest{}
	points := Set{}
	for i := range p.series {
		generation := 0
		if i%20 == 0 {
			generation = p.count / 50
		}
		lset := labels.FromStrings("__name__", "e2e_pushed", "generation", strconv.Itoa(generation), "index", strconv.Itoa(i))
		v := float64(p.count)
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels:  prompb.FromLabels(lset, nil),
			Samples: []prompb.Sample{{Timestamp: p.last, Value: v}},
		})
		points[Point{p.symbols.ID(withExternalLabels(lset)), SampleKind, p.last}] = FloatValue(v)
	}
	raw, err := req.Marshal()
	if err != nil {
		return err
	}
	out, err := http.NewRequest(http.MethodPost, p.agent.proc.base+writePath, bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		return err
	}
	out.Header.Set("Content-Encoding", "snappy")
	out.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(out)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("pushing to the agent: %s: %s", resp.Status, text)
	}
	p.sure.Add(points)
	return nil
}

// Sure is what the agent has said it committed.
func (p *Pusher) Sure() Set { return p.sure }
