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

// tellLossEvery is how often lines sum up what an endpoint refuses.
const tellLossEvery = time.Minute

// lostItems is what an endpoint lost in one way since a line said so. It is safe for
// concurrent use.
type lostItems struct {
	mtx   sync.Mutex
	lost  queue.Counts
	bytes int64 // Of the log, where it cannot be read.
	span  timeSpan
	code  string // Of the refusal.
	told  time.Time
}

// refused adds what was refused for good.
func (r *lostItems) refused(lost queue.Counts, code string, span timeSpan) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.lost.Plus(lost)
	r.span, r.code = r.span.with(span), code
}

// unread adds what cannot be read: bytes, and about how many samples. What stands around it
// is of a span.
func (r *lostItems) unread(bytes, samples int64, span timeSpan) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if bytes == 0 {
		return // It was counted before.
	}
	r.lost[queue.Samples] += int(samples)
	r.bytes += bytes
	r.span = r.span.with(span)
}

// tell logs what was lost, unless there was a line a moment ago.
func (r *lostItems) tell(l *slog.Logger, set *settings, last bool) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if (r.lost.Total() == 0 && r.bytes == 0) || (!last && time.Since(r.told) < tellLossEvery) {
		return
	}
	message := "Samples are lost: the endpoint refused them for good"
	attrs := []any{"remote_name", set.name, "url", set.url}
	if r.bytes > 0 {
		message = "Samples are lost: a part of the log cannot be read"
		attrs = append(attrs, "reason", "unreadable", "bytes", r.bytes, "samples_estimated", r.lost[queue.Samples])
	} else {
		attrs = append(attrs, "reason", "refused", "status", r.code)
	}
	attrs = append(attrs, "samples", r.lost[queue.Samples], "histograms", r.lost[queue.Histograms], "exemplars", r.lost[queue.Exemplars])
	l.Error(message, append(attrs, r.span.attrs()...)...)
	r.lost, r.bytes, r.span, r.told = queue.Counts{}, 0, timeSpan{}, time.Now()
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
	told         time.Time // When a line said how far it is, zero if none has,
	left         int64     // and what was left then.
}

// tellBacklogAfter is how long there is a backlog, while the endpoint answers, before a line
// says so: at high rates moments of them are nothing to tell.
const tellBacklogAfter = 10 * time.Second

// look takes note of whether an endpoint fails and of what it has not acknowledged.
func (c *course) look(l *slog.Logger, now time.Time, failing bool, bytes int64) {
	if failing {
		if c.failing.IsZero() {
			c.failing = now
		}
		return
	}
	lasted, answers := now.Sub(c.failing), !c.failing.IsZero()
	answers = answers && lasted >= tellOutageAfter
	c.failing = time.Time{}
	if answers {
		l.Info("The endpoint answers again", "failed_for", lasted.Round(time.Second), "backlog_bytes", bytes)
	}
	if c.backlogSince.IsZero() && bytes >= tellBacklogFrom {
		c.backlogSince = now
	}
	c.most = max(c.most, bytes)
	switch {
	case c.backlogSince.IsZero():
		*c = course{}
	case bytes < tellBacklogFrom/4 || bytes < c.most/100:
		if took := now.Sub(c.backlogSince); !c.told.IsZero() {
			l.Info("The endpoint has caught up", "took", took.Round(time.Second), "done_bytes", c.most-bytes,
				"bytes_per_second", perSecond(c.most-bytes, took), "left_bytes", bytes)
		}
		*c = course{}
	case answers:
		c.told, c.left = now, bytes
	case c.told.IsZero():
		if now.Sub(c.backlogSince) >= tellBacklogAfter {
			l.Info("The endpoint has a backlog to catch up with", "backlog_bytes", bytes)
			c.told, c.left = now, bytes
		}
	case now.Sub(c.told) >= tellBacklogEvery:
		took, left := now.Sub(c.told), "unknown"
		if done := c.left - bytes; done > 0 {
			left = time.Duration(float64(bytes) / float64(done) * float64(took)).Round(time.Second).String()
		}
		l.Info("The endpoint is catching up", "done_bytes", c.most-bytes, "left_bytes", bytes, "bytes_per_second", perSecond(c.left-bytes, took), "time_left", left)
		c.told, c.left = now, bytes
	}
}

func perSecond(bytes int64, took time.Duration) string {
	return strconv.FormatFloat(float64(bytes)/took.Seconds(), 'f', 0, 64)
}
