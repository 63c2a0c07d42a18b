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

package snapshot

const (
	// fanIn is how many chunks of one level are merged into one of the next,
	// and how many lists of retired refs into one.
	fanIn = 8
	// smallest is the size in bytes below which all chunks are of one class.
	smallest = 64 * 1024
)

// sizeClass returns the level of a chunk that is not the outcome of a merge of
// a level: sizes of one class differ by the factor that a merge makes.
func sizeClass(bytes int64) int {
	level := 0
	for limit := int64(smallest); bytes >= limit && level < maxLevel; limit *= fanIn {
		level++
		if limit > bytes/fanIn {
			break
		}
	}
	return level
}

// choice is a merge to be done.
type choice struct {
	chunks []int // Ascending indexes.
	level  func(bytes int64) int
}

// choose says which chunks to merge next, or false if all is well. Dead is, for
// each chunk, an estimate of its definitions that are dead, or nil.
//
// A level is merged when it has fanIn chunks, and the outcome belongs to the
// next. So a definition is written once as new and once per level it rises
// through. Chunks that are dead by half are written anew, which costs at most
// one definition for each that died.
func choose(all []*chunk, dead []int) (choice, bool) {
	settle := func(level int) func(int64) int {
		return func(bytes int64) int { return min(level, sizeClass(bytes)) }
	}
	for i, c := range all {
		if c.mergeable() && c.damaged.Load() {
			return choice{[]int{i}, settle(c.meta.Level)}, true
		}
	}
	var run []int
	top := 0
	for i, c := range all {
		if dead != nil && c.mergeable() && 2*dead[i] > c.meta.Series {
			run, top = append(run, i), max(top, c.meta.Level)
		} else if len(run) > 0 {
			break // Only neighbours are merged: their refs are neighbours, too.
		}
	}
	if len(run) > 0 {
		return choice{run, settle(top)}, true
	}
	levels := map[int][]int{}
	for i, c := range all {
		if !c.mergeable() {
			continue
		}
		l := c.meta.Level
		if levels[l] = append(levels[l], i); len(levels[l]) == fanIn {
			return choice{levels[l], func(bytes int64) int { return min(l, sizeClass(bytes)) + 1 }}, true
		}
	}
	return crowded(all)
}

// crowded chooses, if there are too many chunks, the neighbours that are the
// smallest together.
func crowded(all []*chunk) (choice, bool) {
	// The next append is to find room.
	if len(all) < MaxChunks {
		return choice{}, false
	}
	best, least := -1, int64(0)
	for i := 0; i+fanIn <= len(all); i++ {
		sum := int64(0)
		for _, c := range all[i : i+fanIn] {
			if !c.mergeable() {
				sum = -1
				break
			}
			sum += c.meta.Bytes
		}
		if sum >= 0 && (best < 0 || sum < least) {
			best, least = i, sum
		}
	}
	if best < 0 {
		return choice{}, false
	}
	c := choice{level: sizeClass}
	for i := range fanIn {
		c.chunks = append(c.chunks, best+i)
	}
	return c, true
}
