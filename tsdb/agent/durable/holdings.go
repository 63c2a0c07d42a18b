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

package durable

import "github.com/prometheus/client_golang/prometheus"

// holding is what an endpoint keeps of the log, as it is now.
type holding struct {
	name, url string
	segments  int     // Finished ones.
	bytes     int64   // The segment in use included.
	age       float64 // Seconds since the oldest of the finished ones was written.
	untilLoss float64 // Seconds, infinite if a limit will take nothing.
}

// holdingsCollector has holdings as metrics, worked out when they are asked for.
type holdingsCollector struct {
	read                                func() []holding
	segments, bytes, seconds, untilLoss *prometheus.Desc
}

func newHoldingsCollector(read func() []holding) *holdingsCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("prometheus_agent_wal_"+name, help, []string{"remote_name", "url"}, nil)
	}
	return &holdingsCollector{
		read:      read,
		segments:  desc("segments_held", "Finished segments that each endpoint keeps from being removed, whatever the others keep."),
		bytes:     desc("held_bytes", "Bytes of the write-ahead log that each endpoint keeps from being removed, whatever the others keep, the segment in use included."),
		seconds:   desc("held_seconds", "Time since the oldest finished segment that the endpoint keeps was written, 0 if it keeps none."),
		untilLoss: desc("seconds_until_loss", "Estimated time until a limit takes samples from the endpoint if nothing is delivered to it; infinite if none will, and for an endpoint that keeps up."),
	}
}

// Describe implements [prometheus.Collector].
func (c *holdingsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.segments, c.bytes, c.seconds, c.untilLoss} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *holdingsCollector) Collect(ch chan<- prometheus.Metric) {
	for _, h := range c.read() {
		for d, v := range map[*prometheus.Desc]float64{c.segments: float64(h.segments), c.bytes: float64(h.bytes), c.seconds: h.age, c.untilLoss: h.untilLoss} {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, h.name, h.url)
		}
	}
}
