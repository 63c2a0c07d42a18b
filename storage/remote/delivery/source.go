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
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/client"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/follow"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/gate"
	"github.com/ackwal/ackwal/tsdb/wlog/repair"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Source is the log that is delivered, as its writer describes it.
type Source struct {
	// WALDir holds the segments, DataDir the savepoints beside it.
	WALDir, DataDir string
	// Table resolves the refs that retained segments mention, as long as the
	// series are in use. Evicted resolves the others; nil if Table has them all.
	Table   *series.Table
	Evicted Resolver
	// Gate learns what is durably acknowledged.
	Gate *gate.Gate
	// Head returns the end of the last committed record. It must not block.
	Head func() cursor.Position
	// Size returns how many bytes a segment had when it was finished, and 0 where
	// that is not known; nil if it never is. It tells of an end that was cut off
	// between two records. It must not block.
	Size func(segment int) int64
	// Run identifies the run of the engine; its marker begins every segment
	// the engine opens.
	Run ulid.ULID
	// Release is called once when the storage is closed, may be nil.
	Release func() error

	follow  *follow.Follower // Of a followed log, see Follow.
	begun   bool             // See FollowOptions.FromStart.
	lost    []repair.Damage  // See FollowOptions.Lost.
	other   bool             // It is not the log that positions were saved for, or not up to where they are.
	density *density         // Of the log; readers have their own if it is nil.

	lostEnd *queue.UnreadPart // What the last segment of the earlier run lacks, see knowEnd; nil for nothing.
	others  map[int]bool      // Segments of another engine that endpoints pass over, see passed.go.
}

// beyond returns p, or the end of the segments there that endpoints pass over.
func (s *Source) beyond(p cursor.Position) cursor.Position {
	for s.others[p.Segment] {
		p = cursor.Position{Segment: p.Segment + 1}
	}
	return p
}

// passesFrom reports whether endpoints pass over something from a segment on.
func (s *Source) passesFrom(segment int) bool {
	for other, passed := range s.others {
		if passed && other >= segment {
			return true
		}
	}
	return false
}

// nowhere is beyond where nothing is passed over.
func nowhere(p cursor.Position) cursor.Position { return p }

// Resolver finds the labels of series that are not in memory. It is safe for
// concurrent use.
type Resolver interface {
	// Resolve returns the labels of ref, and false if it has none.
	// An error means that it cannot be told now.
	Resolve(ref chunks.HeadSeriesRef) (labels.Labels, bool, error)
}

// paceInterval is how often the number of senders is looked at.
const paceInterval = time.Second

const (
	// DefaultFreshShare is what the backlog may have of the senders.
	DefaultFreshShare = 0.5
	// DefaultFreshAfter is how far behind an endpoint has to be to get a second
	// stream.
	DefaultFreshAfter = time.Minute
	// DefaultMaxRequestBytes is half of what a Prometheus server takes, which of
	// the receivers in use takes least.
	DefaultMaxRequestBytes = 16 << 20
)

// DefaultRefusedHold is for how long what an endpoint refuses is held if it refuses
// everything, and neither the sender nor the URL can be at fault.
const DefaultRefusedHold = 10 * time.Minute

// Options of a Storage. The zero value is what the binary uses.
type Options struct {
	// RemovedRetention is how long an endpoint that was removed from the configuration
	// is retained, with its part of the log, DefaultRemovedRetention if 0.
	RemovedRetention time.Duration
	// DropDenied drops what was answered 401, 403, 404 or 407, as stock does, instead
	// of holding it until the credentials or the URL are corrected.
	DropDenied bool
	// RefusedHold is for how long what was answered with another 4xx is held before it
	// is dropped if the endpoint refuses everything, DefaultRefusedHold if 0, and not at
	// all if it is negative.
	RefusedHold time.Duration
	// LeaveOthers leaves endpoints of the savepoint that are not in the configuration
	// as they are: none is taken for removed, and none forfeits anything. It is for
	// delivering to some endpoints of a directory whose agent is not running.
	LeaveOthers bool
	// ResumeAfterBestEffort resumes from savepoints although another engine wrote to
	// the log since. What that engine delivered is then sent again.
	ResumeAfterBestEffort bool

	// FreshFirst names the endpoints, as remote_name in metrics does, to which
	// new samples are delivered before a backlog is, with the share of
	// max_shards that the backlog may take meanwhile, above 0 and below 1. Their
	// receivers have to take samples out of order.
	FreshFirst map[string]float64
	// FreshAfter is how old the samples of a backlog are with which that begins,
	// DefaultFreshAfter if 0.
	FreshAfter time.Duration

	// MaxRequestBytes is about how large a request may be before compression,
	// DefaultMaxRequestBytes if 0. One with a single series may be larger.
	MaxRequestBytes int

	// ReadStorage is what reads and counts, nil for nothing. The storage closes it.
	ReadStorage ReadStorage

	// FS is the file system of the savepoints, nil for that of the operating
	// system. It is for tests.
	FS vfs.FS

	newClient func(client.Config) (storer, error)
	pace      time.Duration // How often streams and senders are looked at.
}

func (o *Options) setDefaults() {
	if o.ReadStorage == nil {
		o.ReadStorage = nothing{}
	}
	if o.RemovedRetention == 0 {
		o.RemovedRetention = DefaultRemovedRetention
	}
	if o.RefusedHold == 0 {
		o.RefusedHold = DefaultRefusedHold
	}
	if o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if o.FreshAfter == 0 {
		o.FreshAfter = DefaultFreshAfter
	}
	if o.pace == 0 {
		o.pace = paceInterval
	}
	if o.newClient == nil {
		o.newClient = func(c client.Config) (storer, error) { return client.New(c) }
	}
}

// DefaultRemovedRetention is how long a removed endpoint is retained.
const DefaultRemovedRetention = 10 * time.Minute

// density estimates how many items a damaged part of the log held, by what all endpoints
// read. It is kept over restarts.
type density struct {
	mtx          sync.Mutex // Held for moments only.
	items, bytes float64
}

// perByte is what is assumed before much was read, see "How much disk" in
// docs/operations.md.
const perByte = 1.0 / 8

// saw takes note of what a readable part holds. What was read lately counts more.
func (d *density) saw(items int, bytes int64) {
	const window = 4 << 20
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if d.bytes > window {
		d.items, d.bytes = d.items/2, d.bytes/2
	}
	d.items += float64(items)
	d.bytes += float64(bytes)
}

func (d *density) of(bytes int64) float64 {
	items, read := d.seen()
	if read < 1<<12 {
		return float64(bytes) * perByte
	}
	return float64(bytes) * items / read
}

// seen returns how many items so many bytes held.
func (d *density) seen() (items, bytes float64) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return d.items, d.bytes
}
