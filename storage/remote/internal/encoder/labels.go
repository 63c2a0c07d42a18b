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
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/prometheus/prometheus/model/labels"
)

// gather lists the labels of a series: its own and the external labels whose
// names it lacks, sorted by name. A label with an empty value is the same as no
// label, on both sides. The list is valid until the next call.
func (b *Builder) gather(lset labels.Labels, external []labels.Label) []labels.Label {
	list := b.list[:0]
	lset.Range(func(l labels.Label) {
		for len(external) > 0 && external[0].Name < l.Name {
			list, external = appendSet(list, external[0]), external[1:]
		}
		if l.Value == "" {
			return
		}
		if len(external) > 0 && external[0].Name == l.Name {
			external = external[1:]
		}
		list = append(list, l)
	})
	for _, e := range external {
		list = appendSet(list, e)
	}
	b.list = list
	return list
}

func appendSet(list []labels.Label, l labels.Label) []labels.Label {
	if l.Value == "" {
		return list
	}
	return append(list, l)
}

// verbatim lists the labels of an exemplar, which go out as they are. The list
// is valid until the next call of this method or of gather.
func (b *Builder) verbatim(lset labels.Labels) []labels.Label {
	list := b.list[:0]
	lset.Range(func(l labels.Label) { list = append(list, l) })
	b.list = list
	return list
}

// valueOf returns the value that the list has for the name, or "".
func valueOf(list []labels.Label, name string) string {
	for _, l := range list {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// writePairs writes a Label message per label, as V1 has it.
func writePairs(b *Builder, list []labels.Label) {
	buf := b.body.buf
	for _, l := range list {
		buf = appendPair(buf, l)
	}
	b.body.buf = buf
}

func rangePairs(b *Builder, lset labels.Labels) {
	buf := b.body.buf
	lset.Range(func(l labels.Label) {
		if l.Value != "" {
			buf = appendPair(buf, l)
		}
	})
	b.body.buf = buf
}

func appendPair(buf []byte, l labels.Label) []byte {
	if size := 4 + len(l.Name) + len(l.Value); size < 1<<7 && l.Name != "" && l.Value != "" {
		// Nearly all labels: nothing is left out and every length takes a byte.
		buf = append(buf, byte(seriesLabels), byte(size), byte(pairName), byte(len(l.Name)))
		buf = append(buf, l.Name...)
		buf = append(buf, byte(pairValue), byte(len(l.Value)))
		return append(buf, l.Value...)
	}
	w := wire{buf: buf}
	pair := w.open(seriesLabels, 2)
	w.str(pairName, l.Name)
	w.str(pairValue, l.Value)
	w.close(pair)
	return w.buf
}

// writeSymbols writes one packed list of references, as V2 has it.
func writeSymbols(b *Builder, list []labels.Label) {
	if len(list) == 0 {
		return
	}
	w := &b.body
	packed := w.open(seriesLabels, 1)
	buf := w.buf
	for i, l := range list {
		buf = appendRef(buf, b.symbols.at(2*i, l.Name))
		buf = appendRef(buf, b.symbols.at(2*i+1, l.Value))
	}
	w.buf = buf
	w.close(packed)
}

func rangeSymbols(b *Builder, lset labels.Labels) {
	w := &b.body
	was := len(w.buf)
	packed := w.open(seriesLabels, 1)
	buf, s, place := w.buf, &b.symbols, 0
	lset.Range(func(l labels.Label) {
		if l.Value == "" {
			return
		}
		buf = appendRef(buf, s.at(place, l.Name))
		buf = appendRef(buf, s.at(place+1, l.Value))
		place += 2
	})
	if place == 0 {
		w.buf = buf[:was] // An empty list is left out.
		return
	}
	w.buf = buf
	w.close(packed)
}

// appendRef is protowire.AppendVarint, short enough to be inlined.
func appendRef(buf []byte, ref uint32) []byte {
	if ref < 1<<7 {
		return append(buf, byte(ref))
	}
	return protowire.AppendVarint(buf, uint64(ref))
}
