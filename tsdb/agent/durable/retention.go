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

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/gate"
)

// Reasons for removing segments, as in the metrics.
const (
	reasonSent       = "sent"
	reasonNoEndpoint = "no_endpoint"
	reasonMaxTime    = "max_time"
	reasonMaxSize    = "max_size"
	// Of an endpoint's own budget.
	reasonEndpointMaxTime = "endpoint_max_time"
	reasonEndpointMaxSize = "endpoint_max_size"
)

// segmentFile is a segment as far as its removal is concerned.
type segmentFile struct {
	number  int
	size    int64
	written time.Time // Last write.
}

// limits on what may be kept although it is needed.
type limits struct {
	maxTime time.Duration // 0 is none.
	maxSize int64         // 0 is none.
}

// removal is what may go: segments before first, the lower part of it by rule,
// the rest by force.
type removal struct {
	// free is the first segment that has to stay by rule, and freeReason why
	// those before it may go.
	free       int
	freeReason string
	// first is the first segment that stays. It is beyond free only if a limit
	// demands it; forced says which one.
	first  int
	forced string
}

// decide works out which segments to remove. sealed are all but the active one,
// in order, active is the number of that; other is the size of what else counts
// against the limit. It is the whole policy, and does no I/O.
func decide(sealed []segmentFile, active int, activeSize, other int64, floor gate.Floor, minAge time.Duration, lim limits, now time.Time) removal {
	oldest := active
	if len(sealed) > 0 {
		oldest = sealed[0].number
	}
	out := removal{free: oldest, first: oldest}
	switch floor.State {
	case gate.Closed:
		// The holders are not all known yet, so not even a limit counts.
		return out
	case gate.Held:
		out.free = max(oldest, min(floor.Position.Segment, active))
		out.freeReason = reasonSent
	case gate.Free:
		// No endpoint needs anything, but one may be added, so the newest third
		// stays, and whatever is young.
		out.freeReason = reasonNoEndpoint
		for _, s := range sealed[:len(sealed)*2/3] {
			if now.Sub(s.written) < minAge {
				break
			}
			out.free = s.number + 1
		}
	}
	out.first = out.free

	size := charged(other, lim.maxSize) + activeSize
	for _, s := range sealed {
		size += s.size
	}
	for _, s := range sealed {
		tooOld := lim.maxTime > 0 && now.Sub(s.written) > lim.maxTime
		tooMuch := lim.maxSize > 0 && size > lim.maxSize
		size -= s.size
		if s.number < out.free {
			continue
		}
		if !tooOld && !tooMuch {
			break
		}
		out.first = s.number + 1
		out.forced = reasonMaxTime
		if !tooOld {
			out.forced = reasonMaxSize
		}
	}
	return out
}

// charged is what checkpoints and the snapshot of series count for against a limit:
// half of it at the most. However large they are, to forfeit samples would not make
// them smaller, and the log has to have some room.
func charged(other, maxSize int64) int64 {
	if maxSize <= 0 {
		return other
	}
	return min(other, maxSize/2)
}

// claim is what a holder of the gate keeps from being removed.
type claim struct {
	bytes    int64
	segments int       // Finished ones.
	since    time.Time // Last write of the oldest of these; zero if there is none.
	// keepFrom is the first segment that the holder may keep, and reason what says
	// so; empty if it may keep all.
	keepFrom int
	reason   string
}

// claimOf works out a holder's claim, and what its own limits leave of it.
func claimOf(u usage, from int, lim limits, now time.Time) claim {
	c := claim{bytes: u.activeSize, keepFrom: from}
	for _, s := range u.sealed {
		if s.number < from {
			continue
		}
		c.bytes += s.size
		c.segments++
		if c.since.IsZero() {
			c.since = s.written
		}
	}
	left := c.bytes
	for _, s := range u.sealed {
		if s.number < from {
			continue
		}
		tooOld := lim.maxTime > 0 && now.Sub(s.written) > lim.maxTime
		tooMuch := lim.maxSize > 0 && left > lim.maxSize
		if !tooOld && !tooMuch {
			break
		}
		left -= s.size
		c.keepFrom, c.reason = s.number+1, reasonEndpointMaxTime
		if !tooOld {
			c.reason = reasonEndpointMaxSize
		}
	}
	return c
}

// growth is how fast the log grows, in bytes per second, by its last finished
// segments, or on the whole if there are none; 0 if that cannot be told.
func (u usage) growth() float64 {
	const look = 8
	recent := u.sealed[max(0, len(u.sealed)-look):]
	if len(recent) < 2 {
		return u.rate
	}
	var bytes int64
	for _, s := range recent[1:] {
		bytes += s.size
	}
	took := recent[len(recent)-1].written.Sub(recent[0].written).Seconds()
	if took <= 0 {
		return 0
	}
	return float64(bytes) / took
}

// untilLoss estimates the seconds until a limit takes something from a holder
// with the given claim if nothing is delivered to it, and says which one that is:
// infinite if no limit can be told to.
func untilLoss(u usage, c claim, total, own limits, now time.Time) (soonest float64, reason string) {
	soonest = math.Inf(1)
	in := func(seconds float64, by string) {
		if seconds < soonest {
			soonest, reason = max(seconds, 0), by
		}
	}
	byTime := func(limit time.Duration, by string) {
		if limit > 0 && !c.since.IsZero() {
			in((limit - now.Sub(c.since)).Seconds(), by)
		}
	}
	bySize := func(limit, size int64, by string) {
		if rate := u.growth(); limit > 0 && rate > 0 {
			in(float64(limit-size)/rate, by)
		}
	}
	byTime(total.maxTime, reasonMaxTime)
	byTime(own.maxTime, reasonEndpointMaxTime)
	bySize(own.maxSize, c.bytes, reasonEndpointMaxSize)
	// Segments that this holder does not need go before it loses any.
	bySize(total.maxSize, c.bytes+charged(u.other, total.maxSize), reasonMaxSize)
	return soonest, reason
}

// usage is the size of what a log directory has.
type usage struct {
	sealed     []segmentFile
	active     int
	activeSize int64
	other      int64   // Checkpoints, and the snapshot.
	rate       float64 // Growth in bytes per second on the whole, for want of finished segments.
}

// oldest is the number of the first segment.
func (u usage) oldest() int {
	if len(u.sealed) == 0 {
		return u.active
	}
	return u.sealed[0].number
}

// before returns the size of the finished segments before one.
func (u usage) before(segment int) (n int64) {
	for _, s := range u.sealed {
		if s.number < segment {
			n += s.size
		}
	}
	return n
}

func (u usage) segments() int64 {
	n := u.activeSize
	for _, s := range u.sealed {
		n += s.size
	}
	return n
}

// measure lists the segments in dir, of which the last one is the active one,
// and everything else but links to the files in known. Files that go in the
// meantime do not count.
func measure(dir string, known []fs.FileInfo) (usage, error) {
	var u usage
	// With a separator at its end the name of a link is that of what it leads to.
	err := filepath.WalkDir(dir+string(filepath.Separator), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		number, notSegment := strconv.Atoi(e.Name())
		if notSegment == nil && filepath.Dir(path) != filepath.Clean(dir) {
			notSegment = fs.ErrInvalid
		}
		if err != nil {
			// What cannot be looked at takes up an unknown size and is as old as the
			// one before; its number counts.
			if notSegment == nil {
				written := time.Now()
				if n := len(u.sealed); n > 0 {
					written = u.sealed[n-1].written
				}
				u.sealed = append(u.sealed, segmentFile{number: number, written: written})
			}
			return nil
		}
		if notSegment != nil {
			if !slices.ContainsFunc(known, func(k fs.FileInfo) bool { return os.SameFile(k, info) }) {
				u.other += info.Size()
			}
			return nil
		}
		// Names sort like numbers, for they have eight digits or more, which
		// no log has ever used up.
		u.sealed = append(u.sealed, segmentFile{number: number, size: info.Size(), written: info.ModTime()})
		return nil
	})
	if err != nil {
		return usage{}, fmt.Errorf("measure write-ahead log in %s: %w", dir, err)
	}
	if n := len(u.sealed); n > 0 {
		last := u.sealed[n-1]
		u.sealed, u.active, u.activeSize = u.sealed[:n-1], last.number, last.size
	}
	return u, nil
}
