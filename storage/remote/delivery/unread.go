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
	"math"

	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// unread is what of a stretch of the log could not be read.
type unread struct {
	parts  []unreadPart
	labels int // Of items that are counted as unknown, those whose labels could not be read.
}

// unreadPart is a part of a segment, and about how many items it held.
type unreadPart struct {
	savepoint.Stretch
	items   float64
	missing bool // The segment is gone: its size is an estimate too.
	last    bool // It reaches to the end of the segment, wherever that was.
}

func (u *unread) bytes() (n int64) {
	for _, p := range u.parts {
		n += p.To - p.From
	}
	return n
}

func (u *unread) items() (n float64) {
	for _, p := range u.parts {
		n += p.items
	}
	return n
}

// sums is what metrics count of it: bytes, samples and segments.
func (u *unread) sums() [3]int64 {
	return [3]int64{u.bytes(), int64(math.Ceil(u.items())), int64(u.segments())}
}

// segments is how many are gone.
func (u *unread) segments() (n int) {
	for _, p := range u.parts {
		if p.missing {
			n++
		}
	}
	return n
}
