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
	"context"
	"iter"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

// chunkWriter writes one chunk file, block by block.
type chunkWriter struct {
	out  *output
	raw  []byte // The record of the present block.
	n    int    // Definitions in it.
	head chunks.HeadSeriesRef
	idx  index
	meta chunkMeta
}

func newChunkWriter(out *output) *chunkWriter {
	return &chunkWriter{out: out, raw: []byte{byte(record.Series)}}
}

// add appends a definition. Refs must ascend.
func (w *chunkWriter) add(ref chunks.HeadSeriesRef, entry []byte) error {
	if w.meta.Series > 0 && ref <= w.meta.Last {
		return errOrder
	}
	if w.n == MaxBlockSeries || w.n > 0 && len(w.raw)+len(entry) > MaxBlockBytes {
		if err := w.cut(); err != nil {
			return err
		}
	}
	if w.n == 0 {
		w.head = ref
	}
	if w.meta.Series == 0 {
		w.meta.First = ref
	}
	w.raw = append(w.raw, entry...)
	w.n++
	w.meta.Series++
	w.meta.Last = ref
	return nil
}

// cut ends the block.
func (w *chunkWriter) cut() error {
	off, err := w.out.record(w.raw)
	if err != nil {
		return err
	}
	w.idx = append(w.idx, block{w.head, off})
	w.raw, w.n = w.raw[:1], 0
	return nil
}

// finish ends the chunk and makes it durable. The description lacks the number
// of the file and what the merge policy needs.
func (w *chunkWriter) finish() (chunkMeta, index, error) {
	if w.n > 0 {
		if err := w.cut(); err != nil {
			return chunkMeta{}, nil, err
		}
	}
	if err := w.out.finish(); err != nil {
		return chunkMeta{}, nil, err
	}
	w.meta.Bytes, w.meta.Blocks = w.out.off, len(w.idx)
	return w.meta, w.idx, nil
}

// encoded turns definitions into entries. An entry is valid until the next.
func encoded(defs iter.Seq[record.RefSeries]) entrySeq {
	return func(yield func(chunks.HeadSeriesRef, []byte) bool) error {
		var b []byte
		for def := range defs {
			b = appendEntry(b[:0], def)
			if !yield(def.Ref, b) {
				break
			}
		}
		return nil
	}
}

// entrySeq is a sequence of entries by ascending ref that may end early with
// an error.
type entrySeq func(yield func(ref chunks.HeadSeriesRef, entry []byte) bool) error

// writeChunk writes the entries to path and an index beside it. Without any
// entry there is no file, and the description has no series.
func (s sink) writeChunk(ctx context.Context, path string, seq entrySeq) (meta chunkMeta, idx index, err error) {
	var w *chunkWriter
	defer func() {
		if w != nil {
			w.out.abort()
		}
	}()
	var inner error
	err = seq(func(ref chunks.HeadSeriesRef, entry []byte) bool {
		if w == nil {
			var out *output
			if out, inner = s.create(ctx, path); inner != nil {
				return false
			}
			w = newChunkWriter(out)
		}
		inner = w.add(ref, entry)
		return inner == nil
	})
	if err == nil {
		err = inner
	}
	if err != nil || w == nil {
		return chunkMeta{}, nil, err
	}
	if meta, idx, err = w.finish(); err != nil {
		return chunkMeta{}, nil, err
	}
	var content []byte
	content, meta.Index = idx.encode()
	return meta, idx, s.writeFile(ctx, path+indexSuffix, content)
}

// writeFile writes a small file durably.
func (s sink) writeFile(ctx context.Context, path string, content []byte) error {
	out, err := s.create(ctx, path)
	if err != nil {
		return err
	}
	defer out.abort()
	if err := out.raw(content); err != nil {
		return err
	}
	return out.finish()
}
