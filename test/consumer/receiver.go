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
	"strconv"
	"sync"

	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
)

// receiver takes remote write, or answers that it is not available.
type receiver struct {
	refuses atomic.Bool
	refused atomic.Int64

	mtx    sync.Mutex
	series map[string]*arrivals // By the label that tells them apart.
}

// arrivals are the values of a series that arrived.
type arrivals struct {
	last     int // The highest.
	count    int // Different ones.
	repeated int
	late     int // Came after one that is higher, for the first time.
	all      map[int]struct{}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if r.refuses.Load() {
		r.refused.Inc()
		w.WriteHeader(http.StatusServiceUnavailable)
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
		number := ""
		for _, l := range series.Labels {
			if l.Name == labels.MetricName && l.Value != metric {
				number = "" // Of another metric.
				break
			}
			if l.Name == "number" {
				number = l.Value
			}
		}
		if number == "" {
			continue
		}
		a := r.series[number]
		if a == nil {
			a = &arrivals{last: -1, all: map[int]struct{}{}}
			r.series[number] = a
		}
		for _, s := range series.Samples {
			a.add(int(s.Value))
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *arrivals) add(value int) {
	if _, there := a.all[value]; there {
		a.repeated++
		return
	}
	if value < a.last {
		a.late++
	}
	a.all[value] = struct{}{}
	a.count++
	a.last = max(a.last, value)
}

// disorder returns how many values came after one of the same series that is higher.
func (r *receiver) disorder() (n int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, a := range r.series {
		n += a.late
	}
	return n
}

// counts returns how many values of all series have arrived, and how many of them more
// than once.
func (r *receiver) counts() (arrived, repeated int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for _, a := range r.series {
		arrived += a.count
		repeated += a.repeated
	}
	return arrived, repeated
}

// has reports whether every series has a value.
func (r *receiver) has(value int) bool {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for i := range seriesEach {
		a := r.series[strconv.Itoa(i)]
		if a == nil {
			return false
		}
		if _, there := a.all[value]; !there {
			return false
		}
	}
	return true
}

// lossError says that something did not arrive.
type lossError struct {
	component, endpoint, arrived, committed int
	refused                                 int64
}

func (e *lossError) Error() string {
	return fmt.Sprintf("LOST %d of %d samples for endpoint %d of component %d (which refused %d requests)",
		e.committed-e.arrived, e.committed, e.endpoint, e.component, e.refused)
}
