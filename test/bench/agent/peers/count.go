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

package peers

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ackwal/ackwal/conformance/wire"

	"github.com/prometheus/prometheus/model/value"
)

// Counts is what requests carry.
type Counts struct {
	Samples    int64 // Floats of the targets' pages.
	Histograms int64 // Native ones of the targets' pages.
	Automatic  int64 // Of series that agents add: up and scrape_*.
	Stale      int64 // Stale markers of any series.
	Exemplars  int64
	Metadata   int64 // Of the first version, which sends it apart.
}

func (c *Counts) add(o Counts) {
	c.Samples += o.Samples
	c.Histograms += o.Histograms
	c.Automatic += o.Automatic
	c.Stale += o.Stale
	c.Exemplars += o.Exemplars
	c.Metadata += o.Metadata
}

// Scraped is the number of samples that were on pages.
func (c Counts) Scraped() int64 { return c.Samples + c.Histograms }

// layout is where the two protocols keep the same things.
type layout struct {
	series, metadata                     protowire.Number // In the request.
	labels, samples, exemplar, histogram protowire.Number // In a series.
}

var layouts = map[wire.Protocol]layout{
	wire.V1: {series: 1, metadata: 3, labels: 1, samples: 2, exemplar: 3, histogram: 4},
	wire.V2: {series: 5, labels: 1, samples: 2, exemplar: 4, histogram: 3},
}

const (
	// symbolsField is where requests of the second version keep their strings,
	// before all series.
	symbolsField = 4
	// What has the stale marker, in both protocols.
	valueOfSample  = 1
	sumOfHistogram = 3
)

// counter counts without building anything. Its memory is used again.
type counter struct {
	layout  layout
	symbols [][]byte
	Counts
	// All of them, as answers of the second version say it.
	floats, histograms int64
}

// count looks at a decompressed request.
func (c *counter) count(protocol wire.Protocol, raw []byte) error {
	*c = counter{layout: layouts[protocol], symbols: c.symbols[:0]}
	return fields(raw, func(n protowire.Number, of []byte, _ uint64) error {
		switch {
		case n == c.layout.series:
			return c.countSeries(protocol, of)
		case n == c.layout.metadata:
			c.Metadata++
		case protocol == wire.V2 && n == symbolsField:
			c.symbols = append(c.symbols, of)
		}
		return nil
	})
}

func (c *counter) countSeries(protocol wire.Protocol, series []byte) error {
	var floats, histograms, staleFloats, staleHistograms int64
	automatic := false
	err := fields(series, func(n protowire.Number, of []byte, _ uint64) (err error) {
		switch n {
		case c.layout.labels:
			var found bool
			if protocol == wire.V2 {
				found, err = c.automaticRefs(of)
			} else {
				found, err = automaticLabel(of)
			}
			automatic = automatic || found
		case c.layout.samples:
			floats++
			err = countStale(of, valueOfSample, &staleFloats)
		case c.layout.histogram:
			histograms++
			err = countStale(of, sumOfHistogram, &staleHistograms)
		case c.layout.exemplar:
			c.Exemplars++
		}
		return err
	})
	c.floats += floats
	c.histograms += histograms
	c.Stale += staleFloats + staleHistograms
	floats -= staleFloats
	if automatic {
		c.Automatic += floats
		return err
	}
	c.Samples += floats
	c.Histograms += histograms - staleHistograms
	return err
}

// countStale adds one if the field of that number holds the stale marker.
func countStale(message []byte, field protowire.Number, stale *int64) error {
	return fields(message, func(n protowire.Number, _ []byte, bits uint64) error {
		if n == field && value.IsStaleNaN(math.Float64frombits(bits)) {
			*stale++
		}
		return nil
	})
}

// automaticLabel says whether a label is the name of a series that agents add.
func automaticLabel(label []byte) (bool, error) {
	var name, val []byte
	err := fields(label, func(n protowire.Number, of []byte, _ uint64) error {
		switch n {
		case 1:
			name = of
		case 2:
			val = of
		}
		return nil
	})
	return string(name) == "__name__" && isAutomatic(val), err
}

func (c *counter) automaticRefs(refs []byte) (bool, error) {
	for len(refs) > 0 {
		name, n := protowire.ConsumeVarint(refs)
		if n < 0 {
			return false, protowire.ParseError(n)
		}
		val, m := protowire.ConsumeVarint(refs[n:])
		if m < 0 {
			return false, protowire.ParseError(m)
		}
		if max(name, val) >= uint64(len(c.symbols)) {
			return false, fmt.Errorf("a label refers to symbol %d of %d", max(name, val), len(c.symbols))
		}
		if string(c.symbols[name]) == "__name__" {
			return isAutomatic(c.symbols[val]), nil
		}
		refs = refs[n+m:]
	}
	return false, nil
}

func isAutomatic(name []byte) bool {
	const prefix = "scrape_"
	return string(name) == "up" || len(name) > len(prefix) && string(name[:len(prefix)]) == prefix
}

var errWireType = errors.New("a field has a wire type that remote write does not use")

// fields calls visit for each field of a message: with the bytes of those that
// have a length, with the number of the others.
func fields(message []byte, visit func(n protowire.Number, bytes []byte, number uint64) error) error {
	for len(message) > 0 {
		n, typ, length := protowire.ConsumeTag(message)
		if length < 0 {
			return protowire.ParseError(length)
		}
		message = message[length:]
		var bytes []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			bytes, length = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			number, length = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			number, length = protowire.ConsumeFixed64(message)
		default:
			return errWireType
		}
		if length < 0 {
			return protowire.ParseError(length)
		}
		message = message[length:]
		if err := visit(n, bytes, number); err != nil {
			return err
		}
	}
	return nil
}
