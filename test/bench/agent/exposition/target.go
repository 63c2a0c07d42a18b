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

package exposition

import "math"

// Target is one target: how it is found, and what it serves.
type Target struct {
	Job string
	// Honor says that labels on the page win over those of the target.
	Honor  bool
	Labels map[string]string
	Form   Form
	Series int

	shape  *shape
	number int
}

// Page makes the page of the target, which may be large.
func (t *Target) Page() *Page { return newPage(t.shape, t.number, t.Series, t.Form) }

// mix is what a cluster's series come from.
var mix = []struct {
	shape shape
	form  Form
	large bool
	share float64
}{
	{nodeExporter, Text, true, 0.27},
	{cAdvisor, Text, true, 0.17},
	{kubeState, Text, true, 0.16},
	{application(histogram), Text, true, 0.16},
	{application(histogram), OpenMetrics, true, 0.04},
	{application(histogram), Text, false, 0.10},
	{application(histogram), OpenMetrics, false, 0.05},
	{application(native), Protobuf, false, 0.05},
}

// Sizes are how many series the pages of large and of small targets have.
type Sizes struct{ Large, Small int }

// Targets returns targets with exactly so many series. Each kind of target has
// its share of them; one page of a kind may be smaller than the others.
func Targets(series int, sizes Sizes) (all []*Target) {
	share, used := 0.0, 0
	for i := range mix {
		m := &mix[i]
		share += m.share
		n := int(math.Round(float64(series)*share)) - used
		if i == len(mix)-1 {
			n = series - used // Whatever the sum of the shares rounds to.
		}
		used += n
		size := sizes.Small
		if m.large {
			size = sizes.Large
		}
		for ; n > 0; n -= size {
			number := len(all)
			job := m.shape.job
			if m.form != Text {
				job += "-" + string(m.form)
			}
			all = append(all, &Target{
				Job: job, Honor: m.shape.honor, Labels: m.shape.labels(number), Form: m.form, Series: min(n, size),
				shape: &m.shape, number: number,
			})
		}
	}
	return all
}
