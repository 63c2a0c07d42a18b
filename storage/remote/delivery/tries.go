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

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

const (
	// retryInterval is the pause after the log could not be read.
	retryInterval = time.Second
	// maxReadTries is how often reading a segment is tried, a second apart, before
	// what cannot be had of it is passed over. A disk that is only busy or away for
	// a moment loses nothing; one that is broken does not hold up the rest (I9).
	maxReadTries = 10
	// forgetTries is how long a failure counts.
	forgetTries = time.Minute
)

// readTries decides when a reader of the log passes over what the disk refuses of a
// segment, or of the snapshot that has the labels to it. One goroutine owns it.
type readTries struct {
	most int // Failures in a segment that are enough.
	of   map[int]failures
}

// failures are those in one segment.
type failures struct {
	n    int
	at   cursor.Position // Where the last batch began that could not be read.
	last time.Time
}

func newReadTries(most int) *readTries { return &readTries{most: most, of: map[int]failures{}} }

// noteFailure notes that the batch that begins at a position cannot be read. What fails
// in the same moment counts once: it may be one failure that several series meet.
func (a *readTries) noteFailure(at cursor.Position) {
	now := time.Now()
	for segment, f := range a.of {
		if now.Sub(f.last) > forgetTries {
			delete(a.of, segment)
		}
	}
	f := a.of[at.Segment]
	f.at = at
	if now.Sub(f.last) > retryInterval/2 {
		f.n, f.last = f.n+1, now
	}
	a.of[at.Segment] = f
}

// exhausted reports whether what cannot be read of a segment is passed over.
func (a *readTries) exhausted(segment int) bool {
	f := a.of[segment]
	return f.n >= a.most && time.Since(f.last) <= forgetTries
}

// stuckAt reports whether that is so because of what lies at a position.
func (a *readTries) stuckAt(at cursor.Position) bool {
	return a.exhausted(at.Segment) && a.of[at.Segment].at == at
}

// noteSuccess forgets the failures that lie in a batch which could be read as a whole.
func (a *readTries) noteSuccess(b *queue.Batch) {
	f, ok := a.of[b.Start.Segment]
	if ok && !f.at.Before(b.Start.Position) && f.at.Before(b.End.Position) {
		delete(a.of, b.Start.Segment)
	}
}
