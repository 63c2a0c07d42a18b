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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
)

// This file is about what the streams of an endpoint may have of its senders.

// freshShare returns the share of a backlog, even of one that is left over
// although the endpoint is no longer to have fresh samples first.
func (s *settings) freshShare() float64 {
	if s.share > 0 {
		return s.share
	}
	return DefaultFreshShare
}

// mostSenders is how many senders there can be on all streams.
func (s *settings) mostSenders() int { return min(max(s.queue.MaxShards, 1), queue.Partitions) }

// budget returns how much of the time of how many senders a backlog may take.
func (s *settings) budget() (busy float64, senders int) {
	busy = s.freshShare() * float64(s.mostSenders())
	return busy, max(int(math.Ceil(busy)), 1)
}

// senderLimits returns the lowest and highest number of senders of a stream. The backlog
// has its share, rounded up, and the other stream the rest, but one at least.
func (s *stream) senderLimits(set *settings) (lowest, highest int) {
	highest = set.mostSenders()
	switch streams := s.endpoint.streams(); {
	case len(streams) < 2:
	case s == streams[0]:
		_, highest = set.budget()
	default:
		_, backlog := set.budget()
		highest = max(highest-backlog, 1)
	}
	return min(set.queue.MinShards, highest), highest
}

// throttleFor returns how long each of a backlog's senders waits after it has
// worked for a time, so that all of them together work no more than the budget.
func throttleFor(worked time.Duration, senders int, busy float64) time.Duration {
	if wait := float64(senders)/busy - 1; wait > 0 {
		return time.Duration(float64(worked) * wait)
	}
	return 0
}

// throttle keeps a sender of the backlog from taking more than its share. It
// returns false if the endpoint stops meanwhile.
func (s *stream) throttle(worked time.Duration) bool {
	if _, bounded := s.cursor.end(); !bounded {
		return true
	}
	set := s.endpoint.settings.Load()
	busy, _ := set.budget()
	d := throttleFor(worked, s.senders(), busy)
	return d <= 0 || s.endpoint.wait(d, set, s.reading.Done()) != endpointStops
}
