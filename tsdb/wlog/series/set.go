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
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// set is a label set in numbers. Equal sets of one table have the same names and
// equal values.
type set struct {
	names  *Names
	values []symbol
}

func (a set) equal(b set) bool { return a.names == b.names && slices.Equal(a.values, b.values) }

// hash is good for as long as the set is in use.
func (a set) hash() uint64 {
	const factor = 0x9e3779b97f4a7c15
	h := uint64(a.names.id) * factor
	for _, n := range a.values {
		h = (bits.RotateLeft64(h, 23) ^ uint64(n)) * factor
	}
	h ^= h >> 32
	h *= factor
	return h ^ h>>29
}

// setEncoder turns label sets into numbers. It remembers what it met last: the
// neighbours of a series mostly differ from it in a label or two, and what they
// differ in comes again.
//
// One goroutine owns it, and holds inUse while it uses it and what it returns.
type setEncoder struct {
	y     *symbols
	freed uint64 // symbols.freed when what is below was remembered.

	places []known // What was there last; names and values alternate.
	recent []known // By hash.

	last          *Names
	names, values []symbol // What was there last, by place.
	key           []byte
	room          []symbol // For what keep returns.
}

type known struct {
	str string
	n   symbol
}

// encoderMemory is how many strings an encoder remembers by hash.
const encoderMemory = 1024

func (y *symbols) setEncoder() *setEncoder {
	return &setEncoder{y: y, recent: make([]known, encoderMemory)}
}

// set returns the numbers of a label set. Its values are valid until the next
// call. Bit i of same says that label i need not be compared: it is the one that
// was there last, in whichever call had more than i labels.
func (sp *setEncoder) set(lset []labels.Label, same uint64) (of set) {
	sp.refresh()
	n, met := len(lset), len(sp.names)
	if need := n - met; need > 0 {
		sp.places = append(sp.places, make([]known, 2*need)...)
		sp.names = append(sp.names, make([]symbol, need)...)
		sp.values = append(sp.values, make([]symbol, need)...)
	}
	renamed := sp.last == nil || len(sp.last.numbers) != n
	for i := range lset {
		if same>>i&1 != 0 && i < met {
			continue
		}
		if name := sp.number(2*i, lset[i].Name); name != sp.names[i] {
			sp.names[i], renamed = name, true
		}
		sp.values[i] = sp.number(2*i+1, lset[i].Value)
	}
	if renamed {
		sp.key = sp.key[:0]
		for _, name := range sp.names[:n] {
			sp.key = binary.LittleEndian.AppendUint32(sp.key, name)
		}
		sp.last = sp.y.namesOf(sp.names[:n], sp.key)
	}
	of = set{names: sp.last, values: sp.values[:n]}
	if sp.y.sweep.marking {
		sp.y.mark(of)
	}
	return of
}

// keepRoom is how many numbers are allocated at a time, for a dozen series or so
// that most often come and go together.
const keepRoom = 128

// keep returns a copy of a set that stays as it is.
func (sp *setEncoder) keep(of set) set {
	n := len(of.values)
	if n > len(sp.room) {
		sp.room = make([]symbol, max(n, keepRoom))
	}
	kept := sp.room[:n:n]
	sp.room = sp.room[n:]
	copy(kept, of.values)
	return set{names: of.names, values: kept}
}

// refresh forgets everything if numbers may have been given back since.
func (sp *setEncoder) refresh() {
	if freed := sp.y.freed.Load(); sp.freed != freed {
		sp.freed, sp.last = freed, nil
		clear(sp.places)
		clear(sp.recent)
		sp.places, sp.names, sp.values = sp.places[:0], sp.names[:0], sp.values[:0]
	}
}

func (sp *setEncoder) number(place int, str string) symbol {
	k := &sp.places[place]
	if k.str == str {
		return k.n
	}
	hash := sp.y.hash(str)
	r := &sp.recent[hash%encoderMemory]
	if r.str != str {
		n := sp.y.intern(hash, str)
		*r = known{str: sp.y.str(n), n: n} // The caller's string may not last.
	}
	*k = *r
	return k.n
}

// find returns the numbers of a label set, and false if a part of it has none, in
// which case the table has no such series. The caller holds inUse.
func (y *symbols) find(lset labels.Labels) (of set, ok bool) {
	var key []byte
	ok = true
	lset.Range(func(l labels.Label) {
		name, known := y.lookup(y.hash(l.Name), l.Name)
		value, both := y.lookup(y.hash(l.Value), l.Value)
		key = binary.LittleEndian.AppendUint32(key, name)
		of.values = append(of.values, value)
		ok = ok && known && both
	})
	y.mtx.RLock()
	defer y.mtx.RUnlock()
	of.names = y.names[string(key)]
	return of, ok && of.names != nil
}

// listed appends the labels of lset to list.
func listed(list []labels.Label, lset labels.Labels) []labels.Label {
	lset.Range(func(l labels.Label) { list = append(list, l) })
	return list
}
