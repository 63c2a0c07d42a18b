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
	"context"
	"io/fs"
	"os"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/internal/snapshot"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// snapshotRate is how fast snapshots are written, in bytes per second, unless
// something waits for them: too slow for other users of the disk to notice.
const snapshotRate = 512 << 10

// snapshotter keeps the snapshot of the series, which is what checkpoints are made
// of and what a start reads instead of finished segments.
type snapshotter struct {
	wanted chan struct{} // Has an element when a segment was finished.
	urgent atomic.Int32  // How many wait for it: then there are no pauses between writes.
	users  atomic.Int32  // How many need the store open.

	// sizes are those of the finished segments in state, in bytes.
	sizes atomic.Pointer[map[int]int64]

	mtx   sync.Mutex // Guards what follows; held through an update.
	store *snapshot.Store
	state snapshot.State
	// rebuild says that the store has nothing to go on from: the next update
	// takes the whole table.
	rebuild bool
	// salvaged says that the table has series that the checkpoint may lack.
	salvaged bool
	// retired are series that went out of use and are not noted as such in the
	// snapshot yet, with the last segment that can mention them.
	retired []retiredSeries
	// evict is the segment below which series that are retired may leave
	// memory: they are in the snapshot, and have been for a whole round.
	evict int
}

type retiredSeries struct {
	*series.Series
	segment int
}

// setState notes what the snapshot in the store says. Callers hold mtx, or are alone.
func (s *snapshotter) setState(state snapshot.State) {
	sizes := make(map[int]int64, len(state.Segments))
	for _, seg := range state.Segments {
		sizes[seg.Index] = seg.Size
	}
	s.state = state
	s.sizes.Store(&sizes)
}

// noteGone keeps the sizes of segments before the oldest that is left, of a snapshot that
// does not fit the log any more: endpoints lost what they held.
func (s *snapshotter) noteGone(state snapshot.State, walDir string) {
	first, _, err := wlog.Segments(walDir)
	if err != nil {
		return
	}
	sizes := map[int]int64{}
	for _, seg := range state.Segments {
		if seg.Index < first {
			sizes[seg.Index] = seg.Size
		}
	}
	s.sizes.Store(&sizes)
}

// size returns how many bytes a finished segment had when the snapshot was written,
// and 0 if it does not say.
func (s *snapshotter) size(segment int) int64 {
	if sizes := s.sizes.Load(); sizes != nil {
		return (*sizes)[segment]
	}
	return 0
}

// pace makes the writing of n bytes take the time that the rate asks for.
func (s *snapshotter) pace(ctx context.Context, n int) error {
	if s.urgent.Load() > 0 {
		return ctx.Err()
	}
	t := time.NewTimer(time.Duration(n) * time.Second / snapshotRate)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unpaced has what is written go on without pauses until the function it returns
// is called. It comes before any lock that a slow writer holds.
func (s *snapshotter) unpaced() (done func()) {
	s.urgent.Inc()
	var once sync.Once
	return func() { once.Do(func() { s.urgent.Dec() }) }
}

// Resolve implements delivery.Resolver.
func (s *snapshotter) Resolve(ref chunks.HeadSeriesRef) (labels.Labels, bool, error) {
	return s.store.Resolve(ref)
}

// use keeps the store open until the function it returns is called.
func (s *snapshotter) use() func() error {
	s.users.Inc()
	var once sync.Once
	return func() (err error) {
		once.Do(func() {
			if s.users.Dec() == 0 {
				err = s.store.Close()
			}
		})
		return err
	}
}

// covered is the last segment whose series are all in the snapshot on disk, -1
// for none.
func (s *snapshotter) covered() int {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if s.rebuild {
		return -1
	}
	return s.state.Covered
}

// chunks returns the chunk files, of which checkpoints have links.
func (s *snapshotter) chunks() []fs.FileInfo {
	var out []fs.FileInfo
	for _, f := range s.store.Files() {
		if !f.Chunk {
			continue
		}
		if info, err := os.Stat(f.Path); err == nil {
			out = append(out, info)
		}
	}
	return out
}
