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
	sent map[*item]bool
}

// add appends to items the exemplars of part that belong to samples of the span
// sp, which ends before them.
func (a *aheadOf) add(items []flat, sp span, part []item) []flat {
	var in map[*series.Series]bool
	for i := sp.to; i < len(part); i++ {
		if part[i].kind != kindExemplar {
			continue
		}
		if in == nil {
			in = map[*series.Series]bool{}
			// A later sample of the series is the one it belongs to.
			for j := sp.from; j < len(part); j++ {
				if part[j].kind != kindExemplar {
					in[part[j].series] = j < sp.to
				}
			}
		}
		if !in[part[i].series] || a.has(&part[i]) {
			continue
		}
		a.mtx.Lock()
		if a.sent == nil {
			a.sent = map[*item]bool{}
		}
		a.sent[&part[i]] = true
		a.mtx.Unlock()
		items = append(items, flat{item: &part[i], batch: sp.entry.batch})
	}
	return items
}

// has reports whether the exemplar was sent before its turn.
func (a *aheadOf) has(it *item) bool {
	a.mtx.Lock()
	defer a.mtx.Unlock()
	return a.sent[it]
}
