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
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	promodel "github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/util/compression"
)

// model is what a snapshot should say, kept in maps.
type model struct {
	state   State
	series  map[ref]struct{} // Every definition ever appended.
	retired map[ref]int
	stamps  map[ref]int64
	metas   map[ref]metadata.Metadata
	floor   int
}

func newModel() *model {
	return &model{series: map[ref]struct{}{}, retired: map[ref]int{}, stamps: map[ref]int64{}, metas: map[ref]metadata.Metadata{}, floor: alive}
}

func (m *model) clone() *model {
	return &model{
		state: m.state, series: maps.Clone(m.series), retired: maps.Clone(m.retired),
		stamps: m.stamps, metas: m.metas, floor: m.floor,
	}
}

// apply makes u part of the model. The update's sequences are read.
func (m *model) apply(u Update) {
	m.state = u.State
	if u.Series != nil {
		for def := range u.Series {
			m.series[def.Ref] = struct{}{}
		}
	}
	for _, r := range u.Revived {
		delete(m.retired, r)
	}
	for _, r := range u.Retired {
		m.retired[r.Ref] = max(r.Segment, m.floor)
	}
	if u.Timestamps != nil {
		m.stamps = maps.Collect(u.Timestamps)
	}
	if u.Metadata != nil {
		m.metas = maps.Collect(u.Metadata)
	}
	m.floor = max(m.floor, u.Floor)
}

// check compares the snapshot with the model: every series that is not dead has
// to be there, with its labels (I3), and nothing that is not in the model.
func (m *model) check(t *testing.T, s *Store) {
	t.Helper()
	st, ok := s.State()
	require.True(t, ok)
	require.Equal(t, m.state, st)

	got, rep := loaded(t, s, false)
	require.Zero(t, rep.DamagedBlocks)
	require.Zero(t, rep.LostSeries)
	var active []ref
	for r := range m.series {
		if _, ok := m.retired[r]; !ok {
			active = append(active, r)
		}
	}
	slices.Sort(active)
	require.Equal(t, active, refsOf(got))

	all, rep := loaded(t, s, true)
	require.Zero(t, rep.Retired)
	same := func(r ref, l labels.Labels) {
		if !labels.Equal(lset(int(r)), l) {
			t.Fatalf("ref %d has labels %s", r, l)
		}
	}
	for r, l := range all {
		if _, ok := m.series[r]; !ok {
			t.Fatalf("ref %d was never appended", r)
		}
		same(r, l)
	}
	for r := range m.series {
		if segment, ok := m.retired[r]; ok && segment < m.floor {
			continue // May be there, and may be not.
		}
		if _, ok := all[r]; !ok {
			t.Fatalf("ref %d is missing", r)
		}
		if int(r)%16 != 0 {
			continue // Resolving with few blocks cached is slow.
		}
		l, ok, _ := s.Resolve(r)
		require.True(t, ok, "ref %d", r)
		same(r, l)
	}
	_, ok, err := s.Resolve(1 << 40)
	require.NoError(t, err)
	require.False(t, ok)

	stamps, last := map[ref]int64{}, ref(0)
	require.NoError(t, s.Timestamps(func(r ref, ts int64) {
		if len(stamps) > 0 && r <= last {
			t.Fatalf("ref %d came after %d", r, last)
		}
		stamps[r], last = ts, r
	}))
	require.Equal(t, m.stamps, stamps)
	metas, last := map[ref]metadata.Metadata{}, ref(0)
	require.NoError(t, s.Metadata(func(r ref, v metadata.Metadata) {
		if len(metas) > 0 && r <= last {
			t.Fatalf("ref %d came after %d", r, last)
		}
		metas[r], last = v, r
	}))
	require.Equal(t, m.metas, metas)
	require.Empty(t, s.Problems())
	require.LessOrEqual(t, len(s.view.chunks), MaxChunks)
	require.LessOrEqual(t, len(s.view.retired), fanIn)
}

// randomUpdate makes an update that fits the model.
func randomUpdate(rnd *rand.Rand, m *model, step int, next *int) Update {
	u := Update{State: stateOf(step), Floor: max(0, step-2-rnd.IntN(4))}
	if rnd.IntN(5) > 0 {
		from := *next
		*next += 1 + rnd.IntN(300)
		// Gaps, and now and then a ref that is below one appended before.
		drop := 2 + rnd.IntN(5)
		u.Series = defs(func(yield func(int) bool) {
			for i := range upTo(from, *next) {
				if i%drop != 0 && !yield(i) {
					return
				}
			}
		})
	}
	for _, r := range refsOf(m.series) {
		if r%2 == 0 {
			continue // These stay, so that what is alive piles up.
		}
		segment, retired := m.retired[r]
		switch n := rnd.IntN(100); {
		case !retired && n < 8:
			u.Retired = append(u.Retired, Retired{r, step})
		case retired && segment >= u.Floor && segment >= m.floor && n < 10:
			u.Revived = append(u.Revived, r)
		case retired && segment >= u.Floor && segment >= m.floor && n < 15:
			u.Retired = append(u.Retired, Retired{r, step})
		}
	}
	rnd.Shuffle(len(u.Retired), func(i, j int) { u.Retired[i], u.Retired[j] = u.Retired[j], u.Retired[i] })
	if rnd.IntN(4) == 0 {
		stamps := map[ref]int64{}
		for r := range m.series {
			stamps[r] = int64(step)*1000 + int64(r/7)*int64(rnd.IntN(2))
		}
		u.Timestamps = sorted(stamps)
	}
	if rnd.IntN(4) == 0 {
		metas := map[ref]metadata.Metadata{}
		for r := range m.series {
			if r%9 > 0 {
				metas[r] = meta(int(r) / (5 + step) * rnd.IntN(2))
			}
		}
		u.Metadata = sorted(metas)
	}
	return u
}

func sorted[V any](m map[ref]V) iter.Seq2[ref, V] {
	return func(yield func(ref, V) bool) {
		for _, r := range refsOf(m) {
			if !yield(r, m[r]) {
				return
			}
		}
	}
}

// meta returns one of some metadata.
func meta(i int) metadata.Metadata {
	types := []promodel.MetricType{promodel.MetricTypeUnknown, promodel.MetricTypeCounter, promodel.MetricTypeStateset}
	return metadata.Metadata{Type: types[i%3], Unit: strings.Repeat("u", i%2), Help: strings.Repeat("help ", i%7)}
}

// Defends I3 and I8 in the large: after any sequence of updates, with the store
// opened anew after each, exactly what was appended is there, less what is dead.
func TestRandomUpdates(t *testing.T) {
	for _, c := range []compression.Type{compression.None, compression.Snappy, compression.Zstd} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s/%d", c, seed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 7))
				dir, m, next := filepath.Join(t.TempDir(), "series"), newModel(), 1
				o := Options{FS: quick, Compression: c, CacheBlocks: 8}
				for step := 1; step <= 40; step++ {
					s, err := Open(dir, o)
					require.NoError(t, err)
					if step > 1 {
						m.check(t, s)
					}
					u := randomUpdate(rnd, m, step, &next)
					write := s.Append
					if rnd.IntN(20) == 0 {
						m, write = newModel(), s.Replace
						u.Retired, u.Revived = nil, nil
					}
					require.NoError(t, write(context.Background(), u))
					m.apply(u)
					m.check(t, s)
					require.Equal(t, wantNames(s), dirNames(t, dir))
					require.NoError(t, s.Close())
				}
			})
		}
	}
}

// Defends I8: a number is never used twice, so that no link of a checkpoint is
// written through, and what an update cannot write leaves no trace.
func TestFailedUpdateLeavesTheOldSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	ctx := context.Background()
	require.NoError(t, s.Append(ctx, Update{State: stateOf(1), Series: defs(upTo(1, 300))}))
	names := dirNames(t, dir)

	cause := errors.New("enough")
	s.sink.pace = func(context.Context, int) error { return cause }
	for name, u := range map[string]Update{
		"series":     {State: stateOf(2), Series: defs(upTo(300, 600))},
		"order":      {State: stateOf(2), Series: defs(slices.Values([]int{9, 8}))},
		"retired":    {State: stateOf(2), Retired: []Retired{{1, 1}}},
		"timestamps": {State: stateOf(2), Timestamps: sorted(map[ref]int64{1: 2})},
		"metadata":   {State: stateOf(2), Metadata: sorted(map[ref]metadata.Metadata{1: meta(4)})},
		"state":      {State: stateOf(2)},
	} {
		require.Error(t, s.Append(ctx, u), name)
		require.Equal(t, names, dirNames(t, dir), name)
		st, ok := s.State()
		require.True(t, ok)
		require.Equal(t, stateOf(1), st)
	}
	s.sink.pace = nil
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, s.Append(canceled, Update{State: stateOf(2), Series: defs(upTo(300, 400))}), context.Canceled)
	require.ErrorContains(t, s.Append(ctx, Update{State: State{Covered: -7}}), "covered -7")

	require.NoError(t, s.Append(ctx, Update{State: stateOf(2), Series: defs(upTo(300, 600))}))
	got, _ := loaded(t, s, false)
	require.Len(t, got, 599)
}

// A merge that fails costs nothing but the merge.
func TestFailedMergeIsAProblem(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	ctx := context.Background()
	cause := errors.New("disk full")
	for i := range fanIn {
		writes := 0
		s.sink.pace = func(context.Context, int) error {
			writes++
			if i == fanIn-1 && writes > 3 { // Chunk, index, manifest.
				return cause
			}
			return nil
		}
		require.NoError(t, s.Append(ctx, Update{State: stateOf(i), Series: defs(upTo(1+i*50, 1+i*50+50))}))
	}
	require.Len(t, s.Problems(), 1)
	require.Equal(t, MergeFailed, s.Problems()[0].Kind)
	require.ErrorIs(t, s.Problems()[0], cause)
	require.Len(t, s.view.chunks, fanIn)
	require.Equal(t, wantNames(s), dirNames(t, dir))

	s.sink.pace = nil
	require.NoError(t, s.Append(ctx, Update{State: stateOf(9)}))
	require.Len(t, s.view.chunks, 1)
	got, _ := loaded(t, s, false)
	require.Len(t, got, fanIn*50)
}

// A closed store answers, and does not crash.
func TestClosed(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	require.NoError(t, err)
	require.NoError(t, s.Append(context.Background(), Update{State: stateOf(1), Series: defs(upTo(1, 9))}))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, ok, _ := s.Resolve(1)
	require.False(t, ok)
	_, ok = s.State()
	require.False(t, ok)
	require.ErrorIs(t, s.Append(context.Background(), Update{}), ErrClosed)
	require.ErrorIs(t, s.Replace(context.Background(), Update{}), ErrClosed)
	require.ErrorIs(t, s.Checkpoint(context.Background(), t.TempDir(), 1), ErrClosed)
	require.ErrorIs(t, s.Timestamps(nil), ErrClosed)
	_, err = s.Load(context.Background(), 1, nil)
	require.ErrorIs(t, err, ErrClosed)
	require.Empty(t, s.Files())
}

// A load tells which labels stayed as they were, with label sets of different
// lengths and ones that are left out in between, so that the table need not compare
// them.
func TestLoadTellsWhatIsTheSame(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	const n = 5000
	up := Update{State: stateOf(1), Series: func(yield func(record.RefSeries) bool) {
		for i := range n {
			b := labels.NewBuilder(scraped(i))
			if i%7 == 0 {
				b.Del("status").Set("zone", strconv.Itoa(i/70))
			}
			if i%11 == 0 {
				b.Set("zz", "often")
			}
			if !yield(record.RefSeries{Ref: ref(i + 1), Labels: b.Labels()}) {
				return
			}
		}
	}}
	for i := 13; i < n; i += 5 {
		up.Retired = append(up.Retired, Retired{ref(i), 1})
	}
	require.NoError(t, s.Append(context.Background(), up))
	_, rep := loaded(t, s, false) // It checks what is said.
	require.Equal(t, len(up.Retired), rep.Retired)
	loaded(t, s, true)
	var same, all int
	_, err := s.Load(context.Background(), 1, func(_ int, _ ref, lset []labels.Label, as uint64) error {
		same, all = same+bits.OnesCount64(as), all+len(lset)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, same, all/2)
}

// An error of the callback ends a load and comes back.
func TestLoadStops(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	require.NoError(t, s.Append(context.Background(), Update{State: stateOf(1), Series: defs(upTo(1, 2000))}))
	cause := errors.New("stop")
	_, err := s.Load(context.Background(), 2, func(int, ref, []labels.Label, uint64) error { return cause })
	require.ErrorIs(t, err, cause)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = s.Load(ctx, 2, func(int, ref, []labels.Label, uint64) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
}

// Defends I3 and I6: resolving goes on, and is right, while chunks are appended,
// merged and removed beneath it, with few blocks cached.
func TestResolveBesideAppend(t *testing.T) {
	s := open(t, t.TempDir(), Options{CacheBlocks: 2})
	ctx, cancel := context.WithCancel(context.Background())
	require.NoError(t, s.Append(ctx, Update{State: stateOf(0), Series: defs(upTo(1, 1000))}))
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 1))
			for ctx.Err() == nil {
				i := 1 + rnd.IntN(999)
				l, ok, _ := s.Resolve(ref(i))
				if !ok || !labels.Equal(l, lset(i)) {
					t.Errorf("ref %d: %v %s", i, ok, l)
					return
				}
				_ = s.Bytes()
			}
		})
	}
	for step := 1; step < 40; step++ {
		u := Update{State: stateOf(step), Series: defs(upTo(step*1000, step*1000+200)), Floor: step}
		for i := range upTo(step*1000-1000, step*1000-800) {
			if i > 1000 {
				u.Retired = append(u.Retired, Retired{ref(i), step})
			}
		}
		require.NoError(t, s.Append(ctx, u))
		got, _ := loaded(t, s, false)
		require.GreaterOrEqual(t, len(got), 999)
	}
	cancel()
	wg.Wait()
	require.LessOrEqual(t, s.cache.order.Len(), 2)
	require.Empty(t, s.Problems())
}

// The last of several definitions of one ref counts, in Resolve and in merges.
func TestLaterDefinitionWins(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for i := range fanIn {
		l := labels.FromStrings("version", strconv.Itoa(i))
		require.NoError(t, s.Append(context.Background(), Update{State: stateOf(i), Series: slices.Values([]record.RefSeries{
			{Ref: chunks.HeadSeriesRef(5), Labels: l},
		})}))
		got, ok, _ := s.Resolve(5)
		require.True(t, ok)
		require.Equal(t, l, got)
	}
	require.Len(t, s.view.chunks, 1)
	require.Equal(t, 1, s.view.chunks[0].meta.Series)
}

// A disk without room for the directory is no reason not to start; the first write
// that works makes it (I9).
func TestOpenWithoutRoom(t *testing.T) {
	disk := &fullFS{FS: quick, full: true}
	dir := filepath.Join(t.TempDir(), "series")
	s := open(t, dir, Options{FS: disk})
	_, usable := s.State()
	require.False(t, usable)
	u := Update{State: stateOf(1), Series: defs(upTo(1, 10))}
	require.ErrorIs(t, s.Replace(t.Context(), u), syscall.ENOSPC)
	disk.full = false
	require.NoError(t, s.Replace(t.Context(), u))
	got, _ := loaded(t, open(t, dir, Options{}), true)
	require.Len(t, got, 9)
}

// fullFS has no room for directories while it is full.
type fullFS struct {
	vfs.FS
	full bool
}

func (f *fullFS) MkdirAll(name string, perm os.FileMode) error {
	if f.full {
		return &os.PathError{Op: "mkdir", Path: name, Err: syscall.ENOSPC}
	}
	return f.FS.MkdirAll(name, perm)
}

// A file that has the directory's name is moved away, at the start and later.
func TestDirectoryIsAFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "series")
	require.NoError(t, os.WriteFile(dir, []byte("x"), 0o600))
	s := open(t, dir, Options{})
	require.NoError(t, s.Replace(t.Context(), Update{State: stateOf(1), Series: defs(upTo(1, 10))}))
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, []byte("y"), 0o600))
	require.NoError(t, s.Replace(t.Context(), Update{State: stateOf(1), Series: defs(upTo(1, 10))}))
	got, _ := loaded(t, open(t, dir, Options{}), true)
	require.Len(t, got, 9)
	moved, err := os.ReadFile(dir + straySuffix)
	require.NoError(t, err)
	require.Equal(t, "y", string(moved))
}
