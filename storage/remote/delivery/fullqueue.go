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
	"sync"
	"time"
)

// fullQueue counts what stock counts in enqueue_retries_total. There, the watcher
// tries again to put an item into a full queue after min_backoff, after twice that,
// and so on up to max_backoff, and counts each try. Here the reader is woken when
// there is room and tries nothing; what is counted while it waits is how often it
// would have tried, so that rates mean the same on dashboards.
type fullQueue struct {
	endpoint *endpoint

	// letGo lets go of what the reader does not need while it waits. The reader sets it
	// and touches none of that between begin and end.
	letGo func()

	mtx   sync.Mutex
	timer *time.Timer // Nil while the reader does not wait.
	wait  time.Duration
	waits int // How often it would have tried, since begin.
}

// leastRetry is the shortest time between two tries.
const leastRetry = time.Millisecond

// longWait is how often the reader would have tried before it counts as one that
// waits for long. Shorter waits are those of any busy endpoint.
const longWait = 3

// begin says that the reader finds the queue full.
func (f *fullQueue) begin() {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	f.wait = max(time.Duration(f.endpoint.settings.Load().queue.MinBackoff), leastRetry)
	f.endpoint.metrics.Load().waits.Inc()
	f.waits = 1
	f.timer = time.AfterFunc(f.wait, f.countTry)
}

// countTry counts one try more.
func (f *fullQueue) countTry() {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if f.timer == nil {
		return // There was room in this moment.
	}
	f.wait = max(min(2*f.wait, time.Duration(f.endpoint.settings.Load().queue.MaxBackoff)), leastRetry)
	f.endpoint.metrics.Load().waits.Inc()
	f.waits++
	if f.waits == longWait && f.letGo != nil {
		f.letGo()
	}
	f.timer.Reset(f.wait)
}

// end says that the reader waits no longer, if it did.
func (f *fullQueue) end() {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}
