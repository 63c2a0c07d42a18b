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
	"slices"

	"go.uber.org/atomic"
)

// view is one version of the snapshot. It is immutable. Users of its files
// hold a reference.
type view struct {
	manifest   manifest
	ok         bool // There is a manifest.
	chunks     []*chunk
	retired    []*listFile
	timestamps *listFile // Nil if there are none.
	metadata   *listFile // Nil if there is none.
	refs       atomic.Int32
}

// files yields the files of the view, those that have several names once.
func (v *view) files() []*file {
	var all []*file
	for _, c := range v.chunks {
		all = append(all, &c.file)
	}
	for _, l := range v.lists() {
		all = append(all, &l.file)
	}
	return all
}

// lists returns all files that are not chunks.
func (v *view) lists() []*listFile {
	all := slices.Clone(v.retired)
	for _, l := range []*listFile{v.timestamps, v.metadata} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

// describe fills in the parts of the manifest that follow from the files.
func (v *view) describe() {
	m := &v.manifest
	m.Chunks, m.Retired, m.Timestamps, m.Metadata = nil, nil, nil, nil
	for _, c := range v.chunks {
		m.Chunks = append(m.Chunks, c.meta)
	}
	for _, l := range v.retired {
		m.Retired = append(m.Retired, l.meta)
	}
	if v.timestamps != nil {
		meta := v.timestamps.meta
		m.Timestamps = &meta
	}
	if v.metadata != nil {
		meta := v.metadata.meta
		m.Metadata = &meta
	}
}

// derive returns a view with the same content that may be changed before it is
// committed.
func (v *view) derive() *view {
	n := &view{
		manifest:   v.manifest,
		ok:         true,
		chunks:     slices.Clone(v.chunks),
		retired:    slices.Clone(v.retired),
		timestamps: v.timestamps,
		metadata:   v.metadata,
	}
	n.manifest.State.Segments = slices.Clone(v.manifest.State.Segments)
	return n
}

// acquire returns the present view with a reference, or nil after Close.
func (s *Store) acquire() *view {
	s.viewMtx.RLock()
	defer s.viewMtx.RUnlock()
	if s.view != nil {
		s.view.refs.Inc()
	}
	return s.view
}

// release gives a reference back.
func (s *Store) release(v *view) {
	if v.refs.Dec() > 0 {
		return
	}
	for _, f := range v.files() {
		if f.refs.Dec() > 0 {
			continue
		}
		if f.f != nil {
			_ = f.f.Close() // It was only read.
		}
		if f.doomed.Load() {
			s.remove(f.path)
			if f.side != "" {
				s.remove(f.side)
			}
		}
	}
}

// install makes v the present view; nil closes the store. Files that v does not
// have are doomed, unless it is nil.
func (s *Store) install(v *view) {
	kept := map[*file]struct{}{}
	if v != nil {
		v.refs.Inc()
		for _, f := range v.files() {
			f.refs.Inc()
			kept[f] = struct{}{}
		}
	}
	s.viewMtx.Lock()
	old := s.view
	s.view = v
	s.viewMtx.Unlock()
	if old == nil {
		return
	}
	if v != nil {
		for _, f := range old.files() {
			if _, ok := kept[f]; !ok {
				f.doomed.Store(true)
			}
		}
		for _, c := range old.chunks {
			if _, ok := kept[&c.file]; !ok {
				s.cache.drop(c.meta.Seq)
			}
		}
	}
	s.release(old)
}
