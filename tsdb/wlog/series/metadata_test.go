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
	"math/rand"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"go.uber.org/atomic"

	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

func describe(i int) metadata.Metadata {
	return metadata.Metadata{Type: model.MetricTypeCounter, Unit: "s", Help: strconv.Itoa(i)}
}

// Each distinct metadata is kept once, for as long as a series has it.
func TestMetadata(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	var all []*Series
	for i := range 300 {
		s, _ := tbl.GetOrCreate(name(i), refs(next))
		s.Unpin()
		all = append(all, s)
		_, ok := tbl.Metadata(s)
		require.False(t, ok)
		require.True(t, tbl.SetMetadata(s, describe(i%100)))
		require.False(t, tbl.SetMetadata(s, describe(i%100)))
	}
	require.Len(t, tbl.metadata.ids, 100)
	for i, s := range all {
		m, ok := tbl.Metadata(s)
		require.True(t, ok)
		require.Equal(t, describe(i%100), *m)
	}
	a, _ := tbl.Metadata(all[7])
	b, _ := tbl.Metadata(all[107])
	require.Same(t, a, b)

	var seen []chunks.HeadSeriesRef
	tbl.Describe(func(s *Series, _ *metadata.Metadata) bool {
		seen = append(seen, s.Ref())
		return true
	})
	require.Len(t, seen, 300)
	require.IsIncreasing(t, seen)

	require.True(t, tbl.SetMetadata(all[0], metadata.Metadata{}))
	_, ok := tbl.Metadata(all[0])
	require.False(t, ok)
	require.False(t, tbl.SetMetadata(all[0], metadata.Metadata{}))
	tbl.Retire(time.Now().Add(time.Hour), func() int { return 1 })
	tbl.Drop(2)
	require.Empty(t, tbl.metadata.ids)
	require.Len(t, tbl.metadata.free, 100)
	require.False(t, tbl.SetMetadata(all[1], describe(1)), "it left the table")
	require.Empty(t, tbl.metadata.ids)
	require.False(t, tbl.SetMetadata(Detached(1, name(1)), describe(1)))
}

// A reader never sees metadata that its series did not have (I3). Run it with
// -race.
func TestMetadataConcurrently(t *testing.T) {
	tbl, next := New(Options{}), atomic.NewUint64(0)
	const n = 8
	var all [n]*Series
	for i := range n {
		all[i], _ = tbl.GetOrCreate(name(i), refs(next))
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for i, s := range all {
		writers.Go(func() {
			rnd := rand.New(rand.NewSource(int64(i)))
			for range 5000 {
				// Of its own residue class, but the same numbers over and over.
				tbl.SetMetadata(s, describe(rnd.Intn(4)*n+i))
			}
		})
	}
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for i, s := range all {
				m, ok := tbl.Metadata(s)
				if !ok {
					continue
				}
				if v, _ := strconv.Atoi(m.Help); v%n != i {
					t.Errorf("series %d has metadata %d", i, v)
				}
			}
		}
	})
	writers.Wait()
	close(stop)
	readers.Wait()
}
