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
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/storage/remote"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// endpoint is one remote-write endpoint at work: a reader that fills its queue
// from the log, and senders that empty it. Nothing it does waits for another
// endpoint (I5).
type endpoint struct {
	id      string
	logger  *slog.Logger
	src     *Source
	feed    *feed
	persist func() error // Writes a durable savepoint.
	damaged func(*cursor.Corruption)
	sm      remote.ReadyScrapeManager
	reg     registry

	settings atomic.Pointer[settings]
	metrics  atomic.Pointer[endpointMetrics]
	// exchange is where requests are shared, with whom the settings allow it.
	exchange  atomic.Pointer[exchange]
	exchanges *exchanges

	queue      *queue
	place      place
	resumption *resumption // Owned by the reader.
	zoneEnd    cursor.Position
	rates      rates
	failing    atomic.Bool // The last attempt failed and is to be made again.
	marks      dispatchMark

	ctx    context.Context // Ends when requests under way are to be broken off.
	cancel context.CancelFunc
	stop   chan struct{} // Closed when nothing new is to be begun.
	reader context.CancelFunc
	wg     sync.WaitGroup

	sendersMtx sync.Mutex
	live, want int // Senders there are, and that there should be.

	metadata *metadataSender // Guarded by Storage.mtx.
}

// registry is where an endpoint's metrics go.
type registry struct {
	reg     prometheus.Registerer
	watcher *watcherMetrics
}

func (e *endpoint) senders() int {
	e.sendersMtx.Lock()
	defer e.sendersMtx.Unlock()
	return e.want
}

// wanted tells a sender between two requests whether it is still wanted.
func (e *endpoint) wanted() bool {
	e.sendersMtx.Lock()
	defer e.sendersMtx.Unlock()
	if e.live > e.want {
		e.live--
		return false
	}
	return true
}

func (e *endpoint) stopping() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// reserve makes sure that the dispatch mark on disk is past what is about to be
// sent. If it cannot be written, delivery goes on all the same: a full disk is
// emptied by delivering. What that can cost is said in the package's
// documentation.
func (e *endpoint) reserve(end cursor.Position) {
	for !e.marks.covers(end) {
		e.marks.mtx.Lock()
		recent := time.Since(e.marks.failed) < retryInterval
		e.marks.mtx.Unlock()
		if recent {
			return
		}
		if err := e.persist(); err != nil {
			e.marks.mtx.Lock()
			e.marks.failed = time.Now()
			e.marks.mtx.Unlock()
			return
		}
	}
}

// stopBudget is how long requests under way may take to finish when the storage
// closes. What is not acknowledged by then is in the log.
const stopBudget = 3 * time.Second
