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
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// modelSeries is a series that is appended to. It belongs to one writer.
type modelSeries struct {
	lset      labels.Labels
	name      string
	droppable bool
	histogram bool

	ref    storage.SeriesRef // As the last append returned it, in that run.
	refRun int
}

func newModelSeries(i, generation int) *modelSeries {
	s := &modelSeries{droppable: i%5 == 0, histogram: i%7 == 3}
	class := "kept"
	if s.droppable {
		class = "droppable"
	}
	s.lset = labels.FromStrings("__name__", "m", "class", class, "generation", strconv.Itoa(generation), "i", strconv.Itoa(i))
	s.name = s.lset.String()
	return s
}
