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
	"fmt"

	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// coldGeneration is how many series a reader remembers that are not in the
// table, before it forgets those it did not meet since about as many others.
const coldGeneration = 8192

// coldSeries are series that left the table while a reader is behind. It bounds
// what a reader keeps of them (I6). One goroutine owns it.
type coldSeries struct {
	from Resolver // Nil if there are none.
	// Recent ones and those from before.
	young, old map[chunks.HeadSeriesRef]*series.Series
	err        error
}

// lookupError says that a series could not be looked up now.
type lookupError struct {
	ref chunks.HeadSeriesRef
	err error
}

func (e *lookupError) Error() string {
	return fmt.Sprintf("look up series %d in the snapshot: %v", e.ref, e.err)
}

func (e *lookupError) Unwrap() error { return e.err }

// failure returns why a lookup since the last call could not be made, if so.
func (c *coldSeries) failure() (err error) {
	err, c.err = c.err, nil
	return err
}

// resolve returns the series of ref, and nil if there is none, or if it cannot
// be told, see failure.
func (c *coldSeries) resolve(ref chunks.HeadSeriesRef) *series.Series {
	if c.from == nil {
		return nil
	}
	if s, ok := c.young[ref]; ok {
		return s
	}
	s, ok := c.old[ref]
	if !ok {
		lset, known, err := c.from.Resolve(ref)
		if err != nil {
			c.err = &lookupError{ref: ref, err: err}
		}
		if err != nil || !known {
			return nil
		}
		s = series.Detached(ref, lset)
	}
	if c.young == nil || len(c.young) >= coldGeneration {
		c.young, c.old = make(map[chunks.HeadSeriesRef]*series.Series), c.young
	}
	c.young[ref] = s
	return s
}
