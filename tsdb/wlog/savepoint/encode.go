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
package savepoint

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// Encode returns the bytes of the file that holds f. Equal files have equal
// bytes.
func Encode(f File) ([]byte, error) {
	var w writer
	return w.encode(&f)
}

// writer encodes files. What is saved four times a second is put together by
// hand, in buffers that are kept: the bytes are those encoding/json makes of a
// [body]. One goroutine owns it, and what encode returns until the next call.
type writer struct {
	out      []byte
	points   []cursor.Point // Distinct points of all marks, ascending.
	segments []int
}

// head is what stands before the body. The checksum is filled in last.
var head = `{"version":` + strconv.Itoa(Version) + `,"crc32c":"########","body":`

func (w *writer) encode(f *File) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, fmt.Errorf("invalid content: %w", err)
	}
	w.collect(f)
	w.out = append(w.out[:0], head...)
	if err := w.body(f); err != nil {
		return nil, err
	}
	sum := sumOf(Version, w.out[len(head):])
	at := len(head) - len(`########","body":`)
	hex.Encode(w.out[at:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	w.out = append(w.out, '}', '\n')
	return w.out, nil
}

// collect lists the points of all marks, and the segments that need a
// fingerprint. Endpoints that keep up share nearly all points.
func (w *writer) collect(f *File) {
	w.points, w.segments = w.points[:0], w.segments[:0]
	for i := range f.Endpoints {
		for m := range f.Endpoints[i].marks {
			if n := len(w.points); n == 0 || w.points[n-1] != m.Point {
				w.points = append(w.points, m.Point)
			}
		}
	}
	slices.SortFunc(w.points, comparePoints)
	w.points = slices.Compact(w.points)
	for i := range f.Endpoints {
		for s := range f.Endpoints[i].segments {
			if _, known := f.Segments[s]; known && !slices.Contains(w.segments, s) {
				w.segments = append(w.segments, s)
			}
		}
	}
	// The order of encoding/json, which sorts keys as texts.
	slices.SortFunc(w.segments, func(a, b int) int {
		var x, y [20]byte
		return slices.Compare(strconv.AppendInt(x[:0], int64(a), 10), strconv.AppendInt(y[:0], int64(b), 10))
	})
}

func comparePoints(a, b cursor.Point) int {
	if c := a.Compare(b.Position); c != 0 {
		return c
	}
	return cmp.Compare(a.CRC, b.CRC)
}

func (w *writer) body(f *File) error {
	w.key(`{"run":`).text(f.Run)
	w.key(`,"segment":`).numbers(int64(f.Segment))
	w.key(`,"checkpoint":`).numbers(int64(f.Checkpoint))
	w.key(`,"clean":`)
	w.out = strconv.AppendBool(w.out, f.Clean)
	w.key(`,"written":`)
	if err := w.time(f.Written); err != nil {
		return fmt.Errorf("time of writing: %w", err)
	}
	w.key(`,"partitions":`).numbers(int64(f.Partitions))
	w.key(`,"fingerprints":{`)
	for i, s := range w.segments {
		w.comma(i).key(`"`).numbers(int64(s))
		w.key(`":`).numbers(int64(f.Segments[s]))
	}
	w.key(`},"points":[`)
	for i, p := range w.points {
		w.comma(i).point(p)
	}
	w.key(`],"endpoints":[`)
	for i := range f.Endpoints {
		if err := w.comma(i).endpoint(&f.Endpoints[i]); err != nil {
			return err
		}
	}
	w.key(`]}`)
	return nil
}

func (w *writer) endpoint(e *Endpoint) error {
	w.key(`{"id":`).text(e.ID)
	w.key(`,"identity":{`)
	if e.Identity.Name != "" {
		w.key(`"name":`).text(e.Identity.Name)
		w.key(`,`)
	}
	w.key(`"url":`).text(e.Identity.URLHash)
	if e.Identity.RulesHash != "" {
		w.key(`,"rules":`).text(e.Identity.RulesHash)
	}
	if e.Identity.TenantHash != "" {
		w.key(`,"tenant":`).text(e.Identity.TenantHash)
	}
	w.key(`}`)
	if e.Removed != nil {
		w.key(`,"removed":`)
		if err := w.time(*e.Removed); err != nil {
			return fmt.Errorf("time of removal: %w", err)
		}
	}
	w.key(`,"floor":`).point(e.Floor.Point)
	w.key(`,"dispatched":`).position(e.Dispatched)
	w.key(`,"acked":`).marks(e.Acked)
	if r := e.Fresh; r != nil {
		w.key(`,"fresh":{"from":`).point(r.From)
		w.key(`,"dispatched":`).position(r.Dispatched)
		w.key(`,"acked":`).marks(r.Acked)
		w.key(`,"backlog_dispatched":`).position(r.BacklogDispatched)
		w.key(`}`)
	}
	w.key(`}`)
	return nil
}

// marks writes runs of equal marks as [point], [point, count] or
// [point, count, skip], the shortest that says it.
func (w *writer) marks(marks []Mark) {
	w.key(`[`)
	for start := 0; start < len(marks); {
		m, end := marks[start], start+1
		for end < len(marks) && marks[end] == m {
			end++
		}
		place, _ := slices.BinarySearchFunc(w.points, m.Point, comparePoints)
		w.comma(start).key(`[`)
		switch {
		case m.Skip != 0:
			w.numbers(int64(place), int64(end-start), int64(m.Skip))
		case end-start > 1:
			w.numbers(int64(place), int64(end-start))
		default:
			w.numbers(int64(place))
		}
		w.key(`]`)
		start = end
	}
	w.key(`]`)
}

func (w *writer) point(p cursor.Point) {
	w.key(`[`).numbers(int64(p.Segment), p.Offset, int64(p.CRC))
	w.key(`]`)
}

func (w *writer) position(p cursor.Position) {
	w.key(`[`).numbers(int64(p.Segment), p.Offset)
	w.key(`]`)
}

// key writes a text as it is.
func (w *writer) key(text string) *writer {
	w.out = append(w.out, text...)
	return w
}

// comma separates the i-th element from the one before.
func (w *writer) comma(i int) *writer {
	if i > 0 {
		w.out = append(w.out, ',')
	}
	return w
}

func (w *writer) numbers(list ...int64) {
	for i, n := range list {
		w.comma(i)
		w.out = strconv.AppendInt(w.out, n, 10)
	}
}

// text writes a string, which is valid UTF-8. Hashes and ULIDs need no escapes,
// names mostly do not.
func (w *writer) text(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // Never fails for a string.
			w.out = append(w.out, quoted...)
			return
		}
	}
	w.key(`"`).key(s).key(`"`)
}

func (w *writer) time(t time.Time) (err error) {
	w.out = append(w.out, '"')
	if w.out, err = t.UTC().AppendText(w.out); err != nil {
		return err
	}
	w.out = append(w.out, '"')
	return nil
}
