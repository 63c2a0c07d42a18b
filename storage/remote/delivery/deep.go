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

import "time"

// While an endpoint has a backlog to catch up with, samples of one series
// cost a fraction if they share a time series. Requests then wait until a
// partition has many, which costs nothing: the log is read faster than it can
// be sent. A sender takes a window of several requests of one partition and
// sends them one after the other, series by series, so that each series'
// samples meet in one request, whatever max_samples_per_send is.
//
// What a window has had acknowledged is acknowledged as a whole: the prefix that
// a savepoint can express ends with it. Hence it may take no longer than the
// interval of savepoints (I8).

const (
	// deepRounds is how many samples of each series it holds, so that there is
	// no more in memory than is of use.
	deepRounds = 16
	// maxWindow is how many full requests a window has.
	maxWindow = 8
)

// deepRoom returns how many items an endpoint that catches up may hold when the
// table has so many series. Bytes are bounded as ever, see weight.go.
func deepRoom(series int) int { return deepRounds * series }

// fits reports whether the queue has room for an entry. Callers hold mu.
func (q *queue) fits(e *entry) bool {
	return q.queued == 0 || q.queued+e.total <= max(q.limit, e.room) && q.held+e.bytes <= heldRoom(q.limit)
}

// fullest reports whether a partition that nobody works on has n items waiting.
func (q *queue) fullest(n int) bool {
	for p := range q.parts {
		if part := &q.parts[p]; !part.busy && part.waiting >= max(n, q.max) {
			return true
		}
	}
	return false
}

// takeDeep fills r with a window of the partition that has most to send.
func (q *queue) takeDeep(r *request) {
	if !q.deep || q.inReplay > 0 {
		return
	}
	most, which := 0, 0
	for p := range q.parts {
		if part := &q.parts[p]; !part.busy && part.waiting > most {
			most, which = part.waiting, p
		}
	}
	// Full requests only, so that the last of the window is no small one.
	q.fill(r, which, max(min(most, q.window)/q.max, 1)*q.max)
}

// shallow says that the reader has met the head of the log: nothing waits for
// depth any more.
func (q *queue) shallow() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deep {
		q.deep = false
		q.woken(q.ready, 0)
	}
}

// setSenders tells how many senders there are.
func (q *queue) setSenders(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.senders = n
}

// widen sets the window after a request that took so long.
func (q *queue) widen(took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.window = q.max * min(max(int(saveInterval/max(took, 1)), 1), maxWindow)
}
