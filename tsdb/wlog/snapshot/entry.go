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
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/encoding"
	"github.com/prometheus/prometheus/tsdb/record"
)

// An entry is one definition as it stands in a series record: eight bytes of
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

// text reads bytes that have their length in front.
func text(b []byte) (part, rest []byte, ok bool) {
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

// newEntries checks the type of a record and stands before its first entry.
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
		if _, b, ok = text(b); ok {
			_, b, ok = text(b)
		}
	}
	return b, ok
}

// decoder turns entries into label sets. It belongs to one goroutine.
type decoder struct {
	builder labels.ScratchBuilder
}

func newDecoder() *decoder {
	d := &decoder{builder: labels.NewScratchBuilder(32)}
	d.builder.SetUnsafeAdd(true)
	return d
}

// definitions appends to defs what the series record defines, without the refs
// that skip, if there is one, returns true for. It appends nothing if any of it
// cannot be decoded. Skipped is the number of those left out.
func (d *decoder) definitions(defs []record.RefSeries, payload []byte, skip func(chunks.HeadSeriesRef) bool) (_ []record.RefSeries, skipped int, err error) {
	it, err := newEntries(payload)
	if err != nil {
		return defs, 0, err
	}
	had := len(defs)
	for b := it.rest; len(b) > 0; {
		if len(b) < refSize {
			return defs[:had], 0, errEntry
		}
		ref := chunks.HeadSeriesRef(binary.BigEndian.Uint64(b))
		var ok bool
		if skip != nil && skip(ref) {
			b, ok = skipEntry(b)
			skipped++
		} else {
			var lset labels.Labels
			if lset, b, ok = d.labels(b[refSize:]); ok {
				defs = append(defs, record.RefSeries{Ref: ref, Labels: lset})
			}
		}
		if !ok {
			return defs[:had], 0, errEntry
		}
	}
	return defs, skipped, nil
}

// labels decodes a label set into memory of its own.
func (d *decoder) labels(b []byte) (labels.Labels, []byte, bool) {
	n, b, ok := labelCount(b)
	if !ok {
		return labels.EmptyLabels(), nil, false
	}
	d.builder.Reset()
	for ; n > 0; n-- {
		var name, value []byte
		if name, b, ok = text(b); ok {
			value, b, ok = text(b)
		}
		if !ok {
			return labels.EmptyLabels(), nil, false
		}
		// The builder copies what it keeps, see SetUnsafeAdd.
		d.builder.Add(shared(name), shared(value))
	}
	return d.builder.Labels(), b, true
}

// shared returns b as a string that is valid as long as b is unchanged.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
