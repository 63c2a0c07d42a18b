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
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// DefaultSegmentMaxAge is how long a segment is written to unless it is full
// before.
const DefaultSegmentMaxAge = 15 * time.Minute

// Options of the storage: those of the best-effort agent, and what is new.
//
// Of the former, StripeSize has no effect, CheckpointFromInMemorySeries is
// always on, MaxWALTime is not used (see MaxTime), and MinWALTime, in
// milliseconds, is how long a series without appends stays active, and how old
// a segment must be to go if there is no endpoint at all.
type Options struct {
	agent.Options

	// SegmentMaxAge is the age at which a segment that holds anything is
	// finished, so that low traffic does not keep acknowledged samples on the
	// disk. At most TruncateFrequency; 0 is DefaultSegmentMaxAge.
	SegmentMaxAge time.Duration

	// MaxTime, if not 0, is how long samples are kept for an endpoint that does
	// not take them. What is older is forfeited, counted and logged.
	MaxTime time.Duration

	// MaxSize is how large wal/ may become in bytes before the oldest samples
	// are forfeited, counted and logged. 0 lets it grow as long as the file
	// system keeps a reserve, see room.DefaultLimit.
	MaxSize int64

	// EndpointMaxTime and EndpointMaxSize are the same for what a single
	// endpoint keeps from being removed, age and bytes. Only that endpoint gives
	// up what is beyond them. 0 is no limit.
	EndpointMaxTime time.Duration
	EndpointMaxSize int64

	// SyncInterval is how long after a commit, at most, the log is synced to the
	// disk, beside the commits. 0 leaves that to the operating system, as the
	// best-effort storage does: a crash of the process loses nothing then, a
	// loss of power what the system had not written, usually up to 30 s.
	SyncInterval time.Duration

	// FS is the file system for what the storage does beside writing the log,
	// nil for that of the operating system. It is for tests.
	FS vfs.FS
}

// DefaultOptions returns what Open takes for nil.
func DefaultOptions() *Options {
	return &Options{Options: *agent.DefaultOptions(), SegmentMaxAge: DefaultSegmentMaxAge}
}

// effective returns the options with everything that was left out filled in.
func (o Options) effective() Options {
	orDuration := func(v *time.Duration, def time.Duration) {
		if *v <= 0 {
			*v = def
		}
	}
	orDuration(&o.TruncateFrequency, agent.DefaultTruncateFrequency)
	orDuration(&o.SegmentMaxAge, DefaultSegmentMaxAge)
	o.SegmentMaxAge = min(o.SegmentMaxAge, o.TruncateFrequency)
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.MinWALTime <= 0 {
		o.MinWALTime = agent.DefaultMinWALTime
	}
	if o.WALSegmentSize <= 0 {
		o.WALSegmentSize = wlog.DefaultSegmentSize
	}
	if o.WALCompression == "" {
		o.WALCompression = compression.None
	}
	for _, limit := range []int64{o.MaxSize, o.EndpointMaxSize} {
		if limit <= 0 {
			continue
		}
		// Only finished segments can go, so there must be several below the
		// limit.
		pages := max(limit/8/cursor.PageSize, 1)
		o.WALSegmentSize = int(min(int64(o.WALSegmentSize), pages*cursor.PageSize))
	}
	return o
}

// minAge is MinWALTime as a duration.
func (o Options) minAge() time.Duration {
	return time.Duration(o.MinWALTime) * time.Millisecond
}
