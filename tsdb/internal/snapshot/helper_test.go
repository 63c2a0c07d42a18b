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
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
)

type ref = chunks.HeadSeriesRef

// lset returns the labels of the i-th series: twelve labels, about 265 bytes,
// with values as a cluster has them.
func lset(i int) labels.Labels {
	n := strconv.Itoa(i)
	return labels.FromStrings(
		labels.MetricName, "container_network_receive_bytes_total_"+strconv.Itoa(i%200),
		"cluster", "production-eu-west-1",
		"container", "application-server",
		"endpoint", "https-metrics",
		"id", "/kubepods/burstable/pod"+n,
		"instance", fmt.Sprintf("10.%d.%d.%d:10250", i>>16&255, i>>8&255, i&255),
		"interface", "eth0",
		"job", "kubelet",
		"namespace", "team-"+strconv.Itoa(i/500),
		"node", "node-"+strconv.Itoa(i/200),
		"pod", "application-"+strconv.Itoa(i/20)+"-7d9c5b6f4",
		"uid", fmt.Sprintf("%08x-%04x", uint32(i)*2654435761, i&0xffff),
	)
}

// defs yields the definitions of the given refs; series i has ref i.
func defs(refs iter.Seq[int]) iter.Seq[record.RefSeries] {
	return func(yield func(record.RefSeries) bool) {
		for i := range refs {
			if !yield(record.RefSeries{Ref: ref(i), Labels: lset(i)}) {
				return
			}
		}
	}
}

func upTo(from, to int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := from; i < to; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// quick is the file system without waiting for the disk, for tests that do not
// depend on it.
var quick vfs.FS = unsynced{vfs.OS}

type unsynced struct{ vfs.FS }

func (unsynced) SyncDir(string) error { return nil }

func (u unsynced) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Sync() error { return nil }

func stateOf(n int) State {
	return State{
		Run:         ulid.MustParse("01M330EBW09RD0Q8ATQY5WM9KZ"),
		Covered:     n,
		Fingerprint: uint32(n) * 2654435761,
		Checkpoint:  n - 1,
		HighRef:     ref(n * 1000),
		Segments:    []SegmentInfo{{Index: n, Size: int64(n) * 100, ModTime: int64(n) * 1e9}},
	}
}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.FS == nil {
		o.FS = quick
	}
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// loaded returns what a load hands out, and that it says rightly what stayed as it
// was.
func loaded(t testing.TB, s *Store, all bool) (map[ref]labels.Labels, LoadReport) {
	t.Helper()
	var mtx sync.Mutex
	got := map[ref]labels.Labels{}
	var last [3][]labels.Label // By worker, and place.
	load := s.Load
	if all {
		load = s.LoadAll
	}
	rep, err := load(context.Background(), len(last), func(worker int, ref ref, lset []labels.Label, same uint64) error {
		mtx.Lock()
		defer mtx.Unlock()
		if _, ok := got[ref]; ok {
			return fmt.Errorf("ref %d came twice", ref)
		}
		b := labels.NewScratchBuilder(len(lset))
		for i, l := range lset {
			l = labels.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)}
			b.Add(l.Name, l.Value)
			was := &last[worker]
			if same>>i&1 != 0 && (i >= len(*was) || (*was)[i] != l) {
				return fmt.Errorf("ref %d: label %d is said to be the same", ref, i)
			}
			if i == len(*was) {
				*was = append(*was, l)
			}
			(*was)[i] = l
		}
		if same>>len(lset) != 0 {
			return fmt.Errorf("ref %d: more labels are said to be the same than there are", ref)
		}
		got[ref] = b.Labels()
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, len(got), rep.Series)
	return got, rep
}

func refsOf[V any](m map[ref]V) []ref { return slices.Sorted(maps.Keys(m)) }

// dirNames returns the names of the files in dir that belong to a snapshot.
func dirNames(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// wantNames returns the names the present snapshot accounts for.
func wantNames(s *Store) []string {
	names := []string{manifestName}
	for _, f := range s.Files() {
		names = append(names, filepath.Base(f.Path))
		if f.Chunk {
			names = append(names, filepath.Base(f.Path)+indexSuffix)
		}
	}
	slices.Sort(names)
	return names
}

func flip(t testing.TB, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[(at+len(b))%len(b)] ^= 0x55
	require.NoError(t, os.WriteFile(path, b, 0o600))
}
