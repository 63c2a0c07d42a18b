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
	"sync"
	"time"
)

// rising is a number that only rises, unless it is set. It is safe for
// concurrent use. The zero value is 0.
type rising struct {
	mtx sync.Mutex
	v   int64
}

func (r *rising) load() int64 {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.v
}

// raise sets the number to v if that is more, and reports whether it was.
func (r *rising) raise(v int64) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if v <= r.v {
		return false
	}
	r.v = v
	return true
}

func (r *rising) set(v int64) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.v = v
}

// age returns the seconds since a time in ms, NaN for 0.
func age(ms int64) float64 {
	if ms == 0 {
		return math.NaN()
	}
	return time.Since(time.UnixMilli(ms)).Seconds()
}
