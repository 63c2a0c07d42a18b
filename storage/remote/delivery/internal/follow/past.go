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

package follow

import (
	"maps"
	"os"
	"sync"

	"go.uber.org/atomic"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// past knows what refs meant that mean something else now. In most
// logs there are none, and asking costs one atomic read.
type past struct {
	any atomic.Bool // Whether there are meanings.

	mtx      sync.RWMutex
	meanings map[chunks.HeadSeriesRef][]meaning // In the order of the log.
}

// meaning is what a ref meant up to a position, the end of the record that
// defines it anew.
type meaning struct {
	until  cursor.Position
	series *series.Series
}

// add notes what a ref meant. Positions must not fall.
func (p *past) add(s *series.Series, until cursor.Position) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.meanings == nil {
		p.meanings = map[chunks.HeadSeriesRef][]meaning{}
	}
	p.meanings[s.Ref()] = append(p.meanings[s.Ref()], meaning{until: until, series: s})
	p.any.Store(len(p.meanings) > 0)
}

// at returns what ref meant at a position, nil if that has not changed.
func (p *past) at(ref chunks.HeadSeriesRef, pos cursor.Position) *series.Series {
	if !p.any.Load() {
		return nil
	}
	p.mtx.RLock()
	defer p.mtx.RUnlock()
	for _, m := range p.meanings[ref] {
		if pos.Before(m.until) {
			return m.series
		}
	}
	return nil
}

// forget drops what readers from oldest on do not need.
func (p *past) forget(oldest cursor.Position) {
	if !p.any.Load() {
		return
	}
	p.mtx.Lock()
	defer p.mtx.Unlock()
	for ref, all := range p.meanings {
		n := 0
		for n < len(all) && !oldest.Before(all[n].until) {
			n++
		}
		switch {
		case n == len(all):
			delete(p.meanings, ref)
		case n > 0:
			p.meanings[ref] = append([]meaning(nil), all[n:]...)
		}
	}
	p.any.Store(len(p.meanings) > 0)
}

// finished knows how many bytes segments had when they were seen to be finished.
type finished struct {
	mtx   sync.Mutex
	sizes map[int]int64
}

func (f *finished) note(dir string, segment int) {
	info, err := os.Stat(wlog.SegmentName(dir, segment))
	if err != nil {
		return
	}
	f.mtx.Lock()
	defer f.mtx.Unlock()
	if f.sizes == nil {
		f.sizes = map[int]int64{}
	}
	f.sizes[segment] = info.Size()
}

// size returns 0 for what is not known.
func (f *finished) size(segment int) int64 {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	return f.sizes[segment]
}

// forget drops the segments before one.
func (f *finished) forget(before int) {
	f.mtx.Lock()
	defer f.mtx.Unlock()
	maps.DeleteFunc(f.sizes, func(segment int, _ int64) bool { return segment < before })
}
