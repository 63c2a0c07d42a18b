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

package savepoint

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs/faultfs"
)

// history writes versions 1, 2, … of which every third is durable. It calls
// note before each Write and after it.
func history(s *Store, note func(n int, durable, done bool, err error)) {
	for n := 1; n <= 8; n++ {
		durable := n%3 == 1
		note(n, durable, false, nil)
		note(n, durable, true, s.Write(numbered(n), durable))
	}
}

// Defends I1 and I8: whenever the power is lost, and whatever part of what was
// not synced has reached the disk, Load returns no version before the last one
// whose durable Write had returned, and none that was never written. The next
// start writes as usual.
func TestPowerLoss(t *testing.T) {
	const seeds = 6
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	begun, durable, clones := 0, 0, 0
	check := func(op faultfs.Op) {
		for seed := range int64(seeds) {
			clone := filepath.Join(t.TempDir(), fmt.Sprint("clone", seed))
			require.NoError(t, fsys.Clone(clone, seed))
			clones++
			s := NewStore(clone, WithFS(faultfs.NoSync))
			f, src, err := s.Load()
			require.NoError(t, err, "before %s, seed %d", op, seed)
			if durable > 0 {
				require.NotEqual(t, None, src.Origin, "before %s, seed %d", op, seed)
				require.GreaterOrEqual(t, f.Checkpoint, durable, "before %s, seed %d", op, seed)
			}
			require.LessOrEqual(t, f.Checkpoint, begun)
			require.NoError(t, s.Write(numbered(100), true))
			f, _, err = s.Load()
			require.NoError(t, err)
			require.Equal(t, numbered(100), f)
		}
	}
	fsys.Count(nil)
	fsys.Before(check)
	history(NewStore(dir, WithFS(fsys)), func(n int, isDurable, done bool, err error) {
		require.NoError(t, err)
		if !done {
			begun = n
		} else if isDurable {
			durable = n
		}
	})
	fsys.Before(nil)
	require.Positive(t, clones)
}

// Defends I1 and I8: each operation of the disk fails in turn, once or for good.
// The error is never swallowed, what Load returns is the last version that was
// written or the one that failed, and as soon as the disk works again so does
// the store.
func TestFailingDisk(t *testing.T) {
	for _, stays := range []bool{false, true} {
		hits := 1
		at := 0
		for ; hits > 0; at++ {
			dir := filepath.Join(t.TempDir(), "data")
			fsys, err := faultfs.New(dir)
			require.NoError(t, err)
			fsys.Inject(faultfs.Fault{At: at, Err: faultfs.Broken, Stays: stays})
			written, tried, failed := 0, 0, 0
			history(NewStore(dir, WithFS(fsys)), func(n int, _, done bool, err error) {
				switch {
				case !done:
					tried = n
				case err != nil:
					require.ErrorIs(t, err, faultfs.Broken)
					failed++
				default:
					written = n
				}
			})
			hits = fsys.Hits()
			require.Equal(t, hits > 0, failed > 0)
			if !stays {
				require.LessOrEqual(t, failed, 1)
			}
			for _, s := range []*Store{NewStore(dir, WithFS(faultfs.NoSync)), NewStore(dir, WithFS(fsys))} {
				f, _, err := s.Load()
				require.NoError(t, err)
				require.GreaterOrEqual(t, f.Checkpoint, written)
				require.LessOrEqual(t, f.Checkpoint, tried)
				fsys.Count(nil)
				require.NoError(t, s.Write(numbered(100), true))
				f, _, err = s.Load()
				require.NoError(t, err)
				require.Equal(t, numbered(100), f)
				written, tried = 100, 100
			}
		}
		require.Greater(t, at, 20)
	}
}

// Defends I2: a file that cannot be read for the moment is not taken for one
// that does not exist, whichever operation fails.
func TestFailingReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	s := NewStore(dir, WithFS(fsys))
	require.NoError(t, s.Write(numbered(1), true))
	for hits, at := 1, 0; hits > 0; at++ {
		fsys.Inject(faultfs.Fault{At: at, Err: faultfs.Broken, Match: faultfs.Reads})
		f, src, err := s.Load()
		require.NoError(t, err)
		require.Equal(t, numbered(1), f)
		if hits = fsys.Hits(); hits > 0 && src.Origin == Fallback {
			require.Equal(t, Unreadable, src.Problems[0].Reason)
		}
		fsys.Inject(faultfs.Fault{At: at, Err: faultfs.Broken, Stays: true, Match: faultfs.Reads})
		if f, _, err = s.Load(); err != nil {
			require.ErrorAs(t, err, new(*LostError))
			require.ErrorIs(t, err, faultfs.Broken)
			continue
		}
		require.Equal(t, numbered(1), f)
	}
}

// Defends I1: positions are stored on a disk without room, by writing over the
// files there are, and at every instant a loss of power leaves one of the two whole.
// Without that nothing that was delivered could be removed, and a full disk would
// stay full.
func TestNoRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	fsys, err := faultfs.New(dir)
	require.NoError(t, err)
	s := NewStore(dir, WithFS(fsys))
	require.NoError(t, s.Write(numbered(10), true))
	full := faultfs.Fault{Err: faultfs.NoSpace, Stays: true, Match: func(op faultfs.Op) bool {
		return op.Changes && filepath.Ext(op.Path) == tempSuffix
	}}
	fsys.Inject(full)
	var written, tried int
	fsys.Before(func(faultfs.Op) {
		for seed := range int64(3) {
			clone := filepath.Join(t.TempDir(), "clone")
			require.NoError(t, fsys.Clone(clone, seed))
			f, _, err := NewStore(clone, WithFS(faultfs.NoSync)).Load()
			require.NoError(t, err)
			require.GreaterOrEqual(t, f.Checkpoint, written)
			require.LessOrEqual(t, f.Checkpoint, tried)
		}
	})
	written, tried = 10, 10
	for n := 11; n < 20; n++ {
		tried = n
		require.NoError(t, s.Write(numbered(n), true))
		written = n
	}
	fsys.Before(nil)
	require.Positive(t, fsys.Hits())
	f, _, err := s.Load()
	require.NoError(t, err)
	require.Equal(t, numbered(19), f)

	// Not even a larger one that does not fit costs the one there is.
	fsys.Inject(faultfs.Fault{Err: faultfs.NoSpace, Stays: true, Match: func(op faultfs.Op) bool {
		return full.Match(op) || op.Name == "writeat"
	}})
	more := numbered(20)
	more.Endpoints = append(more.Endpoints, more.Endpoints[0])
	more.Endpoints[len(more.Endpoints)-1].ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	require.ErrorIs(t, s.Write(more, true), faultfs.NoSpace)
	fsys.Count(nil)
	f, _, err = s.Load()
	require.NoError(t, err)
	require.Equal(t, numbered(19), f)
}
