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

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
)

// scraped is the metric of the target.
const scraped = "consumer_scraped"

func newTarget() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, scraped, 1)
	}))
}

// receiver takes remote write, or refuses it with a status.
type receiver struct {
	*httptest.Server

	status  atomic.Int64
	refused atomic.Int64

	mtx   sync.Mutex
	taken map[string][]float64 // By name of the metric.
}

// newReceiver returns a receiver that refuses everything with the status, if
// that is not 0.
func newReceiver(status int64) *receiver {
	r := &receiver{taken: map[string][]float64{}}
	r.status.Store(status)
	r.Server = httptest.NewServer(r)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if status := r.status.Load(); status != 0 {
		r.refused.Inc()
		w.WriteHeader(int(status))
		return
	}
	write, err := remote.DecodeWriteRequest(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, series := range write.Timeseries {
		for _, l := range series.Labels {
			if l.Name != labels.MetricName {
				continue
			}
			for _, s := range series.Samples {
				r.taken[l.Value] = append(r.taken[l.Value], s.Value)
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) values(name string) []float64 {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return slices.Clone(r.taken[name])
}

// inOrder counts the appended samples up to the first that is missing, double
// or in the wrong place.
func (r *receiver) inOrder() int {
	values := r.values(metric)
	for i, v := range values {
		if v != float64(i) {
			return i
		}
	}
	return len(values)
}

func (r *receiver) wait(forWhat string, seen func() bool) error {
	for end := time.Now().Add(timeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if seen() {
			return nil
		}
	}
	return fmt.Errorf("%s did not arrive within %v; what did: %v, and %d requests were refused", forWhat, timeout, r.values(metric), r.refused.Load())
}
