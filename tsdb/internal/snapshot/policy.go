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

import "math/bits"

// fanIn is how many chunks of one size class are merged into one, and how many
// lists of retired refs.
const fanIn = 8

// sizeClass is the number of a chunk's class. Sizes of a class differ by less
// than the factor fanIn, so what is merged of one is in the next, unless part of
// it was dead.
func sizeClass(bytes int64) int { return bits.Len64(uint64(bytes)) / 3 }

// choose says by ascending indexes which chunks to merge next, if any. Dead is,
// for each chunk, an estimate of its definitions that are dead, or nil.
//
// Damaged chunks come first, then neighbours that are dead by half: what is
// written for these is at most one definition for each that died. Otherwise a
// size class is merged that has fanIn chunks, so that a definition is written
// once as new and once per class that it rises through; or two, the smallest
// first, if there are so many chunks that the next append would find no room.
func choose(all []*chunk, dead []int) []int {
	for i, c := range all {
		if c.mergeable() && c.damaged.Load() {
			return []int{i}
		}
	}
	var run []int
	for i, c := range all {
		if dead != nil && c.mergeable() && 2*dead[i] > c.meta.Series {
			run = append(run, i)
		} else if len(run) > 0 {
			break // Only neighbours are merged: their refs are neighbours, too.
		}
	}
	if len(run) > 0 {
		return run
	}
	enough := fanIn
	if len(all) >= MaxChunks {
		enough = 2
	}
	var classes [64/3 + 1][]int
	for i, c := range all {
		if l := sizeClass(c.meta.Bytes); c.mergeable() && len(classes[l]) < fanIn {
			classes[l] = append(classes[l], i)
		}
	}
	for l := range classes {
		if len(classes[l]) >= enough {
			return classes[l]
		}
	}
	return nil
}
