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
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// started is how an engine came up.
type started struct {
	ready   time.Duration // Until a sample was committed.
	cpu     time.Duration // Of that.
	sending time.Duration // Until each of three endpoints got something.
	peak    float64       // Highest live heap of the time until then.
	steady  float64       // Live heap afterwards.
}

// fullSegments is how many full segments an engine finds.
const fullSegments = 20

// start builds a log of unsent samples and opens it anew. The receivers are
// HTTP servers, since senders begin before a transport can be replaced.
func start(b *testing.B, e engine) started {
	return once(b, "startup/"+e.name, func(b *testing.B) started {
		n := size(manySeries)
		// 16 MiB for a million series, and in proportion.
		segment := max(16<<20*n/manySeries/cursor.PageSize, 4) * cursor.PageSize
		p := plan{dir: tempDir(b), endpoints: 3, segmentSize: segment, servers: true, down: true, queue: func(q *config.QueueConfig) {
			q.BatchSendDeadline = model.Duration(100 * time.Millisecond)
		}}
		r := openRig(b, e, p)
		r.create(n)
		for lastSegment(b, r.dir) < fullSegments {
			r.round(nil)
		}
		at := r.time
		r.Close()

		before := live()
		var s started
		cpuBefore, began := processTime(), time.Now()
		peak := watchPeak()
		stop := profileCPU(b)
		p.opened = func(r *rig) {
			r.time = at
			r.create(1)
			s.ready, s.cpu = time.Since(began), processTime()-cpuBefore
		}
		r = openRig(b, e, p)
		defer r.Close()
		r.setDown(false)
		// Stock sends what is new only, once it has read what there was.
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for waiting := true; waiting; {
			r.round(nil)
			<-tick.C
			waiting = false
			for _, rc := range r.receivers {
				waiting = waiting || rc.requests.Load() == 0
			}
		}
		s.sending = time.Since(began)
		r.setDown(true)
		stop()
		s.peak = peak() - before
		s.steady = live() - before
		b.ReportMetric(s.peak/float64(n), "peak-B/series")
		b.ReportMetric(s.steady/float64(n), "steady-B/series")
		return s
	})
}

func lastSegment(b *testing.B, dir string) int {
	first, last, err := wlog.Segments(filepath.Join(dir, "wal"))
	require.NoError(b, err)
	return last - first
}

// watchPeak watches the live heap until the function it returns is called.
func watchPeak() func() float64 {
	var stop atomic.Bool
	done := make(chan float64)
	go func() {
		peak, sample := uint64(0), []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		for !stop.Load() {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64())
			time.Sleep(5 * time.Millisecond)
		}
		done <- float64(peak)
	}()
	return func() float64 {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
		stop.Store(true)
		return <-done
	}
}

func startup(value func(started) float64, unit string) func(b *testing.B) {
	return func(b *testing.B) {
		compare(b, unit, func(b *testing.B, e engine) float64 { return value(start(b, e)) })
	}
}
