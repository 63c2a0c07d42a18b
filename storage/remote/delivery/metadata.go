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
	"context"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"

	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/encoder"
)

// metadataSender sends what scraping knows of metric families, from time to
// time, to endpoints of remote write 1.0. It does not come from the log and is
// not repeated after a restart: the next round sends all of it again.
type metadataSender struct {
	e        *endpoint
	watcher  *remote.MetadataWatcher
	interval time.Duration
}

// watchMetadata starts, restarts or stops sending metadata as the settings say.
// Callers hold Storage.mtx.
func (e *endpoint) watchMetadata(deadline time.Duration) {
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
	m := &metadataSender{e: e, interval: time.Duration(set.metadata.SendInterval)}
	m.watcher = remote.NewMetadataWatcher(e.logger, e.sm, set.name, m, set.metadata.SendInterval, min(deadline, stopBudget))
	m.watcher.Start()
	e.metadata = m
}

// stopMetadata ends sending metadata. Callers hold Storage.mtx.
func (e *endpoint) stopMetadata() {
	if e.metadata == nil {
		return
	}
	m := e.metadata
	e.metadata = nil
	// The watcher waits for a round under way, which gives up when the
	// endpoint stops: nothing may wait for it here.
	e.wg.Go(m.watcher.Stop)
}

// AppendWatcherMetadata sends entries in requests of at most
// metadata_config.max_samples_per_send. It implements stock's
// remote.MetadataAppender.
func (m *metadataSender) AppendWatcherMetadata(ctx context.Context, entries []scrape.MetricMetadata) {
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
		if !m.send(ctx, payload, n) {
			return
		}
	}
}

// send sends one request until it is settled. It returns false if the endpoint
// stops.
func (m *metadataSender) send(ctx context.Context, payload []byte, n int) bool {
	e := m.e
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	for attempt, backoff := 0, time.Duration(0); ; attempt++ {
		set, metrics := e.settings.Load(), e.metrics.Load()
		metrics.metadata.Add(float64(n))
		began := time.Now()
		res := set.client.Store(ctx, payload, attempt)
		metrics.latency.Observe(time.Since(began).Seconds())
		switch {
		case res.Outcome == client.Delivered:
			metrics.metadataBytes.Add(float64(len(payload)))
			return true
		case res.Outcome != client.Retry:
			metrics.metadataFailed.Add(float64(n))
			e.logger.Error("non-recoverable error while sending metadata", "count", n, "err", res.Err)
			return true
		case ctx.Err() != nil || e.stopping():
			return false
		}
		metrics.metadataRetried.Add(float64(n))
		wait := max(backoff, time.Duration(set.queue.MinBackoff), res.RetryAfter)
		backoff = min(2*wait, time.Duration(set.queue.MaxBackoff))
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-set.replaced:
		case <-ctx.Done():
		case <-e.stop:
		}
		t.Stop()
	}
}
