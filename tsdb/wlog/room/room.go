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

// Package room says how much of its file system a log may take.
package room

// DefaultLimit is the size the log may have if none was set: what the file system
// has, less a reserve. What others write to it lowers the limit only as long as the
// log is below it. Undelivered samples are forfeited because the log grew, and never
// because others did: a log of a few segments is no reason, then commits are refused
// when there is no room left.
type DefaultLimit struct{ last int64 }

// segmentsAnyway is how many segments the log may have whatever others take.
const segmentsAnyway = 4

// Of returns the limit in bytes and whether room is low. own is what the
// log has, free what the file system has left, total what that has in all, segment the
// size of a segment. If others had taken the room when it was called first, there is no
// limit, which is 0, until the log has what it may have of the whole file system.
func (d *DefaultLimit) Of(own, free, total, segment int64) (limit int64, low bool) {
	now := Share(own, free)
	low = own > now
	now = max(now, segmentsAnyway*segment)
	if own <= now {
		d.last = now
	} else if whole := Share(0, total); d.last == 0 && own > whole {
		d.last = whole // That it is so large cannot be for others.
	}
	return d.last, low
}

// Share is what the log may take of the file system: what it has and what is free,
// apart from a reserve of a tenth of that, or 1 GiB if that is more; on file systems
// so small that this would be most of it, half.
func Share(own, free int64) int64 {
	all := own + free
	reserve := max(all/10, min(1<<30, all/2))
	return all - reserve
}
