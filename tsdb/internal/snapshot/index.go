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
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// block is where a block of a chunk is: 16 bytes of memory for 128 series.
type block struct {
	first chunks.HeadSeriesRef
	off   int64 // Of the first frame.
}

// index lists the blocks of a chunk, ascending by ref and offset.
type index []block

const (
	indexMagic   = "sidx"
	indexVersion = 1
)

var errIndex = errors.New("not an index of a chunk")

// find returns the block that holds ref if any does, -1 for none.
func (x index) find(ref chunks.HeadSeriesRef) int {
	i, ok := slices.BinarySearchFunc(x, ref, func(b block, ref chunks.HeadSeriesRef) int {
		switch {
		case b.first < ref:
			return -1
		case b.first > ref:
			return 1
		}
		return 0
	})
	if !ok {
		i--
	}
	return i
}

// encode returns the content of the index file and its checksum.
func (x index) encode() ([]byte, uint32) {
	b := append(make([]byte, 0, 16+6*len(x)), indexMagic...)
	b = append(b, indexVersion)
	b = binary.AppendUvarint(b, uint64(len(x)))
	var last block
	for _, next := range x {
		b = binary.AppendUvarint(b, uint64(next.first-last.first))
		b = binary.AppendUvarint(b, uint64(next.off-last.off))
		last = next
	}
	sum := crc32.Checksum(b, frame.Castagnoli)
	return binary.BigEndian.AppendUint32(b, sum), sum
}

// decodeIndex is the reverse of encode. The checksum must be the one that the
// manifest states, so that an index left over from another chunk is not taken.
func decodeIndex(b []byte, sum uint32, size int64) (index, error) {
	n := len(b) - crc32.Size
	if n < len(indexMagic)+1 || string(b[:len(indexMagic)]) != indexMagic || b[len(indexMagic)] != indexVersion {
		return nil, errIndex
	}
	if got := crc32.Checksum(b[:n], frame.Castagnoli); got != sum || binary.BigEndian.Uint32(b[n:]) != sum {
		return nil, fmt.Errorf("%w: checksum %08x is not %08x", errIndex, got, sum)
	}
	count, b, ok := uvarint(b[len(indexMagic)+1 : n])
	if !ok || count > uint64(len(b)/2) {
		return nil, errIndex
	}
	x := make(index, 0, count)
	var last block
	for i := range count {
		ref, rest, ok := uvarint(b)
		if !ok {
			return nil, errIndex
		}
		off, rest, ok := uvarint(rest)
		next := block{last.first + chunks.HeadSeriesRef(ref), last.off + int64(off)}
		if !ok || i > 0 && (next.first <= last.first || next.off <= last.off) || next.off < 0 || next.off >= size {
			return nil, errIndex
		}
		x, last, b = append(x, next), next, rest
	}
	if len(b) > 0 {
		return nil, errIndex
	}
	return x, nil
}

// buildIndex reads the whole chunk. Blocks that are damaged are not in the
// index; the error is one of reading.
func buildIndex(src io.ReaderAt, size int64) (index, error) {
	var x index
	err := scan(src, size, func(payload []byte, off int64) error {
		it, err := newEntries(payload)
		if err != nil {
			return err
		}
		if ok, err := it.next(); err != nil || !ok {
			return errEntry
		}
		if n := len(x); n > 0 && it.ref <= x[n-1].first {
			return errOrder
		}
		x = append(x, block{it.ref, off})
		return nil
	}, func(error) {})
	return x, err
}

var errOrder = errors.New("refs do not ascend")

// scan calls f with the payloads of all whole records in the first size bytes
// of src. Damage, and an error of f, is handed to damaged, and the scan goes
// on behind it. What it returns is an error of reading.
func scan(src io.ReaderAt, size int64, f func(payload []byte, off int64) error, damaged func(error)) error {
	sc := frame.NewScanner(16)
	sc.Reset(io.NewSectionReader(src, 0, size), 0)
	for {
		rec, err := sc.Next()
		switch damage := (*frame.Damage)(nil); {
		case err == nil:
			if err := f(rec.Data, rec.Start); err != nil {
				damaged(fmt.Errorf("record at offset %d: %w", rec.Start, err))
			}
		case errors.As(err, &damage):
			damaged(err)
			if _, ok, err := sc.Resync(damage.Retry); err != nil || !ok {
				return err
			}
		case errors.Is(err, io.ErrUnexpectedEOF):
			damaged(err)
			return nil
		case errors.Is(err, io.EOF):
			if at := sc.Offset(); at < size {
				damaged(fmt.Errorf("file ends at offset %d of %d: %w", at, size, io.ErrUnexpectedEOF))
			}
			return nil
		default:
			return err
		}
	}
}
