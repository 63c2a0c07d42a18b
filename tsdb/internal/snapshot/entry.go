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

package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/encoding"
	"github.com/prometheus/prometheus/tsdb/record"
)

// An entry is one definition as it is in a series record: eight bytes of
// ref, big endian, the number of labels, and name and value of each with their
// lengths in front. Merges copy entries without looking into them.

const refSize = 8

var (
	errNoSeries = errors.New("record holds no series")
	errEntry    = errors.New("definition of a series does not end within its record")
)

// appendEntry appends the definition to b.
func appendEntry(b []byte, def record.RefSeries) []byte {
	buf := encoding.Encbuf{B: b}
	buf.PutBE64(uint64(def.Ref))
	record.EncodeLabels(&buf, def.Labels)
	return buf.B
}

// uvarint reads one number. Nearly all of them have one byte.
func uvarint(b []byte) (uint64, []byte, bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// str reads bytes that have their length in front.
func str(b []byte) (part, rest []byte, ok bool) {
	n, b, ok := uvarint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// labelCount reads the number of labels, of which each takes two bytes.
func labelCount(b []byte) (int, []byte, bool) {
	n, b, ok := uvarint(b)
	if !ok || n > uint64(len(b)/2) {
		return 0, nil, false
	}
	return int(n), b, true
}

// entries iterates over the entries of a decoded series record.
type entries struct {
	rest []byte
	ref  chunks.HeadSeriesRef
	raw  []byte // The present entry.
}

// newEntries checks the type of a record and goes to its first entry.
func newEntries(payload []byte) (entries, error) {
	if len(payload) == 0 || record.Type(payload[0]) != record.Series {
		return entries{}, errNoSeries
	}
	return entries{rest: payload[1:]}, nil
}

// next goes to the next entry and reports whether there is one.
func (e *entries) next() (bool, error) {
	if len(e.rest) == 0 {
		return false, nil
	}
	b, ok := skipEntry(e.rest)
	if !ok {
		return false, errEntry
	}
	e.ref = chunks.HeadSeriesRef(binary.BigEndian.Uint64(e.rest))
	e.raw, e.rest = e.rest[:len(e.rest)-len(b)], b
	return true, nil
}

// skipEntry returns what follows the first entry in b.
func skipEntry(b []byte) ([]byte, bool) {
	if len(b) < refSize {
		return nil, false
	}
	n, b, ok := labelCount(b[refSize:])
	for ; ok && n > 0; n-- {
		if _, b, ok = str(b); ok {
			_, b, ok = str(b)
		}
	}
	return b, ok
}

// decoder reads the entries of payloads. One goroutine owns it.
type decoder struct {
	list    []labels.Label
	raw     [][]byte // What list was read from, by place.
	same    uint64   // A bit for each of the first 64 labels that is as it was, see Definition.
	builder labels.ScratchBuilder
}

func newDecoder() *decoder {
	d := &decoder{builder: labels.NewScratchBuilder(32)}
	d.builder.SetUnsafeAdd(true) // It copies what it keeps.
	return d
}

// entryError is damage in a payload, as opposed to an error of the callback's.
type entryError struct{ error }

func (e entryError) Unwrap() error { return e.error }

// each calls f for the entries of a payload but those that skip says to leave
// out, nil for none, and returns how many of either there were. The labels,
// their strings included, are valid during the call only. An error of the
// payload's is an entryError; f has seen the entries before it.
func (d *decoder) each(payload []byte, skip func(chunks.HeadSeriesRef) bool, f func(chunks.HeadSeriesRef, []labels.Label) error) (taken, skipped int, err error) {
	it, err := newEntries(payload)
	if err != nil {
		return 0, 0, entryError{err}
	}
	d.raw = d.raw[:0] // It was of another payload.
	for b := it.rest; len(b) > 0; {
		if len(b) < refSize {
			return taken, skipped, entryError{errEntry}
		}
		ref := chunks.HeadSeriesRef(binary.BigEndian.Uint64(b))
		var ok bool
		if skip != nil && skip(ref) {
			if b, ok = skipEntry(b); !ok {
				return taken, skipped, entryError{errEntry}
			}
			skipped++
			continue
		}
		if b, ok = d.labels(b[refSize:]); !ok {
			return taken, skipped, entryError{errEntry}
		}
		if err := f(ref, d.list); err != nil {
			return taken, skipped, err
		}
		taken++
	}
	return taken, skipped, nil
}

// definitions appends the entries of a payload to defs, with labels of their
// own.
func (d *decoder) definitions(defs []record.RefSeries, payload []byte) ([]record.RefSeries, error) {
	had := len(defs)
	_, _, err := d.each(payload, nil, func(ref chunks.HeadSeriesRef, lset []labels.Label) error {
		d.builder.Reset()
		for i := range lset {
			d.builder.Add(lset[i].Name, lset[i].Value)
		}
		defs = append(defs, record.RefSeries{Ref: ref, Labels: d.builder.Labels()})
		return nil
	})
	if err != nil {
		return defs[:had], err
	}
	return defs, nil
}

// labels reads the labels of an entry into d.list, without copying strings, and
// returns what follows them.
func (d *decoder) labels(b []byte) ([]byte, bool) {
	n, b, ok := labelCount(b)
	if !ok {
		return nil, false
	}
	d.list, d.same = d.list[:0], 0
	for place := range n {
		if place < len(d.raw) && bytes.HasPrefix(b, d.raw[place]) {
			// The same label as in the entry before, as most are: lengths stand
			// before strings, so that equal bytes are equal labels.
			b = b[len(d.raw[place]):]
			d.list = d.list[:place+1]
			d.same |= 1 << place // None beyond the 64th.
			continue
		}
		var name, value []byte
		from := b
		if name, b, ok = str(b); ok {
			value, b, ok = str(b)
		}
		if !ok {
			return nil, false
		}
		d.list = append(d.list, labels.Label{Name: shared(name), Value: shared(value)})
		if place == len(d.raw) {
			d.raw = append(d.raw, nil)
		}
		d.raw[place] = from[:len(from)-len(b)]
	}
	return b, true
}

// shared returns b as a string that is valid as long as b is unchanged.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
