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

package queue

import (
	"unsafe"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// Kind is what an item carries.
type Kind uint8

// The kinds of items, and how many there are.
const (
	Float Kind = iota
	Histogram
	FloatHistogram
	Exemplar
	Kinds
)

// Class folds the kinds into what metrics distinguish.
type Class uint8

// The classes of items, and how many there are.
const (
	Samples Class = iota
	Histograms
	Exemplars
	Classes
)

var (
	classOf    = [Kinds]Class{Samples, Histograms, Histograms, Exemplars}
	classNames = [Classes]string{"samples", "histograms", "exemplars"}
)

// Class returns the class that items of the kind count in.
func (k Kind) Class() Class { return classOf[k] }

// String returns the name that metrics have for the class.
func (c Class) String() string { return classNames[c] }

// Counts are numbers of items by class.
type Counts [Classes]int

// Add counts one item.
func (t *Counts) Add(k Kind) { t[k.Class()]++ }

// Plus adds other counts.
func (t *Counts) Plus(o Counts) {
	for c := range t {
		t[c] += o[c]
	}
}

// Total returns the number of items of all classes.
func (t *Counts) Total() (n int) {
	for _, c := range t {
		n += c
	}
	return n
}

// Item is one sample, histogram or exemplar of the log. Of a sample without a
// start timestamp, which is what most are, there is no more to say.
type Item struct {
	Series *series.Series
	T      int64 // In ms.
	V      float64
}

// Detail is what else there is to say of an item.
type Detail struct {
	Extra *Extra // For everything but floats.
	ST    int64  // Start timestamp in ms, 0 where the log keeps none.
	Kind  Kind
}

// Extra holds what does not fit an item. Exactly one field is set.
type Extra struct {
	Histogram      *histogram.Histogram
	FloatHistogram *histogram.FloatHistogram
	Labels         labels.Labels
}

// ItemView is one item of a list, with its detail if it has one.
type ItemView struct {
	*Item
	Detail *Detail
}

// Kind returns what the item carries.
func (v ItemView) Kind() Kind {
	if v.Detail == nil {
		return Float
	}
	return v.Detail.Kind
}

// ST returns the start timestamp in ms, 0 for none.
func (v ItemView) ST() int64 {
	if v.Detail == nil {
		return 0
	}
	return v.Detail.ST
}

// Attached returns how many bytes the item takes beside itself: its detail, and its
// series if that is in no table.
func (v ItemView) Attached() (n int) {
	if v.Series.Detached() {
		n += DetachedBytes(v.Series.Labels())
	}
	if v.Detail != nil {
		n += int(unsafe.Sizeof(Detail{})) + v.Detail.Extra.bytes()
	}
	return n
}

// List is a list of items.
type List struct {
	Items   []Item
	Details []Detail // Of each item, or empty if there is no more to say of any.
}

// listFor returns an empty list with room for n items.
func listFor(n int, detailed bool) List {
	l := List{Items: make([]Item, 0, n)}
	if detailed {
		l.Details = make([]Detail, 0, n)
	}
	return l
}

// Kind returns what an item carries.
func (l *List) Kind(i int) Kind {
	if len(l.Details) > 0 {
		return l.Details[i].Kind
	}
	return Float
}

// At returns an item with its detail.
func (l *List) At(i int) ItemView {
	v := ItemView{Item: &l.Items[i]}
	if len(l.Details) > 0 {
		v.Detail = &l.Details[i]
	}
	return v
}

// Slice returns a part of the list, which shares its memory.
func (l *List) Slice(i, j int) List {
	part := List{Items: l.Items[i:j]}
	if len(l.Details) > 0 {
		part.Details = l.Details[i:j]
	}
	return part
}

// Count returns the items by class.
func (l *List) Count() (t Counts) {
	if len(l.Details) == 0 {
		t[Samples] = len(l.Items)
	}
	for i := range l.Details {
		t.Add(l.Details[i].Kind)
	}
	return t
}

// add adds an item without detail.
func (l *List) add(it Item) {
	l.Items = append(l.Items, it)
	if len(l.Details) > 0 {
		l.Details = append(l.Details, Detail{})
	}
}

// addDetailed adds an item with its detail.
func (l *List) addDetailed(it Item, d Detail) {
	l.detailed()
	l.Items = append(l.Items, it)
	l.Details = append(l.Details, d)
}

// addAll adds the items of another list.
func (l *List) addAll(o List) {
	if len(o.Details) > 0 {
		l.detailed()
	}
	l.Items = append(l.Items, o.Items...)
	l.Details = append(l.Details, o.Details...)
	if len(l.Details) > 0 {
		l.detailed()
	}
}

// detailed gives each item a detail.
func (l *List) detailed() {
	if n := len(l.Items) - len(l.Details); n > 0 {
		l.Details = append(l.Details, make([]Detail, n)...)
	}
}

// reset empties the list and keeps its memory, but nothing that it refers to.
func (l *List) reset() {
	clear(l.Items)
	clear(l.Details)
	l.Items, l.Details = l.Items[:0], l.Details[:0]
}

// divided takes room for n items off an empty list.
func (l *List) divided(n int) (first, rest List) {
	first.Items, rest.Items = l.Items[:0:n], l.Items[n:n]
	if cap(l.Details) > 0 {
		first.Details, rest.Details = l.Details[:0:n], l.Details[n:n]
	}
	return first, rest
}

// What is held in memory is bounded in bytes (I6): a native histogram can be a
// hundred times a sample, and labels of tens of kilobytes are legal. An item is charged
// for what it alone keeps alive: the labels of a series in the table are the
// table's, and those of one that had left it when the item was read are the item's.
// They count once for each batch.

// each returns how many bytes each item takes, without what it refers to.
func (l *List) each() int {
	if len(l.Details) > 0 {
		return int(unsafe.Sizeof(Item{}) + unsafe.Sizeof(Detail{}))
	}
	return int(unsafe.Sizeof(Item{}))
}

// bytes returns how much memory the items take with what they refer to, labels
// of series left out.
func (l *List) bytes() int {
	n := l.each() * len(l.Items)
	for i := range l.Details {
		n += l.Details[i].Extra.bytes()
	}
	return n
}

// bytes returns how much memory x takes.
func (x *Extra) bytes() int {
	switch {
	case x == nil:
		return 0
	case x.Histogram != nil:
		h := x.Histogram
		return int(unsafe.Sizeof(*x)+unsafe.Sizeof(*h)) + sliceBytes(h.PositiveSpans) + sliceBytes(h.NegativeSpans) +
			sliceBytes(h.PositiveBuckets) + sliceBytes(h.NegativeBuckets) + sliceBytes(h.CustomValues)
	case x.FloatHistogram != nil:
		h := x.FloatHistogram
		return int(unsafe.Sizeof(*x)+unsafe.Sizeof(*h)) + sliceBytes(h.PositiveSpans) + sliceBytes(h.NegativeSpans) +
			sliceBytes(h.PositiveBuckets) + sliceBytes(h.NegativeBuckets) + sliceBytes(h.CustomValues)
	}
	return int(unsafe.Sizeof(*x)) + int(x.Labels.ByteSize())
}

func sliceBytes[T int64 | float64 | histogram.Span](s []T) int {
	var one T
	return cap(s) * int(unsafe.Sizeof(one))
}

// DetachedBytes is how much memory a series takes that is in no table.
func DetachedBytes(lset labels.Labels) int {
	const each = 2 * unsafe.Sizeof("") // A name and a value.
	return int(unsafe.Sizeof(series.Series{})+unsafe.Sizeof(series.Names{})) + lset.Len()*int(each) + int(lset.ByteSize())
}
