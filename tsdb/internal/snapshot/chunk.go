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
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/util/compression"
)

// file is a file of the snapshot, shared by the views that name it. The last of
// them to be released closes it, and removes it if it is doomed. That way no
// reader meets a closed file, and systems that do not remove open files are
// served too.
type file struct {
	path   string
	side   string // Another file that goes with it, or empty.
	refs   atomic.Int32
	doomed atomic.Bool // Set after a manifest without the file is durable.
	f      vfs.File    // Open for reading for as long as refs is above 0; nil for lists.
}

// chunk is an open chunk. All but the flags is immutable.
type chunk struct {
	file
	meta chunkMeta
	idx  index
	// absent is why the chunk cannot be read at all, nil if it can.
	absent error
	// damaged is set when a block turned out not to be whole, unreadable when
	// reading failed: such a chunk is salvaged by the next merge, or is left
	// alone by merges, respectively.
	damaged, unreadable atomic.Bool
}

// listFile is a file of retired refs or of timestamps.
type listFile struct {
	file
	meta listMeta
}

// blockError is a block that cannot be used.
type blockError struct {
	off int64
	err error
	io  bool // Reading failed: it may work the next time.
}

func (e *blockError) Error() string { return fmt.Sprintf("block at offset %d: %s", e.off, e.err) }
func (e *blockError) Unwrap() error { return e.err }

// lost says that the file is not there, not just out of reach.
func (c *chunk) lost() bool { return errors.Is(c.absent, fs.ErrNotExist) }

// mergeable says that a merge can read the chunk, as far as is known.
func (c *chunk) mergeable() bool { return c.absent == nil && !c.unreadable.Load() }

// end returns where the bytes of block i end.
func (c *chunk) end(i int) int64 {
	if i+1 < len(c.idx) {
		return c.idx[i+1].off
	}
	return c.meta.Bytes
}

// blockReader reads blocks. It belongs to one goroutine.
type blockReader struct {
	bytes  []byte
	joined []byte
	dec    compression.DecodeBuffer
}

func newBlockReader() *blockReader {
	return &blockReader{dec: compression.NewSyncDecodeBuffer()}
}

// fetch reads the bytes of blocks from to to-1. They are valid until the next
// call.
func (r *blockReader) fetch(c *chunk, from, to int) ([]byte, error) {
	start := c.idx[from].off
	size := int(c.end(to-1) - start)
	if cap(r.bytes) < size {
		r.bytes = make([]byte, size)
	}
	n, err := c.f.ReadAt(r.bytes[:size], start)
	switch {
	case err == nil || n == size:
	case errors.Is(err, io.EOF):
		// The file is too short. What is there may be whole.
	default:
		return nil, &blockError{start, err, true}
	}
	return r.bytes[:n], nil
}

// payload returns the decoded record of block i, which starts with the first of
// the bytes given. It is valid until the next call.
func (r *blockReader) payload(c *chunk, i int, b []byte) ([]byte, error) {
	data, t, err := frame.Join(b, c.idx[i].off, &r.joined)
	if err == nil {
		data, err = frame.Decompress(t, data, r.dec)
	}
	if err != nil {
		return nil, &blockError{c.idx[i].off, err, false}
	}
	return data, nil
}

// block reads and decodes block i alone.
func (r *blockReader) block(c *chunk, i int) ([]byte, error) {
	b, err := r.fetch(c, i, i+1)
	if err != nil {
		return nil, err
	}
	return r.payload(c, i, b)
}

// openChunk opens a chunk and loads its index, rebuilding it if need be. What
// is wrong with the files goes to report.
func openChunk(s sink, path string, meta chunkMeta, report func(ProblemKind, string, error)) *chunk {
	c := &chunk{file: file{path: path, side: path + indexSuffix}, meta: meta}
	f, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		c.absent = err
		report(ChunkMissing, path, err)
		return c
	}
	c.f = f
	if info, err := f.Stat(); err == nil && info.Size() < meta.Bytes {
		c.damaged.Store(true)
		report(ChunkDamaged, path, fmt.Errorf("file has %d bytes of %d", info.Size(), meta.Bytes))
	}
	content, err := readFile(s.fs, c.side, meta.Bytes+1024)
	if err == nil {
		if c.idx, err = decodeIndex(content, meta.Index, meta.Bytes); err == nil {
			return c
		}
	}
	report(IndexRebuilt, c.side, err)
	if c.idx, err = buildIndex(f, meta.Bytes); err != nil {
		c.unreadable.Store(true)
		report(ChunkDamaged, path, err)
	} else if len(c.idx) != meta.Blocks {
		c.damaged.Store(true)
		report(ChunkDamaged, path, fmt.Errorf("%d of %d blocks are whole", len(c.idx), meta.Blocks))
	}
	return c
}

// readFile reads a file of at most limit bytes.
func readFile(fsys vfs.FS, path string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return b, err
}
