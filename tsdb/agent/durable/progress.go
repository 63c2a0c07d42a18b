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
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// tellEvery is how often a line says how far something has come that takes long.
const tellEvery = time.Minute

// progress says in the log, once a minute, how far something has come. Lines of their own say
// that it begins and ends. It may be used from any goroutine.
type progress struct {
	logger *slog.Logger
	now    func() time.Time
	what   string
	unit   string // Of what is done and left.

	mtx  sync.Mutex
	told time.Time
	done int64 // By then.
}

func newProgress(l *slog.Logger, now func() time.Time, what, unit string) *progress {
	return &progress{logger: l, now: now, what: what, unit: unit, told: now()}
}

// at says how much is done, of so much, if it is time.
func (p *progress) at(done, total int64) {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	now := p.now()
	took := now.Sub(p.told)
	if took < tellEvery {
		return
	}
	rate := float64(done-p.done) / took.Seconds()
	left := "unknown"
	if rate > 0 {
		left = time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second).String()
	}
	p.logger.Info(p.what, "done_"+p.unit, done, "left_"+p.unit, total-done, p.unit+"_per_second", strconv.FormatFloat(rate, 'f', 1, 64), "time_left", left)
	p.told, p.done = now, done
}
