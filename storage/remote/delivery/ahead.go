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
	"sync"

	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// aheadOf remembers which exemplars of an entry were sent before their turn.
// Where a request ends within an entry, the exemplars of its last samples lie
// behind its end, and would have no sample in the next one. They go with their
// samples, and are passed over when their turn comes. They are not part of any
// mark: after a crash they may come again.
type aheadOf struct {
	mtx  sync.Mutex // Senders of several partitions share the entry.
	sent map[placeInPart]bool
}

// placeInPart is an item's place among those of its partition.
type placeInPart struct{ part, index int }

// add appends to items the exemplars of part that belong to samples of the span
// sp, which ends before them.
func (a *aheadOf) add(items []flat, sp span, part list) []flat {
	var in map[*series.Series]bool
	for i := sp.to; i < len(part.items); i++ {
		if part.kind(i) != kindExemplar {
			continue
		}
		if in == nil {
			in = map[*series.Series]bool{}
			// A later sample of the series is the one it belongs to.
			for j := sp.from; j < len(part.items); j++ {
				if part.kind(j) != kindExemplar {
					in[part.items[j].series] = j < sp.to
				}
			}
		}
		if !in[part.items[i].series] || a.has(sp.part, i) {
			continue
		}
		a.mtx.Lock()
		if a.sent == nil {
			a.sent = map[placeInPart]bool{}
		}
		a.sent[placeInPart{sp.part, i}] = true
		a.mtx.Unlock()
		items = append(items, part.at(i))
	}
	return items
}

// has reports whether the exemplar at that place was sent before its turn.
func (a *aheadOf) has(part, index int) bool {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return a.sent[placeInPart{part, index}]
}
