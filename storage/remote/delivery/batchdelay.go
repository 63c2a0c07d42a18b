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

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// batchDelay is how long what was handed over may wait, so that readers and senders
// are woken once for a request and not with each commit. An item that waits has
// that part of batch_send_deadline behind it when it is read.
type batchDelay struct {
	items int           // Enough to fill a request: nobody waits for more.
	wait  time.Duration // How long less than that may wait.
}

// leastWait is the shortest wait that is worth a timer.
const leastWait = time.Millisecond

// batchDelayFor returns what suits all of some endpoints, nil if one of them wants
// everything at once.
func batchDelayFor(all []*settings) *batchDelay {
	p := batchDelay{items: handedItems / 2, wait: pollInterval}
	for _, set := range all {
		p.items = min(p.items, set.queue.MaxSamplesPerSend)
		p.wait = min(p.wait, time.Duration(set.queue.BatchSendDeadline)/4)
	}
	if len(all) == 0 || p.wait < leastWait {
		return nil
	}
	return &p
}

// rests reports whether the dispatcher need not be told now that the log ends at
// head: all of it was handed over, and is not enough yet.
func (h *handover) rests(head cursor.Position) bool {
	p := h.delay.Load()
	if p == nil {
		return false
	}
	h.mtx.Lock()
	defer h.mtx.Unlock()
	n := len(h.ready)
	return n > 0 && h.items < p.items && h.bytes < handedBytes/2 && h.ready[n-1].end == head
}
