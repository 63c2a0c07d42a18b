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
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// resume takes up what an earlier run had isolated, as one trial. marks are those
// of the partitions: what lies before them of the series is in the log only. What that
// run may have sent lies before sent.
func (iso *isolation) resume(list []isolatedMark, marks []savepoint.Mark, sent cursor.Position) {
	if len(list) == 0 {
		return
	}
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	t := &trial{replayed: true}
	for _, m := range list {
		is := iso.ensure(m.Series)
		is.restInLog, is.next, is.until = true, m.Mark, marks[iso.partOf(m.Series)]
		is.maybeSent(sent)
		is.unsent()
		t.series = append(t.series, is)
	}
	iso.trial = t
	iso.signal()
}

// adopt takes over the isolated series of a stream whose part of the log is before
// that of this one, and which has ended. The isolator of this stream makes them its own
// when it has nothing under way, see mergeInherited; until then, the savepoint has them
// as they were.
func (iso *isolation) adopt(from *isolation) {
	from.mtx.Lock()
	defer from.mtx.Unlock()
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	// What that stream had adopted itself and not made its own is older still.
	own := from.inherited
	for _, old := range from.series {
		if _, waits := old.mark(); waits {
			own = append(own, old)
		}
	}
	from.inherited = nil
	iso.inherited = append(iso.inherited, own...)
	iso.signal()
}

// mergeInherited merges what was adopted with what is isolated already: the former comes
// first. Of a series that waits in the log, what this stream had delivered lies
// between, and is sent once more. Those of a trial are on trial again. Only the
// isolator calls it, with nothing under way.
func (iso *isolation) mergeInherited() {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	if len(iso.inherited) == 0 || iso.trial != nil {
		return
	}
	t := &trial{replayed: true}
	for _, old := range slices.Backward(iso.inherited) {
		is := iso.ensure(old.hash)
		_, both := is.mark()
		switch {
		case !both:
			is.items, is.restInLog, is.next, is.until = old.items, old.restInLog, old.next, old.until
		case old.restInLog:
			end := is.endMark()
			iso.takeOff(is, len(is.items))
			is.items, is.restInLog, is.next, is.until = old.items, true, old.next, end
		default:
			is.items = append(slices.Clip(old.items), is.items...)
		}
		iso.bytes += sizeOf(old.items)
		is.maybeSent(justBehind(is.endMark()))
		if is.suspect = is.suspect || old.suspect; !is.suspect {
			t.series = append(t.series, is)
		}
	}
	iso.inherited = nil
	if len(t.series) > 0 {
		iso.trial = t
	}
}

// divert takes those items out of a request that belong to isolated series, and
// leaves them to the isolator.
func (iso *isolation) divert(r *queue.Request, items []queue.ItemView) []queue.ItemView {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	if len(iso.series) == 0 {
		return items
	}
	kept := items[:0]
	var (
		apart []queue.ItemView
		of    []*isolated
	)
	for _, it := range items {
		if is := iso.find(it.Series); is != nil {
			apart, of = append(apart, it), append(of, is)
			continue
		}
		kept = append(kept, it)
	}
	clear(items[len(kept):])
	if len(apart) == 0 {
		return kept
	}
	at := r.Marks(apart)
	for i, it := range apart {
		if r.Replay {
			of[i].maybeSent(justBehind(at[it.Item]))
		}
		iso.add(of[i], it, at[it.Item], false)
	}
	iso.signal()
	return kept
}

// park takes items that the endpoint did not take out of a request, and puts
// them on trial, when no other request is. If the stream ends before that,
// they are isolated all the same, and the next run has the trial.
func (iso *isolation) park(r *queue.Request, items []queue.ItemView, t *trial) {
	var (
		known = hashes{}
		of    = make([]uint64, len(items))
	)
	for i, it := range items {
		of[i] = known.of(it.Series)
	}
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	if iso.trial != nil && !iso.closed {
		iso.parked++
		iso.signal() // The endpoint takes something, which the trial may have to know.
	}
	for iso.trial != nil && !iso.closed {
		iso.cond.Wait()
	}
	at := r.Marks(items)
	for i, it := range items {
		is := iso.series[of[i]]
		if is == nil {
			is = iso.ensure(of[i])
			t.series = append(t.series, is)
		}
		if t.replayed {
			is.maybeSent(justBehind(at[it.Item]))
		}
		iso.add(is, it, at[it.Item], true)
	}
	if iso.trial == nil {
		iso.trial = t
	}
	iso.signal()
}

// timesParked returns how often a sender came to wait because of the trial. One that waits
// on shows nothing new.
func (iso *isolation) timesParked() int {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	return iso.parked
}

// close releases the senders that wait in park, and lets none wait there again.
func (iso *isolation) close() {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	iso.closed = true
	iso.cond.Broadcast()
}
