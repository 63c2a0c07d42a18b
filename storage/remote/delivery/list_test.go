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
	"fmt"
	"math/rand"
	"runtime"
	"strconv"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/savepoint"

	"github.com/prometheus/prometheus/model/labels"
)

// encoded says all there is to say of the items of a list.
func encoded(l list) (out []string) {
	for i := range l.items {
		f := l.at(i)
		text := fmt.Sprint(f.series.Ref(), " ", f.t, " ", f.v, " ", f.kind(), " ", f.st())
		if f.kind() != l.kind(i) {
			text = "of two kinds"
		}
		if f.kind() == kindExemplar {
			text += f.detail.extra.labels.String()
		}
		out = append(out, text)
	}
	return out
}

// TestList defends that a list holds what was added to it, whether its items have
// details or not, and whatever is put together, parted and grouped.
func TestList(t *testing.T) {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewSource(seed))
	all := someSeries(t, 100)
	gather := func(g *gathered, n, details int) (want []string) {
		for i := range n {
			s, at, v := all[rnd.Intn(len(all))], rnd.Int63n(1000), rnd.Float64()
			switch {
			case rnd.Intn(100) >= details:
				g.float(s, 0, at, v)
				want = append(want, fmt.Sprint(s.Ref(), " ", at, " ", v, " 0 0"))
			case i%2 == 0:
				g.float(s, at-1, at, v)
				want = append(want, fmt.Sprint(s.Ref(), " ", at, " ", v, " 0 ", at-1))
			default:
				lset := labels.FromStrings("i", strconv.Itoa(i))
				g.other(s, at, v, detail{kind: kindExemplar, extra: &extra{labels: lset}})
				want = append(want, fmt.Sprint(s.Ref(), " ", at, " ", v, " ", kindExemplar, " 0", lset))
			}
		}
		return want
	}
	for range 300 {
		var g, more gathered
		gather(&more, rnd.Intn(20), 50)
		more.reset() // Keeps memory, and nothing that was in it.
		want := gather(&g, rnd.Intn(30), 10*rnd.Intn(3))
		want = append(want, gather(&more, rnd.Intn(30), 10*rnd.Intn(3))...)
		g.addAll(more)
		want = append(want, gather(&g, rnd.Intn(30), 10*rnd.Intn(3))...)
		require.Equal(t, want, encoded(g.list))
		require.Len(t, g.parts, len(want))
		count := g.count()
		require.Equal(t, len(want), count.total())
		if n := len(want); n > 0 {
			i := rnd.Intn(n)
			j := i + rnd.Intn(n-i+1)
			require.Equal(t, append([]string(nil), want[i:j]...), encoded(g.from(i, j)))
		}

		var parts [partitions][]string
		var lengths [partitions]uint32
		for i, text := range want {
			p := g.items[i].series.Partition()
			parts[p] = append(parts[p], text)
			lengths[p]++
		}
		for _, apart := range []bool{false, true} {
			grouped := g.byPartition(&lengths, apart)
			for p := range grouped {
				require.Equal(t, parts[p], encoded(grouped[p]), "partition %d", p)
			}
		}
	}
}

// TestAcknowledgedIsForgotten defends I6: of a batch that an endpoint has read far
// behind, what a partition has had acknowledged is not kept in memory until the
// others are through.
func TestAcknowledgedIsForgotten(t *testing.T) {
	all := someSeries(t, 1000)
	q := newQueue(time.Now)
	q.resume(at(0, 0), make([]savepoint.Mark, partitions))
	q.configure(10000, 50, 0)
	var kept [partitions]weak.Pointer[item]
	func() {
		bb := batchBuilder{}
		bb.reset(at(0, 0))
		for i, s := range all {
			bb.float(s, 0, int64(i+1), 0)
		}
		bb.end = at(0, 1)
		b := bb.build()
		for p := range kept {
			kept[p] = weak.Make(&b.part(p).items[0])
		}
		require.True(t, q.push(&entry{batch: b, behind: true}))
	}()
	acknowledged := map[int]bool{}
	for len(acknowledged) < partitions {
		var r request
		require.True(t, q.take(&r, func() bool { return true }))
		for _, sp := range r.spans {
			if sp.to == sp.entry.length(sp.part) {
				acknowledged[sp.part] = true
			}
		}
		q.ack(&r)
		r = request{}
		runtime.GC()
		for p := range kept {
			require.Equal(t, acknowledged[p], kept[p].Value() == nil, "partition %d", p)
		}
	}
	require.Zero(t, q.stats().queued)
}
