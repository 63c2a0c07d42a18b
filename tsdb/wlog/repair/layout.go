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
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	// checkpointPrefix is what upstream takes for a checkpoint by its name.
	checkpointPrefix = "checkpoint."
	// repairSuffix is that of upstream's copy of a segment while it repairs it.
	repairSuffix = ".repair"
	// strayPrefix makes a name one that upstream ignores.
	strayPrefix = "stray."
)

type checkpoint struct {
	name  string
	index int
}

// layout is what is in a directory, by what upstream takes it for.
type layout struct {
	unseen      []unseen     // Of the segments.
	segments    []int        // Ascending.
	checkpoints []checkpoint // Ascending.
	repairs     []int        // Segments of which there is upstream's copy.
	unfinished  []string     // To be removed: nothing refers to it.
	strays      []string     // Upstream would fail because of the name.
}

// unseen is a segment that cannot be looked at.
type unseen struct {
	segment int
	cause   error
}

func list(fsys vfs.FS, dir string) (layout, error) {
	var l layout
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		name := e.Name()
		number, isNumber := parseNumber(name)
		switch {
		case strings.HasSuffix(name, tempSuffix):
			l.unfinished = append(l.unfinished, name)
		case isNumber:
			proper := number >= 0 && name == segmentName(number)
			info, err := fsys.Stat(filepath.Join(dir, name))
			if err != nil && e.Type()&fs.ModeSymlink != 0 {
				l.strays = append(l.strays, name) // It leads nowhere.
				continue
			}
			if err != nil && (!proper || errors.Is(err, fs.ErrNotExist)) {
				return l, err
			}
			if err != nil {
				// It is left where it is, as what cannot be read.
				l.unseen = append(l.unseen, unseen{number, err})
			}
			if proper && (err != nil || info.Mode().IsRegular()) {
				l.segments = append(l.segments, number)
			} else {
				l.strays = append(l.strays, name)
			}
		case strings.HasPrefix(name, checkpointPrefix):
			index, isNumber := parseNumber(name[len(checkpointPrefix):])
			switch {
			case !e.IsDir(), isNumber && index < 0:
				l.strays = append(l.strays, name)
			case isNumber:
				l.checkpoints = append(l.checkpoints, checkpoint{name: name, index: index})
			case strings.HasSuffix(name, wlog.CheckpointTempFileSuffix):
				l.unfinished = append(l.unfinished, name)
			}
		case strings.HasSuffix(name, repairSuffix):
			number, isNumber = parseNumber(strings.TrimSuffix(name, repairSuffix))
			if isNumber && number >= 0 && e.Type().IsRegular() && name == segmentName(number)+repairSuffix {
				l.repairs = append(l.repairs, number)
			}
		}
	}
	slices.Sort(l.segments)
	slices.SortFunc(l.checkpoints, func(a, b checkpoint) int { return a.index - b.index })
	return l, nil
}

// list lists what is in a directory, and leaves what cannot be looked at.
func (r *repairer) list(dir string) (layout, error) {
	l, err := list(r.fs, dir)
	for _, u := range l.unseen {
		if path := wlog.SegmentName(dir, u.segment); !r.left[path] {
			r.leave(path, u.segment, u.cause)
		}
	}
	return l, err
}

// parseNumber reads a number as upstream does, so that the same names count.
func parseNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func segmentName(k int) string { return wlog.SegmentName("", k) }

// tidy deals with names: what was left unfinished goes, what upstream would
// stumble over gets out of its way, what an interrupted repair left is taken
// back.
func (r *repairer) tidy() error {
	l, err := r.list(r.dir)
	if err != nil {
		return err
	}
	if err := r.clear(r.dir, l); err != nil {
		return err
	}
	for _, k := range l.repairs {
		if err := r.restore(k, slices.Contains(l.segments, k)); err != nil {
			return fmt.Errorf("take back %s: %w", segmentName(k)+repairSuffix, err)
		}
	}
	return nil
}

func (r *repairer) clear(dir string, l layout) error {
	for _, name := range l.unfinished {
		r.log.Info("Removing what was left of an unfinished change of the write-ahead log", "path", filepath.Join(dir, name))
		if err := r.fs.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range l.strays {
		to := strayPrefix + name
		for n := 1; ; n++ {
			if _, err := r.fs.Stat(filepath.Join(dir, to)); errors.Is(err, os.ErrNotExist) {
				break
			} else if err != nil {
				return err
			}
			to = strayPrefix + name + "." + strconv.Itoa(n)
		}
		if err := r.rename(filepath.Join(dir, name), filepath.Join(dir, to)); err != nil {
			return err
		}
		r.add(Damage{Kind: StrayFile, Path: filepath.Join(dir, name), Segment: -1, Action: "renamed to " + to})
	}
	return nil
}

func (r *repairer) rename(from, to string) error { return rename(r.fs, from, to) }

// restore decides about upstream's copy of segment k, which it makes by
// renaming the segment. It writes the good records to a new one then and
// removes the copy in the end. So the copy is all there is, unless the segment
// goes on with something else.
func (r *repairer) restore(k int, exists bool) error {
	path := wlog.SegmentName(r.dir, k)
	from := path + repairSuffix
	info, err := r.fs.Stat(from)
	if err != nil {
		return err
	}
	d := Damage{Kind: InterruptedRepair, Path: from, Segment: k, Action: "made the segment again"}
	if exists {
		prefix, err := isPrefix(r.fs, path, from)
		if err != nil {
			return err
		}
		if !prefix {
			d.Action, d.Bytes = "removed, the segment holds other records", info.Size()
			if err := r.fs.Remove(from); err != nil {
				return err
			}
			r.add(d)
			return r.fs.SyncDir(r.dir)
		}
	}
	if err := r.rename(from, path); err != nil {
		return err
	}
	r.restored[path] = true
	r.add(d)
	return nil
}
