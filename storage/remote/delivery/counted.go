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
	"slices"
	"sync"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// endOfSegment is the highest offset that a savepoint takes.
const endOfSegment = 1<<53 - 1

// mostCounted bounds how many parts are remembered.
const mostCounted = 1024

// slack is how many bytes beside a part a repair may take out with it.
const slack = 32

// counted remembers which parts of the log were counted as unreadable, so that none is
// counted again by a later reader: by that of the next run, if the endpoint has not
// acknowledged anything behind it by then, or by the isolator. It may be used from any
// goroutine.
type counted struct {
	mtx   sync.Mutex
	parts []savepoint.Range // Replaced, or added to, never changed in place.
}

func (c *counted) add(u queue.Unread) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for _, p := range u.Parts {
		if p.Last {
			p.To = endOfSegment
		}
		if !slices.Contains(c.parts, p.Range) {
			c.parts = append(c.parts, p.Range)
		}
	}
	c.parts = c.parts[max(len(c.parts)-mostCounted, 0):]
}

// uncounted returns what of a part is not counted, which may be nothing.
func (c *counted) uncounted(r savepoint.Range) savepoint.Range {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for _, p := range c.parts {
		if p.Segment != r.Segment {
			continue
		}
		if p.From <= r.From+slack && r.From < p.To {
			r.From = min(p.To, r.To)
		}
		if r.To-r.From <= slack && p.To == r.From {
			r.From = r.To
		}
	}
	return r
}

// have reports whether all of it was counted, and is something.
func (c *counted) have(u queue.Unread) bool {
	for _, p := range u.Parts {
		if open := c.uncounted(p.Range); open.From < open.To {
			return false
		}
	}
	return len(u.Parts) > 0
}

// from returns the parts that an endpoint may meet again if it needs the log from
// floor on.
func (c *counted) from(floor cursor.Position) (parts []savepoint.Range) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for _, p := range c.parts {
		if floor.Before(cursor.Position{Segment: p.Segment, Offset: p.To}) {
			parts = append(parts, p)
		}
	}
	return parts
}
