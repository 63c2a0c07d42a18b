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
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// tidy merges chunks and lists until the policy is content. Each merge is
// committed by itself.
func (s *Store) tidy(ctx context.Context) error {
	for {
		v := s.acquire()
		if v == nil {
			return ErrClosed
		}
		again, err := s.tidyOnce(ctx, v)
		s.release(v)
		if err != nil || !again {
			return err
		}
	}
}

// tidyOnce does one merge and reports whether there may be another to do.
func (s *Store) tidyOnce(ctx context.Context, v *view) (bool, error) {
	floor := v.manifest.Floor
	var (
		lists []*retiredList
		dead  []int
		err   error
	)
	if floor > s.counted {
		if lists, err = s.readRetirement(v); err != nil {
			return false, err
		}
		dead = countDead(v.chunks, newRetirement(lists), floor)
	}
	if chosen := choose(v.chunks, dead); chosen != nil {
		if lists == nil {
			if lists, err = s.readRetirement(v); err != nil {
				return false, err
			}
		}
		return true, s.mergeChunks(ctx, v, chosen, lists)
	}
	s.counted = floor
	if len(v.retired) < fanIn {
		return false, nil
	}
	if lists == nil {
		if lists, err = s.readRetirement(v); err != nil {
			return false, err
		}
	}
	return false, s.mergeLists(ctx, v, lists)
}

// readRetirement reads all lists of retired refs, oldest first.
func (s *Store) readRetirement(v *view) ([]*retiredList, error) {
	lists := make([]*retiredList, 0, len(v.retired))
	for _, l := range v.retired {
		var read retiredReader
		if err := s.readList(RetiredDamaged, l, read.record); err != nil {
			return nil, err
		}
		lists = append(lists, &read.retiredList)
	}
	return lists, nil
}

// mayHold reports whether a ref that was retired with the given segment can be
// in the chunk.
func (m *chunkMeta) mayHold(ref chunks.HeadSeriesRef, segment int) bool {
	return m.First <= ref && ref <= m.Last && m.Floor <= segment
}

// countDead returns, for each chunk, how many of its definitions are dead. It
// is too high where the refs of chunks overlap, which they hardly do; a merge
// raises the floor of the chunk, so that it is counted once.
func countDead(all []*chunk, r retirement, floor int) []int {
	dead := make([]int, len(all))
	for ref, segment := range r.all() {
		if segment == alive || segment >= floor {
			continue
		}
		for i, c := range all {
			if c.meta.mayHold(ref, segment) {
				dead[i]++
			}
		}
	}
	return dead
}

// mergeChunks replaces the chosen chunks by one without dead definitions.
func (s *Store) mergeChunks(ctx context.Context, v *view, chosen []int, lists []*retiredList) (err error) {
	tx := &transaction{s: s, ctx: ctx}
	defer func() {
		if err != nil {
			tx.rollback()
			err = fmt.Errorf("merge %d chunks: %w", len(chosen), err)
		}
	}()
	var inputs []*chunk
	for _, i := range chosen {
		inputs = append(inputs, v.chunks[i])
	}
	floor, r := v.manifest.Floor, newRetirement(lists)
	out, err := tx.chunk(s.merged(inputs, func(ref chunks.HeadSeriesRef) bool {
		segment := r.segment(ref)
		return segment != alive && segment < floor
	}), floor)
	if err != nil {
		return err
	}
	n := v.derive()
	// The place in the order is that of the youngest one.
	last := chosen[len(chosen)-1]
	n.chunks = n.chunks[:0]
	for i, c := range v.chunks {
		switch {
		case i == last && out != nil:
			n.chunks = append(n.chunks, out)
		case !slices.Contains(chosen, i):
			n.chunks = append(n.chunks, c)
		}
	}
	return tx.commit(n)
}

// mergeLists makes one list of all, without the refs that no chunk has.
func (s *Store) mergeLists(ctx context.Context, v *view, lists []*retiredList) (err error) {
	tx := &transaction{s: s, ctx: ctx}
	defer func() {
		if err != nil {
			tx.rollback()
			err = fmt.Errorf("merge lists of retired series: %w", err)
		}
	}()
	out, err := tx.list(retiredPrefix, func(path string) (listMeta, error) {
		return s.sink.writeRetired(ctx, path, func(yield func(chunks.HeadSeriesRef, int) bool) {
			for ref, segment := range newRetirement(lists).all() {
				held := func(c *chunk) bool { return c.meta.mayHold(ref, segment) }
				if segment != alive && slices.ContainsFunc(v.chunks, held) && !yield(ref, segment) {
					return
				}
			}
		})
	})
	if err != nil {
		return err
	}
	n := v.derive()
	n.retired = n.retired[:0]
	if out != nil {
		n.retired = append(n.retired, out)
	}
	return tx.commit(n)
}

// source is an input of a merge.
type source struct {
	s    *Store
	c    *chunk
	r    *blockReader
	i    int // The next block.
	it   entries
	done bool
}

// advance goes to the next entry. Damaged blocks are reported and passed over;
// a block that cannot be read is an error, since it may be whole.
func (src *source) advance() error {
	for {
		ok, err := src.it.next()
		if ok {
			return nil
		}
		if err != nil {
			src.s.blame(src.c, err)
		}
		if src.i == len(src.c.idx) {
			src.done = true
			return nil
		}
		payload, err := src.r.block(src.c, src.i)
		src.i++
		if err == nil {
			src.it, err = newEntries(payload)
		}
		if err != nil {
			src.it = entries{}
			if failed := src.s.blame(src.c, err); failed {
				src.c.unreadable.Store(true)
				return err
			}
		}
	}
}

// merged yields the entries of the chunks, oldest first, by ascending ref and
// without those that are dead. If several chunks have a ref, that of the
// youngest is taken.
func (s *Store) merged(inputs []*chunk, dead func(chunks.HeadSeriesRef) bool) entrySeq {
	return func(yield func(chunks.HeadSeriesRef, []byte) bool) error {
		var sources []*source
		for _, c := range inputs {
			src := &source{s: s, c: c, r: newBlockReader()}
			if err := src.advance(); err != nil {
				return err
			}
			sources = append(sources, src)
		}
		for last, begun := chunks.HeadSeriesRef(0), false; ; begun = true {
			var low *source
			for _, src := range sources {
				if !src.done && (low == nil || src.it.ref <= low.it.ref) {
					low = src
				}
			}
			if low == nil {
				return nil
			}
			ref := low.it.ref
			if (!begun || ref > last) && !dead(ref) && !yield(ref, low.it.raw) {
				return nil
			}
			last = ref
			if err := low.advance(); err != nil {
				return err
			}
		}
	}
}
