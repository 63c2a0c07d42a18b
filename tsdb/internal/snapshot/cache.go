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
	"container/list"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

type blockKey struct {
	seq uint64 // Of the chunk; never used again.
	i   int
}

type cached struct {
	key  blockKey
	defs []record.RefSeries // Ascending, immutable.
}

// cache keeps the blocks decoded last. It is safe for concurrent use.
type cache struct {
	limit int
	mtx   sync.Mutex
	order list.List // Latest use first.
	byKey map[blockKey]*list.Element
}

func newCache(limit int) *cache {
	return &cache{limit: limit, byKey: map[blockKey]*list.Element{}}
}

func (c *cache) get(key blockKey) ([]record.RefSeries, bool) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).defs, true
}

func (c *cache) put(key blockKey, defs []record.RefSeries) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	if _, ok := c.byKey[key]; ok || c.limit < 1 {
		return
	}
	for c.order.Len() >= c.limit {
		c.evict(c.order.Back())
	}
	c.byKey[key] = c.order.PushFront(&cached{key, defs})
}

func (c *cache) evict(e *list.Element) {
	delete(c.byKey, c.order.Remove(e).(*cached).key)
}

// drop forgets the blocks of a chunk that is gone.
func (c *cache) drop(seq uint64) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for e := c.order.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*cached).key.seq == seq {
			c.evict(e)
		}
		e = next
	}
}

func (c *cache) clear() {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	c.order.Init()
	clear(c.byKey)
}

// Resolve returns the labels of a ref, retired or not, from the chunks. It may
// be called from any goroutine, beside everything else, and waits for no merge.
// False means that no chunk has the ref, or only a block that is damaged. An
// error means that it cannot be told now: reading failed, or the store is
// closed. Both damage and failures are counted as problems.
func (s *Store) Resolve(ref chunks.HeadSeriesRef) (lset labels.Labels, ok bool, err error) {
	v := s.acquire()
	if v == nil {
		return lset, false, ErrClosed
	}
	defer s.release(v)
	// The youngest chunk that has the ref counts; normally there is only one.
	for _, c := range slices.Backward(v.chunks) {
		if ref < c.meta.First || ref > c.meta.Last || c.lost() {
			continue
		}
		if c.absent != nil {
			err = errors.Join(err, fmt.Errorf("open %s: %w", c.path, c.absent))
			continue
		}
		if i := c.idx.find(ref); i >= 0 {
			lset, ok, failure := s.lookup(c, i, ref)
			if ok {
				return lset, true, nil
			}
			err = errors.Join(err, failure)
		}
	}
	return lset, false, err
}

// readers are for Resolve, which reads a block now and then.
var readers = sync.Pool{New: func() any { return newBlockReader() }}

// lookup looks for a ref in a block. The error is one of reading, not of damage.
func (s *Store) lookup(c *chunk, i int, ref chunks.HeadSeriesRef) (lset labels.Labels, ok bool, err error) {
	key := blockKey{c.meta.Seq, i}
	defs, ok := s.cache.get(key)
	if !ok {
		r := readers.Get().(*blockReader)
		payload, err := r.block(c, i)
		if err == nil {
			defs, err = newDecoder().definitions(make([]record.RefSeries, 0, MaxBlockSeries), payload)
		}
		readers.Put(r)
		if err != nil {
			if s.blame(c, err) {
				return lset, false, fmt.Errorf("read %s: %w", c.path, err)
			}
			return lset, false, nil
		}
		s.cache.put(key, defs)
	}
	at, ok := slices.BinarySearchFunc(defs, ref, func(def record.RefSeries, ref chunks.HeadSeriesRef) int {
		switch {
		case def.Ref < ref:
			return -1
		case def.Ref > ref:
			return 1
		}
		return 0
	})
	if !ok {
		return lset, false, nil
	}
	return defs[at].Labels, true, nil
}
