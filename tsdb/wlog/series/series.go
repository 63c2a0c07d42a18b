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

package series

import (
	"math"
	"strings"
	"time"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Partitions is the number of virtual partitions that label sets are spread
// over. It is part of the format of saved positions.
const Partitions = 64

// Values of Series.state below zero; from zero up it is the number of pins.
const (
	stateRetired  = -1
	stateDead     = -2
	stateAlias    = -3
	stateDetached = -4
)

// Values of the lower bits of Series.appends.
const (
	recordMissing uint64 = iota // The log has no record of the series.
	recordChosen                // One is part of the write under way.
	recordWritten               // One was written.

	recordMask uint64 = 3
	// recordOnce is set for good when the first record was written.
	recordOnce  uint64 = 4
	recordThere        = recordWritten | recordOnce
	recordBits         = 3
	// Above it are the seconds, which last until the year 2242, and the number
	// of the metadata.
	secondsBits        = 33
	secondsMask uint64 = (1<<secondsBits - 1) << recordBits
	metaShift          = secondsBits + recordBits
)

// Bits of Series.key: those of the hash, then the partition, and whether that is
// known. Above it is the last segment that can mention the series.
const (
	hashBits              = 25
	partitionShift        = hashBits
	partitionKnown uint64 = 1 << 31
	segmentShift          = 32
)

// Series is a label set with its ref. What identifies it never changes; the
// rest is for the storage that appends to it. It is one heap object of 80
// bytes, and a share in one with the numbers of label values.
type Series struct {
	// First, so that 32-bit platforms can use them as atomics.
	lastTs  atomic.Int64  // Milliseconds; math.MinInt64 if none is known.
	appends atomic.Uint64 // Wall clock of the last commit in Unix seconds, what the log has, and the metadata.
	key     atomic.Uint64 // See hashBits.

	set
	next  *Series // The chain of the index; guarded by the stripe's lock.
	ref   chunks.HeadSeriesRef
	state atomic.Int32 // See the constants.
}

// Ref is the number that records of the log know the series by.
func (s *Series) Ref() chunks.HeadSeriesRef { return s.ref }

// Partition is the virtual partition of the label set, in [0, Partitions).
func (s *Series) Partition() int {
	key := s.key.Load()
	if key&partitionKnown == 0 {
		// It takes all strings of the labels, for which a start has no time.
		found := s.stablePartition()<<partitionShift | partitionKnown
		for !s.key.CompareAndSwap(key, key|found) {
			key = s.key.Load()
		}
		key |= found
	}
	return int(key >> partitionShift % Partitions)
}

// LastSampleTimestamp is the highest timestamp in milliseconds that was
// committed, math.MinInt64 if none is known.
func (s *Series) LastSampleTimestamp() int64 { return s.lastTs.Load() }

// HasTimestamp reports whether a last timestamp is known.
func (s *Series) HasTimestamp() bool { return s.lastTs.Load() != math.MinInt64 }

// RaiseTimestamp makes t the last timestamp unless a later one is known, which
// it reports as false.
func (s *Series) RaiseTimestamp(t int64) bool {
	for {
		last := s.lastTs.Load()
		if t <= last {
			return t == last
		}
		if s.lastTs.CompareAndSwap(last, t) {
			return true
		}
	}
}

// Committed tells the series at which wall-clock time a sample was committed.
func (s *Series) Committed(now time.Time) {
	for {
		old := s.appends.Load()
		was := seconds(now)<<recordBits&secondsMask | old&^secondsMask
		if was == old || s.appends.CompareAndSwap(old, was) {
			return
		}
	}
}

// Unpin ends what a successful Pin or GetOrCreate began.
func (s *Series) Unpin() { s.state.Dec() }

// Alias reports whether the series is a further ref of a label set.
func (s *Series) Alias() bool { return s.state.Load() == stateAlias }

// Detached returns a series that is in no table: what a reader makes of a ref
// whose series left the table while segments that mention it are kept. Several
// of one ref may be about; nothing is to be stored about them by ref.
func Detached(ref chunks.HeadSeriesRef, lset labels.Labels) *Series {
	x := &Names{}
	lset.Range(func(l labels.Label) {
		x.strs = append(x.strs, strings.Clone(l.Name))
		x.own = append(x.own, strings.Clone(l.Value))
	})
	return newSeries(ref, 0, set{names: x}, stateDetached, time.Time{}, recordThere)
}

// Detached reports whether the series was made by the function of that name.
func (s *Series) Detached() bool { return s.state.Load() == stateDetached }

// Gone reports whether the series is in no table, be it detached or dropped.
func (s *Series) Gone() bool {
	state := s.state.Load()
	return state == stateDetached || state == stateDead
}

// Idle reports whether the series is not active, now.
func (s *Series) Idle() bool { return s.state.Load() < 0 }

// RetiredAt is the last segment that can mention a series that is retired or an
// alias. Only the goroutine that retires series may ask.
func (s *Series) RetiredAt() int { return int(s.key.Load() >> segmentShift) }

// Mentioned notes, during the replay, that segment has a record of an alias.
func (s *Series) Mentioned(segment int) { s.retireAt(max(s.RetiredAt(), segment)) }

func (s *Series) retireAt(segment int) {
	for {
		key := s.key.Load()
		if s.key.CompareAndSwap(key, key&(1<<segmentShift-1)|uint64(max(segment, 0))<<segmentShift) {
			return
		}
	}
}

// Logged reports whether the log has a record of the series.
func (s *Series) Logged() bool { return s.appends.Load()&recordMask == recordWritten }

// LoggedOnce reports whether the log has or had a record of the series, be it
// from before the series was retired and came back.
func (s *Series) LoggedOnce() bool { return s.appends.Load()&recordOnce != 0 }

// ChooseForLog reports whether the caller has to write the record of the
// series, which is the case if there is none and the caller has not chosen it
// yet. Callers exclude each other, and follow up with SetLogged.
func (s *Series) ChooseForLog() bool {
	if s.appends.Load()&recordMask != recordMissing {
		return false
	}
	s.setRecord(recordChosen)
	return true
}

// SetLogged says how the write of the series' record ended.
func (s *Series) SetLogged(ok bool) {
	if ok {
		s.setRecord(recordThere)
		return
	}
	s.setRecord(recordMissing)
}

func (s *Series) setRecord(to uint64) {
	for {
		old := s.appends.Load()
		if s.appends.CompareAndSwap(old, old&^recordMask|to) {
			return
		}
	}
}

// idleSince reports whether nothing was committed at or after the second t.
func (s *Series) idleSince(t uint64) bool { return s.appends.Load()&secondsMask>>recordBits < t }

// meta is the number of the series' metadata, 0 for none.
func (s *Series) meta() uint32 { return uint32(s.appends.Load() >> metaShift) }

func (s *Series) setMeta(id uint32) {
	for {
		old := s.appends.Load()
		if s.appends.CompareAndSwap(old, old&(1<<metaShift-1)|uint64(id)<<metaShift) {
			return
		}
	}
}

// newSeries sets atomic fields by copies: no other goroutine sees the series yet, and
// a million stores that others have to see take a tenth of a start.
func newSeries(ref chunks.HeadSeriesRef, hash uint32, of set, state int32, now time.Time, record uint64) *Series {
	return &Series{
		lastTs:  *atomic.NewInt64(math.MinInt64),
		appends: *atomic.NewUint64(seconds(now)<<recordBits | record),
		key:     *atomic.NewUint64(uint64(hash)),
		set:     of,
		ref:     ref,
		state:   *atomic.NewInt32(state),
	}
}

func seconds(t time.Time) uint64 { return uint64(max(t.Unix(), 0)) }
