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
	"encoding/binary"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/common/model"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Options of a [Builder].
type Options struct {
	// TypeAndUnitLabels takes the metadata's type and unit from the labels
	// __type__ and __unit__ (V2 only), as the feature of that name does.
	TypeAndUnitLabels bool
}

// Builder builds one remote write request at a time, see the package's
// documentation for ownership. The order of calls is
//
//	Reset (Series (Float | Histogram | FloatHistogram | Exemplar)* )* Finish
//
// where a new Builder needs no Reset, and MetricMetadata may come where Series
// does. Samples outside of a series are a mistake of the caller and panic.
type Builder struct {
	shape *shape
	opts  Options

	body    wire           // The request's series and families.
	symbols symbols        // V2 only.
	plans   plans          // See TableSeries.
	list    []labels.Label // Scratch space, see gather.

	series   nested // The open series.
	inSeries bool
	about    about
	told     about              // What was made of
	tellsOf  *metadata.Metadata // this, which many series share.

	// How many bytes the length of the last of its kind took.
	seriesRoom, exemplarRoom, histogramRoom int

	joined, compressed []byte // Results of Finish.
}

// about is the metadata of the open series, written when it ends, after the
// samples, where receivers that read in one pass are used to seeing it.
type about struct {
	kind       writev2.Metadata_MetricType
	help, unit uint32
}

// New returns a Builder for the protocol.
func New(p Protocol, opts Options) *Builder {
	b := &Builder{shape: shapes[p], opts: opts, seriesRoom: 1, exemplarRoom: 1, histogramRoom: 1}
	b.Reset()
	return b
}

// Reset drops what was built and invalidates the result of Finish. Buffers are
// kept.
func (b *Builder) Reset() {
	b.body.buf = b.body.buf[:0]
	clear(b.list[:cap(b.list)])
	b.inSeries = false
	b.plans.reset()
	b.told, b.tellsOf = about{}, nil
	if b.shape.metadata != 0 {
		b.symbols.reset()
	}
}

// Len returns the size of the request so far in bytes, not compressed. It may
// be short by the length and the metadata of the series that is still open.
// The caller ends a request long before the 4 GiB that a snappy block can hold.
func (b *Builder) Len() int {
	return len(b.symbols.wire.buf) + len(b.body.buf)
}

// Series starts a series and ends the one before. The external labels must be
// sorted by name; they are added where lset has no label of that name, so pass
// none if relabelling has already seen them. meta may be nil and is ignored by
// V1, which sends metadata as messages of their own.
func (b *Builder) Series(lset labels.Labels, external []labels.Label, meta *metadata.Metadata) {
	b.begin()
	if len(external) == 0 && !b.opts.TypeAndUnitLabels {
		// Nothing to merge or to look for.
		if b.shape.metadata != 0 {
			b.describe(nil, meta)
		}
		b.shape.direct(b, lset)
		return
	}
	list := b.gather(lset, external)
	if b.shape.metadata != 0 {
		b.describe(list, meta)
	}
	b.shape.labels(b, list)
}

// begin ends a series and begins the next.
func (b *Builder) begin() {
	b.endSeries()
	b.series = b.body.open(b.shape.series, b.seriesRoom)
	b.inSeries = true
	b.about = about{}
}

// describe settles the metadata of the series that begins.
func (b *Builder) describe(list []labels.Label, meta *metadata.Metadata) {
	if meta != nil && meta == b.tellsOf {
		b.about = b.told
		return
	}
	if meta != nil {
		b.about.help = b.symbols.ref(meta.Help)
	}
	if b.opts.TypeAndUnitLabels {
		b.about.kind = writev2.FromMetadataType(model.MetricType(valueOf(list, model.MetricTypeLabel)))
		b.about.unit = b.symbols.ref(valueOf(list, model.MetricUnitLabel))
		return
	}
	if meta != nil {
		b.about.kind = writev2.FromMetadataType(meta.Type)
		b.about.unit = b.symbols.ref(meta.Unit)
		b.told, b.tellsOf = b.about, meta
	}
}

func (b *Builder) endSeries() {
	if !b.inSeries {
		return
	}
	b.inSeries = false
	w := &b.body
	if b.shape.metadata != 0 {
		message := w.open(b.shape.metadata, 1)
		w.number(metadataType, uint64(b.about.kind))
		w.number(metadataHelp, uint64(b.about.help))
		w.number(metadataUnit, uint64(b.about.unit))
		w.close(message)
	}
	b.seriesRoom = w.close(b.series)
}

func (b *Builder) mustBeInSeries() {
	if !b.inSeries {
		panic("encoder: a sample, histogram or exemplar was added before Series")
	}
}

// sampleRoom is more than the largest sample takes: three fields of a byte for
// the tag and 8 to 10 for the value, and what opens the message.
const sampleRoom = 2 + 9 + 2*(1+binary.MaxVarintLen64)

// Float adds a sample to the series. Times are in milliseconds; st is the start
// timestamp, 0 if unknown.
func (b *Builder) Float(st, t int64, v float64) {
	b.mustBeInSeries()
	// This is most of what there is to write, so it asks for room once.
	at := len(b.body.buf)
	b.body.buf = slices.Grow(b.body.buf, sampleRoom)[:at+sampleRoom]
	room := (*[sampleRoom]byte)(b.body.buf[at:])
	n := 2
	if v != 0 {
		room[2] = byte(sampleValue)
		binary.LittleEndian.PutUint64(room[3:], math.Float64bits(v))
		n = 11
	}
	if t != 0 {
		room[n] = byte(sampleTime)
		n += 1 + binary.PutUvarint(room[n+1:], uint64(t))
	}
	if st != 0 && b.shape.start {
		room[n] = byte(sampleStart)
		n += 1 + binary.PutUvarint(room[n+1:], uint64(st))
	}
	room[0], room[1] = byte(seriesSamples), byte(n-2)
	b.body.buf = b.body.buf[:at+n]
}

// Exemplar adds an exemplar to the series; lset are the exemplar's own labels
// and t is in milliseconds.
func (b *Builder) Exemplar(lset labels.Labels, t int64, v float64) {
	b.mustBeInSeries()
	w := &b.body
	message := w.open(b.shape.exemplars, b.exemplarRoom)
	b.shape.labels(b, b.verbatim(lset))
	w.double(exemplarValue, v)
	w.number(exemplarTime, uint64(t))
	b.exemplarRoom = w.close(message)
}

// MetricMetadata adds the metadata of a metric family to a V1 request and ends
// the open series. V2 has no such message, there metadata travels with the
// series: the call has no effect, as in stock.
func (b *Builder) MetricMetadata(family, help, unit string, typ model.MetricType) {
	if b.shape.families == 0 {
		return
	}
	b.endSeries()
	w := &b.body
	message := w.open(b.shape.families, 1)
	w.number(familyType, uint64(prompb.FromMetadataType(typ)))
	w.str(familyName, family)
	w.str(familyHelp, help)
	w.str(familyUnit, unit)
	w.close(message)
}

// Finish ends the last series and returns the request as a snappy block, with
// its size in bytes before compression. The slice is valid until Reset.
func (b *Builder) Finish() (compressed []byte, rawSize int) {
	raw := b.finishRaw()
	b.compressed = compress(b.compressed, raw, false)
	return b.compressed, len(raw)
}

// FinishTo is Finish into a buffer of the caller's, which it returns, grown if
// need be. smaller asks for a smaller result at twice the cost.
func (b *Builder) FinishTo(dst []byte, smaller bool) []byte {
	return compress(dst, b.finishRaw(), smaller)
}

func compress(dst, raw []byte, smaller bool) []byte {
	if need := s2.MaxEncodedLen(len(raw)); cap(dst) < need {
		// A quarter more, so that requests of growing sizes do not each allocate.
		dst = make([]byte, need+need/4)
	}
	if smaller {
		return s2.EncodeSnappyBetter(dst[:cap(dst)], raw)
	}
	return s2.EncodeSnappy(dst[:cap(dst)], raw)
}

// finishRaw ends the last series and returns the request before compression.
func (b *Builder) finishRaw() []byte {
	b.endSeries()
	if len(b.symbols.wire.buf) == 0 {
		return b.body.buf
	}
	// Receivers that resolve references while they read need the symbols first.
	b.joined = append(b.joined[:0], b.symbols.wire.buf...)
	b.joined = append(b.joined, b.body.buf...)
	return b.joined
}
