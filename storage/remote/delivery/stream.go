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
	"time"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// stream is one range of the log on its way to an endpoint: a reader that fills
// a queue from it, and senders that empty it. An endpoint has one, which goes
// on for ever, or for a while two, see fresh.go: the first then ends where the
// second began.
type stream struct {
	// First, so that 32-bit platforms can use them as atomics.
	delivered atomic.Int64    // So many requests were delivered.
	pauses    atomic.Int64    // After so many failed attempts a sender paused.
	refusals  atomic.Int64    // So many requests were refused since one was delivered.
	latency   atomic.Duration // Requests that were delivered took about so long.

	// endpoint has the settings, the metrics, the log and the end of all its streams.
	endpoint *endpoint

	// The range of the log, and how far the stream has come.
	cursor       readCursor
	resumption   *queue.Resumption // The reader owns it, but for its marks, which never change.
	countedAcked []savepoint.Mark  // What cannot be read is shared among the partitions by these, with which it began.
	replayEnd    cursor.Position   // What is sent from here on was not sent before.
	dispatched   dispatchWatermark

	// What it has read and not delivered.
	queue     *queue.Queue
	full      fullQueue
	isolation *isolation
	isolated  chan struct{} // It is closed when the isolator has ended.
	unqueued  *queue.Entry  // The reader had this in its hands when it ended, and owns it until then.

	// What it knows of its receiver.
	failing  atomic.Bool  // The last attempt failed and is to be made again.
	delivers atomic.Bool  // Something was delivered since an attempt failed.
	tooShort atomic.Int32 // So many attempts to find out were given up since then, see shortTimeout.
	limit    rateLimit
	sizes    sizeLimit
	turn     turn
	prompts  prompts
	rates    rates
	layouts  layouts // These are of classic histograms, see classic.go.

	ctx         context.Context // It ends when requests under way are to be broken off.
	cancel      context.CancelFunc
	reading     context.Context // It ends when nothing more is to be read.
	stopReading context.CancelFunc

	// endpoint.sendersMtx guards these three.
	begun  bool // The stream is at work.
	atWork int  // So many senders there are.
	want   int  // So many senders there should be.
}

// newStream returns a stream that goes on where the marks in acked say. Up to dispatched,
// things may have been sent before.
func (e *endpoint) newStream(acked []savepoint.Mark, apart []isolatedMark, dispatched cursor.Position) *stream {
	s := &stream{endpoint: e, queue: queue.New(time.Now), isolation: newIsolation(), replayEnd: dispatched, resumption: queue.NewResumption(acked), countedAcked: acked, isolated: make(chan struct{})}
	if head := e.src.Head(); head.Before(s.replayEnd) {
		s.replayEnd = head // Beyond it, nothing was there to be sent.
	}
	s.cursor.pos = lowest(acked).Point
	s.dispatched.wanted, s.dispatched.durable = dispatched, dispatched
	s.queue.Resume(s.cursor.pos, acked)
	s.isolation.resume(apart, acked, s.replayEnd)
	s.full.endpoint, s.queue.OnFull = e, s.full.begin
	s.rates.paced = time.Now()
	s.ctx, s.cancel = context.WithCancel(e.ctx)
	s.reading, s.stopReading = context.WithCancel(s.ctx)
	return s
}

// close lets nothing more in or out.
func (s *stream) close() {
	s.queue.Close()
	s.isolation.close()
}

func (s *stream) working() bool {
	s.endpoint.sendersMtx.Lock()
	defer s.endpoint.sendersMtx.Unlock()
	return s.begun
}

// halt lets nothing new begin. Requests under way may finish.
func (s *stream) halt() {
	s.close()
	s.stopReading()
}

// toSave returns how far the stream has come, with its isolated series, and its
// dispatch watermark, for a savepoint that begins now: who only looks asks floor. final
// says that it has stopped, so that the last can be taken back to what really was sent.
func (s *stream) toSave(final bool) (acked []savepoint.Mark, apart []isolatedMark, dispatched cursor.Position) {
	if final && s.unqueued == nil {
		// A limit may have moved the cursor when the reader did not look any more.
		pos, _ := s.cursor.get()
		s.queue.Jump(pos)
	}
	// The dispatch watermark is read first: it must cover whatever is sent while the
	// positions are read.
	dispatched = s.dispatched.takeWanted()
	acked = make([]savepoint.Mark, queue.Partitions)
	// What is isolated is so before its partition's mark passes it.
	floor := s.queue.Marks(acked)
	apart = s.isolation.saved(acked)
	if !final {
		return acked, apart, dispatched
	}
	dispatched = s.queue.Stats().Taken
	for _, least := range []cursor.Position{s.replayEnd, floor.Position} {
		if dispatched.Before(least) {
			dispatched = least
		}
	}
	return acked, apart, dispatched
}

// floor returns up to where everything is acknowledged, isolated series included.
func (s *stream) floor() cursor.Position {
	at := s.queue.Marks(make([]savepoint.Mark, queue.Partitions)).Position
	if apart, _, waits := s.isolation.floor(); waits && apart.Before(at) {
		at = apart
	}
	return at
}

func (s *stream) senders() int {
	s.endpoint.sendersMtx.Lock()
	defer s.endpoint.sendersMtx.Unlock()
	return s.want
}

// wanted tells a sender between two requests whether it is still wanted.
func (s *stream) wanted() bool {
	s.endpoint.sendersMtx.Lock()
	defer s.endpoint.sendersMtx.Unlock()
	if s.atWork > s.want {
		s.atWork--
		return false
	}
	return true
}

// reserve makes sure that the dispatch watermark on disk is past what is about to be
// sent. If it cannot be written, delivery goes on all the same: a full disk is
// emptied by delivering. What that can cost is said in the package's
// documentation. It returns false if the stream ends meanwhile: no savepoint says
// anything of a stream that its endpoint has no more, so that one could be waited
// for in vain.
func (s *stream) reserve(end cursor.Position) bool {
	for !s.dispatched.covers(end) {
		if s.ctx.Err() != nil {
			return false
		}
		if s.dispatched.failedWithin(retryInterval) {
			return true
		}
		if err := s.endpoint.persist(func() bool { return s.dispatched.covers(end) }); err != nil {
			s.dispatched.noteFailure()
			return true
		}
	}
	return true
}

// awaitTurn waits while it is the turn of another sender. It ends early when the
// endpoint stops or its settings change.
func (s *stream) awaitTurn(owner any, set *settings) {
	for {
		wait, over := s.turn.others(owner)
		if wait <= 0 {
			return
		}
		select {
		case <-over:
		case <-time.After(wait):
		case <-set.replaced:
			return
		case <-s.endpoint.stop:
			return
		case <-s.ctx.Done():
			return
		}
	}
}
