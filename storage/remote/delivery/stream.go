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
	delivered atomic.Int64    // Requests that were delivered.
	pauses    atomic.Int64    // Failed attempts after which a sender paused.
	refusals  atomic.Int64    // Requests that were refused since one was delivered.
	latency   atomic.Duration // About how long those that were delivered took.

	endpoint *endpoint // Whose it is: settings, metrics, the log and the end are those of all its streams.

	// The range of the log, and how far the stream has come.
	cursor     readCursor
	resumption *queue.Resumption // Owned by the reader, but for its marks, which never change.
	acked      []savepoint.Mark  // By these what cannot be read is shared among the partitions.
	replayEnd  cursor.Position
	marks      dispatchMark

	// What it has read and not delivered.
	queue     *queue.Queue
	full      fullQueue
	isolation *isolation
	isolated  chan struct{} // Closed when the isolator has ended.
	unqueued  *queue.Entry  // What the reader had in its hands when it ended; its own until then.

	// What it knows of its receiver.
	failing   atomic.Bool  // The last attempt failed and is to be made again.
	proven    atomic.Bool  // Something was delivered since an attempt failed.
	lastTaken atomic.Time  // When a request was delivered last.
	tooShort  atomic.Int32 // How many attempts to find out were given up since, see shortTimeout.
	limit     rateLimit
	sizes     sizeLimit
	turn      turn
	prompts   prompts
	rates     rates
	layouts   layouts // Of classic histograms, see classic.go.

	ctx     context.Context // Ends when requests under way are to be broken off.
	cancel  context.CancelFunc
	reading context.Context // Ends when nothing more is to be read.
	reader  context.CancelFunc

	begun      bool // At work. Guarded by endpoint.sendersMtx, as is what follows.
	live, want int  // Senders there are, and that there should be.
}

// newStream returns a stream that goes on where marks say. Up to mark, things may
// have been sent before.
func (e *endpoint) newStream(marks []savepoint.Mark, apart []isolatedMark, mark cursor.Position) *stream {
	l := &stream{endpoint: e, queue: queue.New(time.Now), isolation: newIsolation(), replayEnd: mark, resumption: queue.NewResumption(marks), acked: marks, isolated: make(chan struct{})}
	if head := e.src.Head(); head.Before(l.replayEnd) {
		l.replayEnd = head // Beyond it, nothing was there to be sent.
	}
	l.cursor.pos = lowest(marks).Point
	l.marks.wanted, l.marks.durable = mark, mark
	l.queue.Resume(l.cursor.pos, marks)
	l.isolation.resume(apart, marks, l.replayEnd)
	l.full.endpoint, l.queue.OnFull = e, l.full.begin
	l.rates.paced = time.Now()
	l.ctx, l.cancel = context.WithCancel(e.ctx)
	l.reading, l.reader = context.WithCancel(l.ctx)
	return l
}

// close lets nothing more in or out.
func (l *stream) close() {
	l.queue.Close()
	l.isolation.close()
}

func (l *stream) working() bool {
	l.endpoint.sendersMtx.Lock()
	defer l.endpoint.sendersMtx.Unlock()
	return l.begun
}

// halt lets nothing new begin. Requests under way may finish.
func (l *stream) halt() {
	l.close()
	l.reader()
}

// state returns how far the stream has come, with its isolated series, and its
// dispatch mark. final says that it has stopped, so that the mark can be taken
// back to what really was sent.
func (l *stream) state(final bool) (marks []savepoint.Mark, apart []isolatedMark, mark cursor.Position) {
	if final && l.unqueued == nil {
		// A limit may have moved the cursor when the reader did not look any more.
		pos, _ := l.cursor.get()
		l.queue.Jump(pos)
	}
	// The mark is read first: it must cover whatever is sent while the
	// positions are read.
	mark = l.marks.get()
	marks = make([]savepoint.Mark, queue.Partitions)
	// What is isolated is so before its partition's mark passes it.
	floor := l.queue.Marks(marks)
	apart = l.isolation.saved(marks)
	if !final {
		return marks, apart, mark
	}
	mark = l.queue.Stats().Taken
	for _, least := range []cursor.Position{l.replayEnd, floor.Position} {
		if mark.Before(least) {
			mark = least
		}
	}
	return marks, apart, mark
}

func (l *stream) senders() int {
	l.endpoint.sendersMtx.Lock()
	defer l.endpoint.sendersMtx.Unlock()
	return l.want
}

// wanted tells a sender between two requests whether it is still wanted.
func (l *stream) wanted() bool {
	l.endpoint.sendersMtx.Lock()
	defer l.endpoint.sendersMtx.Unlock()
	if l.live > l.want {
		l.live--
		return false
	}
	return true
}

// reserve makes sure that the dispatch mark on disk is past what is about to be
// sent. If it cannot be written, delivery goes on all the same: a full disk is
// emptied by delivering. What that can cost is said in the package's
// documentation. It returns false if the stream ends meanwhile: no savepoint says
// anything of a stream that its endpoint has no more, so that one could be waited
// for in vain.
func (l *stream) reserve(end cursor.Position) bool {
	for !l.marks.covers(end) {
		if l.ctx.Err() != nil {
			return false
		}
		l.marks.mtx.Lock()
		recent := time.Since(l.marks.failed) < retryInterval
		l.marks.mtx.Unlock()
		if recent {
			return true
		}
		if err := l.endpoint.persist(func() bool { return l.marks.covers(end) }); err != nil {
			l.marks.mtx.Lock()
			l.marks.failed = time.Now()
			l.marks.mtx.Unlock()
			return true
		}
	}
	return true
}

// awaitTurn waits while it is the turn of another sender. It ends early when the
// endpoint stops or its settings change.
func (l *stream) awaitTurn(s any, set *settings) {
	for {
		wait, over := l.turn.others(s)
		if wait <= 0 {
			return
		}
		select {
		case <-over:
		case <-time.After(wait):
		case <-set.replaced:
			return
		case <-l.endpoint.stop:
			return
		case <-l.ctx.Done():
			return
		}
	}
}

// tellLimit takes note of a limit on the rate that was not known.
func (l *stream) tellLimit() {
	l.sizes.forget()
	l.endpoint.logger.Warn("The endpoint limits the rate of requests; what it answers so is repeated as it is")
}

// smaller reports whether a request of so many items is to be cut: less are sent by now,
// or it had its turn and so many were never taken.
func (l *stream) smaller(n int, hadTurn bool) bool {
	return l.sizes.below(n) || (hadTurn && l.sizes.unproven(n, l.limit.known()) && l.sizes.tooMany(n, n/2))
}
