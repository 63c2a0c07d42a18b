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

package delivery

import (
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"

	"github.com/prometheus/prometheus/scrape"
)

// metadataSender sends what scraping knows of metric families, from time to
// time, to endpoints of remote write 1.0. It does not come from the log and is
// not repeated after a restart: the next round sends all of it again.
type metadataSender struct {
	e        *endpoint
	interval time.Duration
	ended    chan struct{} // Closed when the endpoint sends no more, or others do.
}

// ScrapeManager gives access to the manager of scraping, with an error until there
// is one. It is stock's remote.ReadyScrapeManager.
type ScrapeManager interface {
	Get() (*scrape.Manager, error)
}

// watchMetadata starts, restarts or stops sending metadata as the settings say.
// Callers hold Storage.mtx.
func (e *endpoint) watchMetadata() {
	set := e.settings.Load()
	send := set.metadata.Send
	if send && set.protocol != encoder.V1 {
		e.logger.Warn("metadata_config.send has no effect with " + string(remoteapi.WriteV2MessageType))
		send = false
	}
	if e.metadata != nil && (!send || e.metadata.interval != time.Duration(set.metadata.SendInterval)) {
		e.stopMetadata()
	}
	if !send || e.metadata != nil {
		return
	}
	m := &metadataSender{e: e, interval: time.Duration(set.metadata.SendInterval), ended: make(chan struct{})}
	e.metadata = m
	if e.sm != nil {
		e.wg.Go(m.run)
	}
}

// stopMetadata ends sending metadata. Callers hold Storage.mtx.
func (e *endpoint) stopMetadata() {
	if e.metadata == nil {
		return
	}
	close(e.metadata.ended)
	e.metadata = nil
}

// run sends what is known, once each interval, until the sender is stopped.
func (m *metadataSender) run() {
	tick := time.NewTicker(m.interval)
	defer tick.Stop()
	for {
		select {
		case <-m.ended:
			return
		case <-tick.C:
		}
		if manager, err := m.e.sm.Get(); err == nil {
			m.sendAll(families(manager.TargetsActive()))
		}
	}
}

// families lists what targets say of metric families, each thing once.
func families(pools map[string][]*scrape.Target) (out []scrape.MetricMetadata) {
	said := map[scrape.MetricMetadata]bool{}
	for _, targets := range pools {
		for _, target := range targets {
			for _, md := range target.ListMetadata() {
				if !said[md] {
					said[md] = true
					out = append(out, md)
				}
			}
		}
	}
	return out
}

// sendAll sends entries in requests of at most
// metadata_config.max_samples_per_send.
func (m *metadataSender) sendAll(entries []scrape.MetricMetadata) {
	e := m.e
	enc := encoder.New(encoder.V1, encoder.Options{})
	for len(entries) > 0 {
		set := e.settings.Load()
		n := min(max(set.metadata.MaxSamplesPerSend, 1), len(entries))
		enc.Reset()
		for _, md := range entries[:n] {
			enc.MetricMetadata(md.MetricFamily, md.Help, md.Unit, md.Type)
		}
		payload, _ := enc.Finish()
		entries = entries[n:]
		if !m.send(payload, n) {
			return
		}
	}
}

// send sends one request until it is settled. It returns false if the endpoint,
// or sending metadata, stops.
func (m *metadataSender) send(payload []byte, n int) bool {
	e := m.e
	for attempt, backoff := 0, time.Duration(0); ; attempt++ {
		set, metrics := e.settings.Load(), e.metrics.Load()
		metrics.metadata.Add(float64(n))
		began := time.Now()
		res := set.client.Store(e.ctx, payload, attempt)
		metrics.latency.Observe(time.Since(began).Seconds())
		switch {
		case res.Outcome == client.Delivered:
			metrics.metadataBytes.Add(float64(len(payload)))
			return true
		case res.Outcome != client.Retry:
			metrics.metadataFailed.Add(float64(n))
			e.logger.Error("non-recoverable error while sending metadata", "count", n, "err", res.Err)
			return true
		case e.stopping():
			return false
		}
		metrics.metadataRetried.Add(float64(n))
		wait, next := set.retry(backoff, res.RetryAfter)
		backoff = next
		if e.wait(wait, set, m.ended) == waiterEnded {
			return false
		}
	}
}
