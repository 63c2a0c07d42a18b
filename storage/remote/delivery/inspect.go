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
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/ackwal/ackwal/storage/remote/delivery/internal/follow"
	"github.com/ackwal/ackwal/storage/remote/delivery/internal/queue"
	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// InspectOptions are the options of Inspect.
type InspectOptions struct {
	// Evicted resolves series that neither checkpoint nor segments define, nil for none.
	Evicted Resolver
	// WALDir is where the log is, if not below dataDir.
	WALDir string
	// Size is as in Source. Nil if it is not known.
	Size func(segment int) int64
	// Followed says that the log has another writer, as its savepoint does.
	Followed bool
	// FS is where the savepoint is read, and set aside if it is damaged: a file
	// system that keeps changes to itself leaves the directory as it is. Nil is
	// that of the operating system.
	FS vfs.FS
}

// Inspection is a look at a log and at what its savepoint says of endpoints, without
// delivering anything. It belongs to one goroutine.
type Inspection struct {
	storage   *Storage
	log       *follow.Follower
	endpoints []*endpointState
}

// Inspect finds the saved positions of the endpoints of dataDir in the log there, in the
// way that Attach does, and logs what that would. It takes no lock: the log may be
// written to meanwhile, and what comes then is not seen.
//
// It is an error if there are no segments, or if the savepoint is of a later version
// than this release reads.
func Inspect(l *slog.Logger, dataDir string, o InspectOptions) (_ *Inspection, err error) {
	s, err := NewStorage(l, nil, nil, dataDir, 0, nil, false, Options{FS: o.FS})
	if err != nil {
		return nil, err
	}
	i := &Inspection{storage: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.Close())
		}
	}()
	walDir := cmp.Or(o.WALDir, filepath.Join(dataDir, "wal"))
	if i.log, err = follow.Open(s.logger, walDir, func(*cursor.Corruption) {}); err != nil {
		return nil, err
	}
	_, last, err := cursor.SegmentRange(walDir)
	if err != nil {
		return nil, err
	}
	src := &Source{
		WALDir: walDir, DataDir: dataDir, Table: i.log.Table(), Evicted: o.Evicted, Size: o.Size, Run: ulid.Make(),
		Head: func() cursor.Position { return cursor.Position{Segment: last + 1} }, // A start opens another segment.
	}
	if o.Followed {
		src.follow, src.Size = i.log, i.log.Size
	}
	if i.endpoints, _, err = s.loadStates(src); err != nil {
		return nil, err
	}
	src.Head = i.log.Head
	i.storage.src = src
	s.tellPassed(i.endpoints)
	return i, nil
}

// Close lets go of the log.
func (i *Inspection) Close() error {
	if i.log != nil {
		i.log.Close()
	}
	i.storage.mtx.Lock()
	i.storage.src = nil // Nothing was begun that could be stopped.
	i.storage.mtx.Unlock()
	return i.storage.Close()
}

// Series returns how many series the log defines.
func (i *Inspection) Series() int {
	active, others := i.log.Table().Len()
	return active + others
}

// Head returns the end of the last whole record.
func (i *Inspection) Head() cursor.Position { return i.log.Head() }

// Backlog is what an endpoint has yet to be sent, whether its configuration wants it
// or not.
type Backlog struct {
	ID   string
	Name string // As in the savepoint, or else the beginning of the hash of its URL.
	// Removed is when the endpoint was removed from the configuration, nil if it was not.
	Removed *time.Time
	// From is where the endpoint goes on, and before Dispatched it may have been
	// sent something already.
	From, Dispatched cursor.Position
	Bytes            int64 // Of the log.

	Samples, Histograms, Exemplars int
	// Estimated is how many of the samples were not counted but estimated, because
	// they cannot be read.
	Estimated int
	// Oldest and Newest are the times of what was counted in ms, 0 if there is none.
	Oldest, Newest int64
	// Isolated is the number of series that are less far than the others.
	Isolated int
	// Passed is how many samples, histograms and exemplars another engine wrote in between;
	// they are passed over.
	Passed int
	// LostBytes, LostSamples and LostSegments are what is found missing of the start and
	// the end of the log, the samples by estimate.
	LostBytes, LostSamples, LostSegments int64
}

// Items is the number of samples, histograms and exemplars.
func (b *Backlog) Items() int { return b.Samples + b.Histograms + b.Exemplars }

// Backlogs counts what the endpoints of the savepoint have yet to be sent up to a
// position, in their order there, by reading the log once. When ctx ends, the rest is
// estimated.
func (i *Inspection) Backlogs(ctx context.Context, until cursor.Position) []Backlog {
	out := make([]Backlog, len(i.endpoints))
	of := make([][]*forfeit, len(i.endpoints))
	var all []*forfeit
	for n, st := range i.endpoints {
		floor := st.floor().Position
		out[n] = Backlog{
			ID: st.id, Name: st.name, Removed: st.removed, From: floor, Dispatched: st.lastDispatched(), Isolated: len(st.apart),
			LostBytes: st.uncounted[0], LostSamples: st.uncounted[1], LostSegments: st.uncounted[2],
		}
		if st.passed != nil {
			out[n].Passed = st.passed.items.Total()
		}
		if floor.Before(until) {
			out[n].Bytes = i.storage.src.bytes(floor, until)
		}
		_, ranges := st.forfeitBefore(until)
		for _, r := range ranges {
			of[n] = append(of[n], newForfeit(st.name, r, &counted{parts: st.counted}))
		}
		all = append(all, of[n]...)
	}
	i.storage.countForfeits(ctx, all, i.storage.src.beyond)
	for n := range out {
		var span timeSpan
		for _, f := range of[n] {
			span = span.with(f.span)
			out[n].Samples += f.items[queue.Samples]
			out[n].Histograms += f.items[queue.Histograms]
			out[n].Exemplars += f.items[queue.Exemplars]
			out[n].Estimated += f.estimated
		}
		out[n].Oldest, out[n].Newest = span.oldest, span.newest
	}
	return out
}

// LoggedItem is a sample, histogram or exemplar of the log. One of the histograms is
// set for histograms, Exemplar for exemplars.
type LoggedItem struct {
	Labels         labels.Labels
	T              int64 // In ms, as ST is, which is 0 for none.
	ST             int64
	V              float64
	Histogram      *histogram.Histogram
	FloatHistogram *histogram.FloatHistogram
	Exemplar       *exemplar.Exemplar
}

// Each calls f with the items of the log in their order, from a position on, and where
// the record that has it, or others with it, ends. It ends with f's error or that of
// ctx. What cannot be read is passed over and logged.
func (i *Inspection) Each(ctx context.Context, from cursor.Position, f func(LoggedItem, cursor.Position) error) error {
	r := newLogReader(i.storage.logger, i.storage.src, func(*cursor.Corruption) {})
	defer r.close()
	r.tries = newReadTries(1)
	r.beyond = nowhere
	r.bb.Ordered = true
	for at := (cursor.Point{Position: from}); at.Before(i.Head()); {
		// Each record is a batch, so that the positions are those of records.
		b, err := r.read(at, maxBatchItems, func(cursor.Position) bool { return true })
		switch {
		case errors.Is(err, cursor.ErrCaughtUp):
			return nil
		case err != nil:
			return fmt.Errorf("read the log at %s: %w", at.Position, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		b.Each(func(l *queue.List) {
			for n := 0; n < len(l.Items) && err == nil; n++ {
				err = f(loggedItem(l.At(n)), b.End.Position)
			}
		})
		if err != nil {
			return err
		}
		at = b.End
	}
	return nil
}

func loggedItem(it queue.ItemView) LoggedItem {
	out := LoggedItem{Labels: it.Series.Labels(), T: it.T, ST: it.ST(), V: it.V}
	if it.Detail == nil || it.Detail.Extra == nil {
		return out
	}
	x := it.Detail.Extra
	out.Histogram, out.FloatHistogram = x.Histogram, x.FloatHistogram
	if it.Kind() == queue.Exemplar {
		out.Exemplar = &exemplar.Exemplar{Labels: x.Labels, Value: it.V, Ts: it.T, HasTs: true}
	}
	return out
}
