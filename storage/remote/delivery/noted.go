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
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// What is kept for the status of endpoints (status.go) and for nothing else is in this
// file: what cannot be told afterwards. It is little, and takes no part in delivery.

// State is what an endpoint does.
type State string

const (
	// StateStarting is that of an endpoint of the savepoint before the first configuration,
	// and then of one with a backlog until it answers.
	StateStarting State = "starting"
	// StateDelivering says that it keeps up.
	StateDelivering State = "delivering"
	// StateCatchingUp says that it takes requests and has more of the log to be sent than
	// was written in the last seconds.
	StateCatchingUp State = "catching_up"
	// StateRetrying says that the last attempt failed, and is made again.
	StateRetrying State = "retrying"
	// StateHeld says that it refuses everything; what it refuses is held.
	StateHeld State = "held"
	// StateRefusing says that it refuses everything, and that this is dropped.
	StateRefusing State = "refusing"
	// StateBlocked says that some series are not taken while others are.
	StateBlocked State = "blocked"
	// StateOverLimit says that a limit took samples from it in this outage, or since it
	// answers again while it takes less than is written.
	StateOverLimit State = "over_limit"
	// StateRemoved says that it is not in the configuration any more.
	StateRemoved State = "removed"
	// StateGone says that it was removed and is not retained any more. It is shown for what it
	// has lost.
	StateGone State = "gone"
)

// noted is what is noted of an endpoint while it is at work. It is safe for concurrent use.
type noted struct {
	tallies *tallies // Of the storage; never changes.

	mtx      sync.Mutex // Held for moments. Guards what follows.
	failure  Failure
	activity activity  // When the pacer looked last.
	answered time.Time // When it ended to fail last, as the pacer saw it.
	course   []stage   // By time, about one a second; the older, the fewer.
}

// Failure is an attempt that the endpoint did not take.
type Failure struct {
	Time time.Time `json:"time"`
	// Status is the HTTP status, 0 without an answer.
	Status int `json:"status,omitempty"`
	// Message has the beginning of the answer, and no secrets that are known as such.
	Message string `json:"message"`
}

// stage is how far an endpoint and the log had come at a time.
type stage struct {
	at      time.Time
	head    cursor.Position
	written int64 // Bytes of the log since the first stage.
	unacked int64 // Bytes of the log that were not acknowledged,
	expired int64 // and that limits had taken.
	settled int   // Items that had left the queue.
}

// acked returns how many bytes of the log were acknowledged since the first stage, less what
// was to be then.
func (s stage) acked() int64 { return s.written - s.unacked - s.expired }

// fail notes an attempt that was not taken.
func (n *noted) fail(res client.Result, now time.Time) {
	f := Failure{Time: now.UTC(), Status: res.Status}
	if res.Err != nil {
		f.Message = res.Err.Error()
	}
	n.mtx.Lock()
	defer n.mtx.Unlock()
	n.failure = f
}

// mostStages bounds what is remembered of the course. In a month the gaps between what is
// left are an eighth of its age.
const mostStages = 120

// goOn notes how far it is now, for the pacer, and returns the bytes of the log that were
// acknowledged since some time. between returns those between two positions.
func (n *noted) goOn(s stage, between func(from, to cursor.Position) int64) (acked int64) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if k := len(n.course); k > 0 {
		last := n.course[k-1]
		n.mtx.Unlock() // The caller is the only one that adds to it.
		s.written = last.written + between(last.head, s.head)
		n.mtx.Lock()
	}
	n.course = append(n.course, s)
	if len(n.course) <= mostStages {
		return s.acked()
	}
	// What goes is what is missed least: the gap that it leaves is small for its age.
	least, gap := 1, math.Inf(1)
	for i := 1; i < len(n.course)-1; i++ {
		if g := n.course[i+1].at.Sub(n.course[i-1].at).Seconds() / s.at.Sub(n.course[i].at).Seconds(); g < gap {
			least, gap = i, g
		}
	}
	n.course = slices.Delete(n.course, least, least+1)
	return s.acked()
}

// passed returns when the log was written up to a position, as far as it is known: sure says
// whether it was not before that.
func (n *noted) passed(at cursor.Position, now time.Time) (t time.Time, sure bool) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	i, _ := slices.BinarySearchFunc(n.course, at, func(s stage, at cursor.Position) int {
		if at.Before(s.head) {
			return 1
		}
		return -1
	})
	if i == len(n.course) {
		return now, true // A moment ago.
	}
	return n.course[i].at, i > 0
}

// began returns how long ago the first stage was noted.
func (n *noted) began(now time.Time) time.Duration {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if len(n.course) == 0 {
		return 0
	}
	return now.Sub(n.course[0].at)
}

// speed is what changes in a second.
type speed struct{ in, out, items float64 }

// speedOver is the time over which rates are taken. What was in speedFades before the last
// counts for a third of that: senders are added for seconds after an endpoint answers again, and
// a mean over all of that time would make what is left seem to take longer than it does.
const (
	speedOver  = 15 * time.Second
	speedFades = 4 * time.Second
)

// speed returns the rates of late, and since the endpoint answers again: bytes of the log
// written and acknowledged, and items.
func (n *noted) speed() (v speed, known bool) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if len(n.course) < 2 {
		return v, false
	}
	last := n.course[len(n.course)-1]
	from := last.at.Add(-speedOver)
	if from.Before(n.answered) {
		from = n.answered
	}
	i, _ := slices.BinarySearchFunc(n.course, from, func(s stage, t time.Time) int { return s.at.Compare(t) })
	var weight float64
	for i = min(i, len(n.course)-2) + 1; i < len(n.course); i++ {
		was, is := n.course[i-1], n.course[i]
		took := is.at.Sub(was.at).Seconds()
		if took <= 0 {
			continue
		}
		w := math.Exp(-last.at.Sub(is.at).Seconds() / speedFades.Seconds())
		weight += w * took
		v.in += w * float64(is.written-was.written)
		v.out += w * float64(is.acked()-was.acked())
		v.items += w * float64(is.settled-was.settled)
	}
	if weight == 0 {
		return speed{}, false
	}
	return speed{v.in / weight, max(0, v.out/weight), v.items / weight}, true
}

// activity is what an endpoint does at a time.
type activity struct {
	at      time.Time
	state   State
	since   time.Time // When it became so, as it was noticed.
	failing bool
	turned  time.Time // When it began or ended to fail, or kept up last.
	// refusesAll says that the last refusal, if there is one, is of everything.
	refusesAll bool
	apart      time.Time // Since when series are isolated; zero if none is.
}

// become notes what it does now.
func (n *noted) become(a activity) {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if n.activity.failing && !a.failing {
		n.answered = a.at
	}
	n.activity = a
}

// fails reports whether it failed when the pacer looked last.
func (n *noted) fails() bool {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	return n.activity.failing
}

// lastFailure returns the last attempt that was not taken, nil for none.
func (n *noted) lastFailure() *Failure {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if n.failure.Time.IsZero() {
		return nil
	}
	f := n.failure
	return &f
}

// refusedLately reports whether the last answer that was no success is a refusal of a moment
// ago.
func (n *noted) refusedLately(now time.Time) bool {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	return n.failure.Status/100 == 4 && now.Sub(n.failure.Time) < takesFor
}

// sinceOf returns since when it is in a state in which it is now.
func (n *noted) sinceOf(s State, now time.Time) time.Time {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if n.activity.state != s {
		return now
	}
	return n.activity.since
}

// apartSince returns since when series are isolated, of which there are some now.
func (n *noted) apartSince(now time.Time) time.Time {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	if n.activity.apart.IsZero() {
		return now
	}
	return n.activity.apart
}

// turnedAt returns when it began or ended to fail, at the earliest, or kept up last, by what
// it does now.
func (n *noted) turnedAt(failing, keepsUp bool, now time.Time) time.Time {
	n.mtx.Lock()
	defer n.mtx.Unlock()
	switch {
	case keepsUp && !failing:
		return now
	case failing != n.activity.failing:
		return n.activity.at
	}
	return n.activity.turned
}

// Kinds of what an endpoint was not sent, see Drop.
const (
	DropExpired    = "expired"
	DropRefused    = "refused"
	DropUnreadable = "unreadable"
	DropLeftOut    = "left_out"
)

// Drop is what an endpoint was not sent since the start, for one reason.
type Drop struct {
	// Kind is expired (a limit or another engine took it), refused (by the endpoint, for
	// good), unreadable (damaged or gone), or left_out (by configuration or protocol).
	Kind string `json:"kind"`
	// Reason is as in metrics; of what was refused it is the HTTP status.
	Reason     string `json:"reason"`
	Samples    int64  `json:"samples"`
	Histograms int64  `json:"histograms"`
	Exemplars  int64  `json:"exemplars"`
	// Bytes are those of the log, where that is known.
	Bytes int64 `json:"bytes,omitempty"`
	// Last is when the last of it was counted.
	Last time.Time `json:"last"`
}

// tallies count what endpoints were not sent, by name as metrics do. They are safe for
// concurrent use.
type tallies struct {
	mtx sync.Mutex // Held for moments.
	all map[tallyOf]*Drop
}

type tallyOf struct{ name, kind, reason string }

func (c *tallies) add(name, kind, reason string, t queue.Counts, bytes int64) {
	if t.Total() == 0 && bytes == 0 {
		return
	}
	c.mtx.Lock()
	defer c.mtx.Unlock()
	key := tallyOf{name, kind, reason}
	d := c.all[key]
	if d == nil {
		d = &Drop{Kind: kind, Reason: reason}
		if c.all == nil {
			c.all = map[tallyOf]*Drop{}
		}
		c.all[key] = d
	}
	d.Samples += int64(t[queue.Samples])
	d.Histograms += int64(t[queue.Histograms])
	d.Exemplars += int64(t[queue.Exemplars])
	d.Bytes += bytes
	if t.Total() > 0 {
		d.Last = time.Now().UTC()
	}
}

// of returns what an endpoint was not sent, by kind and reason. A part of the log with
// nothing in it for the endpoint is no loss.
func (c *tallies) of(name string) (all []Drop) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(c.all), func(a, b tallyOf) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.reason, b.reason))
	}) {
		if key.name == name && !c.all[key].Last.IsZero() {
			all = append(all, *c.all[key])
		}
	}
	return all
}

// lostBy returns the names of endpoints that have lost something.
func (c *tallies) lostBy() (names []string) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for key, d := range c.all {
		if key.kind != DropLeftOut && !d.Last.IsZero() {
			names = append(names, key.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// limited returns the bytes of the log that limits took from an endpoint, and when they did
// last.
func (c *tallies) limited(name string) (bytes int64, last time.Time) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for key, d := range c.all {
		if key.name != name || key.kind != DropExpired || key.reason == reasonOtherEngine {
			continue
		}
		bytes += d.Bytes
		if last.Before(d.Last) {
			last = d.Last
		}
	}
	return bytes, last
}
