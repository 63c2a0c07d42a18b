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

package cursor

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

// readPages is how many pages a Tail reads at once when it is behind.
const readPages = 4

// segmentFile is an open segment.
type segmentFile interface {
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error)
}

// Tail reads a log from a position on. It belongs to one goroutine.
type Tail struct {
	dir   string
	file  segmentFile // Of the segment in point; nil before it was opened.
	stat  func(path string) (os.FileInfo, error)
	scan  *frame.Scanner
	point Point // End of what was handed out.

	placed bool // The scanner is at point, which was checked.
	sealed bool // A next segment was seen to exist before the last read began.
	reread bool // The read that found damage began after a later record was seen to be whole.
	ended  bool // A gap reached the end of the sealed segment.
	closed bool

	lenient *frame.Lenient // Between scanner and file, see OpenLenient.
}

// Open returns a Tail that starts at the given position. If no record ends
// there, because the position was not resolved or the segment is another one
// now, it starts at the beginning of the segment. The error is os.ErrNotExist
// if the segment is gone or does not exist yet.
func Open(walDir string, at Position) (*Tail, error) {
	if at.Segment < 0 || at.Offset < 0 {
		return nil, fmt.Errorf("position %s is not one in a write-ahead log", at)
	}
	t := &Tail{
		dir:   walDir,
		stat:  os.Stat,
		scan:  frame.NewScanner(readPages),
		point: Point{Position: at},
	}
	if err := t.openSegment(); err != nil {
		return nil, err
	}
	if err := t.place(); err != nil {
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// OpenLenient is Open for a position that is known to be one, in a segment of
// which the disk refuses to read a part. What it refuses is taken for damage, in
// that segment; others are read as always, and may work later if they fail.
func OpenLenient(walDir string, at Position) (*Tail, error) {
	t := &Tail{dir: walDir, stat: os.Stat, scan: frame.NewScanner(readPages), point: Point{Position: at}}
	if err := t.openSegment(); err != nil {
		return nil, err
	}
	size, err := t.size()
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	t.lenient = &frame.Lenient{Src: t.file, Size: size}
	t.rewind()
	return t, nil
}

// source is what the segment is read from.
func (t *Tail) source() io.ReaderAt {
	if t.lenient != nil {
		return t.lenient
	}
	return t.file
}

// Point returns where the next item starts, or before it the padding that
// belongs to none. It is the End of the last item.
func (t *Tail) Point() Point { return t.point }

// Close releases the segment file. Next must not be called any more.
func (t *Tail) Close() error {
	t.closed = true
	return t.release()
}

func (t *Tail) release() error {
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file, t.lenient = nil, nil
	return err
}

func (t *Tail) openSegment() error {
	f, err := os.Open(wlog.SegmentName(t.dir, t.point.Segment))
	if err != nil {
		return fmt.Errorf("open segment %08d of the write-ahead log: %w", t.point.Segment, err)
	}
	t.file = f
	t.placed, t.sealed, t.reread, t.ended = false, false, false, false
	return nil
}

// place puts the scanner at the point after checking that a record ends there.
// While the file is shorter than that, nothing can be said and placed remains
// false.
func (t *Tail) place() error {
	if t.point.Offset == 0 {
		t.rewind()
		return nil
	}
	size, err := t.size()
	if err != nil || size < t.point.Offset {
		return err
	}
	crc, ok, err := boundary(t.source(), t.point.Offset)
	if err != nil {
		return t.readError(err)
	}
	if !ok && size == t.point.Offset && t.mayEnd() == nil {
		// What is before is damaged up to the end of the segment.
		t.ended = true
		return nil
	}
	if !ok {
		t.point = Point{Position: Position{Segment: t.point.Segment}}
	}
	t.point.CRC = crc
	t.rewind()
	return nil
}

// rewind forgets what was read after the point, so that it is read again.
func (t *Tail) rewind() {
	t.scan.Reset(t.source(), t.point.Offset)
	t.placed = true
}

func (t *Tail) size() (int64, error) {
	info, err := t.file.Stat()
	if err != nil {
		return 0, t.readError(err)
	}
	return info.Size(), nil
}

func (t *Tail) readError(err error) error {
	return fmt.Errorf("read segment %08d of the write-ahead log: %w", t.point.Segment, err)
}

// Next returns the next item. It never waits: where there is nothing complete
// to read it returns ErrCaughtUp, and can be called again once something may
// have been written. An error that wraps os.ErrNotExist means that the segment
// was removed. After any other error, which came from reading the file, the
// call can be repeated as well; the point does not move.
func (t *Tail) Next() (Item, error) {
	if t.closed {
		return Item{}, os.ErrClosed
	}
	if t.file == nil {
		if err := t.openSegment(); err != nil {
			return Item{}, err
		}
	}
	for {
		if !t.placed {
			if err := t.place(); err != nil {
				return Item{}, err
			}
		}
		if t.ended {
			return t.seal()
		}
		if !t.placed {
			// The file is shorter than the position it is read from.
			if err := t.mayEnd(); err != nil {
				return Item{}, err
			}
			if size, err := t.size(); err != nil {
				return Item{}, err
			} else if size < t.point.Offset {
				return t.seal()
			}
			continue
		}

		rec, err := t.scan.Next()
		if err == nil {
			return t.record(rec), nil
		}

		var (
			damage *frame.Damage
			item   Item
			done   bool
		)
		switch {
		case errors.Is(err, io.EOF):
			item, done, err = t.atEnd(nil)
		case errors.Is(err, io.ErrUnexpectedEOF):
			item, done, err = t.atEnd(err)
		case errors.As(err, &damage):
			item, done, err = t.atDamage(damage)
		default:
			err = t.readError(err)
		}
		if err != nil {
			if t.file != nil {
				t.rewind()
			}
			return Item{}, err
		}
		if done {
			return item, nil
		}
	}
}

// Why filler is a gap.
var (
	errRepaired = errors.New("what was there was damaged, and a repair has taken it out")
	errGone     = errors.New("the segment was missing, and a repair has put an empty one in its place")
)

// record makes an item of a record, where the scanner is now.
func (t *Tail) record(rec frame.Record) Item {
	item := Item{
		Kind:  Record,
		Data:  rec.Data,
		Start: t.point,
		End:   Point{Position: Position{Segment: t.point.Segment, Offset: rec.End}, CRC: rec.CRC},
	}
	item.Start.Offset = rec.Start
	t.point, t.reread = item.End, false
	if frame.IsFiller(rec.Data) {
		item.Kind, item.Data = Gap, nil
		item.Err = &Corruption{Segment: item.End.Segment, From: rec.Start, To: rec.End, Err: errRepaired}
		if frame.IsGone(rec) {
			item.Err.Gone, item.Err.Err = true, errGone
		}
	}
	return item
}

// mayEnd returns nil if the end of the data read from now on is the end of the
// segment, because there is a next one. Otherwise it returns ErrCaughtUp, or an
// error if the segment that is read is itself gone: then no next one will come.
func (t *Tail) mayEnd() error {
	if t.sealed {
		return nil
	}
	_, err := t.stat(wlog.SegmentName(t.dir, t.point.Segment+1))
	if err == nil {
		t.sealed = true
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for segment %08d of the write-ahead log: %w", t.point.Segment+1, err)
	}
	if _, err = t.stat(wlog.SegmentName(t.dir, t.point.Segment)); err != nil {
		return fmt.Errorf("segment %08d of the write-ahead log was removed while it was read: %w", t.point.Segment, err)
	}
	return ErrCaughtUp
}

// Finish says that the segment is finished although the next one is not there,
// after Next has returned ErrCaughtUp: it was removed, or the log has no writer.
func (t *Tail) Finish() { t.sealed = true }

// atLast reports whether the data that was read is all there is. If it was read before
// the segment was known to be finished, it has to be read again.
func (t *Tail) atLast() (bool, error) {
	wasSealed := t.sealed
	if err := t.mayEnd(); err != nil {
		return false, err
	}
	if !wasSealed {
		t.rewind()
	}
	return wasSealed, nil
}

// atEnd decides what the end of the data is. Torn is nil if it is between
// records. Done is false if the data has to be read again.
func (t *Tail) atEnd(torn error) (item Item, done bool, err error) {
	if ended, err := t.atLast(); !ended {
		return Item{}, false, err
	}
	if torn == nil {
		item, err = t.seal()
		return item, err == nil, err
	}
	return t.gapToEnd(torn)
}

// atDamage steps over damage if there is a record to go on with. What was read is
// believed only if it is the same after that record was seen to exist: a writer
// may have been busy with it.
func (t *Tail) atDamage(d *frame.Damage) (item Item, done bool, err error) {
	next, found, err := t.scan.Resync(d.Retry)
	if err != nil {
		return Item{}, false, t.readError(err)
	}
	if found && !t.reread {
		t.reread = true
		t.rewind()
		return Item{}, false, nil
	}
	if found {
		crc, _, err := boundary(t.source(), next)
		if err != nil {
			return Item{}, false, t.readError(err)
		}
		return t.gap(Point{Position: Position{Segment: t.point.Segment, Offset: next}, CRC: crc}, d.Err), true, nil
	}
	if ended, err := t.atLast(); !ended {
		return Item{}, false, err
	}
	return t.gapToEnd(d.Err)
}

// gap reports the bytes up to the given point, where the scanner is, as
// damaged.
func (t *Tail) gap(to Point, cause error) Item {
	refused := false
	if t.lenient != nil && t.lenient.Err != nil {
		cause, refused = t.lenient.Err, true
		t.lenient.Err = nil
	}
	item := Item{
		Kind:  Gap,
		Start: t.point,
		End:   to,
		Err:   &Corruption{Segment: t.point.Segment, From: t.point.Offset, To: to.Offset, Err: cause, Refused: refused},
	}
	t.point, t.reread = to, false
	return item
}

// gapToEnd reports the rest of a sealed segment as damaged, if there is a rest:
// the file may have been cut back to its last record meanwhile.
func (t *Tail) gapToEnd(cause error) (Item, bool, error) {
	size, err := t.size()
	if err != nil {
		return Item{}, false, err
	}
	t.ended = true
	if size <= t.point.Offset {
		return Item{}, false, nil
	}
	crc, _, err := boundary(t.source(), size)
	if err != nil {
		return Item{}, false, t.readError(err)
	}
	used, err := frame.Used(t.source(), size)
	if err != nil {
		return Item{}, false, t.readError(err)
	}
	item := t.gap(Point{Position: Position{Segment: t.point.Segment, Offset: size}, CRC: crc}, cause)
	if !item.Err.Refused && !errors.Is(cause, io.ErrUnexpectedEOF) {
		item.Err.To = max(used, item.Err.From) // What pads the last page held nothing.
	}
	return item, true, nil
}

// seal leaves the segment for the next one, which is opened by the next call
// of Next.
func (t *Tail) seal() (Item, error) {
	if err := t.release(); err != nil {
		return Item{}, fmt.Errorf("close segment %08d of the write-ahead log: %w", t.point.Segment, err)
	}
	item := Item{Kind: Seal, Start: t.point, End: Point{Position: Position{Segment: t.point.Segment + 1}}}
	t.point = item.End
	return item, nil
}

// boundary reports whether a record may start at the offset, and returns the
// checksum of the one that ends there.
func boundary(src io.ReaderAt, offset int64) (uint32, bool, error) {
	crc, place, err := frame.Ending(src, offset)
	if err != nil || place == frame.Boundary {
		return crc, err == nil, err
	}
	// What is before is damaged. Reading goes on after that at what speaks for
	// itself: a frame that begins a record, or in the first place of a page what
	// looks like one.
	if offset%PageSize != 0 {
		begins, err := frame.Begins(src, offset)
		return 0, begins, err
	}
	var head [HeaderSize]byte
	n, err := src.ReadAt(head[:], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	if n < HeaderSize {
		return 0, true, nil
	}
	h, err := frame.Decode(head[:], PageSize)
	return 0, err == nil && h.Type.Begins() || h.Type == frame.Pad, nil
}
