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
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/common/promslog"
	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/tsdb/record"
)

func exampleManifest() manifest {
	return manifest{
		State: stateOf(14), Next: 23, Floor: 9,
		Chunks: []chunkMeta{
			{Seq: 16, Series: 100_000, Blocks: 808, Bytes: 4_446_837, First: 1, Last: 104_112, Index: 305419896, Floor: 7},
			{Seq: 20, Series: 412, Blocks: 4, Bytes: 18_406, First: 104_113, Last: 104_524, Index: 2596996162, Floor: 9},
		},
		Retired:    []listMeta{{Seq: 21, Entries: 377, Bytes: 1034}},
		Timestamps: &listMeta{Seq: 22, Entries: 100_000, Bytes: 5120},
	}
}

// The example in docs/format/series.md.
const exampleBytes = `{"version":1,"crc32c":"d1e65f93","body":{"run":"01M330EBW09RD0Q8ATQY5WM9KZ","covered":14,"fingerprint":2802362286,"checkpoint":13,"high_ref":"14000"` +
	`,"segments":[[14,1400,14000000000]],"next":23,"floor":9` +
	`,"chunks":[{"seq":16,"series":100000,"blocks":808,"bytes":4446837,"first":"1","last":"104112","index":305419896,"floor":7}` +
	`,{"seq":20,"series":412,"blocks":4,"bytes":18406,"first":"104113","last":"104524","index":2596996162,"floor":9}]` +
	`,"retired":[{"seq":21,"entries":377,"bytes":1034}],"timestamps":{"seq":22,"entries":100000,"bytes":5120}}}` + "\n"

// Defends the format: these very bytes are written and read.
func TestManifestBytes(t *testing.T) {
	b, err := encodeManifest(exampleManifest())
	require.NoError(t, err)
	require.Equal(t, []byte(exampleBytes), b) //nolint:testifylint // The very bytes are the format.
	m, err := decodeManifest(b)
	require.NoError(t, err)
	require.Equal(t, exampleManifest(), m)
}

func sealed(t testing.TB, version int, body string) []byte {
	t.Helper()
	return []byte(`{"version":` + string(rune('0'+version)) + `,"crc32c":"` + checksum(version, []byte(body)) + `","body":` + body + `}`)
}

// Defends I9: what is not a whole manifest is not taken for one, even if its
// checksum is right.
func TestManifestRefuses(t *testing.T) {
	good, err := encodeManifest(exampleManifest())
	require.NoError(t, err)
	var env envelope
	require.NoError(t, json.Unmarshal(good, &env))
	for name, change := range map[string]func(body map[string]any){
		"missing run":      func(b map[string]any) { delete(b, "run") },
		"missing chunks":   func(b map[string]any) { delete(b, "chunks") },
		"missing segments": func(b map[string]any) { delete(b, "segments") },
		"no ULID":          func(b map[string]any) { b["run"] = "x" },
		"covered":          func(b map[string]any) { b["covered"] = -2 },
		"number in use":    func(b map[string]any) { b["next"] = 22 },
		"segment tuple":    func(b map[string]any) { b["segments"] = [][]int{{1, 2}} },
		"segments":         func(b map[string]any) { b["segments"] = [][]int{{2, 2, 2}, {1, 1, 1}} },
		"negative segment": func(b map[string]any) { b["segments"] = [][]int{{-2, 2, 2}} },
		"empty list":       func(b map[string]any) { b["retired"] = []listMeta{{Seq: 1}} },
		"empty chunk":      func(b map[string]any) { b["chunks"] = []chunkMeta{{Seq: 1}} },
		"twice": func(b map[string]any) {
			b["retired"] = []listMeta{{Seq: 1, Entries: 1, Bytes: 1}, {Seq: 1, Entries: 1, Bytes: 1}}
		},
	} {
		var body map[string]any
		require.NoError(t, json.Unmarshal(env.Body, &body))
		change(body)
		b, err := json.Marshal(body)
		require.NoError(t, err)
		_, err = decodeManifest(sealed(t, 1, string(b)))
		require.ErrorContains(t, err, "body: ", name)
	}
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 1
		if m, err := decodeManifest(b); err == nil {
			require.Equal(t, exampleManifest(), m, "byte %d", i)
		}
	}
	_, err = decodeManifest(sealed(t, 0, `{}`))
	require.ErrorContains(t, err, "does not exist")
}

func FuzzManifest(f *testing.F) {
	b, err := encodeManifest(exampleManifest())
	require.NoError(f, err)
	f.Add(b)
	f.Add(sealed(f, 1, `{}`))
	f.Add(sealed(f, 2, `{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		again, err := encodeManifest(m)
		require.NoError(t, err)
		n, err := decodeManifest(again)
		require.NoError(t, err)
		require.Equal(t, m, n)
	})
}

// contents returns a file of each kind as it is written.
func contents(t testing.TB) map[string][]byte {
	dir := t.TempDir()
	s := open(t, dir, Options{Compression: "none"})
	var retired []Retired
	for i := range 40 {
		retired = append(retired, Retired{ref(1 + i*i), i / 10})
	}
	require.NoError(t, s.Append(context.Background(), Update{
		State: stateOf(1), Series: defs(upTo(1, 300)), Retired: retired,
		Timestamps: sorted(map[ref]int64{1: 5, 2: 5, 3: 5, 10: -7, 11: 1 << 60, 1 << 63: 0}),
		Metadata:   sorted(map[ref]metadata.Metadata{1: meta(5), 2: meta(5), 3: meta(6), 10: meta(5), 1 << 63: meta(0)}),
	}))
	files := map[string][]byte{}
	for _, name := range dirNames(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[name] = b
	}
	return files
}

// Defends I9: no content of a record of a list makes a reader fail, go round
// for ever or return refs that do not ascend.
func FuzzLists(f *testing.F) {
	for _, b := range contents(f) {
		require.NoError(f, scan(bytes.NewReader(b), int64(len(b)), func(payload []byte, _ int64) error {
			f.Add(slices.Clone(payload))
			return nil
		}, func(error) {}))
	}
	f.Add([]byte{timestampsKind, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Add([]byte{metadataKind, 1, 2, 1, 's', 0, 5, 1, 0, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Add([]byte{retiredKind, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var read retiredReader
		if read.record(b, 0) == nil {
			var last ref
			n := 0
			for r := range newRetirement([]*retiredList{&read.retiredList}).all() {
				require.True(t, n == 0 || r > last)
				last, n = r, n+1
			}
			require.Positive(t, n)
		}
		if described, err := decodeMetadata(nil, b); err == nil {
			var end ref
			for i, run := range described {
				require.True(t, i == 0 || run.first >= end)
				end = run.first + ref(run.n)
			}
		}
		runs, err := decodeTimestamps(nil, b)
		require.LessOrEqual(t, len(runs), len(b))
		if err != nil {
			return
		}
		var end ref
		for _, run := range runs {
			require.GreaterOrEqual(t, run.first, end)
			end = run.first + ref(run.n)
		}
	})
}

// Defends I9 for series records: decoding and skipping agree on every input.
func FuzzEntries(f *testing.F) {
	for name, b := range contents(f) {
		if name == fileName(chunkPrefix, 1) {
			require.NoError(f, scan(bytes.NewReader(b), int64(len(b)), func(payload []byte, _ int64) error {
				f.Add(slices.Clone(payload[:1000]))
				return nil
			}, func(error) {}))
		}
	}
	var enc record.Encoder
	f.Add(enc.Series([]record.RefSeries{{Ref: 1, Labels: labels.FromStrings("a", "b")}, {Ref: 2}}, nil))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		defs, err := newDecoder().definitions(nil, b)
		none, skipped, skipErr := newDecoder().each(b, func(ref) bool { return true }, nil)
		require.Equal(t, err, skipErr)
		require.Zero(t, none)
		if err == nil {
			require.Equal(t, len(defs), skipped)
			// Upstream's decoder reads the same.
			dec := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
			want, err := dec.Series(b, nil)
			require.NoError(t, err)
			require.Len(t, defs, len(want))
			for i := range want {
				require.Equal(t, want[i].Ref, defs[i].Ref)
				require.True(t, labels.Equal(want[i].Labels, defs[i].Labels))
			}
		}
		it, err := newEntries(b)
		for n := 0; err == nil; n++ {
			var ok bool
			if ok, err = it.next(); !ok {
				if err == nil {
					require.Len(t, defs, n)
				}
				break
			}
		}
		require.ErrorIs(t, skipErr, err)
	})
}

// Defends I9 for files: an index is taken only if it is the right one, and any
// bytes can be scanned, as chunk and as list.
func FuzzFiles(f *testing.F) {
	for _, b := range contents(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size := int64(len(b))
		x, err := buildIndex(bytes.NewReader(b), size)
		require.NoError(t, err)
		content, sum := x.encode()
		again, err := decodeIndex(content, sum, size)
		require.NoError(t, err)
		require.Len(t, again, len(x))
		for i := range x {
			require.Equal(t, x[i], again[i])
			require.Equal(t, i, x.find(x[i].first))
		}
		_, err = decodeIndex(content, sum+1, size)
		require.Error(t, err)
		// With a checksum that is right, whatever the content.
		if len(b) >= 4 {
			_, _ = decodeIndex(b, uint32(b[len(b)-4])<<24|uint32(b[len(b)-3])<<16|uint32(b[len(b)-2])<<8|uint32(b[len(b)-1]), size)
		}
	})
}

// Large label sets make blocks of their own, and records that span pages.
func TestLargeSeries(t *testing.T) {
	s := open(t, t.TempDir(), Options{Compression: "none", FS: vfs.OS})
	large := func(i int) labels.Labels {
		return labels.FromStrings("value", string(bytes.Repeat([]byte{'a' + byte(i)}, i*30_000)))
	}
	require.NoError(t, s.Append(context.Background(), Update{State: stateOf(1), Series: func(yield func(record.RefSeries) bool) {
		for i := range 10 {
			if !yield(record.RefSeries{Ref: ref(i), Labels: large(i)}) {
				return
			}
		}
	}}))
	got, rep := loaded(t, s, false)
	require.Zero(t, rep.DamagedBlocks)
	require.Len(t, got, 10)
	for r, l := range got {
		require.True(t, labels.Equal(large(int(r)), l))
		l, ok, _ := s.Resolve(r)
		require.True(t, ok)
		require.True(t, labels.Equal(large(int(r)), l))
	}
}
