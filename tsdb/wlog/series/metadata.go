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

package series

import (
	"sync"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/metadata"
)

// metadataPool keeps each distinct metadata once, for as long as a series has
// it. A series has the number of its place, for which it needs no further room.
//
// Readers take no lock. They may read a place that was given to another value in
// between, which they notice because the series has another number by then.
type metadataPool struct {
	mtx    sync.Mutex // Guards what follows, and changes of Series.meta.
	ids    map[metadata.Metadata]uint32
	uses   []int // By number, which begin at 1.
	free   []uint32
	places atomic.Pointer[[]atomic.Pointer[metadata.Metadata]]
}

// Metadata returns the metadata of a series, and false if none is known. It
// takes no lock.
func (t *Table) Metadata(s *Series) (*metadata.Metadata, bool) {
	for {
		id := s.meta()
		if id == 0 {
			return nil, false
		}
		places := t.metadata.places.Load()
		if places != nil && int(id) < len(*places) {
			if m := (*places)[id].Load(); m != nil && s.meta() == id {
				return m, true
			}
		}
	}
}

// SetMetadata makes m the metadata of a series, and reports whether it was
// another. The empty one means none. A series that is not in the table
// keeps none.
func (t *Table) SetMetadata(s *Series, m metadata.Metadata) (changed bool) {
	if old, ok := t.Metadata(s); ok && *old == m || !ok && m.IsEmpty() {
		return false
	}
	p := &t.metadata
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if s.Gone() {
		return false
	}
	s.setMeta(p.swap(s.meta(), m))
	return true
}

// releaseMetadata is for a series that has left the table.
func (t *Table) releaseMetadata(s *Series) {
	if s.meta() == 0 {
		return
	}
	p := &t.metadata
	p.mtx.Lock()
	defer p.mtx.Unlock()
	id := s.meta()
	s.setMeta(0)
	p.release(id)
}

// swap gives back one number and returns that of m.
func (p *metadataPool) swap(old uint32, m metadata.Metadata) uint32 {
	var id uint32
	if !m.IsEmpty() && len(p.uses) <= maxMetadata {
		id = p.take(m)
	}
	p.release(old)
	return id
}

// maxMetadata is how many a number can tell apart. Beyond it there is none.
const maxMetadata = 1<<(64-metaShift) - 1

func (p *metadataPool) take(m metadata.Metadata) uint32 {
	if id, ok := p.ids[m]; ok {
		p.uses[id]++
		return id
	}
	if p.ids == nil {
		p.ids, p.uses = map[metadata.Metadata]uint32{}, []int{0}
	}
	var id uint32
	if n := len(p.free); n > 0 {
		id, p.free = p.free[n-1], p.free[:n-1]
	} else {
		id = uint32(len(p.uses))
		p.uses = append(p.uses, 0)
	}
	p.uses[id] = 1
	p.ids[m] = id
	p.place(id).Store(&m)
	return id
}

// place returns the place of a number, for which it makes room if need be.
func (p *metadataPool) place(id uint32) *atomic.Pointer[metadata.Metadata] {
	places := p.places.Load()
	if places == nil || int(id) >= len(*places) {
		grown := make([]atomic.Pointer[metadata.Metadata], max(64, 2*int(id)))
		if places != nil {
			for i := range *places {
				grown[i].Store((*places)[i].Load())
			}
		}
		places = &grown
		p.places.Store(places)
	}
	return &(*places)[id]
}

func (p *metadataPool) release(id uint32) {
	if id == 0 {
		return
	}
	p.uses[id]--
	if p.uses[id] > 0 {
		return
	}
	at := p.place(id)
	delete(p.ids, *at.Load())
	at.Store(nil)
	p.free = append(p.free, id)
}

// Describe walks the series in use that have metadata, in the order of their
// refs.
func (t *Table) Describe(f func(s *Series, m *metadata.Metadata) bool) {
	t.refs.each(func(s *Series) bool {
		if s.state.Load() < 0 {
			return true
		}
		m, ok := t.Metadata(s)
		return !ok || f(s, m)
	})
}
