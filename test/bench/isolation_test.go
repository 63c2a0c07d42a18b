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
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/config"
)

// slow is the latency of the slow endpoint.
const slow = 2 * time.Second

// delayP99 is the 99th percentile, in ms, from a commit to its arrival at the
// healthy endpoint, which is the first one.
func delayP99(b *testing.B, e engine, endpoints int) float64 {
	const numSeries = 500
	r := openRig(b, e, plan{endpoints: endpoints, queue: func(q *config.QueueConfig) {
		q.BatchSendDeadline = model.Duration(100 * time.Millisecond)
	}})
	defer r.Close()
	for i, rc := range r.receivers[1:] {
		rc.down.Store(i%2 == 0)
		rc.latency.Store(time.Duration(i) * slow)
	}
	r.time = time.Now().UnixMilli() - 1
	r.create(numSeries)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	load := func(d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); {
			<-tick.C
			// Late ticks come close to each other.
			r.time = max(r.time+1, time.Now().UnixMilli())
			r.scrape(r.refs, r.time)
		}
	}
	load(2 * time.Second)
	healthy := r.receivers[0]
	healthy.keepDelays.Store(true)
	load(time.Duration(shorter(20, 4)) * time.Second)
	healthy.mtx.Lock()
	delays := healthy.delays
	healthy.mtx.Unlock()
	require.NotEmpty(b, delays)
	slices.Sort(delays)
	return delays[len(delays)*99/100]
}

func isolation(b *testing.B) {
	compare(b, "beside/alone", func(b *testing.B, e engine) float64 {
		alone, beside := delayP99(b, e, 1), delayP99(b, e, 3)
		b.ReportMetric(alone, "alone-ms")
		b.ReportMetric(beside, "beside-ms")
		return beside / alone
	})
}
