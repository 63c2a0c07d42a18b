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
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// maxOpens bounds how often opening starts again because the writer truncated
// the log meanwhile.
const maxOpens = 5

// load reads the checkpoint and the log up to its present end, and leaves the
// tail there.
func (f *Follower) load() error {
	first, last, err := cursor.SegmentRange(f.dir)
	if err != nil {
		return err
	}
	if first < 0 {
		return fmt.Errorf("there is no segment of a write-ahead log in %s: follow it when its writer has opened it", f.dir)
	}
	f.first, f.segment = first, last
	if err := f.loadCheckpoint(); err != nil {
		return err
	}
	if err := f.loadSegments(first, last); err != nil {
		return err
	}
	return f.loadLast(last)
}

// loadCheckpoint defines what the newest checkpoint has. Its series come before
// those of any segment there is.
func (f *Follower) loadCheckpoint() error {
	dir, n, err := wlog.LastCheckpoint(f.dir)
	if errors.Is(err, record.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a checkpoint in %s: %w", f.dir, err)
	}
	whole, err := readCheckpoint(dir, f.damage, func(rec []byte) error {
		defs, described, err := f.dec.about(rec)
		if err != nil {
			f.logger.Error("Skipped a record of a checkpoint that cannot be decoded", "path", dir, "err", err)
		}
		f.define(defs, cursor.Position{})
		f.describe(described)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read checkpoint %s: %w", dir, err)
	}
	f.checkpoint, f.whole = n, whole
	return nil
}

// readCheckpoint hands the series records of a checkpoint to use. whole is false
// if something in it is damaged.
func readCheckpoint(dir string, damage func(*cursor.Corruption), use func(rec []byte) error) (whole bool, err error) {
	first, last, err := cursor.SegmentRange(dir)
	if err != nil || first < 0 {
		return first >= 0, err
	}
	tail, err := cursor.Open(dir, cursor.Position{Segment: first})
	if err != nil {
		return false, err
	}
	defer tail.Close()
	whole = true
	for {
		it, err := tail.Next()
		switch {
		case errors.Is(err, cursor.ErrCaughtUp):
			// A file that ends within a record is not seen as damaged, since
			// in a log it might grow.
			return whole && ends(wlog.SegmentName(dir, last), tail.Point().Offset), nil
		case err != nil:
			return false, err
		case it.Kind == cursor.Gap:
			whole = false
			damage(it.Err)
		case it.Kind == cursor.Record && isAboutSeries(it.Data):
			if err := use(it.Data); err != nil {
				return false, err
			}
		}
	}
}

// ends reports whether nothing but padding, which ends with the page it begins in,
// follows the offset in a file.
func ends(path string, offset int64) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	rest := bufio.NewReader(io.NewSectionReader(file, offset, math.MaxInt64-offset))
	for at := offset; ; at++ {
		b, err := rest.ReadByte()
		if err != nil || b != 0 {
			return errors.Is(err, io.EOF)
		}
		if at%cursor.PageSize == 0 {
			return false // A page of zeros.
		}
	}
}

// definitions are those of one series record, or an error that ended the
// reading of a segment.
type definitions struct {
	series    []record.RefSeries
	described []record.RefMetadata
	end       cursor.Position
	err       error
}

// loadSegments reads the finished segments from first to before last, several
// at a time, and takes them into account in their order.
func (f *Follower) loadSegments(first, last int) error {
	var (
		// A segment is read from when it is put here; the one whose turn it is
		// has been taken out, and another waits for a place.
		segments = make(chan chan definitions, max(0, runtime.GOMAXPROCS(0)-2))
		stop     = make(chan struct{})
		wg       sync.WaitGroup
	)
	defer wg.Wait()
	defer close(stop)
	wg.Go(func() {
		defer close(segments)
		for n := first; n < last; n++ {
			found := make(chan definitions, 16)
			wg.Go(func() {
				defer close(found)
				f.readSegment(n, func(d definitions) bool {
					select {
					case found <- d:
						return true
					case <-stop:
						return false
					}
				})
			})
			select {
			case segments <- found:
			case <-stop:
				return
			}
		}
	})
	for found := range segments {
		for d := range found {
			if d.err != nil {
				return d.err
			}
			f.define(d.series, d.end)
			f.describe(d.described)
		}
	}
	for n := first; n < last; n++ {
		f.finished.note(f.dir, n)
	}
	return nil
}

// readSegment hands on what the series records of a finished segment define,
// until yield returns false.
func (f *Follower) readSegment(n int, yield func(definitions) bool) {
	tail, err := cursor.Open(f.dir, cursor.Position{Segment: n})
	if err != nil {
		yield(definitions{err: err})
		return
	}
	defer tail.Close()
	dec := newDecoder(f.logger)
	for {
		it, err := tail.Next()
		switch {
		case err != nil:
			yield(definitions{err: err})
			return
		case it.Kind == cursor.Seal:
			return
		case it.Kind == cursor.Gap:
			f.damage(it.Err)
		case it.Kind == cursor.Record && isAboutSeries(it.Data):
			defs, described, err := dec.about(it.Data)
			if err != nil {
				f.logger.Error("Skipped a record about series that cannot be decoded", "segment", n, "end_offset", it.End.Offset, "err", err)
				continue
			}
			if !yield(definitions{series: slices.Clone(defs), described: slices.Clone(described), end: it.End.Position}) {
				return
			}
		}
	}
}

// loadLast reads the segment that is written to, and any that follow meanwhile.
func (f *Follower) loadLast(n int) error {
	tail, err := cursor.Open(f.dir, cursor.Position{Segment: n})
	if err != nil {
		return err
	}
	f.tail, f.at = tail, cursor.Position{Segment: n}
	for {
		it, err := tail.Next()
		if errors.Is(err, cursor.ErrCaughtUp) {
			return nil
		}
		if err != nil {
			return err
		}
		f.at = it.End.Position
		f.segment = max(f.segment, it.Start.Segment)
		switch {
		case it.Kind == cursor.Gap:
			f.damage(it.Err)
		case it.Kind == cursor.Record && isSeries(it.Data):
			f.takeSeries(it)
		case it.Kind == cursor.Seal:
			f.finished.note(f.dir, it.Start.Segment)
		}
	}
}
