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
	"time"
)

const (
	// tellOutageAfter is how long an endpoint fails before a line says when it answers
	// again.
	tellOutageAfter = 10 * time.Second
	// tellBacklogFrom is how many bytes of the log are a backlog that is worth a line.
	tellBacklogFrom = 4 << 20
	// tellBacklogAfter is how long there is a backlog, while the endpoint answers, before
	// a line says so: at high rates moments of them are nothing to tell.
	tellBacklogAfter = 10 * time.Second
	// tellBacklogEvery is how often lines say how it goes.
	tellBacklogEvery = time.Minute
)

// catchUpLog follows an endpoint through outages and backlogs, and says what an operator
// waits for. Its owner is the pacer.
type catchUpLog struct {
	failing time.Time   // Since when the endpoint fails; zero if it does not.
	began   catchUpMark // When there was a backlog to deliver; zero if there is none.
	told    catchUpMark // When a line said how it goes; zero if none has.
	most    int64       // The most bytes that the backlog had.
}

// catchUpMark is how far an endpoint was at a time.
type catchUpMark struct {
	at    time.Time
	left  int64 // Bytes of the log that it had not acknowledged.
	acked int64 // Bytes that it had acknowledged since some time.
}

// since returns what was acknowledged between two marks, as attributes of a line.
func (m catchUpMark) since(o catchUpMark) []any {
	bytes := max(0, m.acked-o.acked)
	rate := strconv.FormatFloat(float64(bytes)/m.at.Sub(o.at).Seconds(), 'f', 0, 64)
	return []any{"acked_bytes", bytes, "acked_bytes_per_second", rate}
}

// look takes note of whether an endpoint fails, and of how far it is.
func (c *catchUpLog) look(l *slog.Logger, is catchUpMark, failing bool) {
	if failing {
		if c.failing.IsZero() {
			c.failing = is.at
		}
		return
	}
	lasted, answers := is.at.Sub(c.failing), !c.failing.IsZero()
	answers = answers && lasted >= tellOutageAfter
	c.failing = time.Time{}
	if answers {
		l.Info("The endpoint answers again", "failed_for", lasted.Round(time.Second), "backlog_bytes", is.left)
	}
	if c.began.at.IsZero() && is.left >= tellBacklogFrom {
		c.began = is
	}
	c.most = max(c.most, is.left)
	switch {
	case c.began.at.IsZero():
		*c = catchUpLog{}
	case is.left < tellBacklogFrom/4 || is.left < c.most/100:
		if !c.told.at.IsZero() {
			l.Info("The endpoint has caught up", append(is.since(c.began), "took", is.at.Sub(c.began.at).Round(time.Second), "left_bytes", is.left)...)
		}
		*c = catchUpLog{}
	case answers:
		c.told = is
	case c.told.at.IsZero():
		if is.at.Sub(c.began.at) >= tellBacklogAfter {
			l.Info("The endpoint has a backlog to catch up with", "backlog_bytes", is.left)
			c.told = is
		}
	case is.at.Sub(c.told.at) >= tellBacklogEvery:
		attrs := append(is.since(c.told), "left_bytes", is.left)
		if less := c.told.left - is.left; less > 0 {
			left := float64(is.left) / float64(less) * float64(is.at.Sub(c.told.at))
			l.Info("The endpoint is catching up", append(attrs, "time_left", time.Duration(left).Round(time.Second))...)
		} else {
			l.Info("The endpoint has a backlog that grows", attrs...)
		}
		c.told = is
	}
}
