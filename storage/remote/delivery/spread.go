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
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
	"github.com/ackwal/ackwal/tsdb/wlog/series"
)

// spread says how much of the log each partition has, as numbers to be compared.
type spread [queue.Partitions]int64

// mostLookedAt is how many series tell how all of them are spread. Where there are
// more, the partitions have about as many each.
const mostLookedAt = 64 * queue.Partitions

// spreadOf returns how many active series each partition has. One that is behind
// another had something to be sent, and so counts as having one, whatever became of that:
// a partition without any is where its endpoint has read to.
func spreadOf(t *series.Table, acked []savepoint.Mark) *spread {
	var (
		s        spread
		furthest savepoint.Mark
		n        int
	)
	for active := range t.All() {
		if active.Idle() {
			continue
		}
		s[active.Partition()]++
		n++
		if n == mostLookedAt {
			break
		}
	}
	for _, m := range acked {
		if furthest.Before(m.Position) {
			furthest = m
		}
	}
	for p, m := range acked {
		if m.Before(furthest.Position) {
			s[p] = max(s[p], 1)
		}
	}
	return &s
}

// mean returns the mean of what there is for each partition, by how much each has of the
// log. If that is not known of any, they are alike.
func (s *spread) mean(of func(p int) int64) float64 {
	var sum, all, plain float64
	for p, n := range s {
		v := float64(of(p))
		sum += v * float64(n)
		all += float64(n)
		plain += v
	}
	if all == 0 {
		return plain / queue.Partitions
	}
	return sum / all
}

// lostTo returns what of u is lost to partitions that have acknowledged so much, but
// for what was counted before.
func lostTo(u *queue.Unread, acked []savepoint.Mark, in *spread, before *counted) (lost queue.Unread) {
	for _, p := range u.Parts {
		open, all := before.uncounted(p.Range), p.To-p.From
		waits := in.mean(func(p int) int64 {
			from := open.From
			switch m := acked[p]; {
			case open.Segment < m.Segment:
				return 0
			case open.Segment == m.Segment:
				from = max(from, m.Offset)
			}
			return max(open.To-from, 0)
		})
		if waits == 0 {
			continue
		}
		bytes := max(int64(waits), 1)
		p.Items *= float64(bytes) / float64(all)
		p.Range = savepoint.Range{Segment: open.Segment, From: open.To - bytes, To: open.To}
		lost.Parts = append(lost.Parts, p)
	}
	return lost
}
