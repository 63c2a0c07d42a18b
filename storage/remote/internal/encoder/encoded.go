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

package encoder

import (
	"slices"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
)

// Label sets of the table of series come in numbers (see [series.Series.Encoded]),
// which are compared in an instant. What has been written for a value is written
// again for the next series that has the same one in its place, and strings are
// looked at only when they change.

// TableSeries is Series for one of the table, with the same result.
func (b *Builder) TableSeries(s *series.Series, external []labels.Label, meta *metadata.Metadata) {
	names, values := s.Encoded()
	if names == nil || b.opts.TypeAndUnitLabels || slices.Contains(values, 0) {
		// Looks up labels by name, or leaves out some.
		b.Series(s.Labels(), external, meta)
		return
	}
	b.begin()
	if b.shape.metadata != 0 {
		b.describe(nil, meta)
	}
	b.shape.encoded(b, b.plans.of(names, external), s, values)
}

// plan is how label sets with certain names are written, together with external
// labels: what does not depend on their values. Plans last for a request.
type plan struct {
	names *series.Names
	steps []step
}

// step is a label of a plan.
type step struct {
	labels.Label // Without a value unless the label is an external one.

	value   int    // Place among the values of the label set, -1 for an external label.
	nameRef uint32 // V2; 0 if it is not known yet.
}

// plans are those of a request.
type plans struct {
	byNames map[*series.Names]*plan
	last    *plan
	free    []*plan
	// numbering is what the numbers below belong to.
	numbering series.Numbering
	// said is what was written last in each place.
	said []said
	// refs are the references of values, V2 only.
	refs refs
}

// said is the last value in a place, and how it was encoded: in V1 the label's
// bytes, which take the name for granted, in V2 the reference.
type said struct {
	value uint32 // 0 for none.
	ref   uint32
	name  string
	pair  []byte
}

func (ps *plans) reset() {
	for names, p := range ps.byNames {
		delete(ps.byNames, names)
		clear(p.steps)
		ps.free = append(ps.free, p)
	}
	ps.last = nil
	ps.forget()
}

// forget has to be called once numbers mean other strings.
func (ps *plans) forget() {
	for i := range ps.said {
		ps.said[i].value, ps.said[i].name = 0, ""
	}
	ps.refs.reset()
}

// of returns the plan for label sets with the given names. The external labels
// are the same in all of a request.
func (ps *plans) of(names *series.Names, external []labels.Label) *plan {
	if numbering := names.Numbering(); numbering != ps.numbering {
		ps.forget()
		ps.numbering = numbering
	}
	if ps.last != nil && ps.last.names == names {
		return ps.last
	}
	p := ps.byNames[names]
	if p == nil {
		p = ps.make(names, external)
	}
	ps.last = p
	return p
}

func (ps *plans) make(names *series.Names, external []labels.Label) *plan {
	p := &plan{}
	if n := len(ps.free); n > 0 {
		p, ps.free = ps.free[n-1], ps.free[:n-1]
	}
	p.names, p.steps = names, p.steps[:0]
	for i, name := range names.All() {
		for len(external) > 0 && external[0].Name < name {
			p.add(external[0])
			external = external[1:]
		}
		if len(external) > 0 && external[0].Name == name {
			external = external[1:]
		}
		p.steps = append(p.steps, step{Label: labels.Label{Name: name}, value: i})
	}
	for _, l := range external {
		p.add(l)
	}
	if more := len(p.steps) - len(ps.said); more > 0 {
		ps.said = append(ps.said, make([]said, more)...)
	}
	if ps.byNames == nil {
		ps.byNames = map[*series.Names]*plan{}
	}
	ps.byNames[names] = p
	return p
}

func (p *plan) add(external labels.Label) {
	if external.Value != "" {
		p.steps = append(p.steps, step{Label: external, value: -1})
	}
}

// encodePairs writes a Label message per label, as V1 has it.
func encodePairs(b *Builder, p *plan, s *series.Series, values []uint32) {
	buf := b.body.buf
	for i := range p.steps {
		st := &p.steps[i]
		if st.value < 0 {
			buf = appendPair(buf, st.Label)
			continue
		}
		value, last := values[st.value], &b.plans.said[i]
		if last.value == value && last.name == st.Name {
			buf = append(buf, last.pair...)
			continue
		}
		from := len(buf)
		buf = appendPair(buf, labels.Label{Name: st.Name, Value: s.Value(st.value)})
		last.value, last.name, last.pair = value, st.Name, append(last.pair[:0], buf[from:]...)
	}
	b.body.buf = buf
}

// encodeSymbols writes one packed list of references, as V2 has it.
func encodeSymbols(b *Builder, p *plan, s *series.Series, values []uint32) {
	if len(p.steps) == 0 {
		return
	}
	w := &b.body
	packed := w.open(seriesLabels, 1)
	buf := w.buf
	for i := range p.steps {
		st := &p.steps[i]
		if st.nameRef == 0 {
			st.nameRef = b.symbols.ref(st.Name)
		}
		buf = appendRef(buf, st.nameRef)
		if st.value < 0 {
			buf = appendRef(buf, b.symbols.at(2*i, st.Value))
			continue
		}
		last := &b.plans.said[i]
		if value := values[st.value]; last.value != value {
			last.value, last.ref = value, b.refOf(value, s, st.value)
		}
		buf = appendRef(buf, last.ref)
	}
	w.buf = buf
	w.close(packed)
}

// refOf returns the reference of a value, which s has in a place.
func (b *Builder) refOf(value uint32, s *series.Series, place int) uint32 {
	at := b.plans.refs.find(value)
	if at.value == 0 {
		ref := b.symbols.ref(s.Value(place))
		b.plans.refs.add(at, value, ref)
		return ref
	}
	return at.ref
}

// refs is a hash table of the references of values that are known by number:
// open addressing, at most half full.
type refs struct {
	slots []refSlot
	count int
}

type refSlot struct{ value, ref uint32 } // Value 0 is a free slot.

func (r *refs) reset() {
	if r.count > 0 {
		clear(r.slots)
		r.count = 0
	}
}

// find returns the slot of a value, or the free one where it belongs.
func (r *refs) find(value uint32) *refSlot {
	if r.slots == nil {
		r.slots = make([]refSlot, minSlots)
	}
	mask := uint32(len(r.slots) - 1)
	for i := value * 0x9e3779b1 >> 7; ; i++ {
		if at := &r.slots[i&mask]; at.value == value || at.value == 0 {
			return at
		}
	}
}

// add fills a free slot that find returned.
func (r *refs) add(at *refSlot, value, ref uint32) {
	*at = refSlot{value, ref}
	r.count++
	if 2*r.count <= len(r.slots) {
		return
	}
	old := r.slots
	r.slots = make([]refSlot, 2*len(old))
	for _, s := range old {
		if s.value != 0 {
			*r.find(s.value) = s
		}
	}
}
