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
	"fmt"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
)

// Protocol is a version of the remote write protocol.
type Protocol uint8

const (
	// V1 is prometheus.WriteRequest.
	V1 Protocol = iota
	// V2 is io.prometheus.write.v2.Request.
	V2
)

// ProtocolOf returns the protocol for protobuf_message of an endpoint's
// configuration; empty means V1, as in stock's defaults.
func ProtocolOf(message remoteapi.WriteMessageType) (Protocol, error) {
	switch message {
	case "", remoteapi.WriteV1MessageType:
		return V1, nil
	case remoteapi.WriteV2MessageType:
		return V2, nil
	}
	return V1, fmt.Errorf("protobuf_message %q is not known, use %q or %q", message, remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType)
}

// String returns the protobuf message's name, as configuration files spell it.
func (p Protocol) String() string {
	return string(shapes[p].message)
}

// Fields that have the same number in both protocols.
const (
	seriesLabels  = 1<<3 | delimited // Label messages (V1) or packed symbols (V2).
	seriesSamples = 2<<3 | delimited

	exemplarLabels = 1<<3 | delimited
	exemplarValue  = 2<<3 | fixed64
	exemplarTime   = 3<<3 | varint

	sampleValue = 1<<3 | fixed64
	sampleTime  = 2<<3 | varint
	sampleStart = 3<<3 | varint // V2 only.
)

// Fields of messages that one protocol has.
const (
	pairName  = 1<<3 | delimited // V1.
	pairValue = 2<<3 | delimited

	familyType = 1<<3 | varint // V1.
	familyName = 2<<3 | delimited
	familyHelp = 4<<3 | delimited
	familyUnit = 5<<3 | delimited

	metadataType = 1<<3 | varint // V2.
	metadataHelp = 3<<3 | varint
	metadataUnit = 4<<3 | varint
)

// shape is everything in which the protocols differ. A tag of zero means that
// the protocol does not have the field.
type shape struct {
	message remoteapi.WriteMessageType

	series     tag // Of the request.
	families   tag
	exemplars  tag // Of a series.
	histograms tag
	metadata   tag

	start bool // Samples and histograms carry a start timestamp.

	// labels writes a list of labels into the open message.
	labels func(b *Builder, list []labels.Label)
	// direct does the same for the labels of a series as they are, less those
	// without a value.
	direct func(b *Builder, lset labels.Labels)
	// encoded does it for those of a series of the table.
	encoded func(b *Builder, p *plan, s *series.Series, values []uint32)
}

var shapes = [...]*shape{
	V1: {
		message:    remoteapi.WriteV1MessageType,
		series:     1<<3 | delimited,
		families:   3<<3 | delimited,
		exemplars:  3<<3 | delimited,
		histograms: 4<<3 | delimited,
		labels:     writePairs,
		direct:     rangePairs,
		encoded:    encodePairs,
	},
	V2: {
		message:    remoteapi.WriteV2MessageType,
		series:     5<<3 | delimited,
		exemplars:  4<<3 | delimited,
		histograms: 3<<3 | delimited,
		metadata:   5<<3 | delimited,
		start:      true,
		labels:     writeSymbols,
		direct:     rangeSymbols,
		encoded:    encodeSymbols,
	},
}
