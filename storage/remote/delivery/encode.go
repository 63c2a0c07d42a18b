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
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/storage/remote/internal/encoder"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
)

// packing is a request on its way into an encoded request: what is sent of which items,
// under which labels.
type packing struct {
	p          *encodedRequest
	set        *settings
	by         *encoding
	enc        *encoder.Builder
	judgements []judgement // One for each item, none if there are no rules.
	grouped    bool
	table      *series.Table // For metadata.
}

// openSeries begins the time series of the i-th item, under what the rules say.
func (pk *packing) openSeries(i int, it queue.ItemView) {
	if len(pk.judgements) > 0 && pk.judgements[i].changed {
		pk.enc.Series(pk.judgements[i].labels, nil, pk.metadata(it.Series))
	} else {
		pk.enc.TableSeries(it.Series, pk.set.rules.external, pk.metadata(it.Series))
	}
}

// fill encodes items, as many as fit into a request and one at least, and returns
// how many those are. Exemplars stay with their sample.
func (pk *packing) fill(items []queue.ItemView) (n int) {
	for i, it := range items {
		if i > 0 && !joins(items, i, false) && pk.enc.Len() > pk.set.requestBytes {
			break
		}
		if !joins(items, i, pk.grouped) {
			pk.openSeries(i, it)
		}
		pk.put(it)
		n++
	}
	return n
}

// put adds an item to the open time series.
func (pk *packing) put(it queue.ItemView) {
	switch it.Kind() {
	case queue.Float:
		pk.enc.Float(it.ST(), it.T, it.V)
	case queue.Histogram:
		pk.enc.Histogram(it.ST(), it.T, it.Detail.Extra.Histogram)
	case queue.FloatHistogram:
		pk.enc.FloatHistogram(it.ST(), it.T, it.Detail.Extra.FloatHistogram)
	case queue.Exemplar:
		pk.enc.Exemplar(it.Detail.Extra.Labels, it.T, it.V)
	}
	pk.p.sent.Add(it.Kind())
	pk.p.highest = max(pk.p.highest, it.T)
}

// metadata returns the metadata of a series where the protocol has room for it.
func (pk *packing) metadata(of *series.Series) *metadata.Metadata {
	if pk.set.protocol != encoder.V2 {
		return nil
	}
	m, _ := pk.table.Metadata(of)
	return m
}

// finalLabels returns the labels of the i-th item's series as rules and external
// labels make them.
func (pk *packing) finalLabels(i int, it queue.ItemView, b *labels.Builder) labels.Labels {
	if len(pk.judgements) > 0 && pk.judgements[i].changed {
		return pk.judgements[i].labels
	}
	b.Reset(it.Series.Labels())
	for _, l := range pk.set.rules.external {
		if b.Get(l.Name) == "" {
			b.Set(l.Name, l.Value)
		}
	}
	return b.Labels()
}
