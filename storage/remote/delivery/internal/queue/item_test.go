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

package queue

import (
	"fmt"
	"math/rand"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/labels"
)

// encoded says all there is to say of the items of a list.
func encoded(l List) (out []string) {
	for i := range l.Items {
		f := l.At(i)
		text := fmt.Sprint(f.Series.Ref(), " ", f.T, " ", f.V, " ", f.Kind(), " ", f.ST())
		if f.Kind() != l.Kind(i) {
			text = "of two kinds"
		}
		if f.Kind() == Exemplar {
			text += f.Detail.Extra.Labels.String()
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
	all := someSeries(100)
	gather := func(g *Sequence, n, details int) (want []string) {
		for i := range n {
			s, at, v := all[rnd.Intn(len(all))], rnd.Int63n(1000), rnd.Float64()
			switch {
			case rnd.Intn(100) >= details:
				g.Float(s, 0, at, v)
				want = append(want, fmt.Sprint(s.Ref(), " ", at, " ", v, " 0 0"))
			case i%2 == 0:
				g.Float(s, at-1, at, v)
				want = append(want, fmt.Sprint(s.Ref(), " ", at, " ", v, " 0 ", at-1))
			default:
				lset := labels.FromStrings("i", strconv.Itoa(i))
				g.Exemplar(s, at, v, lset)
				want = append(want, fmt.Sprint(s.Ref(), " ", at, " ", v, " ", Exemplar, " 0", lset))
			}
		}
		return want
	}
	for range 300 {
		var g, more Sequence
		gather(&more, rnd.Intn(20), 50)
		more.Reset() // Keeps memory, and nothing that was in it.
		want := gather(&g, rnd.Intn(30), 10*rnd.Intn(3))
		want = append(want, gather(&more, rnd.Intn(30), 10*rnd.Intn(3))...)
		g.AddAll(more)
		want = append(want, gather(&g, rnd.Intn(30), 10*rnd.Intn(3))...)
		require.Equal(t, want, encoded(g.list))
		require.Len(t, g.parts, len(want))
		count := g.list.Count()
		require.Equal(t, len(want), count.Total())
		if n := len(want); n > 0 {
			i := rnd.Intn(n)
			j := i + rnd.Intn(n-i+1)
			require.Equal(t, append([]string(nil), want[i:j]...), encoded(g.list.Slice(i, j)))
		}

		var parts [Partitions][]string
		var lengths [Partitions]uint32
		for i, text := range want {
			p := g.list.Items[i].Series.Partition()
			parts[p] = append(parts[p], text)
			lengths[p]++
		}
		for _, own := range []bool{false, true} {
			grouped := g.byPartition(&lengths, own)
			for p := range grouped {
				require.Equal(t, parts[p], encoded(grouped[p]), "partition %d", p)
			}
		}
	}
}
