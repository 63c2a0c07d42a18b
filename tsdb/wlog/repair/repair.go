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
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"

	"github.com/prometheus/common/promslog"
	"go.uber.org/atomic"
	"golang.org/x/sync/errgroup"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// The kinds of damage, in the form used for label values.
const (
	// TornTail is a record at the end of the newest segment that was not written to
	// its end, as every crash may leave. It is not corruption.
	TornTail = "torn_tail"
	// CorruptSegment is bytes of a segment that cannot be read.
	CorruptSegment = "corrupt_segment"
	// Unreadable is a file that the disk refuses to read in part or whole, or in
	// which it refuses to take out what is damaged. It is left as it is, for it may
	// be readable another time; this project's readers pass over what is not.
	Unreadable = "unreadable"
	// CorruptCheckpoint is bytes of a checkpoint that cannot be read, or a
	// file missing in it.
	CorruptCheckpoint = "corrupt_checkpoint"
	// MissingCheckpoint says that the log does not start with segment 0 and has
	// no checkpoint for what was before, without which upstream cannot open it.
	MissingCheckpoint = "missing_checkpoint"
	// MissingSegments is a hole in the numbering of the segments, or between
	// the checkpoint and the first of them.
	MissingSegments = "missing_segments"
	// InterruptedRepair is a copy of a segment that upstream left when it
	// crashed while repairing it.
	InterruptedRepair = "interrupted_repair"
	// StrayFile is something else under a name that upstream would take for a
	// segment's or a checkpoint's, and fail.
	StrayFile = "stray_file"
)

// Options are the options of Directory.
type Options struct {
	// Logger gets a line per damage. None is needed.
	Logger *slog.Logger
	// Whole says whether a segment, or a file of a checkpoint, is taken to be
	// whole without looking at its content, because an earlier run wrote or
	// checked it and it has not changed since. Nil looks at everything.
	Whole func(path string, info fs.FileInfo) bool
	// FS is the file system, nil for that of the operating system.
	FS vfs.FS
	// Progress is told how many bytes of the segments are read, of how many; nil if the
	// caller does not want to know. Calls may come from several goroutines.
	Progress func(done, total int64)
}

// Damage is something that was wrong, and what was done about it.
type Damage struct {
	Kind    string
	Path    string // The file or directory.
	Segment int    // Its number, -1 where there is none.
	More    int    // How many of the segments after it are missing like it.
	Offset  int64  // Of the first byte lost.
	Bytes   int64  // Lost.
	Records int    // At least so many were lost.
	Action  string // What was done.
	Err     error  // What was found wrong; nil where the kind says it all.
}

// Concerns reports whether the damage is in a segment of the log.
func (d Damage) Concerns(segment int) bool {
	return d.Segment >= 0 && d.Segment <= segment && segment <= d.Segment+d.More
}

// Report is what Directory found.
type Report struct {
	Damages     []Damage // Those of checkpoints first, then by segment.
	Segments    int      // Read.
	Checkpoints int      // Read.
	Records     int      // Whole records in what was read.
	Bytes       int64    // Read.
}

// parallel is how many segments are read at the same time.
const parallel = 4

// Directory repairs the directory. Nothing may have it open. One that does
// not exist is whole.
//
// An error means that the directory could not be read or changed, or that there
// are more than 10000 numbers missing; what was done until then is in the report.
func Directory(walDir string, opts Options) (Report, error) {
	r := newRepairer(opts.FS, walDir, opts.Logger)
	r.whole, r.progress = opts.Whole, opts.Progress
	if _, err := r.fs.Stat(walDir); errors.Is(err, os.ErrNotExist) {
		return Report{}, nil
	} else if err != nil {
		return Report{}, fmt.Errorf("repair the write-ahead log in %s: %w", walDir, err)
	}
	for _, step := range []func() error{r.tidy, r.checkpoints, r.segments, r.numbering} {
		if err := step(); err != nil {
			return r.report, fmt.Errorf("repair the write-ahead log in %s: %w", walDir, err)
		}
	}
	return r.report, nil
}

// repairer is one run of Directory. Its fields belong to the calling goroutine.
type repairer struct {
	left   map[string]bool // By path, what cannot be repaired.
	dir    string
	fs     vfs.FS
	log    *slog.Logger
	whole  func(path string, info fs.FileInfo) bool
	report Report
	// progress may be nil.
	progress func(done, total int64)
	// restored are segments that upstream was about to repair.
	restored map[string]bool
}

func newRepairer(fsys vfs.FS, dir string, log *slog.Logger) *repairer {
	r := &repairer{dir: dir, fs: fsys, log: log, restored: map[string]bool{}, left: map[string]bool{}}
	if r.fs == nil {
		r.fs = vfs.OS
	}
	if r.log == nil {
		r.log = promslog.NewNopLogger()
	}
	return r
}

// add reports a damage.
func (r *repairer) add(d Damage) {
	r.report.Damages = append(r.report.Damages, d)
	level := slog.LevelWarn
	if d.Kind == TornTail {
		level = slog.LevelInfo
	}
	r.log.Log(context.Background(), level, "Damage in the write-ahead log was dealt with",
		"kind", d.Kind, "path", d.Path, "offset", d.Offset, "bytes", d.Bytes,
		"records", d.Records, "action", d.Action, "err", d.Err)
}

// segments repairs the segments.
func (r *repairer) segments() error {
	l, err := r.list(r.dir)
	if err != nil {
		return err
	}
	var (
		numbers []int
		sizes   []int64
		total   int64        // Bytes of them,
		read    atomic.Int64 // and those that are read.
		last    = -1         // That is not empty: where a crash leaves a torn record.
	)
	for _, k := range l.segments {
		path := wlog.SegmentName(r.dir, k)
		if r.left[path] {
			continue
		}
		info, err := r.fs.Stat(path)
		if err != nil {
			r.leave(path, k, err)
			continue
		}
		if info.Size() > 0 {
			last = k
		}
		if r.whole == nil || r.restored[path] || !r.whole(path, info) {
			numbers, sizes = append(numbers, k), append(sizes, info.Size())
			total += info.Size()
		}
	}

	found, failed := make([]finding, len(numbers)), make([]error, len(numbers))
	var group errgroup.Group
	group.SetLimit(min(parallel, runtime.GOMAXPROCS(0)))
	for i, k := range numbers {
		group.Go(func() error {
			is := finished
			if k == last {
				is = newest
			}
			found[i], failed[i] = repairFile(r.fs, wlog.SegmentName(r.dir, k), is)
			if n := read.Add(sizes[i]); r.progress != nil {
				r.progress(n, total)
			}
			return nil
		})
	}
	_ = group.Wait() // No error stops the others.
	for i, k := range numbers {
		r.report.Segments++
		if failed[i] != nil {
			r.leave(wlog.SegmentName(r.dir, k), k, failed[i])
			continue
		}
		r.take(found[i], k, func(l loss) string {
			if l.cut {
				return TornTail
			}
			return CorruptSegment
		})
	}
	return nil
}

// leave reports a file that cannot be repaired.
func (r *repairer) leave(path string, segment int, cause error) {
	r.left[path] = true
	d := Damage{Kind: Unreadable, Path: path, Segment: segment, Action: "left as it is", Err: cause}
	if info, err := r.fs.Stat(path); err == nil {
		d.Bytes = info.Size() // At most.
	}
	r.add(d)
}

// take adds what was found in a file to the report.
func (r *repairer) take(f finding, segment int, kind func(loss) string) {
	r.report.Records += f.records
	r.report.Bytes += f.size
	for _, l := range f.losses {
		d := Damage{
			Kind:    kind(l),
			Path:    f.path,
			Segment: segment,
			Offset:  l.from,
			Bytes:   l.to - l.from,
			Records: l.records,
			Action:  "filled",
			Err:     l.cause,
		}
		if l.cut {
			d.Action = "cut off"
		}
		r.add(d)
	}
}

// Segment repairs one finished segment of a log that may be in use: readers that
// have it open find filler where the damage was. Nothing may be appended to it. It
// ends, with ctx's error, between two reads.
func Segment(ctx context.Context, fsys vfs.FS, walDir string, segment int, log *slog.Logger) ([]Damage, error) {
	r := newRepairer(&endingFS{FS: fsys, ctx: ctx}, walDir, log)
	found, err := repairFile(r.fs, wlog.SegmentName(walDir, segment), finished)
	if err != nil {
		return nil, fmt.Errorf("check segment %08d of the write-ahead log: %w", segment, err)
	}
	r.take(found, segment, func(loss) string { return CorruptSegment })
	return r.report.Damages, nil
}

// endingFS is a file system whose files are not read any more when its context
// ends.
type endingFS struct {
	vfs.FS
	ctx context.Context
}

func (e *endingFS) OpenFile(name string, flag int, mode os.FileMode) (vfs.File, error) {
	f, err := e.FS.OpenFile(name, flag, mode)
	if err != nil || flag != os.O_RDONLY {
		return f, err
	}
	return &endingFile{File: f, ctx: e.ctx}, nil
}

type endingFile struct {
	vfs.File
	ctx context.Context
}

func (e *endingFile) ReadAt(b []byte, off int64) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.File.ReadAt(b, off)
}
