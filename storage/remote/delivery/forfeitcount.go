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
	"time"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"
)

// CountForfeitsFor is how long a limit waits until what is forfeited is counted.
const CountForfeitsFor = 2 * time.Second

// countingTime returns a context for counting under mtx. It ends soon, and when the storage
// is closed.
func (s *Storage) countingTime() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.closing, CountForfeitsFor)
}

// countForfeits finds out what is in forfeited ranges, in one pass over the log for
// all of them, but for what beyond says is passed over. What cannot be read, or not
// before ctx ends, is estimated by what was.
func (s *Storage) countForfeits(ctx context.Context, all []*forfeit, beyond func(cursor.Position) cursor.Position) {
	r := newLogReader(s.logger, s.src, func(*cursor.Corruption) {})
	defer r.close()
	r.beyond = beyond
	r.tries = newReadTries(1) // That the disk refuses to read it is no reason to keep it.
	stops := map[cursor.Position]bool{}
	for _, f := range all {
		stops[f.from], stops[f.to] = true, true
		for _, m := range f.acked {
			stops[m.Position] = true
		}
		for _, m := range f.apart {
			stops[m.from.Position], stops[m.until.Position] = true, true
		}
	}
	at, more := nextForfeit(all, cursor.Point{})
	for more && ctx.Err() == nil {
		b, err := r.read(at, maxBatchItems, func(p cursor.Position) bool { return stops[p] || ctx.Err() != nil })
		if err != nil {
			break
		}
		for _, f := range all {
			if !b.Start.Before(f.from) && b.Start.Before(f.to) {
				s.countBatch(f, b)
			}
		}
		at, more = nextForfeit(all, b.End)
	}
	for _, f := range all {
		if from := cursor.Later(at.Position, f.from); more && from.Before(f.to) {
			bytes, series := bytesBut(s.src.WALDir, from, f.to, beyond), 0
			if f.reread != nil {
				series = f.reread.seriesLeft()
			}
			s.estimate(f, queue.Unread{Parts: []queue.UnreadPart{{Items: r.density.of(bytes)}}}, f.to, series)
		}
	}
}

// nextForfeit returns where reading goes on for ranges of which everything before a
// point was read, and false if that is nowhere.
func nextForfeit(all []*forfeit, at cursor.Point) (next cursor.Point, more bool) {
	for _, f := range all {
		if !at.Before(f.to) {
			continue
		}
		p := at
		if at.Before(f.from) {
			p = cursor.Point{Position: f.from}
		}
		if !more || p.Before(next.Position) {
			next, more = p, true
		}
	}
	return next, more
}

// countBatch counts what of a batch is forfeited.
func (s *Storage) countBatch(f *forfeit, b *queue.Batch) {
	if f.reread != nil {
		f.reread.onUnread = func(series int, u queue.Unread) { s.estimate(f, u, b.End.Position, series) }
		f.reread.takeBatch(b, func(_ *seriesRange, it queue.ItemView, _ savepoint.Mark) bool {
			f.items.Add(it.Kind())
			f.span.add(it.T)
			return true
		})
		return
	}
	mine, _ := f.res.Filter(b)
	f.items.Plus(mine.Counts)
	mine.Each(func(list *queue.List) {
		for i := range list.Items {
			f.span.add(list.Items[i].T)
		}
	})
	f.items.Plus(b.Unknown)
	if len(b.Unread.Parts) > 0 {
		lost := lostTo(&b.Unread, f.acked, spreadOf(s.src.Table, f.acked), f.counted)
		f.guess(lost.Items())
	}
}

// estimate adds what a part that ends at a position and was not read may have held:
// of so many isolated series, or of the partitions that have not acknowledged it.
func (s *Storage) estimate(f *forfeit, u queue.Unread, end cursor.Position, series int) {
	items := 0.0
	if f.reread != nil {
		items = share(s.src.Table, series, u)
	} else {
		items = u.Items() * spreadOf(s.src.Table, f.acked).mean(func(p int) int64 {
			if f.acked[p].Before(end) {
				return 1
			}
			return 0
		})
	}
	f.guess(items)
}

// guess adds so many items that were not read.
func (f *forfeit) guess(items float64) {
	n := int(math.Ceil(items))
	f.items[queue.Samples] += n
	f.estimated += n
}

func (s *Storage) reportForfeited(f *forfeit, reason string, bytes int64) {
	s.countForfeited(f.name, reason, f.items, bytes)
	what := "A part of the log is forfeited to a limit before it was delivered"
	switch reason {
	case reasonStopped:
		what = "What a limit had forfeited in the log, and was still in memory, is lost by the end of the process"
	case ReasonRemoved:
		what = "What an endpoint had not been sent when it was removed from the configuration is lost: it has not come back in time"
	}
	s.losses.Error(what, append([]any{
		"remote_name", f.name, "reason", reason,
		"from", f.from.String(), "to", f.to.String(), "bytes", bytes, "samples", f.items[queue.Samples], "histograms", f.items[queue.Histograms], "exemplars", f.items[queue.Exemplars],
		"samples_estimated", f.estimated,
	}, f.span.attrs()...)...)
}

// countForfeited counts what an endpoint forfeits.
func (s *Storage) countForfeited(name, reason string, items queue.Counts, bytes int64) {
	s.tallies.add(name, DropExpired, reason, items, bytes)
	s.metrics.expiredBytes.WithLabelValues(name, reason).Add(float64(bytes))
	for c, n := range items {
		s.metrics.expired[c].WithLabelValues(name, reason).Add(float64(n))
	}
}
