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

package scrapecache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/storage"
)

// knower is a storage that has forgotten some refs.
type knower struct {
	epoch  uint64
	forgot map[storage.SeriesRef]bool
	asked  int
}

func (k *knower) Epoch() uint64 { return k.epoch }

func (k *knower) Knows(ref storage.SeriesRef) bool {
	if ref < 1000 { // Of samples, not of reports.
		k.asked++
	}
	return !k.forgot[ref]
}

func (k *knower) forget(ref storage.SeriesRef) {
	k.epoch++
	k.forgot[ref] = true
}

// plain is what a Cache has to do, with maps as stock's.
type plain struct {
	iter          int
	series        map[string]*plainEntry
	dropped       map[string]int
	current, last map[storage.SeriesRef]bool
}

type plainEntry struct {
	ref  storage.SeriesRef
	seen int
}

func (p *plain) stale() (refs []storage.SeriesRef) {
	for ref := range p.last {
		if !p.current[ref] {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	return refs
}

func (p *plain) flush() {
	for text, e := range p.series {
		if e.seen != p.iter {
			delete(p.series, text)
		}
	}
	for text, seen := range p.dropped {
		if seen != p.iter {
			delete(p.dropped, text)
		}
	}
}

// Any sequence of scrapes gives what maps give: what is known, what was there before in
// the same scrape, what has ended, and how much is kept. Several texts may be of one
// series, and scrapes fail in their midst.
func TestAsMaps(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		var (
			c     = New(&knower{})
			p     = &plain{series: map[string]*plainEntry{}, dropped: map[string]int{}, current: map[storage.SeriesRef]bool{}, last: map[storage.SeriesRef]bool{}}
			texts = 1 + rnd.IntN(60)
			page  []int
		)
		for n := range texts {
			page = append(page, n)
		}
		for range 12 {
			switch rnd.IntN(4) { // The order changes, and what is there.
			case 0:
				rnd.Shuffle(len(page), func(i, j int) { page[i], page[j] = page[j], page[i] })
			case 1:
				i := rnd.IntN(len(page))
				page = slices.Insert(page, rnd.IntN(len(page)), page[i], rnd.IntN(texts*2))
			case 2:
				page = page[:1+rnd.IntN(len(page))]
			}
			failed := rnd.IntN(5) == 0
			for i, n := range page {
				if failed && i > len(page)/2 {
					break
				}
				text := fmt.Appendf(nil, "metric_%d{label=\"value\"}", n)
				ref := storage.SeriesRef(n/2 + 1) // Two texts of each series.
				_, is := p.dropped[string(text)]
				require.Equal(t, is, c.Dropped(text))
				if is {
					p.dropped[string(text)] = p.iter
					continue
				}
				e, known := p.series[string(text)]
				got, ok, again := c.Get(text)
				require.Equal(t, known, ok)
				if !known {
					require.False(t, c.NeedsLabels(), "it has them")
				}
				switch {
				case known:
					require.Equal(t, e.ref, got)
					require.Equal(t, e.seen == p.iter, again)
					require.False(t, c.NeedsLabels())
					e.seen = p.iter
					c.SetRef(ref)
				case n%7 == 3:
					p.dropped[string(text)] = p.iter
					c.AddDropped(text)
					continue
				default:
					p.series[string(text)] = &plainEntry{ref: ref, seen: p.iter}
					c.Add(text, ref)
				}
				if n%5 != 0 { // Others have timestamps of their own.
					p.current[ref] = true
					c.Track()
				}
			}
			var stale []storage.SeriesRef
			c.Stale(func(ref storage.SeriesRef) bool {
				stale = append(stale, ref)
				return true
			})
			slices.Sort(stale)
			require.Equal(t, p.stale(), stale)
			if !failed {
				p.flush()
				c.Flush()
			}
			require.Equal(t, len(p.series)+len(p.dropped), c.Len())
			p.last, p.current = p.current, map[storage.SeriesRef]bool{}
			p.iter++
			c.Done()
		}
	}
}

// scrape exposes texts, and returns which of them had to be given labels.
func scrape(c *Cache, texts ...string) (labeled []string) {
	c.begin()
	for i, text := range texts {
		if c.Dropped([]byte(text)) {
			continue
		}
		if _, ok, _ := c.Get([]byte(text)); !ok {
			c.Add([]byte(text), storage.SeriesRef(i+1))
			labeled = append(labeled, text)
		} else if c.NeedsLabels() {
			labeled = append(labeled, text)
			c.SetRef(storage.SeriesRef(i + 101))
		}
		c.Track()
	}
	c.Flush()
	c.Done()
	if _, ok, _ := c.Get([]byte("up\xff")); !ok { // A report belongs to no scrape.
		c.Add([]byte("up\xff"), 1000)
	} else if c.NeedsLabels() {
		c.SetRef(1000)
	}
	return labeled
}

// Labels are asked for where the storage may have forgotten a ref, and only there.
func TestNeedsLabels(t *testing.T) {
	k := &knower{forgot: map[storage.SeriesRef]bool{}}
	c := New(k)
	require.Equal(t, []string{"a", "b", "c"}, scrape(c, "a", "b", "c"))
	require.Empty(t, scrape(c, "a", "b", "c"))
	require.Zero(t, k.asked, "the storage has forgotten nothing")

	k.forget(2)
	require.Equal(t, []string{"b"}, scrape(c, "a", "b", "c"))
	require.Equal(t, 3, k.asked)
	require.Empty(t, scrape(c, "a", "b", "c"))
	require.Equal(t, 3, k.asked, "it is known again")

	// It forgets while a scrape is under way: the next one asks.
	c.begin()
	c.Dropped([]byte("a"))
	k.forget(1)
	c.Get([]byte("a"))
	require.False(t, c.NeedsLabels())
	c.Done() // The rest of it was not exposed, and the scrape failed.
	require.Equal(t, []string{"a"}, scrape(c, "a", "b", "c"))

	// What was not exposed for a while may have been forgotten long ago.
	c.Done()
	k.forgot[3] = true
	require.Equal(t, []string{"c"}, scrape(c, "a", "b", "c"))

	// Labels that the storage has refused are needed again.
	k.forget(102)
	for range 2 {
		_, ok, _ := c.Get([]byte("b"))
		require.True(t, ok)
		require.True(t, c.NeedsLabels())
		c.Done()
	}
}

// A cache that is not there keeps nothing.
func TestNil(t *testing.T) {
	var c *Cache
	require.Zero(t, c.Len())
	require.False(t, c.NeedsLabels())
	c.Flush()
	c.Done()
}

// What is kept of a series is 32 bytes and its share of the index, also after most of
// them have gone.
func TestMemory(t *testing.T) {
	c := New(&knower{})
	page := func(n int) {
		for i := range n {
			text := fmt.Appendf(nil, "metric{number=\"%d\"}", i)
			if _, ok, _ := c.Get(text); !ok {
				c.Add(text, storage.SeriesRef(i+1))
			}
		}
		c.Flush()
		c.Done()
	}
	for _, n := range []int{10_000, 100, 5_000} {
		page(n)
		require.LessOrEqual(t, cap(c.entries), n+n/8)
		require.LessOrEqual(t, len(c.index), 3*n)
	}
}

func BenchmarkGet(b *testing.B) {
	var texts [][]byte
	for i := range 1000 {
		texts = append(texts, fmt.Appendf(nil, `http_request_duration_seconds_bucket{service="checkout",namespace="production",pod="checkout-7d9f8c6b5-x2x%d",code="200",method="GET",handler="/api/v1/orders/%d",le="0.25"}`, i%10, i))
	}
	for name, shuffle := range map[string]bool{"in order": false, "shuffled": true} {
		b.Run(name, func(b *testing.B) {
			c := New(&knower{})
			scrape := func(i int) {
				text := texts[i]
				if !c.Dropped(text) {
					if _, ok, _ := c.Get(text); !ok {
						c.Add(text, storage.SeriesRef(i+1))
					}
					c.Track()
				}
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%len(texts) == 0 {
					if shuffle {
						b.StopTimer()
						rand.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
						b.StartTimer()
					}
					c.Flush()
					c.Done()
				}
				scrape(n % len(texts))
				n++
			}
		})
	}
}
