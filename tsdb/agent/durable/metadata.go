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

package durable

import (
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/record"
)

// description is metadata that is new for its series, which is pinned by the
// batch.
type description struct {
	series   *series.Series
	metadata metadata.Metadata
}

// describe takes the metadata of s unless it is known already, too large for a
// segment, or not wanted, which it reports as false.
func (b *batch) describe(s *series.Series, m metadata.Metadata) bool {
	if !b.db.opts.EnableMetadataWALRecords || m.IsEmpty() || len(m.Unit)+len(m.Help) > b.db.itemLimit/2 {
		return false
	}
	if old, ok := b.db.table.Metadata(s); ok && *old == m {
		return false
	}
	b.described = append(b.described, description{s, m})
	return true
}

// encodeMetadata adds the records of new metadata, and enters it in the table for
// the readers of the samples. forgetMetadata takes it out again if the log did not
// take it.
func (b *batch) encodeMetadata(enc *record.Encoder, limit int) {
	if len(b.described) == 0 {
		return
	}
	recs := make([]record.RefMetadata, 0, len(b.described))
	for _, d := range b.described {
		b.db.table.SetMetadata(d.series, d.metadata)
		recs = append(recs, record.RefMetadata{
			Ref: d.series.Ref(), Type: record.GetMetricType(d.metadata.Type), Unit: d.metadata.Unit, Help: d.metadata.Help,
		})
	}
	inParts(recs, limit, metadataBound, func(part []record.RefMetadata) {
		b.out.add(func(dst []byte) []byte { return enc.Metadata(part, dst) })
	})
}

func (b *batch) forgetMetadata() {
	for _, d := range b.described {
		b.db.table.SetMetadata(d.series, metadata.Metadata{})
	}
}
