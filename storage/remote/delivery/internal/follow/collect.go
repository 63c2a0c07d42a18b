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

package follow

import (
	"errors"
	"fmt"
	"os"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// errIncomplete says that a checkpoint cannot tell which refs are in use.
var errIncomplete = errors.New("the checkpoint is damaged")

// collect looks for segments that were removed and for a newer checkpoint, and
// drops what is mentioned neither in what is left nor in the checkpoint. It is
// called at the head of the log, so that every mention has been seen.
func (f *Follower) collect(truncated func(first int) bool) error {
	first, _, err := cursor.SegmentRange(f.dir)
	if err != nil {
		return err
	}
	if first > f.first && f.readersPast {
		f.first, f.readersPast = first, false
	}
	if !f.readersPast {
		// While a reader is in a file that was removed, what its records
		// mean is still needed.
		if f.readersPast = truncated(f.first); !f.readersPast {
			return nil
		}
		f.past.forget(cursor.Position{Segment: f.first})
		f.finished.forget(f.first)
	}
	if err := f.lookForCheckpoint(); err != nil {
		return err
	}
	if floor := min(f.checkpoint+1, f.first); f.whole && floor > f.dropped {
		f.dropped = floor
		gone := f.table.DropUnmentioned(floor)
		f.logger.Debug("Series that the log does not mention any more were dropped", "checkpoint", f.checkpoint, "first_segment", f.first, "series", len(gone))
	}
	return nil
}

// lookForCheckpoint notes what the newest checkpoint mentions.
func (f *Follower) lookForCheckpoint() error {
	dir, n, err := wlog.LastCheckpoint(f.dir)
	switch {
	case errors.Is(err, record.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("look for a checkpoint in %s: %w", f.dir, err)
	case n <= f.checkpoint:
		return nil
	}
	switch err = f.mentionedIn(dir, n); {
	case errors.Is(err, os.ErrNotExist):
		return nil // A newer one has replaced it.
	case errors.Is(err, errIncomplete):
		f.logger.Error("A checkpoint is damaged; series that are no longer in use stay in memory until the next one", "path", dir)
	case err != nil:
		return fmt.Errorf("read checkpoint %s: %w", dir, err)
	}
	f.checkpoint, f.whole = n, err == nil
	return nil
}

// mentionedIn notes that the refs of a checkpoint are in use after it, and
// defines those that are not known.
func (f *Follower) mentionedIn(dir string, n int) error {
	whole, err := readCheckpoint(dir, f.damage, func(rec []byte) error {
		if !isSeries(rec) {
			return nil // Whatever describes a series has been read.
		}
		refs, err := f.dec.defined(rec)
		if err != nil {
			return errIncomplete
		}
		unknown := false
		for _, ref := range refs {
			unknown = !f.mention(ref, n+1) || unknown
		}
		if !unknown {
			return nil
		}
		defs, _, err := f.dec.about(rec)
		if err != nil {
			return errIncomplete
		}
		for _, d := range defs {
			if f.table.Resolve(d.Ref) == nil {
				f.define([]record.RefSeries{d}, cursor.Position{})
			}
		}
		return nil
	})
	if err == nil && !whole {
		err = errIncomplete
	}
	return err
}

// mention notes that a segment mentions a ref, and reports whether it is known.
func (f *Follower) mention(ref chunks.HeadSeriesRef, segment int) bool {
	s := f.table.Resolve(ref)
	if s == nil {
		return false
	}
	if s.RetiredAt() < segment {
		s.Mentioned(segment)
	}
	return true
}
