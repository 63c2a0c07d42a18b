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
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Status is what is known of delivery, for people and for an API. What is not known is
// left out. Times are in UTC, spans of time in seconds, sizes in bytes.
type Status struct {
	// NewestSample is the highest timestamp that was appended since the start.
	NewestSample *time.Time `json:"newest_sample,omitempty"`
	// SavepointAge is how old the positions on the disk are.
	SavepointAge float64 `json:"savepoint_age_seconds"`
	// SavepointFailures is how often they could not be written since the start.
	SavepointFailures int64 `json:"savepoint_write_failures"`
	// Resumed is how saved positions were found in the log at the start, by verdict.
	Resumed map[string]int64 `json:"resumed_positions"`
	// Endpoints are those of the configuration, in its order, then those that are retained, and
	// those that are not any more and have lost something.
	Endpoints []EndpointStatus `json:"endpoints"`
}

// EndpointStatus is what is known of one endpoint.
type EndpointStatus struct {
	// Name is as remote_name in metrics.
	Name string `json:"name"`
	// URL has no user, and of parameters only the names. One that is not at work has none.
	URL      string `json:"url,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	// MetricURL is the URL as metrics have it.
	MetricURL string `json:"-"`

	State State `json:"state"`
	// Description is the state in words.
	Description string `json:"description"`
	// Since is when it became so, as it was noticed.
	Since *time.Time `json:"since,omitempty"`
	// Until is when a removed endpoint loses what it keeps, or when what is held begins to
	// be dropped.
	Until *time.Time `json:"until,omitempty"`
	// RefusedStatus is the HTTP status with which everything is refused.
	RefusedStatus int `json:"refused_status,omitempty"`
	// IsolatedSeries are sent apart from others, or wait alone.
	IsolatedSeries int `json:"isolated_series"`
	// LastError is the last attempt that was not taken, since the start.
	LastError *Failure `json:"last_error,omitempty"`

	// Position is up to where everything is acknowledged, as segment and offset.
	Position cursor.Position `json:"position"`
	// NewestDelivered is the highest timestamp that was acknowledged since the start.
	NewestDelivered *time.Time `json:"newest_sample_delivered,omitempty"`
	// Behind is how long ago the oldest was written that is not acknowledged, 0 if all is.
	Behind *float64 `json:"behind_seconds,omitempty"`
	// UnackedBytes are those of the log that are not acknowledged, UnackedSamples about how
	// many samples, histograms and exemplars they have.
	UnackedBytes   int64 `json:"unacked_bytes"`
	UnackedSamples int64 `json:"unacked_samples_estimated"`
	// Written is how fast the log grows, Acked how fast it is acknowledged, Sent how many
	// samples, histograms and exemplars that are.
	Written *float64 `json:"written_bytes_per_second,omitempty"`
	Acked   *float64 `json:"acked_bytes_per_second,omitempty"`
	Sent    *float64 `json:"acked_samples_per_second,omitempty"`
	// CatchUp is how long it takes until all is acknowledged, at these rates.
	CatchUp *float64 `json:"catch_up_seconds,omitempty"`

	// Senders are those at work, MostSenders how many there may be.
	Senders     int `json:"senders,omitempty"`
	MostSenders int `json:"senders_max,omitempty"`
	// FreshFirst says that what is new is delivered beside a backlog.
	FreshFirst bool `json:"fresh_first,omitempty"`

	// ReplayBytes are those of the log, still to be sent, that the endpoint may have had
	// before a crash.
	ReplayBytes int64 `json:"replay_bytes,omitempty"`
	// Resent are samples, histograms and exemplars it took since the start and may have had
	// before.
	Resent int64 `json:"resent_samples"`
	// Drops are what it was not sent since the start.
	Drops []Drop `json:"drops"`

	waits bool // For an answer: no attempt has failed.
}

// Status returns what is known of delivery now. It does not block, save for looks at files.
func (s *Storage) Status() Status {
	s.listMtx.Lock()
	running, retained := s.running, s.retained
	s.listMtx.Unlock()
	now := time.Now()
	out := Status{
		NewestSample: timeOf(s.metrics.highest.max.load()), SavepointAge: s.metrics.savepointWritten.age(),
		SavepointFailures: valueOf(s.metrics.savepointFails), Resumed: byLabel(s.metrics.resumed), Endpoints: []EndpointStatus{},
	}
	for _, e := range running {
		out.Endpoints = append(out.Endpoints, e.status(now))
	}
	for _, st := range retained {
		if !slices.ContainsFunc(running, func(e *endpoint) bool { return e.id == st.id }) {
			out.Endpoints = append(out.Endpoints, s.retainedStatus(st))
		}
	}
	for _, name := range s.tallies.lostBy() {
		if !slices.ContainsFunc(out.Endpoints, func(e EndpointStatus) bool { return e.Name == name }) {
			gone := EndpointStatus{Name: name, State: StateGone, Position: s.src.Head(), Drops: s.tallies.of(name)}
			gone.Description = gone.describe()
			out.Endpoints = append(out.Endpoints, gone)
		}
	}
	return out
}

// status returns what is known of an endpoint at work.
func (e *endpoint) status(now time.Time) EndpointStatus {
	set, m, streams := e.settings.Load(), e.metrics.Load(), e.streams()
	out := EndpointStatus{
		Name: set.name, URL: set.shown, MetricURL: set.url, Protocol: set.protocol.String(), LastError: e.noted.lastFailure(),
		UnackedBytes: e.observe(), Position: e.floor(), NewestDelivered: timeOf(m.highestSent.max.load()),
		MostSenders: min(set.queue.MaxShards, queue.Partitions), FreshFirst: len(streams) > 1, Resent: valueOf(m.resent), Drops: e.noted.tallies.of(set.name),
	}
	out.waits = !slices.ContainsFunc(streams, func(s *stream) bool { return s.failing.Load() })
	for _, s := range streams {
		out.IsolatedSeries += s.isolation.size()
		if s.working() {
			out.Senders += s.senders()
		}
		if floor, head := s.floor(), e.src.Head(); floor.Before(s.replayEnd) {
			// The watermark is ahead of what there was.
			out.ReplayBytes += e.src.bytes(floor, head) - e.src.bytes(s.replayEnd, head)
		}
	}
	out.UnackedSamples = int64(e.src.density.of(out.UnackedBytes))
	does := e.doing(now)
	since := does.since.UTC()
	out.State, out.Since = does.state, &since
	e.addRates(&out, now)
	out.RefusedStatus, out.Until = e.refusal.present(set.refusedHold)
	if !does.refusesAll {
		out.RefusedStatus = 0
	}
	if out.State != StateHeld {
		out.Until = nil
	}
	out.Description = out.describe()
	return out
}

// addRates adds how far behind the endpoint is, and how fast it goes.
func (e *endpoint) addRates(out *EndpointStatus, now time.Time) {
	behind, sure := e.behind(now)
	if !sure {
		// It is older than the course of the log that is known here; its own times are all
		// that tells.
		if t := e.streams()[0].queue.Stats().Middle; t > 0 {
			behind = max(behind, now.Sub(time.UnixMilli(t)))
		}
	}
	if sure || out.State != StateStarting {
		seconds := behind.Seconds()
		out.Behind = &seconds
	}
	v, known := e.noted.speed()
	if !known {
		return
	}
	out.Written, out.Acked, out.Sent = &v.in, &v.out, &v.items
	if left := float64(out.UnackedBytes) / (v.out - v.in); v.out > v.in && out.State == StateCatchingUp {
		out.CatchUp = &left
	}
}

// retainedStatus returns what is known of an endpoint that is not at work.
func (s *Storage) retainedStatus(st *endpointState) EndpointStatus {
	head := s.src.Head()
	out := EndpointStatus{Name: st.name, State: StateStarting, Position: st.floor().Position, IsolatedSeries: len(st.apart), Drops: s.tallies.of(st.name)}
	if out.Position.Before(head) {
		out.UnackedBytes = s.src.bytes(out.Position, head)
		out.UnackedSamples = int64(s.src.density.of(out.UnackedBytes))
	}
	if st.removed != nil {
		since, until := st.removed.UTC(), st.removed.Add(s.opts.RemovedRetention).UTC()
		out.State, out.Since, out.Until = StateRemoved, &since, &until
	}
	out.Description = out.describe()
	return out
}

// describe says in words what the endpoint does.
func (e *EndpointStatus) describe() string {
	switch e.State {
	case StateStarting:
		return "starting"
	case StateCatchingUp:
		return "catching up"
	case StateRetrying:
		if e.waits || e.LastError == nil {
			return "waiting for an answer"
		}
		return "retrying" + because(e.LastError.Status)
	case StateHeld:
		if e.Until == nil {
			return "held until mended" + because(e.RefusedStatus)
		}
		return "held for a while" + because(e.RefusedStatus)
	case StateRefusing:
		if e.LastError == nil {
			return "refusing everything"
		}
		return "refusing everything" + because(e.LastError.Status)
	case StateBlocked:
		return fmt.Sprintf("blocked by %d series", e.IsolatedSeries)
	case StateOverLimit:
		return "over its limit"
	case StateRemoved:
		return "removed from the configuration"
	case StateGone:
		return "removed, and not retained any more"
	}
	return "delivering"
}

// because names an answer.
func because(status int) string {
	if status == 0 {
		return ": no answer"
	}
	return fmt.Sprintf(": %d %s", status, http.StatusText(status))
}

// timeOf returns a timestamp in ms as a time, nil for 0.
func timeOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

// valueOf returns what a counter counted.
func valueOf(c prometheus.Metric) int64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		return 0 // It cannot be: those of this package are valid.
	}
	return int64(m.GetCounter().GetValue())
}

// byLabel returns what counters with one label counted.
func byLabel(v *prometheus.CounterVec) map[string]int64 {
	const most = 64 // More than any of them has.
	out, metrics := map[string]int64{}, make(chan prometheus.Metric, most)
	v.Collect(metrics)
	close(metrics)
	for c := range metrics {
		var m dto.Metric
		if c.Write(&m) == nil {
			out[m.GetLabel()[0].GetValue()] = int64(m.GetCounter().GetValue())
		}
	}
	return out
}
