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
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// bulkSource is a source of series that says which labels stayed as they were, in strings
// that are overwritten after each call.
type bulkSource struct {
	*BulkLoader
	r    *rand.Rand
	last []labels.Label // By place.
	room []byte
}

func (f *bulkSource) add(ref chunks.HeadSeriesRef, lset labels.Labels) {
	clear(f.room)
	f.room = f.room[:0]
	list, same := listed(nil, lset), uint64(0)
	for i, l := range list {
		switch {
		case i == len(f.last):
			f.last = append(f.last, l)
		case f.last[i] == l && f.r.IntN(8) > 0: // It need not be told.
			same |= 1 << i
		}
		f.last[i] = l
	}
	for _, l := range list {
		f.room = append(append(f.room, l.Name...), l.Value...)
	}
	str := func(n int) (s string) {
		s, f.room = unsafe.String(unsafe.SliceData(f.room), n), f.room[n:]
		return s
	}
	all := f.room
	for i, l := range list {
		list[i] = labels.Label{Name: str(len(l.Name)), Value: str(len(l.Value))}
	}
	f.Add(ref, list, same)
	for i := range all {
		all[i] = '!'
	}
	f.room = all
}

// What a BulkLoader makes of records is what Insert makes of them one after the other:
// refs that come again, with the same or other labels, further refs of a label set,
// and refs that are far away included (I3).
func TestBulkLoaderIsInsert(t *testing.T) {
	now := newClock()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		one, many := New(Options{Now: now.now.Load}), New(Options{Now: now.now.Load})
		f := &bulkSource{BulkLoader: many.BulkLoader(3, now.now.Load()), r: r}
		sets := map[string]labels.Labels{}
		distinct, met, ref := r.IntN(2) == 0, []chunks.HeadSeriesRef{}, chunks.HeadSeriesRef(0)
		for i := range 1500 {
			lset := randomLabels(r)
			if distinct && r.IntN(20) > 0 {
				lset = labels.FromStrings("a", strconv.Itoa(i%30), "b", "constant", "i", strconv.Itoa(i))
			}
			switch n := r.IntN(100); {
			case n < 3 && len(met) > 0:
				ref = met[r.IntN(len(met))]
			case n < 5:
				ref += chunks.HeadSeriesRef(r.IntN(5000))
			case n < 6:
				ref = farRef + chunks.HeadSeriesRef(i)
			case ref > farRef && n < 30:
				ref = chunks.HeadSeriesRef(i)
			default:
				ref++
			}
			met = append(met, ref)
			sets[lset.String()] = lset
			one.Insert(ref, lset, 3)
			f.add(ref, lset)
			if r.IntN(400) == 0 {
				f.Flush()
			}
		}
		f.Flush()
		require.Equal(t, meaningOf(one, met, sets), meaningOf(many, met, sets), "seed %d", seed)
		active, retired := one.Len()
		filled, aliases := many.Len()
		require.Equal(t, []int{active, retired}, []int{filled, aliases}, "seed %d", seed)
	}
}

// meaningOf writes down what refs and label sets mean in a table.
func meaningOf(tbl *Table, refs []chunks.HeadSeriesRef, sets map[string]labels.Labels) string {
	var b strings.Builder
	for _, ref := range slices.Compact(slices.Sorted(slices.Values(refs))) {
		s := tbl.Resolve(ref)
		fmt.Fprintln(&b, ref, s.Ref(), s.Labels(), s.Partition(), s.state.Load(), s.RetiredAt(), s.appends.Load(), s.lastTs.Load())
	}
	for s := range tbl.All() {
		fmt.Fprintln(&b, s.Ref())
	}
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range sets {
			if !yield(key) {
				return
			}
		}
	}) {
		if s := tbl.Find(sets[key]); s != nil {
			fmt.Fprintln(&b, key, s.Ref())
		}
	}
	return b.String()
}

// Several at a time, with refs that two of them have: all resolve, and each label
// set has one series that is handed out (invariant 1).
func TestBulkLoadersConcurrently(t *testing.T) {
	tbl := New(Options{})
	const sets, refsEach = 3000, 4
	var wg sync.WaitGroup
	for g := range 2 * refsEach {
		g %= refsEach
		wg.Go(func() {
			f := tbl.BulkLoader(1, time.Now())
			defer f.Flush()
			for i := range sets {
				f.Add(chunks.HeadSeriesRef(g*sets+i+1), listed(nil, name(i)), uint64(min(i, 1)))
			}
		})
	}
	wg.Wait()
	requireRefsOfSets(t, tbl, sets, refsEach)
}

// A BulkLoader that goes on after a sweep takes no numbers from before it, whatever it
// is told to be the same (invariant 3).
func TestBulkLoaderAfterSweep(t *testing.T) {
	c := newClock()
	tbl := New(Options{Now: c.now.Load})
	lset := func(round, i int) labels.Labels {
		return labels.FromStrings("a", "all of them", "b", fmt.Sprint("round ", round), "c", strconv.Itoa(i))
	}
	f := tbl.BulkLoader(0, c.now.Load())
	for round := range 3 {
		const n = sweepLeast
		for i := range n {
			same := uint64(1)
			if i > 0 {
				same |= 2
			}
			f.Add(chunks.HeadSeriesRef(round*n+i+1), listed(nil, lset(round, i)), same)
		}
		f.Flush()
		for i := range n {
			s := tbl.Find(lset(round, i))
			require.NotNil(t, s)
			require.Equal(t, lset(round, i), s.Labels())
		}
		c.add(time.Hour)
		require.Len(t, tbl.Retire(c.now.Load(), func() int { return round }), n)
		require.Len(t, tbl.Drop(round+1), n)
		require.Eventually(t, func() bool {
			runtime.GC()
			tbl.sweep()
			return tbl.symbols.count == 0
		}, time.Minute, time.Millisecond)
		// Others take the numbers.
		for i := range 5 {
			tbl.Insert(chunks.HeadSeriesRef(1_000_000+round*10+i), labels.FromStrings("z", fmt.Sprint(round, i)), round)
		}
		tbl.Drop(round + 1)
		for s := range tbl.All() {
			tbl.discard(s)
		}
	}
}
