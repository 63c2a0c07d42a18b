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

package harness

import (
	"github.com/ackwal/ackwal/conformance/wire"
)

// Protocol is a version of remote write.
type Protocol = wire.Protocol

// The protocols by the names of their protobuf messages.
const (
	V1 = wire.V1
	V2 = wire.V2
)

// Protocols lists what every suite runs with.
func Protocols() []Protocol { return []Protocol{V1, V2} }

// entry is one point with its value, in the order of the request.
type entry struct {
	point Point
	value Value
}

// decodeRequest turns the body of a write request into entries.
func decodeRequest(contentType string, body []byte, symbols *Symbols) (protocol Protocol, entries []entry, err error) {
	protocol, err = wire.Decode(contentType, body, func(i wire.Item) {
		e := entry{point: Point{Series: symbols.ID(i.Labels), Kind: SampleKind, T: i.T}}
		switch {
		case i.Exemplar != nil:
			e.point.Kind, e.value = ExemplarKind, ExemplarValue(*i.Exemplar)
		case i.Histogram != nil:
			e.value = HistogramValue(i.Histogram)
		default:
			e.value = FloatValue(i.Float)
		}
		entries = append(entries, e)
	})
	return protocol, entries, err
}
