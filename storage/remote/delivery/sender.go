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
)

// sender turns what it takes from its stream's queue into requests (packing.go) and
// delivers them (serve.go, deliver.go). One goroutine owns it; its buffers live as long as it does.
type sender struct {
	stream *stream
	apart  bool // It is the isolator's: it takes nothing from the queue.

	req   queue.Request // This is what it has taken.
	state requestState  // It says what has become of req.

	// Scratch space, and what requests are made with.
	items      []queue.ItemView
	judgements []judgement
	grouping   grouping
	conversion *conversion    // It makes classic histograms.
	own        encodedRequest // This it encoded itself.

	cache  *requestCache // shared is from this.
	shared *shared       // This is an encoded request of a request cache, or nil.
}

// requestState is what has become of the request that a sender has taken. The zero value
// is that of one that was taken just now.
type requestState struct {
	partly bool             // A part of it was settled.
	left   []queue.ItemView // This was not delivered of it when the stream stopped.
	judged *settings        // It was packed with these last.

	worked time.Duration // The attempts that settled it took so long.
	waited time.Duration // It waited for so long for others to encode theirs.

	pointless bool // The receiver called a part too large that cannot be made smaller.
	sounded   bool // Some of its series were tried alone.
	unsure    bool // A part of it was sent apart, and may have been stored without an answer.

	asked  time.Duration // The answer to the last other request in its place asked for this pause.
	gaveUp bool          // There was no answer to that one in the time that it had.
}

// renewed is the state of the next request, which uses the memory of this one.
func (r requestState) renewed() requestState { return requestState{left: r.left[:0]} }

// judgedBy takes note of the settings that say what of the request is sent, and at its
// end of those that say it of what comes next. What some leave out is saved before others
// apply.
func (s *sender) judgedBy(set *settings) {
	if s.state.judged != nil && s.state.judged != set {
		s.req.Renew = s.stream.dispatched.renew
	}
	s.state.judged = set
}

// forget empties what keeps batches and labels in memory.
func (s *sender) forget() {
	clear(s.items)
	s.items = s.items[:0]
	clear(s.state.left[len(s.state.left):cap(s.state.left)])
	clear(s.judgements[:cap(s.judgements)])
	s.grouping.forget()
}
