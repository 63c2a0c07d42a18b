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

import (
	"context"
	"errors"
	"runtime"
	"slices"

	"go.uber.org/atomic"
	"golang.org/x/sync/errgroup"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// loadBytes is about how much of a chunk is read at a time.
const loadBytes = 512 * 1024

// span is consecutive blocks of a chunk.
type span struct {
	c        *chunk
	from, to int
}

// counts is how much was read of a chunk.
type counts struct{ blocks, series atomic.Int64 }

// loader is what the workers of a load share.
type loader struct {
	// First, so that 32-bit platforms can use them as atomics.
	taken           atomic.Int64 // Spans taken by workers.
	series, retired atomic.Int64

	s     *Store
	f     Definition
	lists []*retiredList // Nil to load everything.
	spans []span
	of    map[*chunk]*counts
}

// Definition is what a load calls with each definition: for one value of worker
// one call at a time, mostly in the order of the refs. The labels and their
// strings are only valid during the call. Bit i of same says that label i is the one
// that was there when the worker was last told of a series with more than i
// labels. An error ends the load, and is returned.
type Definition func(worker int, ref chunks.HeadSeriesRef, lset []labels.Label, same uint64) error

// Load calls f with the definitions that are not listed as retired, from the
// given number of workers (GOMAXPROCS if it is below 1). Damaged blocks are
// passed over and reported.
func (s *Store) Load(ctx context.Context, workers int, f Definition) (LoadReport, error) {
	return s.load(ctx, workers, true, f)
}

// LoadAll is Load with the definitions that are listed as retired: all that the
// chunks have.
func (s *Store) LoadAll(ctx context.Context, workers int, f Definition) (LoadReport, error) {
	return s.load(ctx, workers, false, f)
}

func (s *Store) load(ctx context.Context, workers int, active bool, f Definition) (LoadReport, error) {
	v := s.acquire()
	if v == nil {
		return LoadReport{}, ErrClosed
	}
	defer s.release(v)
	l := &loader{s: s, f: f, of: map[*chunk]*counts{}}
	if active {
		var err error
		if l.lists, err = s.readRetirement(v); err != nil {
			return LoadReport{}, err
		}
	}
	for _, c := range v.chunks {
		l.of[c] = &counts{}
		l.spans = append(l.spans, spans(c)...)
	}
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	g, ctx := errgroup.WithContext(ctx)
	for worker := range workers {
		g.Go(func() error { return l.work(ctx, worker) })
	}
	err := g.Wait()
	return l.report(v), err
}

// spans cuts a chunk into spans of about loadBytes.
func spans(c *chunk) []span {
	var all []span
	for from := 0; from < len(c.idx); {
		to := from + 1
		for to < len(c.idx) && c.end(to)-c.idx[from].off <= loadBytes {
			to++
		}
		all = append(all, span{c, from, to})
		from = to
	}
	return all
}

func (l *loader) work(ctx context.Context, worker int) error {
	var (
		r    = newBlockReader()
		d    = newDecoder()
		gone = newRetirement(l.lists)
		skip func(chunks.HeadSeriesRef) bool
	)
	if len(gone) > 0 {
		skip = func(ref chunks.HeadSeriesRef) bool { return gone.segment(ref) != alive }
	}
	take := func(ref chunks.HeadSeriesRef, lset []labels.Label) error { return l.f(worker, ref, lset, d.same) }
	for {
		n := l.taken.Inc() - 1
		if n >= int64(len(l.spans)) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		sp := l.spans[n]
		gone.seek(sp.c.idx[sp.from].first)
		err := l.each(r, sp, func(payload []byte) error {
			taken, skipped, err := d.each(payload, skip, take)
			if damage := (entryError{}); errors.As(err, &damage) {
				l.s.blame(sp.c, damage.error)
				return nil
			}
			if err != nil {
				return err
			}
			t := l.of[sp.c]
			t.blocks.Inc()
			t.series.Add(int64(taken + skipped))
			l.series.Add(int64(taken))
			l.retired.Add(int64(skipped))
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// each calls f with the blocks of a span that are whole.
func (l *loader) each(r *blockReader, sp span, f func(payload []byte) error) error {
	b, err := r.fetch(sp.c, sp.from, sp.to)
	if err != nil {
		// One bad sector is not to cost the whole span.
		if sp.to-sp.from == 1 {
			l.s.blame(sp.c, err)
			return nil
		}
		for i := sp.from; i < sp.to; i++ {
			if err := l.each(r, span{sp.c, i, i + 1}, f); err != nil {
				return err
			}
		}
		return nil
	}
	start := sp.c.idx[sp.from].off
	for i := sp.from; i < sp.to; i++ {
		at := min(sp.c.idx[i].off-start, int64(len(b)))
		payload, err := r.payload(sp.c, i, b[at:])
		if err != nil {
			l.s.blame(sp.c, err)
			continue
		}
		if err := f(payload); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) report(v *view) LoadReport {
	rep := LoadReport{Series: int(l.series.Load()), Retired: int(l.retired.Load())}
	for _, c := range v.chunks {
		blocks := c.meta.Blocks - int(l.of[c].blocks.Load())
		if blocks <= 0 {
			continue
		}
		rep.DamagedBlocks += blocks
		rep.LostSeries += c.meta.Series - int(l.of[c].series.Load())
		rep.DamagedChunks = append(rep.DamagedChunks, c.path)
	}
	slices.Sort(rep.DamagedChunks)
	return rep
}
