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
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// transaction collects the files of one new version of the snapshot.
type transaction struct {
	s       *Store
	ctx     context.Context
	created []string
	opened  []*chunk
}

// rollback removes what was made. After commit it does nothing.
func (tx *transaction) rollback() {
	tx.closeAll()
	for _, path := range tx.created {
		tx.s.remove(path)
	}
	tx.created = nil
}

func (tx *transaction) closeAll() {
	for _, c := range tx.opened {
		_ = c.f.Close() // It was only read.
	}
	tx.opened = nil
}

// path returns the path of a new file.
func (tx *transaction) path(prefix string) (string, uint64) {
	seq := tx.s.next
	tx.s.next++
	path := tx.s.path(prefix, seq)
	tx.created = append(tx.created, path)
	return path, seq
}

// chunk writes a chunk and opens it. It returns nil if there was no entry.
func (tx *transaction) chunk(seq entrySeq, floor int) (*chunk, error) {
	path, number := tx.path(chunkPrefix)
	tx.created = append(tx.created, path+indexSuffix)
	meta, idx, err := tx.s.sink.writeChunk(tx.ctx, path, seq)
	if err != nil || meta.Series == 0 {
		return nil, err
	}
	meta.Seq, meta.Floor = number, floor
	f, err := tx.s.sink.fs.OpenFile(path, 0, 0)
	if err != nil {
		return nil, err
	}
	c := &chunk{file: file{path: path, side: path + indexSuffix, f: f}, meta: meta, idx: idx}
	tx.opened = append(tx.opened, c)
	return c, nil
}

// list writes a list. It returns nil if it is empty.
func (tx *transaction) list(prefix string, write func(path string) (listMeta, error)) (*listFile, error) {
	path, number := tx.path(prefix)
	meta, err := write(path)
	if err != nil || meta.Entries == 0 {
		return nil, err
	}
	meta.Seq = number
	return &listFile{file{path: path}, meta}, nil
}

// commit makes v the snapshot: first the files and their names, then the
// manifest that names them. Only then what v lacks is removed.
func (tx *transaction) commit(v *view) error {
	s := tx.s
	// A chunk that is gone is gone. One that could not be opened may be back at
	// the next start.
	v.chunks = slices.DeleteFunc(v.chunks, func(c *chunk) bool { return c.lost() })
	v.manifest.Next = s.next
	v.describe()
	data, err := encodeManifest(v.manifest)
	if err != nil {
		return err
	}
	if err := s.sink.fs.SyncDir(s.dir); err != nil {
		return err
	}
	path := filepath.Join(s.dir, manifestName)
	temp := path + tempSuffix
	if err := s.sink.writeFile(tx.ctx, temp, data); err != nil {
		s.remove(temp)
		return err
	}
	err = s.sink.fs.Rename(temp, path)
	if err == nil {
		err = s.sink.fs.SyncDir(s.dir)
	}
	if err != nil {
		// Either manifest may be the one that a crash leaves, so the files of
		// both have to stay.
		s.strays = append(s.strays, tx.created...)
		tx.created = nil
		tx.closeAll()
		return err
	}
	tx.created, tx.opened = nil, nil
	s.install(v)
	for _, path := range s.strays {
		s.remove(path)
	}
	s.strays = nil
	return nil
}

// Append makes u durable on top of the snapshot there is, and then merges files
// if there are too many of one size. After an error the old snapshot is in
// force, and the caller appends again what u held. That a merge failed is no
// error but a problem, since u is durable by then.
func (s *Store) Append(ctx context.Context, u Update) error { return s.write(ctx, u, false) }

// Replace is Append on top of nothing: all that was there before is dropped,
// once u is durable.
func (s *Store) Replace(ctx context.Context, u Update) error { return s.write(ctx, u, true) }

func (s *Store) write(ctx context.Context, u Update, replace bool) error {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	base := s.acquire()
	if base == nil {
		return ErrClosed
	}
	defer s.release(base)
	if replace {
		s.counted = alive
		base = &view{manifest: manifest{Floor: alive}}
	}
	err := makeDir(s.sink.fs, s.dir)
	if err == nil {
		err = s.update(ctx, u, base)
	}
	if err != nil {
		return fmt.Errorf("series snapshot in %s not written, the one before is in force: %w", s.dir, err)
	}
	if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
		s.problems.report(MergeFailed, s.dir, err)
	}
	return nil
}

// update commits u on top of base.
func (s *Store) update(ctx context.Context, u Update, base *view) (err error) {
	tx := &transaction{s: s, ctx: ctx}
	defer func() {
		if err != nil {
			tx.rollback()
		}
	}()
	v := base.derive()
	floor := base.manifest.Floor
	if u.Series != nil {
		// Refs of u.Series may be in u.Retired with a segment below the new
		// floor, so the old one is what holds for the chunk.
		c, err := tx.chunk(encoded(u.Series), floor)
		if err != nil {
			return err
		}
		if c != nil {
			v.chunks = append(v.chunks, c)
		}
	}
	if refs := changes(u, floor); len(refs) > 0 {
		l, err := tx.list(retiredPrefix, func(path string) (listMeta, error) {
			return s.sink.writeRetired(ctx, path, func(yield func(chunks.HeadSeriesRef, int) bool) {
				for _, r := range refs {
					if !yield(r.Ref, r.Segment) {
						return
					}
				}
			})
		})
		if err != nil {
			return err
		}
		v.retired = append(v.retired, l)
	}
	if u.Timestamps != nil {
		if v.timestamps, err = tx.list(timestampsPrefix, func(path string) (listMeta, error) {
			return s.sink.writeTimestamps(ctx, path, u.Timestamps)
		}); err != nil {
			return err
		}
	}
	if u.Metadata != nil {
		if v.metadata, err = tx.list(metadataPrefix, func(path string) (listMeta, error) {
			return s.sink.writeMetadata(ctx, path, u.Metadata)
		}); err != nil {
			return err
		}
	}
	v.manifest.State = u.State
	v.manifest.State.Segments = slices.Clone(u.State.Segments)
	v.manifest.Floor = max(floor, u.Floor)
	return tx.commit(v)
}

// changes returns what u says about retirement, by ascending ref, each once. No
// segment is below the floor: chunks written before are described as holding
// no ref that was retired below theirs, and that has to remain true.
func changes(u Update, floor int) []Retired {
	refs := make([]Retired, 0, len(u.Retired)+len(u.Revived))
	for _, ref := range u.Revived {
		refs = append(refs, Retired{ref, alive})
	}
	for _, r := range u.Retired {
		refs = append(refs, Retired{r.Ref, max(r.Segment, floor, 0)})
	}
	slices.SortFunc(refs, func(a, b Retired) int {
		return cmp.Or(cmp.Compare(a.Ref, b.Ref), cmp.Compare(b.Segment, a.Segment))
	})
	return slices.CompactFunc(refs, func(a, b Retired) bool { return a.Ref == b.Ref })
}
