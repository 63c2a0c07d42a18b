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

package repair

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// maxMissing is how many segments are made up for at most. More say that a file
// with a strange number is there by mistake.
const maxMissing = 10000

// gap is a range of numbers for which there is no segment.
type gap struct{ first, last int }

// missing returns the numbers that are missing in an ascending list.
func missing(numbers []int) []gap {
	var gaps []gap
	for i := 1; i < len(numbers); i++ {
		if numbers[i]-numbers[i-1] > 1 {
			gaps = append(gaps, gap{numbers[i-1] + 1, numbers[i] - 1})
		}
	}
	return gaps
}

// Segments closes the holes in the numbering of a log that is in use: a stand-in takes
// the place of each missing segment below active, the one that is written to, which is
// negative if there is none. No segments may be removed meanwhile.
func Segments(fsys vfs.FS, walDir string, active int, log *slog.Logger) ([]Damage, error) {
	return segments(fsys, walDir, log, func(there []int) []gap {
		for len(there) > 0 && active >= 0 && there[len(there)-1] > active {
			there = there[:len(there)-1]
		}
		if len(there) == 0 || (active >= 0 && there[len(there)-1] != active) {
			return nil
		}
		return missing(there)
	})
}

// SegmentsTo is Segments for a log that has no writer and whose last segments may be
// missing too: there are segments up to last then. If there was none at all, that is the
// only one.
func SegmentsTo(fsys vfs.FS, walDir string, last int, log *slog.Logger) ([]Damage, error) {
	return segments(fsys, walDir, log, func(there []int) []gap {
		gaps := missing(there)
		switch {
		case len(there) == 0:
			gaps = []gap{{last, last}}
		case there[len(there)-1] < last:
			gaps = append(gaps, gap{there[len(there)-1] + 1, last})
		}
		return gaps
	})
}

// segments fills what a log's segments leave out, as gaps says of their numbers in
// ascending order.
func segments(fsys vfs.FS, walDir string, log *slog.Logger, gaps func(there []int) []gap) ([]Damage, error) {
	h := newRepairer(fsys, walDir, log)
	entries, err := h.fs.ReadDir(walDir)
	if err == nil {
		var there []int // Whatever it is, it is not missing.
		for _, e := range entries {
			if number, ok := parseNumber(e.Name()); ok && number >= 0 && e.Name() == segmentName(number) {
				there = append(there, number)
			}
		}
		slices.Sort(there)
		err = h.fill(walDir, MissingSegments, gaps(there))
	}
	if err != nil {
		return h.report.Damages, fmt.Errorf("fill holes in the numbering of the segments in %s: %w", walDir, err)
	}
	return h.report.Damages, nil
}

// fill makes segments for the gaps in a directory, and reports each gap as damage of
// the given kind. Those of the log say that they are stand-ins, so that readers
// count what they have lost.
func (r *repairer) fill(dir, kind string, gaps []gap) error {
	n := 0
	for _, g := range gaps {
		// One by one, so that the sum cannot overflow.
		if n += min(g.last-g.first, maxMissing) + 1; n > maxMissing {
			return fmt.Errorf(
				"segments %s to %s are missing in %s, which is too many to be the result of damage; move away the files that do not belong there",
				segmentName(g.first), segmentName(g.last), dir,
			)
		}
	}
	for _, g := range gaps {
		for k := g.first; k <= g.last; k++ {
			var content []byte
			if kind == MissingSegments {
				content = frame.Gone()
			}
			path := wlog.SegmentName(dir, k)
			err := write(r.fs, path+tempSuffix, content)
			if err == nil {
				err = r.fs.Rename(path+tempSuffix, path)
			}
			if err != nil {
				_ = r.fs.Remove(path + tempSuffix)
				return err
			}
		}
		d := Damage{
			Kind:    kind,
			Path:    wlog.SegmentName(dir, g.first),
			Segment: -1,
			Action:  fmt.Sprintf("made %d segments in place of what is missing", g.last-g.first+1),
		}
		if kind == MissingSegments {
			d.Segment, d.More = g.first, g.last-g.first
		}
		r.add(d)
	}
	if n == 0 {
		return nil
	}
	return r.fs.SyncDir(dir)
}

// checkpoints repairs the checkpoints. One of which nothing is left gives way to
// an older one that has something. If there is none, it stays, empty: readers
// must know which segments it covers.
//
// Whether it was whole does not count, for an earlier call may have been
// interrupted between emptying it and this.
func (r *repairer) checkpoints() error {
	l, err := r.list(r.dir)
	if err != nil {
		return err
	}
	older := false
	for _, c := range l.checkpoints {
		left, err := r.checkpoint(filepath.Join(r.dir, c.name))
		if err != nil {
			return fmt.Errorf("repair %s: %w", c.name, err)
		}
		if !left && older {
			if err := r.drop(c); err != nil {
				return fmt.Errorf("remove %s, of which nothing is left: %w", c.name, err)
			}
		}
		older = older || left
	}
	return nil
}

// checkpoint repairs one checkpoint and returns whether it has records.
func (r *repairer) checkpoint(dir string) (left bool, err error) {
	l, err := r.list(dir)
	if err != nil {
		return false, err
	}
	if err := r.clear(dir, l); err != nil {
		return false, err
	}
	r.report.Checkpoints++
	for _, k := range l.segments {
		path := wlog.SegmentName(dir, k)
		if r.whole != nil {
			info, err := r.fs.Stat(path)
			if err != nil {
				return left, err
			}
			if r.whole(path, info) {
				left = left || info.Size() > 0
				continue
			}
		}
		found, err := repairFile(r.fs, path, shared)
		if err != nil {
			r.leave(path, -1, err)
			left = true // As far as is known.
			continue
		}
		r.take(found, -1, func(loss) string { return CorruptCheckpoint })
		left = left || found.records > 0
	}
	return left, r.fill(dir, CorruptCheckpoint, missing(l.segments))
}

// drop removes a checkpoint. It is renamed before, so that it is never there in
// part.
func (r *repairer) drop(c checkpoint) error {
	path := filepath.Join(r.dir, c.name)
	temp := path + wlog.CheckpointTempFileSuffix
	if err := r.rename(path, temp); err != nil {
		return err
	}
	r.add(Damage{Kind: CorruptCheckpoint, Path: path, Segment: -1, Action: "removed, the checkpoint before it is used"})
	if err := r.fs.RemoveAll(temp); err != nil {
		return err
	}
	return r.fs.SyncDir(r.dir)
}

// numbering sees to it that upstream finds a segment, or a checkpoint, for
// every number it looks for: from the one after the last checkpoint on, or else
// from 0. And that the next segment comes after that checkpoint, because
// segments before it are never read again.
func (r *repairer) numbering() error {
	l, err := r.list(r.dir)
	if err != nil {
		return err
	}
	gaps := missing(l.segments)
	switch known, n := len(l.checkpoints) > 0, len(l.segments); {
	case n == 0 && known:
		last := l.checkpoints[len(l.checkpoints)-1].index
		gaps = []gap{{last, last}}
	case n > 0 && known:
		last := l.checkpoints[len(l.checkpoints)-1].index
		if l.segments[0] > last+1 {
			gaps = append([]gap{{last + 1, l.segments[0] - 1}}, gaps...)
		}
		if l.segments[n-1] < last {
			gaps = append(gaps, gap{l.segments[n-1] + 1, last})
		}
	case n > 0 && l.segments[0] > 0:
		path := wlog.CheckpointDir(r.dir, l.segments[0]-1)
		if err := r.fs.MkdirAll(path, 0o777); err != nil {
			return err
		}
		if err := r.fs.SyncDir(r.dir); err != nil {
			return err
		}
		r.add(Damage{Kind: MissingCheckpoint, Path: path, Segment: -1, Action: "made an empty checkpoint in place of what is missing"})
	}
	return r.fill(r.dir, MissingSegments, gaps)
}
