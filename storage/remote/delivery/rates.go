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
	"math"
	"sync"
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// rates decides how many senders an endpoint wants. Work that waits although
// every sender is busy asks for more, senders that idle for less; errors that
// pass keep the number where it is, since more requests would make them worse. So does a
// lack of cores: a sender that waits to encode is not helped by others that wait too.
//
// Since partitions, not senders, carry the order (I4), the number changes
// without draining anything.
type rates struct {
	mu     sync.Mutex
	worked time.Duration // Time senders spent delivering since the last pace,
	waited time.Duration // and how much of it waiting for others to encode.
	quiet  time.Time     // The number does not grow before this time.
	idle   int           // Consecutive paces with less than half of the senders at work.
	paced  time.Time
}

func (r *rates) busy(d, waited time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.worked += d
	r.waited += waited
}

// recoverable notes an error that may pass until the given time.
func (r *rates) recoverable(until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.quiet.Before(until) {
		r.quiet = until
	}
}

const (
	// idlePaces is how often in a row senders must idle before a quarter of
	// them goes.
	idlePaces = 10
	// crowdedEnough is the share of their time that senders wait for others to encode,
	// from which on there are enough of them, and tooCrowded that from which on there
	// are too many.
	crowdedEnough, tooCrowded = 0.25, 0.5
	// growth is the factor by which senders are added. The number is looked at
	// once a second, so that an endpoint with one has 32 after five.
	growth = 2
)

// pace returns the number of senders to have from now on, between lowest and
// highest, and the number the load asks for whatever the limits. backlog says
// that a full request waits, or that no more has room, while every sender is busy.
func (r *rates) pace(now time.Time, have, lowest, highest int, backlog bool) (want int, desired float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := now.Sub(r.paced)
	used := 0.0
	if elapsed > 0 {
		used = min(float64(r.worked)/float64(elapsed), float64(have))
	}
	crowded := 0.0
	if r.worked > 0 {
		crowded = float64(r.waited) / float64(r.worked)
	}
	r.worked, r.waited, r.paced = 0, 0, now

	highest = min(highest, queue.Partitions)
	lowest = min(lowest, highest)
	desired = max(used, float64(lowest))
	want = have
	switch {
	case backlog:
		desired = math.Ceil(float64(have) * growth)
		r.idle = 0
		switch {
		case crowded > tooCrowded:
			want = have - have/4
		case crowded < crowdedEnough && !now.Before(r.quiet):
			want = int(desired)
		}
	case used < float64(have)/2 && have > lowest:
		r.idle++
		if r.idle >= idlePaces {
			r.idle = 0
			want = have - max(have/4, 1)
		}
	default:
		r.idle = 0
	}
	return min(max(want, lowest, 1), max(highest, 1)), desired
}
