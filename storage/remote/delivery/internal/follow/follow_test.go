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

package follow

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"
	"go.uber.org/goleak"

	"github.com/ackwal/ackwal/tsdb/wlog/cursor"
	"github.com/ackwal/ackwal/tsdb/wlog/series"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// writer writes a log as another program would.
type writer struct {
	t   *testing.T
	dir string
	wal *wlog.WL
	enc record.Encoder
}

func newWriter(t *testing.T) *writer {
	w := &writer{t: t, dir: t.TempDir()}
	w.open()
	t.Cleanup(func() { _ = w.wal.Close() })
	return w
}

func (w *writer) open() {
	var err error
	w.wal, err = wlog.NewSize(nil, nil, w.dir, 4*32*1024, compression.Snappy)
	require.NoError(w.t, err)
}

// reopen begins another run of the writer.
func (w *writer) reopen() {
	require.NoError(w.t, w.wal.Close())
	w.open()
}

// log writes a record and returns the position of its end.
func (w *writer) log(rec []byte) cursor.Position {
	require.NoError(w.t, w.wal.Log(rec))
	segment, offset, err := w.wal.LastSegmentAndOffset()
	require.NoError(w.t, err)
	return cursor.Position{Segment: segment, Offset: cursor.RecordEnd(int64(offset))}
}

func (w *writer) define(ref chunks.HeadSeriesRef, name string) cursor.Position {
	return w.log(w.enc.Series([]record.RefSeries{{Ref: ref, Labels: named(name)}}, nil))
}

func (w *writer) sample(refs ...chunks.HeadSeriesRef) cursor.Position {
	var all []record.RefSample
	for _, ref := range refs {
		all = append(all, record.RefSample{Ref: ref, T: 1, V: 1})
	}
	return w.log(w.enc.Samples(all, nil))
}

// cut begins a segment and returns its number.
func (w *writer) cut() int {
	n, err := w.wal.NextSegmentSync()
	require.NoError(w.t, err)
	return n
}

// checkpoint makes one up to a segment, with the given refs.
func (w *writer) checkpoint(to int, refs ...chunks.HeadSeriesRef) {
	first, _, err := wlog.Segments(w.dir)
	require.NoError(w.t, err)
	keep := map[chunks.HeadSeriesRef]bool{}
	for _, ref := range refs {
		keep[ref] = true
	}
	_, err = wlog.Checkpoint(promslog.NewNopLogger(), w.wal, first, to, func(ref chunks.HeadSeriesRef) bool { return keep[ref] }, 0, false, false)
	require.NoError(w.t, err)
}

func (w *writer) truncate(to int) {
	require.NoError(w.t, w.wal.Truncate(to+1))
	require.NoError(w.t, wlog.DeleteCheckpoints(w.dir, to))
}

func named(name string) labels.Labels { return labels.FromStrings("__name__", name) }

// reading is a follower whose goroutine the test is.
type reading struct {
	*Follower
	t      *testing.T
	gaps   int
	behind bool // A reader is in what is removed.
}

func open(t *testing.T, dir string) *reading {
	r := &reading{t: t}
	var err error
	r.Follower, err = Open(promslog.NewNopLogger(), dir, func(*cursor.Corruption) { r.gaps++ })
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

func (r *reading) pass() {
	r.t.Helper()
	require.NoError(r.t, r.read(r.t.Context(), func() {}))
	require.NoError(r.t, r.collect(func(int) bool { return !r.behind }))
}

// at returns what ref means at a position, as readers find out.
func (r *reading) at(ref chunks.HeadSeriesRef, pos cursor.Position) string {
	s := r.Resolve(ref, pos)
	if s == nil {
		return ""
	}
	return s.Labels().Get("__name__")
}

// TestRedefinition defends guarantee 1, whether the definitions were there at
// the start or come later, and however many segments they are in.
func TestRedefinition(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprintf("late=%v", late), func(t *testing.T) {
			w := newWriter(t)
			var r *reading
			if late {
				r = open(t, w.dir)
			}
			before := w.sample(7)
			w.define(7, "a")
			inA := w.sample(7)
			w.reopen()
			inA2 := w.sample(7)
			w.define(7, "b")
			w.define(8, "other")
			inB := w.sample(7)
			w.reopen()
			w.define(7, "b")
			w.define(7, "a")
			inA3 := w.sample(7)
			if !late {
				r = open(t, w.dir)
			}
			var removed int
			r.Table().OnRemove(func(refs []chunks.HeadSeriesRef) { removed += len(refs) })
			r.pass()
			if late {
				require.Equal(t, 2, removed)
			}
			for pos, want := range map[cursor.Position]string{before: "a", inA: "a", inA2: "a", inB: "b", inA3: "a"} {
				require.Equal(t, want, r.at(7, pos), "at %s", pos)
			}
			require.Equal(t, inA3, r.Head())
			require.Equal(t, "other", r.at(8, inB))
			require.Empty(t, r.at(8, before), "the log was opened in between")

			// What can no longer be read need not be known.
			w.cut()
			w.checkpoint(inA2.Segment-1, 7, 8)
			w.truncate(inA2.Segment - 1)
			r.behind = true
			r.pass()
			require.Equal(t, "a", r.at(7, inA))
			r.behind = false
			r.pass()
			require.Equal(t, "a", r.at(7, inA2))
			require.Equal(t, "b", r.at(7, inB))
			last := w.cut()
			w.checkpoint(last-1, 7, 8)
			w.truncate(last - 1)
			r.pass()
			require.Empty(t, r.past.meanings)
			require.Equal(t, "a", r.at(7, cursor.Position{Segment: last}))
		})
	}
}

// TestLateDefinition defends guarantee 1 where the record that should have defined a ref
// first is missing: what comes after another opening of the log is about another series.
// Within one run a definition may come in a later segment.
func TestLateDefinition(t *testing.T) {
	w := newWriter(t)
	orphan := w.sample(7)
	w.reopen()
	r := open(t, w.dir)
	early := w.sample(7)
	w.cut()
	w.define(7, "given again")
	r.pass()
	require.Empty(t, r.at(7, orphan))
	require.Empty(t, r.at(7, early), "it is not known which engine writes")

	w.cut()
	w.reopen()
	r.Reopened()
	orphan, other := early, w.sample(8)
	w.cut()
	w.define(8, "late")
	r.pass()
	require.Empty(t, r.at(7, orphan))
	require.Equal(t, "late", r.at(8, other))
	w.reopen()
	r.Reopened()
	require.Empty(t, r.at(8, other), "what is open now is another run")
	require.Equal(t, "late", r.at(8, w.sample(8)))
}

// TestResolvesWhileRedefined defends guarantee 1 for readers that are further back
// while a second run gives the refs of the first to other series: none of them
// ever finds the new meaning, or none at all.
func TestResolvesWhileRedefined(t *testing.T) {
	const refs = 50_000
	w := newWriter(t)
	run := func(name string) {
		defs := make([]record.RefSeries, refs)
		for i := range defs {
			defs[i] = record.RefSeries{Ref: chunks.HeadSeriesRef(i + 1), Labels: named(fmt.Sprint(name, i))}
		}
		for part := range slices.Chunk(defs, 1000) {
			w.log(w.enc.Series(part, nil))
		}
	}
	run("first")
	r := open(t, w.dir)
	first := r.Head()
	was := make([]*series.Series, refs)
	for i := range was {
		was[i] = r.Table().Resolve(chunks.HeadSeriesRef(i + 1))
	}
	var (
		wg   sync.WaitGroup
		next atomic.Int64 // What is given anew now, or about to be.
		done = make(chan struct{})
	)
	r.Table().OnRemove(func(gone []chunks.HeadSeriesRef) { next.Store(int64(gone[0])) })
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if i := next.Load() % refs; was[i] != r.Resolve(chunks.HeadSeriesRef(i+1), first) {
					t.Errorf("ref %d has lost its meaning at %s", i+1, first)
					return
				}
			}
		})
	}
	run("second")
	r.pass()
	close(done)
	wg.Wait()
	require.Equal(t, "second0", r.at(1, r.Head()))
}

// TestLoadsInOrder defends guarantee 1 for segments that are read at the same
// time: the outcome is that of reading them one after the other.
func TestLoadsInOrder(t *testing.T) {
	w := newWriter(t)
	rng := rand.New(rand.NewSource(1))
	type place struct {
		ref chunks.HeadSeriesRef
		pos cursor.Position
	}
	now, truth := map[chunks.HeadSeriesRef]string{}, map[place]string{}
	for i := range 3000 {
		ref := chunks.HeadSeriesRef(rng.Intn(50) + 1)
		if rng.Intn(3) == 0 || now[ref] == "" {
			now[ref] = fmt.Sprint("name", rng.Intn(200))
			w.define(ref, now[ref])
		}
		truth[place{ref, w.sample(ref)}] = now[ref]
		if i%100 == 0 {
			w.cut()
		}
	}
	for range 3 {
		r := open(t, w.dir)
		for p, want := range truth {
			require.Equal(t, want, r.at(p.ref, p.pos), "ref %d at %s", p.ref, p.pos)
		}
		r.Close()
	}
}

// TestCollect defends guarantee 3: a newer checkpoint without a ref takes it out
// of the table, but not before its segments are gone, and not if a later segment
// mentions it.
func TestCollect(t *testing.T) {
	w := newWriter(t)
	r := open(t, w.dir)
	w.define(1, "kept")
	w.define(2, "dead")
	w.define(3, "mentioned later, but not in the checkpoint")
	w.sample(1, 2, 3)
	w.cut()
	w.define(4, "defined later")
	w.sample(1, 3)
	r.pass()
	w.checkpoint(0, 1)
	r.pass()
	require.Equal(t, "dead", r.at(2, cursor.Position{}), "its segment is still there")
	require.NoError(t, w.wal.Truncate(1))
	r.behind = true
	r.pass()
	require.Equal(t, "dead", r.at(2, cursor.Position{}), "a reader still needs it")
	var gone []chunks.HeadSeriesRef
	r.Table().OnRemove(func(refs []chunks.HeadSeriesRef) { gone = append(gone, refs...) })
	r.behind = false
	r.pass()
	require.Equal(t, []chunks.HeadSeriesRef{2}, gone)
	for ref, want := range map[chunks.HeadSeriesRef]string{1: "kept", 2: "", 3: "mentioned later, but not in the checkpoint", 4: "defined later"} {
		require.Equal(t, want, r.at(ref, r.Head()))
	}

	// Another start knows the same, as far as the log tells.
	again := open(t, w.dir)
	require.Equal(t, "kept", again.at(1, again.Head()))
	require.Empty(t, again.at(2, again.Head()))
	again.Close()
}

// Metadata is known wherever in the log it is: in a checkpoint, in segments that are
// read at the start, and in what comes later.
func TestMetadata(t *testing.T) {
	w := newWriter(t)
	describe := func(ref chunks.HeadSeriesRef, help string) []byte {
		var enc record.Encoder
		return enc.Metadata([]record.RefMetadata{{Ref: ref, Type: record.GetMetricType(model.MetricTypeCounter), Help: help}}, nil)
	}
	w.define(1, "a")
	w.log(describe(1, "in the checkpoint"))
	w.define(2, "b")
	w.cut()
	w.log(describe(2, "in a segment"))
	w.define(3, "c")
	w.cut()
	w.log(describe(9, "without a series"))
	w.checkpoint(0, 1, 2)
	dir, _, err := wlog.LastCheckpoint(w.dir)
	require.NoError(t, err)
	cp, err := wlog.New(nil, nil, dir, compression.None)
	require.NoError(t, err)
	require.NoError(t, cp.Log(describe(1, "in the checkpoint")))
	require.NoError(t, cp.Close())
	w.truncate(0)

	r := open(t, w.dir)
	w.log(describe(3, "later"))
	r.pass()
	for ref, help := range map[chunks.HeadSeriesRef]string{1: "in the checkpoint", 2: "in a segment", 3: "later"} {
		m, ok := r.table.Metadata(r.table.Resolve(ref))
		require.True(t, ok, help)
		require.Equal(t, metadata.Metadata{Type: model.MetricTypeCounter, Help: help}, *m)
	}
}

// TestChurn defends guarantee 3 over time: the table follows what the retained
// log mentions.
func TestChurn(t *testing.T) {
	w := newWriter(t)
	r := open(t, w.dir)
	ref := chunks.HeadSeriesRef(0)
	for segment := range 30 {
		var live []chunks.HeadSeriesRef
		for range 100 {
			ref++
			w.define(ref, fmt.Sprint("churn", ref))
			live = append(live, ref)
		}
		w.sample(live...)
		w.cut()
		if segment > 0 {
			w.checkpoint(segment-1, live...)
			w.truncate(segment - 1)
		}
		r.pass()
		active, retired := r.Table().Len()
		require.LessOrEqual(t, active+retired, 200)
	}
}

// TestEarly defends guarantee 2: the head waits for a definition that follows,
// and not for one that does not.
func TestEarly(t *testing.T) {
	w := newWriter(t)
	r := open(t, w.dir)
	r.early.timeout = time.Hour
	w.define(1, "a")
	head := w.sample(1)
	r.pass()
	w.sample(1, 2)
	w.sample(3)
	r.pass()
	require.Equal(t, head, r.Head())
	w.define(2, "b")
	r.pass()
	require.Equal(t, head, r.Head())
	end := w.define(3, "c")
	r.pass()
	require.Equal(t, end, r.Head())

	w.sample(4)
	r.pass()
	require.Equal(t, end, r.Head())
	r.early.since = r.early.since.Add(-2 * r.early.timeout)
	r.pass()
	end = w.sample(4)
	r.pass()
	require.Equal(t, end, r.Head(), "an orphan is waited for once")
	w.define(4, "d")
	r.pass()
	require.Empty(t, r.early.orphans)
}

// TestVanished covers segments that are removed before they were read: what is
// in use is in the checkpoint.
func TestVanished(t *testing.T) {
	w := newWriter(t)
	w.define(1, "a")
	r := open(t, w.dir)
	w.cut()
	w.define(1, "b")
	w.define(2, "c")
	w.cut()
	w.define(3, "dead")
	w.cut()
	w.checkpoint(2, 1, 2)
	w.truncate(2)
	end := w.sample(1, 2)
	require.Eventually(t, func() bool {
		// Files that are open are read to their end first.
		r.pass()
		return r.Head() == end
	}, time.Minute, time.Millisecond)
	require.Equal(t, "b", r.at(1, end))
	require.Equal(t, "c", r.at(2, end))
	require.Empty(t, r.at(3, end))
}

// A checkpoint of nothing but zeros, as a loss of power leaves it, is no reason to drop
// a series that is not in it (guarantee 4).
func TestCheckpointOfZeros(t *testing.T) {
	w := newWriter(t)
	w.define(1, "a")
	first := w.cut()
	w.sample(1)
	r := open(t, w.dir)
	w.checkpoint(first-1, 1)
	dir, _, err := wlog.LastCheckpoint(w.dir)
	require.NoError(t, err)
	file := filepath.Join(dir, "00000000")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	clear(b)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	require.NoError(t, w.wal.Truncate(first))
	r.pass()
	require.Equal(t, first-1, r.checkpoint)
	require.False(t, r.whole)
}

// TestDamage defends guarantee 4.
func TestDamage(t *testing.T) {
	w := newWriter(t)
	for ref := range chunks.HeadSeriesRef(3000) {
		w.define(ref+1, fmt.Sprint("series", ref+1))
	}
	first := w.cut()
	w.sample(1)
	r := open(t, w.dir)
	w.checkpoint(first-1, 1, 2500)
	dir, _, err := wlog.LastCheckpoint(w.dir)
	require.NoError(t, err)
	file := filepath.Join(dir, "00000000")
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	b[10] ^= 1
	require.NoError(t, os.WriteFile(file, b, 0o600))
	require.NoError(t, w.wal.Truncate(first))
	r.pass()
	require.Equal(t, "series3000", r.at(3000, r.Head()))
	require.Equal(t, first-1, r.checkpoint)

	// The next one is whole again.
	require.NoError(t, os.RemoveAll(dir))
	w.define(1, "series1")
	n := w.cut()
	w.checkpoint(n-1, 1)
	w.truncate(n - 1)
	r.pass()
	require.Empty(t, r.at(3000, r.Head()))
	require.Equal(t, "series1", r.at(1, r.Head()))

	// A damaged segment at the start costs what it held.
	w.define(5, "bad")
	next := w.cut()
	w.define(9, "good")
	segment := wlog.SegmentName(w.dir, n)
	b, err = os.ReadFile(segment)
	require.NoError(t, err)
	b[10] ^= 1
	require.NoError(t, os.WriteFile(segment, b, 0o600))
	again := open(t, w.dir)
	require.Positive(t, again.gaps)
	require.Equal(t, "good", again.at(9, cursor.Position{Segment: next}))
	again.Close()
}

// TestRun covers the goroutine: it finds what it is told of, and what it is not.
func TestRun(t *testing.T) {
	w := newWriter(t)
	r := open(t, w.dir)
	ctx, cancel := context.WithCancel(t.Context())
	moves := make(chan struct{}, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, func() { moves <- struct{}{} }, func(int) bool { return true })
	}()
	end := w.define(1, "a")
	r.CatchUp(ctx)
	require.Equal(t, end, r.Head())
	<-moves
	w.define(2, "b") // Without a notification.
	<-moves
	require.Equal(t, "b", r.at(2, r.Head()))
	cancel()
	<-done
	r.CatchUp(ctx) // Does not wait for what will not come.
}

// TestNothingToFollow covers that a log has to be there.
func TestNothingToFollow(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "absent")} {
		_, err := Open(promslog.NewNopLogger(), dir, nil)
		require.Error(t, err)
	}
}
