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

// entry is a batch as one endpoint sees it.
type entry struct {
	*batch
	// left is what a batch by partition had, which is why the batch here has
	// none: what is acknowledged need not wait for the rest to be forgotten.
	left   *[partitions]list
	ahead  aheadOf
	behind bool // Read by an endpoint that has to catch up, see lags.
	replay bool // In the replay range: it may have been sent before a crash.
	room   int  // Items that may be held before this one waits, see deep.go.
	held   int  // Bytes that a queue holds because of it, and the number
	open   int  // of partitions with something of it left.
	// skipped says how many items of each partition an earlier run had
	// acknowledged after the partition's mark, and are therefore not in the
	// batch; they come before those that are.
	skipped map[int]int
}

// part returns the items of partition p, in the order of the log.
func (e *entry) part(p int) list {
	if e.left != nil {
		return e.left[p]
	}
	return e.batch.part(p)
}

// parted returns the items of partition p if they are at hand without grouping
// what has the order of the log.
func (e *entry) parted(p int) (list, bool) {
	if e.left != nil {
		return e.left[p], true
	}
	if have := e.byPart.Load(); have != nil {
		return have[p], true
	}
	return list{}, false
}

// first returns an item of a partition by its place, without making lists of
// those of others.
func (e *entry) first(p, place int) (it flat, found bool) {
	if e.left != nil || !e.ordered {
		part := e.part(p)
		if place >= len(part.items) {
			return it, false
		}
		return part.at(place), true
	}
	for i, q := range e.parts {
		if int(q) != p {
			continue
		}
		place--
		if place < 0 {
			return e.at(i), true
		}
	}
	return it, false
}

// takeParts makes the entry hold each partition of a batch by partition on its
// own, so that letGo can give them up one by one. Others may share the batch,
// of which only what describes it is left here.
func (e *entry) takeParts() {
	b := e.batch
	if b.ordered || b.total == 0 {
		return
	}
	left := *b.grouped()
	e.left = &left
	e.batch = &batch{summary: b.summary}
}

// span is a run of one partition's items in one entry.
type span struct {
	entry    *entry
	part     int
	from, to int // Indexes into entry.part(part).
}
