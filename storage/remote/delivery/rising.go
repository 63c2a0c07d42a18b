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
	"math"
	"time"

	"go.uber.org/atomic"
)

// rising is a number that only rises. It is safe for concurrent use.
type rising struct{ v atomic.Int64 }

func (r *rising) load() int64 { return r.v.Load() }

// raise sets the number to v if that is more, and reports whether it was.
func (r *rising) raise(v int64) bool {
	for {
		old := r.v.Load()
		if v <= old {
			return false
		}
		if r.v.CompareAndSwap(old, v) {
			return true
		}
	}
}

// age returns the seconds since a time in ms, NaN for 0.
func age(ms int64) float64 {
	if ms == 0 {
		return math.NaN()
	}
	return time.Since(time.UnixMilli(ms)).Seconds()
}
