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
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

const (
	// maxSuspects is how many series may be suspects: an endpoint may refuse to take so
	// many, or leave them unanswered, without the others having to wait for them. Those
	// of the request that is on trial are isolated beside them.
	maxSuspects = 1024
	// isolatedBytes bounds what is held of them in memory, but for one item of
	// each and the request that is on trial; the rest waits in the log (I6).
	isolatedBytes = 4 << 20
	// isolatedItems is how many items of one series are held in memory.
	isolatedItems = 256
	// rememberedSeries bounds how many series are known not to be isolated.
	rememberedSeries = 1 << 15
)

// isolation is what a stream knows of series that are not delivered with the
// others: those of a request on trial, which the endpoint did not take although
// it took others, and those that a trial found it does not take. Their items leave
// the queue as if they were settled, and wait here, or in the log if they are
// many, until the isolator settles them. The savepoint has a mark of its own for
// each, so they hold the log (I1, I2); since all later items of the series wait
// behind the first, their order stays (I4).
//
// Everything but notify is guarded by mtx.
type isolation struct {
	mtx    sync.Mutex
	cond   *sync.Cond // Signals senders that wait in park.
	closed bool

	series map[uint64]*isolated  // By labels.StableHash.
	inPart [queue.Partitions]int // How many of series belong to a partition.
	seen   map[*series.Series]*isolated
	bytes  int
	trial  *trial
	// inherited are those of streams that have ended, see adopt, the oldest first.
	inherited []*isolated
	parked    int           // How often a sender came to wait in park: it had seen that the endpoint takes something.
	notify    chan struct{} // There is something to do for the isolator. Capacity 1.
	// forfeited is the position before which nothing can be had from the log any more.
	forfeited cursor.Position
}

func newIsolation() *isolation {
	iso := &isolation{notify: make(chan struct{}, 1)}
	iso.cond = sync.NewCond(&iso.mtx)
	return iso
}

// isolated is a series that is on its own.
type isolated struct {
	hash  uint64
	items []isolatedItem // The oldest that are not settled, in the order of the log.
	// restInLog says that what follows items is only in the log, between next and
	// until, which is not part of it.
	restInLog   bool
	next, until savepoint.Mark

	suspect  bool            // Found by a trial: it travels alone until it is accepted.
	replayed bool            // The receiver may have its oldest items,
	sent     cursor.Position // but none of batches that begin here or later.
	gone     bool            // Not isolated any more.

	// What follows is the isolator's own.
	alone          int           // How many samples go into its next request, 0 for any number.
	wait           time.Duration // The last pause.
	due            time.Time     // When it is to be tried again.
	timeout        time.Duration // Of its next request.
	refusals       int           // In a row.
	unsureRefusals int           // How often a refusal did not count yet, see sure,
	began          time.Time     // and when the first was.
	unanswered     int           // Requests in a row, of as many samples, that got no good answer.
	scarce         bool          // It was found by answers that may have been about the rate of requests,
	failures       int           // and failed so often alone since.
}

// isolatedItem is a copy, so that the batch it is from can be forgotten.
type isolatedItem struct {
	queue.Item
	Detail *queue.Detail
	mark   savepoint.Mark // Where it is in the log.
	size   int            // In memory, in bytes.
}

// trial is a request that an endpoint does not take, although it takes others,
// and of which it is to be found out what the endpoint does not take.
type trial struct {
	series   []*isolated
	replayed bool
	alive    bool // The endpoint is known to take something.
	whole    bool // It had taken nothing until then, not as many requests either: it is tried as a whole for a while.
}

// isolatedMark is how far an isolated series is settled.
type isolatedMark = savepoint.Isolated

func (*isolation) partOf(hash uint64) int { return int(hash % queue.Partitions) }

// find returns the isolated series that s belongs to, nil if it is none.
func (iso *isolation) find(s *series.Series) *isolated {
	if len(iso.series) == 0 || iso.inPart[s.Partition()] == 0 {
		return nil
	}
	is, known := iso.seen[s]
	if !known {
		is = iso.series[queue.StableHash(s)]
		if len(iso.seen) >= rememberedSeries {
			clear(iso.seen)
		}
		iso.seen[s] = is
	}
	if is == nil || is.gone {
		return nil
	}
	return is
}

// hashes remembers the hashes of series, up to a bound.
type hashes map[*series.Series]uint64

func (h hashes) of(s *series.Series) uint64 {
	hash, known := h[s]
	if !known {
		if len(h) >= rememberedSeries {
			clear(h)
		}
		hash = queue.StableHash(s)
		h[s] = hash
	}
	return hash
}

// ensure returns the isolated series with a hash, which it makes if there is none.
func (iso *isolation) ensure(hash uint64) *isolated {
	if is := iso.series[hash]; is != nil {
		return is
	}
	if iso.series == nil {
		iso.series, iso.seen = map[uint64]*isolated{}, map[*series.Series]*isolated{}
	}
	is := &isolated{hash: hash}
	iso.series[hash] = is
	iso.inPart[iso.partOf(hash)]++
	clear(iso.seen) // Its series are in there as not isolated.
	return is
}

// release lets the next items of a series go with the others again.
func (iso *isolation) release(is *isolated) {
	if is.gone {
		return
	}
	is.gone = true
	delete(iso.series, is.hash)
	iso.inPart[iso.partOf(is.hash)]--
	if len(iso.series) == 0 {
		clear(iso.seen) // It keeps series in memory.
	}
}

// alike returns the suspects in memory that got no good answer alone.
func (iso *isolation) alike() (all []*isolated) {
	for _, is := range iso.series {
		if is.suspect && is.wait > 0 && is.refusals == 0 && len(is.items) > 0 {
			all = append(all, is)
		}
	}
	return all
}

// suspects returns how many series were found by trials.
func (iso *isolation) suspects() (n int) {
	for _, is := range iso.series {
		if is.suspect {
			n++
		}
	}
	return n
}

// add appends an item to those of a series. If there is no room, or others are
// missing before it, it waits in the log; always says that there has to be room, and so
// does a limit that has taken its part of the log since it was read.
func (iso *isolation) add(is *isolated, it queue.ItemView, at savepoint.Mark, always bool) {
	end := at
	end.Skip++
	size := isolatedSize(it)
	full := len(is.items) > 0 && (iso.bytes+size > isolatedBytes || len(is.items) >= isolatedItems)
	switch {
	case is.restInLog:
		is.until = later(is.until, end)
		return
	case full && !always && !at.Before(iso.forfeited):
		is.restInLog, is.next, is.until = true, at, end
		return
	}
	// An exemplar that went ahead of its turn lies behind the sample that comes
	// after it here. What is settled is settled up to the first of both.
	for i := len(is.items) - 1; i >= 0 && at.Position == is.items[i].mark.Position && at.Skip < is.items[i].mark.Skip; i-- {
		is.items[i].mark = at
	}
	is.items = append(is.items, newIsolatedItem(it, at, size))
	iso.bytes += size
}

func (it *isolatedItem) view() queue.ItemView {
	return queue.ItemView{Item: &it.Item, Detail: it.Detail}
}

func (it *isolatedItem) kind() queue.Kind { return it.view().Kind() }

func newIsolatedItem(it queue.ItemView, at savepoint.Mark, size int) isolatedItem {
	own := isolatedItem{Item: *it.Item, mark: at, size: size}
	if it.Detail != nil {
		d := *it.Detail
		own.Detail = &d
	}
	return own
}

// takeOff takes the first n items off a series.
func (iso *isolation) takeOff(is *isolated, n int) {
	for _, it := range is.items[:n] {
		iso.bytes -= it.size
	}
	clear(is.items[:n]) // What is left keeps the array for a while.
	if is.items = is.items[n:]; len(is.items) == 0 {
		is.items = nil
	}
}

// endMark returns where the last item that waits ends.
func (is *isolated) endMark() savepoint.Mark {
	if is.restInLog {
		return is.until
	}
	end := is.items[len(is.items)-1].mark
	end.Skip++
	return end
}

// maybeSent notes that the receiver may have what begins before a position.
func (is *isolated) maybeSent(before cursor.Position) {
	if !is.replayed || is.sent.Before(before) {
		is.sent = before
	}
	is.replayed = true
}

// justBehind is behind the start of the batch of what is at a mark.
func justBehind(m savepoint.Mark) cursor.Position {
	return cursor.Position{Segment: m.Segment, Offset: m.Offset + 1}
}

// unsent notes, if the first item that is left tells so, that the receiver has none of
// them.
func (is *isolated) unsent() {
	m, waits := is.mark()
	is.replayed = is.replayed && waits && m.Before(is.sent)
}

// mark returns where the series is settled up to, and false if nothing of it
// waits.
func (is *isolated) mark() (savepoint.Mark, bool) {
	if len(is.items) > 0 {
		return is.items[0].mark, true
	}
	return is.next, is.restInLog
}

// marks returns the marks of all series of which something waits.
func (iso *isolation) marks() (out []isolatedMark) {
	of := map[uint64]int{}
	for _, is := range iso.series {
		if m, waits := is.mark(); waits {
			of[is.hash] = len(out)
			out = append(out, isolatedMark{Series: is.hash, Mark: m})
		}
	}
	for _, is := range slices.Backward(iso.inherited) { // They are before what is isolated here.
		m, _ := is.mark()
		if i, both := of[is.hash]; both {
			out[i].Mark = m
			continue
		}
		of[is.hash] = len(out)
		out = append(out, isolatedMark{Series: is.hash, Mark: m})
	}
	slices.SortFunc(out, func(a, b isolatedMark) int { return cmp.Compare(a.Series, b.Series) })
	return out
}

// all returns the isolated series, inherited ones too.
func (iso *isolation) all() []*isolated {
	return append(slices.Collect(maps.Values(iso.series)), iso.inherited...)
}

// before counts what isolated series have in memory that begins before a segment. marks
// are those of the partitions: what was diverted from a request that was released then is
// in the queue again, and counts there.
func (iso *isolation) before(segment int, marks []savepoint.Mark) (t queue.Counts) {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, is := range iso.all() {
		until := marks[iso.partOf(is.hash)]
		for i := range is.items {
			m := is.items[i].mark
			if m.Segment < segment && m.Less(until) {
				t.Add(is.items[i].kind())
			}
		}
	}
	return t
}

// size returns how many series are isolated.
func (iso *isolation) size() int {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	return len(iso.series)
}

// isolates reports whether a series is isolated.
func (iso *isolation) isolates(s *series.Series) bool {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	return iso.find(s) != nil
}

// saved returns the marks for a savepoint, of series that are behind their partition,
// whose marks were taken before. A series that waits behind its partition's mark, out of
// a request that is under way, is not one of them: that request may have more of it.
func (iso *isolation) saved(marks []savepoint.Mark) (apart []isolatedMark) {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, is := range iso.marks() {
		if is.Mark.Less(marks[iso.partOf(is.Series)]) {
			apart = append(apart, is)
		}
	}
	return apart
}

// floor returns the lowest position at which an isolated series waits, and the oldest
// timestamp in ms of those in memory, 0 if there are none.
func (iso *isolation) floor() (floor cursor.Position, oldest int64, waits bool) {
	iso.mtx.Lock()
	defer iso.mtx.Unlock()
	for _, is := range iso.all() {
		m, ok := is.mark()
		if !ok {
			continue
		}
		if !waits || m.Before(floor) {
			floor = m.Position
		}
		waits = true
		if len(is.items) > 0 && (oldest == 0 || is.items[0].T < oldest) {
			oldest = is.items[0].T
		}
	}
	return floor, oldest, waits
}

// signal wakes the isolator.
func (iso *isolation) signal() {
	select {
	case iso.notify <- struct{}{}:
	default:
	}
}

// later returns the later of two marks of one partition. Those at one position
// count from there; others may be of batches that were cut elsewhere, but then
// the later one is of the later call.
func later(a, b savepoint.Mark) savepoint.Mark {
	if a.Position == b.Position && b.Skip < a.Skip || b.Before(a.Position) {
		return a
	}
	return b
}

// isolatedSize is how much memory an item takes when it is isolated, labels of its
// series left out if the table has them.
func isolatedSize(v queue.ItemView) int {
	return int(unsafe.Sizeof(isolatedItem{})) + v.Attached()
}

func sizeOf(items []isolatedItem) (n int) {
	for i := range items {
		n += items[i].size
	}
	return n
}
