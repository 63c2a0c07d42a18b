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
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// timeSpan is from the oldest to the newest of samples, in ms. The zero value is none.
type timeSpan struct{ oldest, newest int64 }

func (s *timeSpan) add(t int64) {
	if *s == (timeSpan{}) {
		s.oldest, s.newest = t, t
	}
	s.oldest, s.newest = min(s.oldest, t), max(s.newest, t)
}

func spanOf(items []queue.ItemView) (s timeSpan) {
	for _, it := range items {
		s.add(it.T)
	}
	return s
}

// with returns the span with all that another has.
func (s timeSpan) with(o timeSpan) timeSpan {
	if o != (timeSpan{}) {
		s.add(o.oldest)
		s.add(o.newest)
	}
	return s
}

// attrs is what log lines say of it.
func (s timeSpan) attrs() []any {
	if s == (timeSpan{}) {
		return nil
	}
	at := func(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
	return []any{"oldest", at(s.oldest), "newest", at(s.newest)}
}

// tellLossEvery is how often lines sum up what an endpoint refuses.
const tellLossEvery = time.Minute

// refusedItems is what an endpoint refused for good since a line said so. It is safe for
// concurrent use.
type refusedItems struct {
	mtx  sync.Mutex
	lost queue.Counts
	span timeSpan
	code string
	told time.Time
}

func (r *refusedItems) add(lost queue.Counts, code string, span timeSpan) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.lost.Plus(lost)
	r.span, r.code = r.span.with(span), code
}

// tell logs what was refused, unless there was a line a moment ago.
func (r *refusedItems) tell(l *slog.Logger, set *settings, last bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.lost.Total() == 0 || (!last && time.Since(r.told) < tellLossEvery) {
		return
	}
	l.Error("Samples are lost: the endpoint refused them for good", append([]any{
		"remote_name", set.name, "url", set.url, "reason", "refused", "status", r.code,
		"samples", r.lost[queue.Samples], "histograms", r.lost[queue.Histograms], "exemplars", r.lost[queue.Exemplars],
	}, r.span.attrs()...)...)
	r.lost, r.span, r.told = queue.Counts{}, timeSpan{}, time.Now()
}

const (
	// tellOutageAfter is how long an endpoint fails before a line says when it answers
	// again.
	tellOutageAfter = 10 * time.Second
	// tellBacklogFrom is how many bytes of the log are a backlog that is worth a line.
	tellBacklogFrom = 4 << 20
	// tellBacklogEvery is how often lines say how it goes.
	tellBacklogEvery = time.Minute
)

// course follows an endpoint through outages and backlogs, and says what an operator waits
// for. Its owner is the pacer.
type course struct {
	failing time.Time // Since when; zero if it is not.

	backlogSince time.Time // Since when there is a backlog to deliver; zero if there is none.
	most         int64     // Bytes it had.
	told         time.Time // When a line said how far it is,
	left         int64     // and what was left then.
}

// look takes note of whether an endpoint fails and of what it has not acknowledged.
func (c *course) look(l *slog.Logger, now time.Time, failing bool, bytes int64) {
	if failing {
		if c.failing.IsZero() {
			c.failing = now
		}
		return
	}
	if lasted := now.Sub(c.failing); !c.failing.IsZero() && lasted >= tellOutageAfter {
		l.Info("The endpoint answers again", "failed_for", lasted.Round(time.Second), "backlog_bytes", bytes)
	}
	c.failing = time.Time{}
	switch {
	case c.backlogSince.IsZero() && bytes >= tellBacklogFrom:
		*c = course{backlogSince: now, most: bytes, told: now, left: bytes}
	case c.backlogSince.IsZero():
	case bytes < tellBacklogFrom/4 || bytes < c.most/100:
		if took := now.Sub(c.backlogSince); took >= tellOutageAfter {
			l.Info("The endpoint has caught up", "took", took.Round(time.Second), "backlog_bytes", c.most)
		}
		*c = course{}
	case now.Sub(c.told) >= tellBacklogEvery:
		rate := float64(c.left-bytes) / now.Sub(c.told).Seconds()
		left := "unknown"
		if rate > 0 {
			left = time.Duration(float64(bytes) / rate * float64(time.Second)).Round(time.Second).String()
		}
		l.Info("The endpoint is catching up", "backlog_bytes", bytes, "bytes_per_second", strconv.FormatFloat(rate, 'f', 0, 64), "time_left", left)
		c.told, c.left, c.most = now, bytes, max(c.most, bytes)
	}
}
