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
	"fmt"
	"math/bits"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Each bit of a bucket's filter says something: hashes are spread over all eight.
func TestFilterUsesAllBits(t *testing.T) {
	var used uint8
	for i := range uint32(1 << 10) {
		bit := filterBit(chainHash(uint64(i) << (stripeBits + hashBits - 10)))
		require.Equal(t, 1, bits.OnesCount8(bit))
		used |= bit
	}
	require.Equal(t, uint8(0xff), used)
}

// Refs from farRef on are kept like others: in pages, in their order, and pages and
// regions that nothing needs go.
func TestFarRefsInPages(t *testing.T) {
	tbl := New(Options{})
	const n = 3 * pageSize * regionSize / 256
	base := farRef + chunks.HeadSeriesRef(pageSize*regionSize) - n/2 // Over the edge of a region.
	refs := []chunks.HeadSeriesRef{7, farRef, 1 << 62}
	for i := range chunks.HeadSeriesRef(n) {
		refs = append(refs, base+i)
	}
	for i, ref := range refs {
		tbl.Insert(ref, labels.FromStrings("i", strconv.Itoa(i)), 0)
	}
	require.Len(t, *tbl.refs.far.Load(), 3)
	for i, ref := range refs {
		require.Equal(t, labels.FromStrings("i", strconv.Itoa(i)), tbl.Resolve(ref).Labels())
	}
	last := chunks.HeadSeriesRef(0)
	seen := 0
	for s := range tbl.All() {
		require.Greater(t, s.Ref(), last)
		last = s.Ref()
		seen++
	}
	require.Equal(t, len(refs), seen)
	for _, ref := range refs {
		tbl.discard(tbl.Resolve(ref))
		require.Nil(t, tbl.Resolve(ref))
	}
	require.Nil(t, tbl.refs.far.Load())
}

// A sweep of strings that are all dead lets others at work in between: a goroutine
// that makes series all the while never finds what was freed.
func TestSweepByStepsBesideWriters(t *testing.T) {
	tbl := New(Options{})
	var next chunks.HeadSeriesRef
	create := func(str string) *Series {
		s, _ := tbl.GetOrCreate(labels.FromStrings("a", str), func() chunks.HeadSeriesRef { next++; return next })
		return s
	}
	const dead = 40 * sweepStep * markBits
	for i := range dead {
		y := tbl.symbols
		y.inUse.RLock()
		str := fmt.Sprint("dead ", i)
		y.intern(y.hash(str), str)
		y.inUse.RUnlock()
	}
	var (
		done sync.WaitGroup
		made []*Series
	)
	begun, end := newSignal(), newSignal()
	done.Go(func() {
		for i := 0; !end.given(); i++ {
			// The same strings as the dead ones, so that numbers are found that are
			// about to be freed.
			made = append(made, create(fmt.Sprint("dead ", i%dead)))
			begun.give()
		}
	})
	begun.wait()
	tbl.sweep()
	end.give()
	done.Wait()
	for i, s := range made {
		require.Equal(t, labels.FromStrings("a", fmt.Sprint("dead ", i%dead)), s.Labels())
	}
	require.Less(t, tbl.symbols.count, dead, "something was freed")
}

type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }
func (s *signal) give()  { s.once.Do(func() { close(s.c) }) }
func (s *signal) wait()  { <-s.c }
func (s *signal) given() bool {
	select {
	case <-s.c:
		return true
	default:
		return false
	}
}

// BenchmarkRefs resolves and walks series whose refs are below and above farRef.
func BenchmarkRefs(b *testing.B) {
	const n = 300_000
	for name, base := range map[string]chunks.HeadSeriesRef{"low": 1, "far": farRef + 1} {
		tbl := New(Options{})
		next := base
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range n {
			s, _ := tbl.GetOrCreate(labels.FromStrings("i", strconv.Itoa(i)), func() chunks.HeadSeriesRef { next++; return next - 1 })
			s.Unpin()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.Run("op=resolve/refs="+name, func(b *testing.B) {
			i := chunks.HeadSeriesRef(0)
			for b.Loop() {
				if tbl.Resolve(base+i) == nil {
					b.Fatal("lost")
				}
				i = (i + 1) % n
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/series")
		})
		b.Run("op=walk/refs="+name, func(b *testing.B) {
			for b.Loop() {
				for range tbl.All() {
				}
			}
		})
	}
}

// BenchmarkSweepStall says how long a new series waits at the most while a sweep
// frees a million strings.
func BenchmarkSweepStall(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		tbl := New(Options{})
		y := tbl.symbols
		y.inUse.RLock()
		for i := range 1_000_000 {
			str := fmt.Sprint("dead ", i)
			y.intern(y.hash(str), str)
		}
		y.inUse.RUnlock()
		var (
			longest time.Duration
			done    sync.WaitGroup
			end     = newSignal()
			next    chunks.HeadSeriesRef
		)
		b.StartTimer()
		done.Go(func() {
			for i := 0; !end.given(); i++ {
				begin := time.Now()
				s, _ := tbl.GetOrCreate(labels.FromStrings("new", strconv.Itoa(i)), func() chunks.HeadSeriesRef { next++; return next })
				s.Unpin()
				longest = max(longest, time.Since(begin))
			}
		})
		tbl.sweep()
		end.give()
		done.Wait()
		b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest-wait")
	}
}

// BenchmarkFilter looks for label sets that are not there, as reading a log does.
func BenchmarkFilter(b *testing.B) {
	const n = 200_000
	tbl := New(Options{})
	var next chunks.HeadSeriesRef
	for i := range n {
		s, _ := tbl.GetOrCreate(labels.FromStrings("a", strconv.Itoa(i%1000), "b", strconv.Itoa(i/1000)), func() chunks.HeadSeriesRef { next++; return next })
		s.Unpin()
	}
	var absent []labels.Labels // Of strings that are there.
	for i := range 1000 {
		absent = append(absent, labels.FromStrings("a", strconv.Itoa(i%200), "b", strconv.Itoa(i)))
	}
	i := 0
	for b.Loop() {
		tbl.Find(absent[i%len(absent)])
		i++
	}
}
