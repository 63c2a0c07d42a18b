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
	"context"
	"math"
	"slices"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// count finds out what is in ranges that are given up, in one pass over the log for
// all of them. What cannot be read, or not before ctx ends, is estimated by what was.
func (s *Storage) count(ctx context.Context, all []*loss) {
	r := newLogReader(s.logger, s.src, func(*cursor.Corruption) {})
	defer r.close()
	r.tries = newAttempts(1) // That the disk refuses to read it is no reason to keep it.
	stops := map[cursor.Position]bool{}
	for _, l := range all {
		stops[l.from], stops[l.to] = true, true
		for _, m := range l.acked {
			stops[m.Position] = true
		}
		for _, m := range l.apart {
			stops[m.from.Position], stops[m.until.Position] = true, true
		}
	}
	at, more := nextLoss(all, cursor.Point{})
	for more && ctx.Err() == nil {
		b, err := r.read(at, maxBatchItems, func(p cursor.Position) bool { return stops[p] || ctx.Err() != nil })
		if err != nil {
			break
		}
		for _, l := range all {
			if !b.Start.Before(l.from) && b.Start.Before(l.to) {
				s.countBatch(l, b)
			}
		}
		at, more = nextLoss(all, b.End)
	}
	for _, l := range all {
		if from := slices.MaxFunc([]cursor.Position{at.Position, l.from}, cursor.Position.Compare); more && from.Before(l.to) {
			bytes := logBytes(s.src.WALDir, from, l.to)
			series := 0
			if l.reread != nil {
				series = l.reread.left()
			}
			s.estimate(l, queue.Unread{Parts: []queue.UnreadPart{{Items: r.density.of(bytes)}}}, l.to, series)
		}
	}
}

// nextLoss returns where reading goes on for ranges of which everything before a
// point was read, and false if that is nowhere.
func nextLoss(all []*loss, at cursor.Point) (next cursor.Point, more bool) {
	for _, l := range all {
		if !at.Before(l.to) {
			continue
		}
		p := at
		if at.Before(l.from) {
			p = cursor.Point{Position: l.from}
		}
		if !more || p.Before(next.Position) {
			next, more = p, true
		}
	}
	return next, more
}

// countBatch counts what of a batch is lost.
func (s *Storage) countBatch(l *loss, b *queue.Batch) {
	if l.reread != nil {
		l.reread.passed = func(series int, u queue.Unread) { s.estimate(l, u, b.End.Position, series) }
		l.reread.take(b, func(_ *missing, it queue.ItemView, _ savepoint.Mark) bool {
			l.lost.Add(it.Kind())
			return true
		})
		return
	}
	mine, _ := l.res.Filter(b)
	l.lost.Plus(mine.Counts)
	l.lost.Plus(b.Unknown)
	if len(b.Unread.Parts) > 0 {
		lost := lostTo(&b.Unread, l.acked, spreadOf(s.src.Table, l.acked), l.counted)
		l.guess(lost.Items())
	}
}

// estimate adds what a part that ends at a position and was not read may have held:
// of so many isolated series, or of the partitions that have not acknowledged it.
func (s *Storage) estimate(l *loss, u queue.Unread, end cursor.Position, series int) {
	items := 0.0
	if l.reread != nil {
		items = share(s.src.Table, series, u)
	} else {
		items = u.Items() * spreadOf(s.src.Table, l.acked).mean(func(p int) int64 {
			if l.acked[p].Before(end) {
				return 1
			}
			return 0
		})
	}
	l.guess(items)
}

// guess adds so many items that were not read.
func (l *loss) guess(items float64) {
	n := int(math.Ceil(items))
	l.lost[queue.Samples] += n
	l.estimated += n
}
