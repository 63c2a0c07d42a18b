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
	"log/slog"
	"strconv"

	"github.com/golang/snappy"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// countDelivered accounts for a request the endpoint has taken. Receivers of remote
// write 2.0 tell how much of it they stored.
func (s *sender) countDelivered(set *settings, p *encodedRequest, res client.Result, replayed bool) {
	st := s.stream
	m, sent := st.endpoint.metrics.Load(), p.sent
	m.highestSent.raise(p.highest)
	s.conversion.settle(st.endpoint.src.Table)
	m.bytes.Add(float64(len(p.payload)))
	st.sizes.noteTaken(p.items, set.queue.MaxSamplesPerSend)
	if replayed {
		m.resent.Add(float64(sent.Total()))
	}
	if res.StatsErr != nil {
		st.endpoint.logger.Warn("The endpoint accepted a request and its statistics on it cannot be read; all of it counts as stored", "err", res.StatsErr)
		return
	}
	if set.protocol == encoder.V1 && !res.Written.Confirmed {
		return
	}
	if missing := unwritten(sent, res); missing.Total() > 0 {
		st.endpoint.countFailed(missing, strconv.Itoa(res.Status), timeSpan{})
		st.endpoint.logger.Error("The endpoint accepted a request, and did not store all of it",
			"failedSampleCount", missing[queue.Samples], "failedHistogramCount", missing[queue.Histograms], "failedExemplarCount", missing[queue.Exemplars])
	}
}

// unwritten is what a response's statistics leave out.
func unwritten(sent queue.Counts, res client.Result) (t queue.Counts) {
	t[queue.Samples] = max(sent[queue.Samples]-res.Written.Samples, 0)
	t[queue.Histograms] = max(sent[queue.Histograms]-res.Written.Histograms, 0)
	t[queue.Exemplars] = max(sent[queue.Exemplars]-res.Written.Exemplars, 0)
	return t
}

// countRefused accounts for a request the endpoint refused for good.
func (e *endpoint) countRefused(set *settings, sent queue.Counts, span timeSpan, res client.Result) {
	missing := sent
	if res.Written.Confirmed {
		missing = unwritten(sent, res)
	}
	e.countFailed(missing, strconv.Itoa(res.Status), span)
	e.logger.Error("non-recoverable error", "failedSampleCount", missing[queue.Samples], "failedHistogramCount", missing[queue.Histograms],
		"failedExemplarCount", missing[queue.Exemplars], "protocol", set.protocol.String(), "err", res.Err)
}

// countRefusedAgain accounts for one item that was refused when it was, perhaps, sent for
// the second time.
func (e *endpoint) countRefusedAgain(sent queue.Counts, it queue.ItemView, res client.Result) {
	e.countDropped(reasonOnReplay, sent)
	e.lost.refused(sent, strconv.Itoa(res.Status), true, spanOf([]queue.ItemView{it}))
	e.logger.Debug("The endpoint refused a sample it may have already", "ref", it.Series.Ref(), "timestamp", it.T, "err", res.Err)
}

func (e *endpoint) countFailed(t queue.Counts, code string, span timeSpan) {
	e.lost.refused(t, code, false, span)
	e.tally(DropRefused, code, t, 0)
	m := e.metrics.Load()
	for c, n := range t {
		m.failed[c].Add(float64(n))
	}
	m.refused.WithLabelValues(code).Add(float64(t.Total()))
}

func (e *endpoint) countDropped(reason string, t queue.Counts) {
	e.tally(DropLeftOut, reason, t, 0)
	m := e.metrics.Load()
	for c, n := range t {
		if n > 0 {
			m.dropped[c].WithLabelValues(reason).Add(float64(n))
		}
	}
}

// countSettled accounts for items that left the queue.
func (e *endpoint) countSettled(t queue.Counts) { e.changePending(t, -1) }

// countUnknown tells of items that could not be attributed to a series.
func (e *endpoint) countUnknown(t queue.Counts) {
	if n := t.Total(); n > 0 {
		e.tally(DropUnreadable, reasonUnknownRef, t, 0)
		e.logger.Error("Dropped items of the log whose series is not known", "count", n)
	}
}

// countDrops accounts for what an encoded request leaves out.
func (s *sender) countDrops(p *encodedRequest) {
	s.stream.endpoint.metrics.Load().highest.raise(p.highest)
	for i := range p.dropped {
		if p.dropped[i].Total() > 0 {
			s.stream.endpoint.countDropped(dropReasons[i], p.dropped[i])
		}
	}
}

// logFailed logs a failed request with its content, as failed_request_logging
// asks for.
func (e *endpoint) logFailed(set *settings, payload []byte, res client.Result) {
	if !e.logger.Enabled(e.ctx, slog.LevelDebug) {
		return
	}
	raw, err := snappy.Decode(nil, payload)
	var req any = &prompb.WriteRequest{}
	if set.protocol == encoder.V2 {
		req = &writev2.Request{}
	}
	if err == nil {
		err = req.(interface{ Unmarshal([]byte) error }).Unmarshal(raw)
	}
	if err != nil {
		req = err // Ours to correct: the encoder's output cannot be read.
	}
	e.logger.Debug("Failed to send remote write request", "protocol", set.protocol.String(), "req", req, "status", res.Status, "err", res.Err)
}

// countUnread counts what the reader of a stream could not read, between things of a span.
func (s *stream) countUnread(u queue.Unread, around timeSpan) {
	if len(u.Parts) > 0 {
		lost := lostTo(&u, s.countedAcked, spreadOf(s.endpoint.src.Table, s.countedAcked), &s.endpoint.counted)
		sums := lost.Sums()
		s.endpoint.metrics.Load().countUnread(sums)
		s.endpoint.lost.unread(sums[0], sums[1], around)
		s.endpoint.tally(DropUnreadable, reasonGone, queue.Counts{queue.Samples: int(sums[1])}, sums[0])
		s.endpoint.counted.add(u)
	}
}
