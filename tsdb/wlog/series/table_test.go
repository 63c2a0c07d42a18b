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

package series

import (
	"math"
	"math/rand"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// clock is a wall clock that tests set.
type clock struct{ now atomic.Time }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Unix(1_000_000, 0))
	return c
}

func (c *clock) add(d time.Duration) { c.now.Store(c.now.Load().Add(d)) }

func name(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", strconv.Itoa(i))
}

// refs hands out refs in sequence.
func refs(next *atomic.Uint64) func() chunks.HeadSeriesRef {
	return func() chunks.HeadSeriesRef { return chunks.HeadSeriesRef(next.Inc()) }
}

func TestSeriesIsOneSmallObject(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		require.LessOrEqual(t, unsafe.Sizeof(Series{}), uintptr(80))
	}
}

// A label set has one ref however often and in whatever state it is asked for
// (invariant 1).
func TestGetOrCreate(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	const n = 5000
	for i := range n {
		s, created := tbl.GetOrCreate(name(i), refs(next))
		require.True(t, created)
		require.Equal(t, chunks.HeadSeriesRef(i+1), s.Ref())
		require.Equal(t, int64(math.MinInt64), s.LastSampleTimestamp())
		require.Equal(t, int(labels.StableHash(name(i))%Partitions), s.Partition())
		s.Unpin()
	}
	for i := range n {
		s, created := tbl.GetOrCreate(name(i), refs(next))
		require.False(t, created)
		require.Equal(t, chunks.HeadSeriesRef(i+1), s.Ref())
		require.Same(t, s, tbl.Resolve(s.Ref()))
		require.Same(t, s, tbl.Find(name(i)))
		s.Unpin()
	}
	require.Equal(t, uint64(n), next.Load(), "no ref is used up by a lookup")
	require.Nil(t, tbl.Resolve(0))
	require.Nil(t, tbl.Resolve(n+1))
	require.Nil(t, tbl.Resolve(1<<50))
	require.Nil(t, tbl.Find(name(n)))
}

// Label sets whose hashes collide are told apart.
func TestHashCollision(t *testing.T) {
	y := newSymbols()
	sp := y.setEncoder()
	var st stripe
	all := make([]*Series, 3)
	for i := range all {
		all[i] = newSeries(chunks.HeadSeriesRef(i+1), 42, sp.keep(sp.set(listed(nil, name(i)), 0)), 0, time.Time{}, recordMissing)
		require.Nil(t, st.find(42, all[i].set))
		st.link(all[i])
	}
	for _, s := range all {
		require.Same(t, s, st.find(42, s.set))
	}
	st.unlink(all[1])
	require.Nil(t, st.find(42, all[1].set))
	require.Same(t, all[0], st.find(42, all[0].set))
}

// Refs beyond the directory's bound work like all others.
func TestFarRefs(t *testing.T) {
	tbl := New(Options{})
	for i, ref := range []chunks.HeadSeriesRef{farRef - 1, farRef, math.MaxUint64 - 1} {
		s, displaced := tbl.Insert(ref, name(i), 0)
		require.False(t, displaced)
		require.Same(t, s, tbl.Resolve(ref))
	}
	active, _ := tbl.Len()
	require.Equal(t, 3, active)
	gone := tbl.Retire(time.Now().Add(time.Hour), func() int { return 4 })
	require.Len(t, gone, 3)
	require.Empty(t, tbl.Drop(4))
	require.Len(t, tbl.Drop(5), 3)
	require.Nil(t, tbl.Resolve(farRef))
}

// What is kept is not retired for as long as after a commit, and comes back if it was
// retired before; that refs leave the table is announced by another epoch first.
func TestKeep(t *testing.T) {
	clk := newClock()
	tbl, next := New(Options{Now: clk.now.Load}), atomic.NewUint64(0)
	for i := range 2 {
		s, _ := tbl.GetOrCreate(name(i), refs(next))
		s.Committed(clk.now.Load())
		s.Unpin()
	}
	retire := func() (gone []chunks.HeadSeriesRef) {
		for _, s := range tbl.Retire(clk.now.Load().Add(-time.Minute), func() int { return 3 }) {
			gone = append(gone, s.Ref())
		}
		return gone
	}
	clk.add(time.Hour)
	require.True(t, tbl.Keep(1))
	require.Equal(t, []chunks.HeadSeriesRef{2}, retire())
	require.Zero(t, tbl.Epoch(), "it resolves still")
	require.True(t, tbl.Keep(2))
	clk.add(time.Minute)
	require.Empty(t, retire())
	clk.add(time.Second)
	require.Len(t, retire(), 2)
	require.True(t, tbl.Keep(1))
	seen := uint64(0)
	tbl.OnRemove(func([]chunks.HeadSeriesRef) { seen = tbl.Epoch() })
	require.Equal(t, []chunks.HeadSeriesRef{2}, tbl.Drop(4))
	require.Equal(t, uint64(1), seen)
	require.False(t, tbl.Keep(2))
	require.False(t, tbl.Keep(99))
	require.True(t, tbl.Keep(1))
	require.Empty(t, tbl.Drop(4))
	require.Equal(t, uint64(1), tbl.Epoch(), "nothing has left")
}

// Retirement goes by the wall clock of the last commit, spares what is pinned
// (invariant 2), and a series that returns has its old ref.
func TestRetireDropReturn(t *testing.T) {
	c := newClock()
	tbl, next := New(Options{Now: c.now.Load}), atomic.NewUint64(0)
	get := func(i int) *Series {
		s, _ := tbl.GetOrCreate(name(i), refs(next))
		return s
	}
	idle, busy, pinned := get(0), get(1), get(2)
	idle.Unpin()
	busy.Unpin()

	c.add(time.Hour)
	busy.Committed(c.now.Load())
	segment := func() int { return 7 }
	require.Equal(t, []*Series{idle}, tbl.Retire(c.now.Load().Add(-time.Minute), segment))
	active, retired := tbl.Len()
	require.Equal(t, []int{2, 1}, []int{active, retired})
	require.Same(t, idle, tbl.Resolve(idle.Ref()), "kept segments mention it")
	require.Empty(t, tbl.Drop(7), "segment 7 may mention it")

	back := get(0)
	require.Same(t, idle, back)
	back.Committed(c.now.Load())
	back.Unpin()
	active, retired = tbl.Len()
	require.Equal(t, []int{3, 0}, []int{active, retired})
	require.Empty(t, tbl.Drop(100), "it is active again")

	pinned.Unpin()
	c.add(time.Hour)
	require.Len(t, tbl.Retire(c.now.Load(), segment), 3)
	var told []chunks.HeadSeriesRef
	tbl.OnRemove(func(refs []chunks.HeadSeriesRef) { told = append(told, refs...) })
	require.Equal(t, []chunks.HeadSeriesRef{1, 2, 3}, tbl.Drop(8))
	require.Equal(t, []chunks.HeadSeriesRef{1, 2, 3}, told)
	require.Nil(t, tbl.Resolve(1))
	require.False(t, tbl.Pin(idle), "a dropped series never comes back")
	require.Equal(t, chunks.HeadSeriesRef(4), get(0).Ref())
}

// Pages without series are given back, so that refs that rise with churn do not
// cost memory for ever.
func TestPagesAreReleased(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	for i := range 3 * pageSize {
		s, _ := tbl.GetOrCreate(name(i), refs(next))
		s.Unpin()
	}
	tbl.Retire(time.Now().Add(time.Hour), func() int { return 0 })
	tbl.Drop(1)
	for i := range *tbl.refs.dir.Load() {
		require.Nil(t, (*tbl.refs.dir.Load())[i].Load(), "page %d", i)
	}
	active, retired := tbl.Len()
	require.Zero(t, active+retired)
}

// The replay keeps the first ref of a label set; further ones resolve, share
// the labels, are never found by labels, and go once no segment mentions them.
func TestInsert(t *testing.T) {
	tbl := New(Options{})
	first, _ := tbl.Insert(10, name(1), 0)
	again, displaced := tbl.Insert(10, name(1), 1)
	require.Same(t, first, again)
	require.False(t, displaced)

	canonical, displaced := tbl.Insert(20, name(1), 2)
	require.Same(t, first, canonical)
	require.False(t, displaced)
	alias := tbl.Resolve(20)
	require.True(t, alias.Alias())
	require.Equal(t, first.Labels(), alias.Labels())
	require.False(t, tbl.Pin(alias))
	require.Same(t, first, tbl.Find(name(1)))

	canonical, _ = tbl.Insert(20, name(1), 5)
	require.Same(t, first, canonical)
	require.Empty(t, tbl.Drop(5))
	require.Equal(t, []chunks.HeadSeriesRef{20}, tbl.Drop(6))

	// A ref with a new meaning: the later one holds from here on.
	other, displaced := tbl.Insert(10, name(2), 6)
	require.True(t, displaced)
	require.Same(t, other, tbl.Resolve(10))
	require.Nil(t, tbl.Find(name(1)))
	active, retired := tbl.Len()
	require.Equal(t, []int{1, 0}, []int{active, retired})
}

// An alias whose first ref got another meaning takes its place.
func TestInsertAliasOfDisplaced(t *testing.T) {
	tbl := New(Options{})
	tbl.Insert(1, name(1), 0)
	tbl.Insert(2, name(1), 0)
	tbl.Insert(1, name(9), 1)
	s, displaced := tbl.Insert(2, name(1), 2)
	require.False(t, displaced)
	require.False(t, s.Alias())
	require.Same(t, s, tbl.Find(name(1)))
	require.Same(t, s, tbl.Resolve(2))
	active, retired := tbl.Len()
	require.Equal(t, []int{2, 0}, []int{active, retired})
}

func TestTimestampAndLogged(t *testing.T) {
	s, _ := New(Options{}).GetOrCreate(name(1), func() chunks.HeadSeriesRef { return 1 })
	require.True(t, s.RaiseTimestamp(5))
	require.True(t, s.RaiseTimestamp(5))
	require.False(t, s.RaiseTimestamp(4))
	require.Equal(t, int64(5), s.LastSampleTimestamp())

	require.True(t, s.ChooseForLog())
	require.False(t, s.ChooseForLog(), "one record per write")
	s.SetLogged(false)
	require.True(t, s.ChooseForLog())
	s.SetLogged(true)
	require.True(t, s.Logged())
	require.False(t, s.ChooseForLog())
}

// A series that comes back needs a record again, whichever way it does, and it is
// known that there was one before (I3: the earlier one may go with its segment).
func TestReturnIsLoggedAgain(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	s, _ := tbl.GetOrCreate(name(1), refs(next))
	require.False(t, s.LoggedOnce())
	require.True(t, s.ChooseForLog())
	s.SetLogged(true)
	s.Unpin()
	gone := tbl.Retire(time.Now().Add(time.Hour), func() int { return 7 })
	require.Equal(t, []*Series{s}, gone)
	require.Equal(t, 7, s.RetiredAt())
	require.True(t, s.Idle())
	require.True(t, s.Logged())

	require.True(t, tbl.Pin(s))
	require.False(t, s.Idle())
	require.False(t, s.Logged())
	require.True(t, s.LoggedOnce())
	require.True(t, s.ChooseForLog())
	s.SetLogged(false)
	require.True(t, s.LoggedOnce())
	require.True(t, s.ChooseForLog())
	s.SetLogged(true)
	s.Committed(time.Now())
	require.True(t, s.Logged())
	require.True(t, s.LoggedOnce())
}

// All has every series once, in the order of the refs, far ones and aliases too.
func TestAll(t *testing.T) {
	tbl := New(Options{})
	want := []chunks.HeadSeriesRef{3, 70_000, 1 << 40, 1<<40 + 1, 1 << 50}
	for i, at := range []int{4, 2, 0, 1, 3} {
		tbl.Insert(want[at], name(i), 0)
	}
	tbl.Insert(5000, name(0), 0)
	want = slices.Insert(want, 1, 5000)
	var got []chunks.HeadSeriesRef
	for s := range tbl.All() {
		got = append(got, s.Ref())
	}
	require.Equal(t, want, got)
	for s := range tbl.All() {
		require.Equal(t, want[0], s.Ref())
		break
	}
}

// Refs that are inserted at the same time all resolve, and each label set has
// one series that is handed out (invariant 1).
func TestInsertConcurrently(t *testing.T) {
	tbl := New(Options{})
	const sets, refsEach = 500, 4
	var wg sync.WaitGroup
	for g := range 2 * refsEach {
		g %= refsEach // Each ref twice: two chunks of a snapshot may have it.
		wg.Go(func() {
			for i := range sets {
				ref := chunks.HeadSeriesRef(g*sets + i + 1)
				s, displaced := tbl.Insert(ref, name(i), 1)
				if displaced || !labels.Equal(s.Labels(), name(i)) {
					t.Errorf("ref %d: wrong series", ref)
				}
			}
		})
	}
	wg.Wait()
	requireRefsOfSets(t, tbl, sets, refsEach)
}

// requireRefsOfSets demands that a table has the first label sets that name makes,
// each with one series that is handed out and aliases for its other refs, which
// are numbered from 1 through all sets and then again.
func requireRefsOfSets(t *testing.T, tbl *Table, sets, refsEach int) {
	t.Helper()
	active, retired := tbl.Len()
	require.Equal(t, []int{sets, sets * (refsEach - 1)}, []int{active, retired})
	for ref := range chunks.HeadSeriesRef(sets * refsEach) {
		require.Equal(t, name(int(ref)%sets), tbl.Resolve(ref+1).Labels())
	}
	for i := range sets {
		require.False(t, tbl.Find(name(i)).Alias())
	}
}

// Making room changes nothing else, before series come and after.
func TestReserve(t *testing.T) {
	tbl := New(Options{})
	tbl.Reserve(0)
	tbl.Reserve(10_000)
	buckets := len(tbl.index[0].buckets)
	require.GreaterOrEqual(t, buckets*stripes, 10_000)
	for i := range 1000 {
		tbl.Insert(chunks.HeadSeriesRef(i+1), name(i), 0)
	}
	require.Len(t, tbl.index[0].buckets, buckets)
	tbl.Reserve(40_000)
	tbl.Reserve(10)
	for i := range 1000 {
		require.Same(t, tbl.Resolve(chunks.HeadSeriesRef(i+1)), tbl.Find(name(i)))
	}
}

// A detached series knows its labels and partition, and is in no table.
func TestDetached(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	s, _ := tbl.GetOrCreate(name(1), refs(next))
	d := Detached(s.Ref(), name(1))
	require.True(t, d.Detached())
	require.True(t, d.Gone())
	require.False(t, s.Gone())
	require.False(t, s.Detached())
	require.Equal(t, s.Partition(), d.Partition())
	require.False(t, tbl.Pin(d))
	require.Same(t, s, tbl.Resolve(1))
}

// Appenders, readers and maintenance at the same time: a goroutine with a pin can
// resolve the series by its ref, and none sees two live series of one label set
// (invariants 1 and 2). Run it with -race.
func TestConcurrency(t *testing.T) {
	c := newClock()
	tbl, next := New(Options{Now: c.now.Load}), atomic.NewUint64(0)
	const sets = 64
	var appenders, others sync.WaitGroup
	stop := make(chan struct{})
	for g := range 4 {
		appenders.Go(func() {
			rnd := rand.New(rand.NewSource(int64(g)))
			for range 20_000 {
				i := rnd.Intn(sets)
				s, _ := tbl.GetOrCreate(name(i), refs(next))
				if tbl.Resolve(s.Ref()) != s {
					t.Error("a pinned series does not resolve")
				}
				// While this pin is held no other series may take the label set.
				if cur := tbl.Find(name(i)); cur != s {
					t.Error("two series of one label set")
				}
				s.Committed(c.now.Load())
				s.Unpin()
			}
		})
	}
	others.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			c.add(2 * time.Second)
			tbl.Retire(c.now.Load(), func() int { return n })
			tbl.Drop(n)
		}
	})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for ref := range chunks.HeadSeriesRef(next.Load()) {
				if s := tbl.Resolve(ref); s != nil && s.Ref() != ref {
					t.Error("wrong series")
				}
			}
		}
	})
	appenders.Wait()
	close(stop)
	others.Wait()

	active, retired := tbl.Len()
	var n int
	tbl.refs.each(func(*Series) bool { n++; return true })
	require.Equal(t, n, active+retired)
}

func BenchmarkResolve(b *testing.B) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	const n = 100_000
	for i := range n {
		s, _ := tbl.GetOrCreate(name(i), refs(next))
		s.Unpin()
	}
	b.ReportAllocs()
	var ref chunks.HeadSeriesRef
	for b.Loop() {
		ref = ref%n + 1
		if tbl.Resolve(ref) == nil {
			b.Fatal("missing")
		}
	}
}
