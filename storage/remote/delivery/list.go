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

package delivery

import (
	"unsafe"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// kind is what an item carries.
type kind uint8

const (
	kindFloat kind = iota
	kindHistogram
	kindFloatHistogram
	kindExemplar
	kinds
)

// class folds the kinds into what the metrics distinguish.
type class uint8

const (
	classSamples class = iota
	classHistograms
	classExemplars
	classes
)

var (
	classOf    = [kinds]class{classSamples, classHistograms, classHistograms, classExemplars}
	classNames = [classes]string{"samples", "histograms", "exemplars"}
)

// counts are numbers of items by class.
type counts [classes]int

func (t *counts) add(k kind) { t[classOf[k]]++ }

func (t *counts) plus(o counts) {
	for c := range t {
		t[c] += o[c]
	}
}

func (t *counts) total() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

// item is one sample, histogram or exemplar of the log. Of a sample without a
// start timestamp, which is what most are, there is no more to say.
type item struct {
	series *series.Series
	t      int64 // In ms.
	v      float64
}

// detail is what else there is to say of an item.
type detail struct {
	extra *extra // For everything but floats.
	st    int64  // Start timestamp in ms, 0 where the log keeps none.
	kind  kind
}

// extra holds what does not fit an item. Exactly one field is set.
type extra struct {
	h      *histogram.Histogram
	fh     *histogram.FloatHistogram
	labels labels.Labels
}

// list is a list of items.
type list struct {
	items   []item
	details []detail // Of each item, or empty if there is no more to say of any.
}

// size is how much memory each item takes, in bytes.
func (l *list) size() int {
	if len(l.details) > 0 {
		return int(unsafe.Sizeof(item{}) + unsafe.Sizeof(detail{}))
	}
	return int(unsafe.Sizeof(item{}))
}

func (l *list) kind(i int) kind {
	if len(l.details) > 0 {
		return l.details[i].kind
	}
	return kindFloat
}

// at returns an item with its detail.
func (l *list) at(i int) flat {
	f := flat{item: &l.items[i]}
	if len(l.details) > 0 {
		f.detail = &l.details[i]
	}
	return f
}

// from returns a part of the list, which shares its memory.
func (l *list) from(i, j int) list {
	part := list{items: l.items[i:j]}
	if len(l.details) > 0 {
		part.details = l.details[i:j]
	}
	return part
}

// count returns the items by class.
func (l *list) count() (t counts) {
	if len(l.details) == 0 {
		t[classSamples] = len(l.items)
	}
	for i := range l.details {
		t.add(l.details[i].kind)
	}
	return t
}

// add adds an item without detail.
func (l *list) add(it item) {
	l.items = append(l.items, it)
	if len(l.details) > 0 {
		l.details = append(l.details, detail{})
	}
}

// addDetailed adds an item with its detail.
func (l *list) addDetailed(it item, d detail) {
	l.detailed()
	l.items = append(l.items, it)
	l.details = append(l.details, d)
}

// detailed gives each item a detail.
func (l *list) detailed() {
	if n := len(l.items) - len(l.details); n > 0 {
		l.details = append(l.details, make([]detail, n)...)
	}
}

// addAll adds the items of another list.
func (l *list) addAll(o list) {
	if len(o.details) > 0 {
		l.detailed()
	}
	l.items = append(l.items, o.items...)
	l.details = append(l.details, o.details...)
	if len(l.details) > 0 {
		l.detailed()
	}
}

// reset empties the list and keeps its memory, but nothing that it refers to.
func (l *list) reset() {
	clear(l.items)
	clear(l.details)
	l.items, l.details = l.items[:0], l.details[:0]
}

// gathered is a list in the order of the log, with the partition of each item:
// whoever appends or decodes has the series at hand, and spares all others a look
// at it.
type gathered struct {
	list
	parts  []uint8
	extras int // Bytes of what items refer to.
}

// float adds a sample. st is 0 where the log keeps none.
func (g *gathered) float(s *series.Series, st, t int64, v float64) {
	if st != 0 {
		g.other(s, t, v, detail{st: st})
		return
	}
	g.parts = append(g.parts, uint8(s.Partition()))
	g.add(item{s, t, v})
}

// other adds what is no plain sample.
func (g *gathered) other(s *series.Series, t int64, v float64, d detail) {
	g.parts = append(g.parts, uint8(s.Partition()))
	g.extras += d.extra.bytes()
	g.addDetailed(item{s, t, v}, d)
}

func (g *gathered) addAll(o gathered) {
	g.list.addAll(o.list)
	g.parts = append(g.parts, o.parts...)
	g.extras += o.extras
}

func (g *gathered) reset() {
	g.list.reset()
	g.parts = g.parts[:0]
	g.extras = 0
}

// byPartition copies the list into one for each partition, with items in the same
// order. lengths says how many those have. Lists that are apart share no memory,
// so that each can be given up when it is done with.
func (g *gathered) byPartition(lengths *[partitions]uint32, apart bool) *[partitions]list {
	var (
		out      [partitions]list
		detailed = len(g.details) > 0
		rest     list
	)
	if !apart {
		rest = roomFor(len(g.items), detailed)
	}
	for p, n := range lengths {
		switch {
		case n == 0:
		case apart:
			out[p] = roomFor(int(n), detailed)
		default:
			out[p], rest = rest.divided(int(n))
		}
	}
	for i, p := range g.parts {
		to := &out[p]
		to.items = append(to.items, g.items[i])
		if detailed {
			to.details = append(to.details, g.details[i])
		}
	}
	return &out
}

// roomFor returns an empty list with room for n items.
func roomFor(n int, detailed bool) list {
	l := list{items: make([]item, 0, n)}
	if detailed {
		l.details = make([]detail, 0, n)
	}
	return l
}

// divided takes room for n items off an empty list.
func (l list) divided(n int) (first, rest list) {
	first.items, rest.items = l.items[:0:n], l.items[n:n]
	if cap(l.details) > 0 {
		first.details, rest.details = l.details[:0:n], l.details[n:n]
	}
	return first, rest
}

// flat is one item on its way into a request, with its detail if it has one.
type flat struct {
	*item
	detail *detail
}

func (f flat) kind() kind {
	if f.detail == nil {
		return kindFloat
	}
	return f.detail.kind
}

// st is the start timestamp in ms, 0 for none.
func (f flat) st() int64 {
	if f.detail == nil {
		return 0
	}
	return f.detail.st
}
