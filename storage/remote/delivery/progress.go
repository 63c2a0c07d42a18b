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

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
)

// progress tells for how long an endpoint has not come on although there is more
// of the log, whatever stands in its way.
type progress struct {
	mtx   sync.Mutex // Guards what follows.
	at    cursor.Position
	since time.Time
}

func (p *progress) stuck(floor, head cursor.Position, now time.Time) time.Duration {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if floor != p.at || !floor.Before(head) || p.since.IsZero() {
		p.at, p.since = floor, now
	}
	return now.Sub(p.since)
}
