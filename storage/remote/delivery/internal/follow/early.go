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

package follow

import (
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	// definitionTimeout is how long the head waits for the series record of a ref that
	// is in use already.
	definitionTimeout = 5 * time.Second
	// maxOrphans bounds the refs that are remembered for having none. With so
	// many of them the log is damaged, and nothing more is waited for.
	maxOrphans = 1 << 17
)

// early is what the head waits for: refs that were met before any series record
// of theirs. One goroutine owns it.
type early struct {
	timeout time.Duration
	waiting map[chunks.HeadSeriesRef]struct{}
	at      cursor.Position // Before the record that mentions the first of them.
	since   time.Time       // When that was read.
	orphans map[chunks.HeadSeriesRef]struct{}
}

func newEarly() early {
	return early{
		timeout: definitionTimeout,
		waiting: map[chunks.HeadSeriesRef]struct{}{},
		orphans: map[chunks.HeadSeriesRef]struct{}{},
	}
}

// met notes that a record behind at mentions a ref that nothing defines.
func (e *early) met(ref chunks.HeadSeriesRef, at cursor.Position, now time.Time) {
	if _, ok := e.orphans[ref]; ok || len(e.orphans) >= maxOrphans {
		return
	}
	if len(e.waiting) == 0 {
		e.at, e.since = at, now
	}
	e.waiting[ref] = struct{}{}
}

// defined notes that a ref has a definition now.
func (e *early) defined(ref chunks.HeadSeriesRef) {
	if len(e.waiting)+len(e.orphans) > 0 {
		delete(e.waiting, ref)
		delete(e.orphans, ref)
	}
}

// limit returns the position that readers may go to if everything up to read
// was read. missed is how many refs it does not wait for any longer.
func (e *early) limit(read cursor.Position, now time.Time) (head cursor.Position, missed int) {
	switch {
	case len(e.waiting) == 0:
		return read, 0
	case now.Sub(e.since) < e.timeout:
		return e.at, 0
	}
	for ref := range e.waiting {
		e.orphans[ref] = struct{}{}
	}
	missed = len(e.waiting)
	clear(e.waiting)
	return read, missed
}
