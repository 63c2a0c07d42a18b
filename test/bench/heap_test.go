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

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
)

// heapOf returns the live heap per series of an idle engine whose endpoints
// have everything.
func heapOf(b *testing.B, e engine, endpoints int, external bool) float64 {
	return once(b, fmt.Sprintf("heap/%s/%d/%t", e.name, endpoints, external), func(b *testing.B) float64 {
		n := size(manySeries)
		refs := make([]storage.SeriesRef, 0, n)
		before := live()
		r := openRig(b, e, plan{endpoints: endpoints, external: external, queue: func(q *config.QueueConfig) { q.MinShards = 1 }})
		defer r.Close()
		r.refs = refs
		r.create(n)
		r.wait(50 * time.Millisecond)
		after := live()
		profileHeap(b)
		return (after - before) / float64(n)
	})
}

func heap(endpoints int, external bool) func(b *testing.B) {
	return func(b *testing.B) {
		compare(b, "B/series", func(b *testing.B, e engine) float64 { return heapOf(b, e, endpoints, external) })
	}
}

func heapPerAdded(b *testing.B) {
	compare(b, "B/series", func(b *testing.B, e engine) float64 {
		return (heapOf(b, e, 3, false) - heapOf(b, e, 1, false)) / 2
	})
}
