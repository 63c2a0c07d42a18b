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
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"
)

// Defends I9: damage to one file costs what it held, is reported, and stops
// nothing.
func TestDamage(t *testing.T) {
	ctx := context.Background()
	const total = 1300
	// Two chunks of 1000 and 300 series, two lists with 10 and 5 refs that are
	// retired for the first time, and timestamps of all series.
	fill := func(t *testing.T, dir string) {
		s, err := Open(dir, Options{FS: quick})
		require.NoError(t, err)
		stamps := map[ref]int64{}
		for i := range upTo(1, total+1) {
			stamps[ref(i)] = int64(i)
		}
		u := Update{State: stateOf(1), Series: defs(upTo(1, 1001)), Timestamps: sorted(stamps)}
		for i := range upTo(1, 11) {
			u.Retired = append(u.Retired, Retired{ref(i), 1})
		}
		require.NoError(t, s.Append(ctx, u))
		u = Update{State: stateOf(2), Series: defs(upTo(1001, total+1))}
		for i := range upTo(11, 16) {
			u.Retired = append(u.Retired, Retired{ref(i), 2})
		}
		require.NoError(t, s.Append(ctx, u))
		require.NoError(t, s.Close())
	}
	const (
		chunk1, chunk2     = "chunk-00000001", "chunk-00000004"
		retired1, retired2 = "retired-00000002", "retired-00000005"
		timestamps         = "timestamps-00000003"
	)
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, name))) }
	}
	change := func(name string, at int) func(*testing.T, string) {
		return func(t *testing.T, dir string) { flip(t, filepath.Join(dir, name), at) }
	}
	cut := func(name string, size int64) func(*testing.T, string) {
		return func(t *testing.T, dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, name), size)) }
	}
	both := func(a, b func(*testing.T, string)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { a(t, dir); b(t, dir) }
	}
	for name, c := range map[string]struct {
		damage   func(t *testing.T, dir string)
		problems []ProblemKind
		lost     [2]int // Series, at least and at most.
		active   int    // Beyond those that should be.
		stamps   int    // -1: all but some.
		empty    bool
	}{
		"none":                       {damage: func(*testing.T, string) {}, stamps: total},
		"chunk, first byte":          {damage: change(chunk1, 0), problems: []ProblemKind{ChunkDamaged}, lost: [2]int{100, 128}, stamps: total},
		"chunk, last byte":           {damage: change(chunk1, -1), problems: []ProblemKind{ChunkDamaged}, lost: [2]int{1, 128}, stamps: total},
		"chunk, cut":                 {damage: cut(chunk1, 5000), problems: []ProblemKind{ChunkDamaged}, lost: [2]int{800, 1000}, stamps: total},
		"chunk, empty":               {damage: cut(chunk2, 0), problems: []ProblemKind{ChunkDamaged}, lost: [2]int{300, 300}, stamps: total},
		"chunk, absent":              {damage: remove(chunk2), problems: []ProblemKind{ChunkMissing}, lost: [2]int{300, 300}, stamps: total},
		"index, absent":              {damage: remove(chunk1 + indexSuffix), problems: []ProblemKind{IndexRebuilt}, stamps: total},
		"index, changed":             {damage: change(chunk1+indexSuffix, 9), problems: []ProblemKind{IndexRebuilt}, stamps: total},
		"index, empty":               {damage: cut(chunk1+indexSuffix, 0), problems: []ProblemKind{IndexRebuilt}, stamps: total},
		"index of another chunk":     {damage: func(t *testing.T, dir string) { copyOver(t, dir, chunk2+indexSuffix, chunk1+indexSuffix) }, problems: []ProblemKind{IndexRebuilt}, stamps: total},
		"chunk and its index":        {damage: both(change(chunk1, 9000), remove(chunk1+indexSuffix)), problems: []ProblemKind{IndexRebuilt, ChunkDamaged}, lost: [2]int{100, 1000}, stamps: total},
		"list, changed":              {damage: change(retired1, 9), problems: []ProblemKind{RetiredDamaged}, active: 10, stamps: total},
		"list, absent":               {damage: remove(retired2), problems: []ProblemKind{RetiredDamaged}, active: 5, stamps: total},
		"list, cut":                  {damage: cut(retired2, 3), problems: []ProblemKind{RetiredDamaged}, active: 5, stamps: total},
		"timestamps, changed":        {damage: change(timestamps, 50), problems: []ProblemKind{TimestampsDamaged}},
		"timestamps, absent":         {damage: remove(timestamps), problems: []ProblemKind{TimestampsDamaged}},
		"timestamps, another's kind": {damage: func(t *testing.T, dir string) { copyOver(t, dir, retired1, timestamps) }, problems: []ProblemKind{TimestampsDamaged}},
		"manifest, changed":          {damage: change(manifestName, 40), problems: []ProblemKind{ManifestDamaged}, empty: true},
		"manifest, cut":              {damage: cut(manifestName, 100), problems: []ProblemKind{ManifestDamaged}, empty: true},
		"manifest, empty":            {damage: cut(manifestName, 0), problems: []ProblemKind{ManifestDamaged}, empty: true},
		"manifest, absent":           {damage: remove(manifestName), empty: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			c.damage(t, dir)
			s := open(t, dir, Options{})
			_, ok := s.State()
			require.Equal(t, !c.empty, ok)
			got, rep := loaded(t, s, false)
			stamps := 0
			require.NoError(t, s.Timestamps(func(ref, int64) { stamps++ }))
			require.Equal(t, c.stamps, stamps)
			var kinds []ProblemKind
			for _, p := range s.Problems() {
				require.NotEmpty(t, p.Error())
				require.Error(t, errors.Unwrap(p))
				if len(kinds) == 0 || kinds[len(kinds)-1] != p.Kind {
					kinds = append(kinds, p.Kind)
				}
			}
			require.Equal(t, c.problems, kinds)
			if c.empty {
				require.Empty(t, got)
				require.Empty(t, s.Files())
				for _, name := range dirNames(t, dir) {
					require.Equal(t, asideName, name)
				}
			} else {
				require.GreaterOrEqual(t, rep.LostSeries, c.lost[0])
				require.LessOrEqual(t, rep.LostSeries, c.lost[1])
				require.Equal(t, rep.LostSeries > 0, rep.DamagedBlocks > 0)
				require.Equal(t, rep.LostSeries > 0, len(rep.DamagedChunks) == 1)
				require.Equal(t, total-rep.LostSeries, rep.Series+rep.Retired)
				if rep.LostSeries == 0 {
					require.Len(t, got, total-15+c.active)
				}
				lost := 0
				for i := range upTo(1, total+1) {
					if l, ok, _ := s.Resolve(ref(i)); !ok {
						lost++
					} else {
						require.Equal(t, lset(i), l)
					}
				}
				require.Equal(t, rep.LostSeries, lost)
			}
			// It goes on, and what is left is whole.
			require.NoError(t, s.Append(ctx, Update{State: stateOf(3), Series: defs(upTo(2000, 2100))}))
			require.NoError(t, s.Close())
			again := open(t, dir, Options{})
			more, after := loaded(t, again, false)
			require.Len(t, more, len(got)+100)
			require.Zero(t, after.DamagedBlocks)
		})
	}
}

func copyOver(t *testing.T, dir, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, from))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, to), b, 0o666))
}

// badSector is a file system whose files cannot be read at some offsets.
type badSector struct {
	vfs.FS
	from, to int64
	on       bool
}

func (b *badSector) OpenFile(name string, flag int, perm os.FileMode) (vfs.File, error) {
	f, err := b.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &badFile{f, b}, nil
}

type badFile struct {
	vfs.File
	b *badSector
}

var errSector = errors.New("bad sector")

func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if f.b.on && off < f.b.to && off+int64(len(p)) > f.b.from {
		return 0, errSector
	}
	return f.File.ReadAt(p, off)
}

// Defends I9: a sector that cannot be read costs its block and no other, for as
// long as it lasts; a merge does not take that for the end of the series.
func TestBadSector(t *testing.T) {
	ctx := context.Background()
	b := &badSector{FS: quick, from: 9000, to: 9001}
	s := open(t, t.TempDir(), Options{FS: b, CacheBlocks: -1})
	require.NoError(t, s.Append(ctx, Update{State: stateOf(0), Series: defs(upTo(1, 2000))}))
	b.on = true
	_, rep := loaded(t, s, false)
	require.Equal(t, 1, rep.DamagedBlocks)
	require.ErrorIs(t, s.Problems()[0], errSector)
	for i := 1; i < 2*fanIn; i++ {
		require.NoError(t, s.Append(ctx, Update{State: stateOf(i), Series: defs(upTo(2000+i*10, 2000+i*10+10))}))
	}
	b.on = false
	got, rep := loaded(t, s, false)
	require.Zero(t, rep.DamagedBlocks)
	require.Len(t, got, 1999+(2*fanIn-1)*10)
	_, ok, _ := s.Resolve(300)
	require.True(t, ok)
}

// A manifest of a later release is set aside: everything in it can be had from the
// log, so it is no reason not to start (I9).
func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	require.NoError(t, s.Append(context.Background(), Update{State: stateOf(1), Series: defs(upTo(1, 10))}))
	require.NoError(t, s.Close())
	content := `{"new":true}`
	data := `{"version":2,"crc32c":"` + checksum(2, []byte(content)) + `","body":` + content + "}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, manifestName), []byte(data), 0o666))
	s = open(t, dir, Options{})
	_, usable := s.State()
	require.False(t, usable)
	require.Len(t, s.Problems(), 1)
	var newer *VersionError
	require.ErrorAs(t, s.Problems()[0], &newer)
	require.Equal(t, VersionError{Path: filepath.Join(dir, manifestName), Version: 2, Supported: 1}, *newer)
	aside, err := os.ReadFile(filepath.Join(dir, asideName))
	require.NoError(t, err)
	require.Equal(t, data, string(aside))
	require.NoError(t, s.Replace(context.Background(), Update{State: stateOf(1), Series: defs(upTo(1, 10))}))
	require.NoError(t, s.Close())
	_, usable = open(t, dir, Options{}).State()
	require.True(t, usable)
}
