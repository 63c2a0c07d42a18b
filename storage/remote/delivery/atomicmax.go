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
	"time"
)

// atomicMax is a number that only rises, unless it is set. It is safe for
// concurrent use. The zero value is 0.
type atomicMax struct {
	mtx sync.Mutex
	v   int64
}

func (r *atomicMax) load() int64 {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return r.v
}

// raise sets the number to v if that is more, and reports whether it was.
func (r *atomicMax) raise(v int64) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if v <= r.v {
		return false
	}
	r.v = v
	return true
}

// instant is a moment as this process counts, whatever becomes of the clock on
// the wall. It is safe for concurrent use.
type instant struct {
	mtx sync.Mutex
	at  time.Time
}

// set takes over a time that [time.Now] gave.
func (i *instant) set(at time.Time) {
	i.mtx.Lock()
	defer i.mtx.Unlock()
	i.at = at
}

// age returns the seconds since.
func (i *instant) age() float64 {
	i.mtx.Lock()
	defer i.mtx.Unlock()
	return time.Since(i.at).Seconds()
}
