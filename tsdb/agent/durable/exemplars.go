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
	"fmt"
	"sync"
	"unicode/utf8"

	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// latestExemplars knows the last exemplar of each active series that has any.
// Most series have none, so it is beside the table.
type latestExemplars [16]struct {
	mtx  sync.Mutex // Guards last.
	last map[*series.Series]exemplar.Exemplar
}

// replace makes e the last exemplar of s unless it is that already, which it
// reports as false.
func (x *latestExemplars) replace(s *series.Series, e exemplar.Exemplar) bool {
	shard := &x[uint64(s.Ref())%uint64(len(x))]
	shard.mtx.Lock()
	defer shard.mtx.Unlock()
	if last, ok := shard.last[s]; ok && last.Equals(e) {
		return false
	}
	if shard.last == nil {
		shard.last = map[*series.Series]exemplar.Exemplar{}
	}
	shard.last[s] = e
	return true
}

// forget drops what is known of series that are not active any longer.
func (x *latestExemplars) forget(gone []*series.Series) {
	for _, s := range gone {
		shard := &x[uint64(s.Ref())%uint64(len(x))]
		shard.mtx.Lock()
		delete(shard.last, s)
		shard.mtx.Unlock()
	}
}

// checkExemplar refuses exemplars with labels that are not valid or too long:
// OpenMetrics counts the characters of names and values alone.
func checkExemplar(e exemplar.Exemplar) error {
	if name, twice := e.Labels.HasDuplicateLabelNames(); twice {
		return fmt.Errorf("label %q occurs more than once in exemplar %s: %w", name, e.Labels, tsdb.ErrInvalidExemplar)
	}
	characters := 0
	e.Labels.Range(func(l labels.Label) {
		characters += utf8.RuneCountInString(l.Name) + utf8.RuneCountInString(l.Value)
	})
	if characters > exemplar.ExemplarMaxLabelSetLength {
		return storage.ErrExemplarLabelLength
	}
	return nil
}
