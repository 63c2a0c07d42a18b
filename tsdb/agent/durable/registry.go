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
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// registry remembers what is registered through it, so that all of it can be
// taken back at once. The WL takes its metrics back itself, but only if its
// Close succeeds, which it does not on a full disk; without this, no second WL
// could be opened then. A nil registry registers nothing.
type registry struct {
	inner prometheus.Registerer

	mtx sync.Mutex // Guards all.
	all []prometheus.Collector
}

// newRegistry returns a registry on top of reg, which may be nil.
func newRegistry(reg prometheus.Registerer) *registry {
	if reg == nil {
		return nil
	}
	return &registry{inner: reg}
}

// registerer returns r for functions that take an interface, in which a nil pointer
// would not be nil.
func (r *registry) registerer() prometheus.Registerer {
	if r == nil {
		return nil
	}
	return r
}

// Register implements prometheus.Registerer.
func (r *registry) Register(c prometheus.Collector) error {
	if r == nil {
		return nil
	}
	err := r.inner.Register(c)
	if err == nil {
		r.mtx.Lock()
		r.all = append(r.all, c)
		r.mtx.Unlock()
	}
	return err
}

// MustRegister implements prometheus.Registerer.
func (r *registry) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// Unregister implements prometheus.Registerer.
func (r *registry) Unregister(c prometheus.Collector) bool {
	return r != nil && r.inner.Unregister(c)
}

// clear takes everything back.
func (r *registry) clear() {
	if r == nil {
		return
	}
	r.mtx.Lock()
	all := r.all
	r.all = nil
	r.mtx.Unlock()
	for _, c := range all {
		r.inner.Unregister(c)
	}
}
