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

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// endpoint is one remote-write endpoint at work. What it sends comes to it on a
// stream, for a while on two. Nothing it does waits for another endpoint (I5).
type endpoint struct {
	// forfeitedBefore is the segment before which the log is forfeited. It is first, as in stream.
	forfeitedBefore atomic.Int64
	// taken counts the requests that it took, of all streams.
	taken atomic.Int64

	id         string
	names      *named
	logger     *slog.Logger // It adds names.
	losses     *slog.Logger // It leaves nothing out.
	src        *Source
	dispatcher *dispatcher
	// persist writes a durable savepoint, unless done says that there is one
	// that will do.
	persist func(done func() bool) error
	pointAt func(cursor.Position) cursor.Point // It adds what identifies the position.
	damaged func(*cursor.Corruption)           // It is told of damage that was passed over.
	sm      ScrapeManager
	sets    *metricSets
	// freshAfter is how old the oldest samples are with which an endpoint may
	// get a second stream.
	freshAfter time.Duration
	// paceEvery is how often the pacer looks.
	paceEvery time.Duration

	settings atomic.Pointer[settings]
	metrics  atomic.Pointer[endpointMetrics]
	families *endpointMetrics // Metrics of metadata are shown under these. Storage.mtx guards it.
	pending  pending
	// cache is where requests are shared with endpoints whose settings allow it.
	cache  atomic.Pointer[requestCache]
	caches *requestCaches
	// encoders are those of the storage.
	encoders encoders

	ctx    context.Context // It ends when requests under way are to be broken off.
	cancel context.CancelFunc
	stop   chan struct{} // It is closed when nothing new is to be begun.
	wg     sync.WaitGroup

	streamsMtx sync.Mutex // It is held for moments, also while a limit moves all streams.
	at         []*stream  // It is replaced, never changed in place; the last stream reads the head of the log.

	sendersMtx sync.Mutex // It orders the start of goroutines and the closing of stop.

	lastTaken  atomic.Time // It took something last at this time.
	standstill standstill
	refusal    refusal
	lost       lossLog
	catchUp    catchUpLog
	counted    counted
	noted      noted

	metadata *metadataSender // Storage.mtx guards it.
}

// streams returns the streams in the order of the log: one, or the backlog's and the
// fresh one.
func (e *endpoint) streams() []*stream {
	e.streamsMtx.Lock()
	defer e.streamsMtx.Unlock()
	return e.at
}

// logState logs what has become of the endpoint, which is so far now, as was noted before.
func (e *endpoint) logState(is catchUpMark) {
	set := e.settings.Load()
	e.refusal.tell(e.logger, set)
	e.lost.tell(e.losses, set, false)
	e.catchUp.look(e.logger, is, e.noted.fails())
}

func (e *endpoint) stopping() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// stopBudget is how long requests under way may take to finish when the storage
// closes. What is not acknowledged by then is in the log.
const stopBudget = 3 * time.Second

// standstill tells for how long an endpoint has not come on although there is more
// of the log, whatever is in its way.
type standstill struct {
	mtx   sync.Mutex // Guards what follows.
	at    cursor.Position
	since time.Time
}

func (p *standstill) stuck(floor, head cursor.Position, now time.Time) time.Duration {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if floor != p.at || !floor.Before(head) || p.since.IsZero() {
		p.at, p.since = floor, now
	}
	return now.Sub(p.since)
}
