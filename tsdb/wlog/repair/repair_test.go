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

package repair

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"
	"github.com/ackwal/ackwal/tsdb/wlog/vfs"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// recordSize is what a record of plainLog takes in the file.
const recordSize = 24 + frame.HeaderSize

// plainLog returns a log without compression, of the given segments. Each has
// three pages, of which each begins with a record, the second within one that
// ends in the third: the offsets of the records are easy to tell.
func plainLog(t testing.TB, numbers ...int) files {
	t.Helper()
	small := make([]byte, recordSize-frame.HeaderSize)
	small[0] = 200 // A type that is not known.
	f := files{}
	for _, k := range numbers {
		dir := t.TempDir()
		wl, err := wlog.NewSize(nil, nil, dir, 8*frame.PageSize, compression.None)
		require.NoError(t, err)
		log := func(n int) {
			rec := bytes.Repeat([]byte{byte(k)}, n)
			rec[0] = 200
			require.NoError(t, wl.Log(rec))
		}
		for range 10 {
			require.NoError(t, wl.Log(small))
		}
		log(frame.PageSize - 10*recordSize - frame.HeaderSize)
		require.NoError(t, wl.Log(small))
		log(frame.PageSize - recordSize - frame.HeaderSize + 100)
		log(frame.PageSize - 100 - 2*frame.HeaderSize)
		for range 10 {
			require.NoError(t, wl.Log(small))
		}
		f[segment(k)], err = os.ReadFile(wlog.SegmentName(dir, 0))
		require.NoError(t, err)
		require.NoError(t, wl.Close())
	}
	return f
}

// Each kind of damage is dealt with as the documentation says, reported as
// such, and changes nothing else (I7, I9).
func TestDirectory(t *testing.T) {
	const page = frame.PageSize
	size := int64(3*page + 10*recordSize)
	cp := func(k int, name string) string { return filepath.Base(wlog.CheckpointDir("", k)) + "/" + name }
	for _, tc := range []struct {
		name string
		log  func(t *testing.T) files
		// Damage changes the files of the log.
		damage func(f files)
		// Want changes the files of the log, as it was before, to what is there
		// afterwards.
		want    func(f files)
		damages []Damage // Without error; paths relative to the directory.
	}{
		{
			name: "nothing",
		},
		{
			name:   "torn in the last segment",
			damage: func(f files) { f[segment(1)] = f[segment(1)][:size-5] },
			want:   func(f files) { f[segment(1)] = f[segment(1)][:size-recordSize] },
			damages: []Damage{
				{Kind: TornTail, Path: segment(1), Segment: 1, Offset: size - recordSize, Bytes: recordSize - 5, Records: 1, Action: "cut off"},
			},
		},
		{
			name: "torn in several segments, the last being empty",
			damage: func(f files) {
				f[segment(0)] = f[segment(0)][:2*page]
				f[segment(1)] = f[segment(1)][:3]
				f[segment(2)] = nil
			},
			want: func(f files) {
				f[segment(0)] = f[segment(0)][:2*page]
				fill(f[segment(0)], page+recordSize, 2*page)
				f[segment(1)] = nil
				f[segment(2)] = nil
			},
			damages: []Damage{
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: page + recordSize, Bytes: page - recordSize, Records: 1, Action: "filled"},
				{Kind: TornTail, Path: segment(1), Segment: 1, Bytes: 3, Records: 1, Action: "cut off"},
			},
		},
		{
			name:   "last record written in part by a power cut",
			damage: func(f files) { clear(f[segment(1)][size-5:]); f[segment(1)][size-6] ^= 1 },
			want:   func(f files) { f[segment(1)] = f[segment(1)][:size-recordSize] },
			damages: []Damage{
				{Kind: TornTail, Path: segment(1), Segment: 1, Offset: size - recordSize, Bytes: recordSize, Records: 1, Action: "cut off"},
			},
		},
		{
			name:   "a bit in the middle",
			damage: func(f files) { f[segment(0)][4*recordSize+10] ^= 1 },
			want:   func(f files) { fill(f[segment(0)], 4*recordSize, 5*recordSize) },
			damages: []Damage{
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: 4 * recordSize, Bytes: recordSize, Records: 1, Action: "filled"},
			},
		},
		{
			name:   "a page within a record",
			damage: func(f files) { clear(f[segment(0)][2*page : 3*page]) },
			want:   func(f files) { fill(f[segment(0)], page+recordSize, 3*page) },
			damages: []Damage{
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: page + recordSize, Bytes: 2*page - recordSize, Records: 1, Action: "filled"},
			},
		},
		{
			name:   "two pages on end",
			damage: func(f files) { f[segment(0)][10] ^= 1; f[segment(0)][page] ^= 1 },
			want: func(f files) {
				fill(f[segment(0)], 0, recordSize)
				fill(f[segment(0)], page, 2*page+107)
			},
			damages: []Damage{
				// The records of the second page cannot be told any more.
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Bytes: recordSize, Records: 1, Action: "filled"},
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: page, Bytes: page + 107, Records: 1, Action: "filled"},
			},
		},
		{
			name:   "two places in one segment",
			damage: func(f files) { f[segment(0)][10*recordSize+100] ^= 1; f[segment(0)][size-10] ^= 1 },
			want: func(f files) {
				fill(f[segment(0)], 10*recordSize, page)
				fill(f[segment(0)], int(size)-recordSize, int(size))
			},
			damages: []Damage{
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: 10 * recordSize, Bytes: page - 10*recordSize, Records: 1, Action: "filled"},
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: size - recordSize, Bytes: recordSize, Records: 1, Action: "filled"},
			},
		},
		{
			name:   "a record near the end of the last segment, which no crash does",
			damage: func(f files) { f[segment(1)][size-5*recordSize+10] ^= 1 },
			want:   func(f files) { fill(f[segment(1)], int(size)-5*recordSize, int(size)-4*recordSize) },
			damages: []Damage{
				{Kind: CorruptSegment, Path: segment(1), Segment: 1, Offset: size - 5*recordSize, Bytes: recordSize, Records: 1, Action: "filled"},
			},
		},
		{
			name: "bytes after the last record of a page",
			log: func(t *testing.T) files {
				dir := t.TempDir()
				wl, err := wlog.NewSize(nil, nil, dir, 8*frame.PageSize, compression.None)
				require.NoError(t, err)
				require.NoError(t, wl.Log(make([]byte, page-frame.HeaderSize-3), []byte{200}))
				require.NoError(t, wl.Close())
				return read(t, dir)
			},
			damage: func(f files) { f[segment(0)][page-1] = 1 },
			damages: []Damage{
				{Kind: CorruptSegment, Path: segment(0), Segment: 0, Offset: page - 3, Bytes: 3, Action: "filled"},
			},
		},
		{
			name:   "segments missing",
			log:    func(t *testing.T) files { return plainLog(t, 0, 1, 2, 3, 4, 5) },
			damage: func(f files) { delete(f, segment(1)); delete(f, segment(3)); delete(f, segment(4)) },
			want:   func(f files) { f.gone(1, 3, 4) },
			damages: []Damage{
				{Kind: MissingSegments, Path: segment(1), Segment: 1, Action: "made 1 segments in place of what is missing"},
				{Kind: MissingSegments, Path: segment(3), Segment: 3, More: 1, Action: "made 2 segments in place of what is missing"},
			},
		},
		{
			name: "segments missing after the checkpoint",
			log:  func(t *testing.T) files { return withCheckpoint(t, plainLog(t, 6, 7), 3) },
			want: func(f files) { f.gone(4, 5) },
			damages: []Damage{
				{Kind: MissingSegments, Path: segment(4), Segment: 4, More: 1, Action: "made 2 segments in place of what is missing"},
			},
		},
		{
			name: "segments missing before the checkpoint's number",
			log:  func(t *testing.T) files { return withCheckpoint(t, plainLog(t, 6, 7), 9) },
			want: func(f files) { f.gone(8, 9) },
			damages: []Damage{
				{Kind: MissingSegments, Path: segment(8), Segment: 8, More: 1, Action: "made 2 segments in place of what is missing"},
			},
		},
		{
			name: "no segments",
			log:  func(t *testing.T) files { return withCheckpoint(t, files{}, 9) },
			want: func(f files) { f.gone(9) },
			damages: []Damage{
				{Kind: MissingSegments, Path: segment(9), Segment: 9, Action: "made 1 segments in place of what is missing"},
			},
		},
		{
			name:    "no checkpoint",
			log:     func(t *testing.T) files { return plainLog(t, 6, 7) },
			damages: []Damage{{Kind: MissingCheckpoint, Path: "checkpoint.00000005", Segment: -1, Action: "made an empty checkpoint in place of what is missing"}},
		},
		{
			name:   "a bit in the checkpoint",
			log:    func(t *testing.T) files { return withCheckpoint(t, plainLog(t, 4), 3) },
			damage: func(f files) { f[cp(3, segment(1))][100] ^= 1 },
			want:   func(f files) { fill(f[cp(3, segment(1))], 3*recordSize, 4*recordSize) },
			damages: []Damage{
				{Kind: CorruptCheckpoint, Path: cp(3, segment(1)), Segment: -1, Offset: 3 * recordSize, Bytes: recordSize, Records: 1, Action: "filled"},
			},
		},
		{
			name:   "a file of the checkpoint missing",
			log:    func(t *testing.T) files { return withCheckpoint(t, plainLog(t, 4), 3) },
			damage: func(f files) { delete(f, cp(3, segment(1))) },
			want:   func(f files) { f[cp(3, segment(1))] = nil },
			damages: []Damage{
				{Kind: CorruptCheckpoint, Path: cp(3, segment(1)), Segment: -1, Action: "made 1 segments in place of what is missing"},
			},
		},
		{
			name: "nothing left of the only checkpoint",
			log:  func(t *testing.T) files { return withCheckpoint(t, plainLog(t, 4), 3) },
			damage: func(f files) {
				for i := range 3 {
					f[cp(3, segment(i))] = []byte{9, 9, 9}
				}
			},
			want: func(f files) {
				for i := range 3 {
					f[cp(3, segment(i))] = nil
				}
			},
			damages: []Damage{
				{Kind: CorruptCheckpoint, Path: cp(3, segment(0)), Segment: -1, Bytes: 3, Records: 1, Action: "cut off"},
				{Kind: CorruptCheckpoint, Path: cp(3, segment(1)), Segment: -1, Bytes: 3, Records: 1, Action: "cut off"},
				{Kind: CorruptCheckpoint, Path: cp(3, segment(2)), Segment: -1, Bytes: 3, Records: 1, Action: "cut off"},
			},
		},
		{
			name:   "nothing left of the newer checkpoint",
			log:    func(t *testing.T) files { return withCheckpoint(t, plainLog(t, 5), 3) },
			damage: func(f files) { f[cp(4, segment(0))] = []byte{1} },
			want:   func(f files) { f.gone(4) },
			damages: []Damage{
				{Kind: CorruptCheckpoint, Path: cp(4, segment(0)), Segment: -1, Bytes: 1, Records: 1, Action: "cut off"},
				{Kind: CorruptCheckpoint, Path: "checkpoint.00000004", Segment: -1, Action: "removed, the checkpoint before it is used"},
				{Kind: MissingSegments, Path: segment(4), Segment: 4, Action: "made 1 segments in place of what is missing"},
			},
		},
		{
			name: "names that upstream cannot cope with",
			damage: func(f files) {
				f["checkpoint.old"], f["7"], f["stray.7"], f["00000009/x"] = []byte("a"), []byte("b"), []byte("c"), []byte("d")
				f["checkpoint.-1"] = []byte("e")
			},
			want: func(f files) {
				f["stray.checkpoint.old"], f["stray.7.1"], f["stray.7"], f["stray.00000009/x"] = []byte("a"), []byte("b"), []byte("c"), []byte("d")
				f["stray.checkpoint.-1"] = []byte("e")
			},
			damages: []Damage{
				{Kind: StrayFile, Path: "00000009", Segment: -1, Action: "renamed to stray.00000009"},
				{Kind: StrayFile, Path: "7", Segment: -1, Action: "renamed to stray.7.1"},
				{Kind: StrayFile, Path: "checkpoint.-1", Segment: -1, Action: "renamed to stray.checkpoint.-1"},
				{Kind: StrayFile, Path: "checkpoint.old", Segment: -1, Action: "renamed to stray.checkpoint.old"},
			},
		},
		{
			name: "files that belong to others, and what was left unfinished",
			damage: func(f files) {
				f["notes.txt"], f["dir/00000007"], f["7x.repair"], f["checkpoint.abc/x"] = []byte("a"), []byte("b"), []byte("c"), []byte("d")
				f["00000001.unfinished"], f["checkpoint.00000001.tmp/00000000"] = []byte("x"), []byte("y")
			},
			want: func(f files) {
				f["notes.txt"], f["dir/00000007"], f["7x.repair"], f["checkpoint.abc/x"] = []byte("a"), []byte("b"), []byte("c"), []byte("d")
			},
		},
		{
			name:   "repair interrupted before the segment was made",
			damage: func(f files) { f[segment(1)+".repair"] = f[segment(1)]; delete(f, segment(1)) },
			damages: []Damage{
				{Kind: InterruptedRepair, Path: segment(1) + ".repair", Segment: 1, Action: "made the segment again"},
			},
		},
		{
			name: "repair interrupted while the segment was made",
			damage: func(f files) {
				f[segment(1)+".repair"] = bytes.Clone(f[segment(1)])
				f[segment(1)+".repair"][page+100] ^= 1
				f[segment(1)] = f[segment(1)][:5*recordSize+3]
			},
			want: func(f files) { fill(f[segment(1)], page+recordSize, 2*page+107) },
			damages: []Damage{
				{Kind: InterruptedRepair, Path: segment(1) + ".repair", Segment: 1, Action: "made the segment again"},
				{Kind: CorruptSegment, Path: segment(1), Segment: 1, Offset: page + recordSize, Bytes: page + 107 - recordSize, Records: 1, Action: "filled"},
			},
		},
		{
			name:   "old copy of another segment of that number",
			damage: func(f files) { f[segment(0)+".repair"] = f[segment(1)][10*recordSize:] },
			damages: []Damage{
				{Kind: InterruptedRepair, Path: segment(0) + ".repair", Segment: 0, Bytes: size - 10*recordSize, Action: "removed, the segment holds other records"},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log := plainLog(t, 0, 1)
			if tc.log != nil {
				log = tc.log(t)
			}
			harmed, want := log.clone(), log.clone()
			if tc.damage != nil {
				tc.damage(harmed)
			}
			if tc.want != nil {
				tc.want(want)
			}
			dir := harmed.write(t)
			report, repaired := requireRepaired(t, dir)
			for i, d := range report.Damages {
				rel, err := filepath.Rel(dir, d.Path)
				require.NoError(t, err)
				report.Damages[i].Path, report.Damages[i].Err = filepath.ToSlash(rel), nil
				require.Equal(t, d.Bytes > 0 && d.Kind != InterruptedRepair, d.Err != nil)
			}
			require.Equal(t, tc.damages, report.Damages)
			requireSame(t, want, repaired)
		})
	}
}

// withCheckpoint adds a checkpoint of three files.
func withCheckpoint(t *testing.T, f files, index int) files {
	for name, b := range plainLog(t, 0, 1, 2) {
		f[filepath.Base(wlog.CheckpointDir("", index))+"/"+name] = b
	}
	return f
}

// Files of a checkpoint may be the same as files elsewhere, which stay as they
// are.
func TestHardLinks(t *testing.T) {
	f := withCheckpoint(t, plainLog(t, 4), 3)
	name := filepath.Base(wlog.CheckpointDir("", 3)) + "/" + segment(0)
	f[name][100] ^= 1
	dir := f.write(t)
	other := filepath.Join(t.TempDir(), "chunk")
	if err := os.Link(filepath.Join(dir, name), other); err != nil {
		t.Skipf("no hard links: %v", err)
	}
	_, repaired := requireRepaired(t, dir)
	b, err := os.ReadFile(other)
	require.NoError(t, err)
	require.True(t, bytes.Equal(f[name], b))
	require.False(t, bytes.Equal(f[name], repaired[name]))
}

// A file with a strange number does not fill the disk with empty segments.
func TestTooManyMissing(t *testing.T) {
	f := plainLog(t, 0, 1)
	f["99999999"] = nil
	f["00005000"] = nil
	dir := f.write(t)
	_, err := Directory(dir, Options{})
	require.ErrorContains(t, err, "00005001")
	require.ErrorContains(t, err, "99999998")
	requireSame(t, f, read(t, dir))
}

// What is known to be whole is not read again, in checkpoints neither.
func TestWhole(t *testing.T) {
	f := plainLog(t, 0, 1, 2)
	f[segment(0)][10] ^= 1
	f[segment(2)][10] ^= 1
	dir := f.write(t)
	var asked []string
	report, err := Directory(dir, Options{Whole: func(path string, info fs.FileInfo) bool {
		require.Equal(t, filepath.Base(path), info.Name())
		asked = append(asked, info.Name())
		return info.Name() == segment(0)
	}})
	require.NoError(t, err)
	require.Equal(t, []string{segment(0), segment(1), segment(2)}, asked)
	require.Equal(t, 2, report.Segments)
	require.Len(t, report.Damages, 1)
	require.Equal(t, 2, report.Damages[0].Segment)
	require.True(t, bytes.Equal(f[segment(0)], read(t, dir)[segment(0)]))
	require.Equal(t, int64(len(f[segment(1)])+len(f[segment(2)])), report.Bytes)
	require.Equal(t, 24+23, report.Records, "but the first")
}

func TestWholeCheckpoint(t *testing.T) {
	f := plainLog(t, 0, 1)
	f["checkpoint.00000000/00000000"] = bytes.Clone(f[segment(0)])
	f["checkpoint.00000000/00000000"][10] ^= 1
	dir := f.write(t)
	report, err := Directory(dir, Options{Whole: func(string, fs.FileInfo) bool { return true }})
	require.NoError(t, err)
	require.Empty(t, report.Damages)
	report, err = Directory(dir, Options{})
	require.NoError(t, err)
	require.Len(t, report.Damages, 1)
	require.Equal(t, CorruptCheckpoint, report.Damages[0].Kind)
}

// One segment can be repaired on its own, while the log is in use.
func TestSegment(t *testing.T) {
	f := plainLog(t, 0, 1, 2)
	f[segment(0)][10] ^= 1
	f[segment(1)][10] ^= 1
	dir := f.write(t)
	damages, err := Segment(t.Context(), vfs.OS, dir, 1, nil)
	require.NoError(t, err)
	require.Len(t, damages, 1)
	require.Equal(t, 1, damages[0].Segment)
	require.True(t, bytes.Equal(f[segment(0)], read(t, dir)[segment(0)]))
	damages, err = Segment(t.Context(), vfs.OS, dir, 1, nil)
	require.NoError(t, err)
	require.Empty(t, damages)
	_, err = Segment(t.Context(), vfs.OS, dir, 7, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A segment of nothing but zeros, as a loss of power leaves it, is damage of all of it,
// but an empty one is whole (I9).
func TestZeros(t *testing.T) {
	f := plainLog(t, 0, 1, 2, 3)
	f[segment(0)] = nil
	clear(f[segment(1)])
	f[segment(3)] = make([]byte, 1000)
	size := len(f[segment(1)])
	dir := f.write(t)
	report, err := Directory(dir, Options{})
	require.NoError(t, err)
	require.Len(t, report.Damages, 2)
	for i, want := range []Damage{
		{Kind: CorruptSegment, Segment: 1, Bytes: int64(size), Records: 1, Action: "filled"},
		{Kind: TornTail, Segment: 3, Bytes: 1000, Records: 1, Action: "cut off"},
	} {
		got := report.Damages[i]
		require.ErrorContains(t, got.Err, "zeros")
		got.Err, want.Path = nil, filepath.Join(dir, segment(want.Segment))
		require.Equal(t, want, got)
	}
	fill(f[segment(1)], 0, size)
	f[segment(3)] = nil
	requireSame(t, f, read(t, dir))
	report, err = Directory(dir, Options{})
	require.NoError(t, err)
	require.Empty(t, report.Damages)
	requireOpens(t, dir)

	clear(f[segment(2)])
	require.NoError(t, os.WriteFile(filepath.Join(dir, segment(2)), f[segment(2)], 0o666))
	damages, err := Segment(t.Context(), vfs.OS, dir, 2, nil)
	require.NoError(t, err)
	require.Len(t, damages, 1)
	require.Equal(t, int64(size), damages[0].Bytes)
}

func TestLogAndAbsentDirectory(t *testing.T) {
	report, err := Directory(filepath.Join(t.TempDir(), "none"), Options{})
	require.NoError(t, err)
	require.Zero(t, report)

	f := plainLog(t, 0, 1)
	f[segment(0)][10] ^= 1
	f[segment(1)] = f[segment(1)][:10]
	var log bytes.Buffer
	_, err = Directory(f.write(t), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), "kind=corrupt_segment")
	require.Contains(t, log.String(), "level=INFO")
	require.Contains(t, log.String(), "kind=torn_tail")
}

// After a failed write the segment ends with the last record that was written
// without an error.
func TestTail(t *testing.T) {
	f := plainLog(t, 0)
	dir := f.write(t)
	path := wlog.SegmentName(dir, 0)
	size := int64(len(f[segment(0)]))
	for _, end := range []int64{size, size - recordSize, size - recordSize, 2 * frame.PageSize} {
		require.NoError(t, Tail(vfs.OS, path, end))
		require.Len(t, read(t, dir)[segment(0)], int(end))
	}
	require.ErrorContains(t, Tail(vfs.OS, path, size), "missing")
	require.Len(t, read(t, dir)[segment(0)], 2*frame.PageSize)

	// The rest of a page that has no room for a header may be missing.
	require.NoError(t, os.Truncate(path, 2*frame.PageSize-3))
	require.NoError(t, Tail(vfs.OS, path, 2*frame.PageSize))
	require.ErrorIs(t, Tail(vfs.OS, wlog.SegmentName(dir, 1), 0), os.ErrNotExist)
}

// A log of upstream's own is plausible in all its records.
func TestStockIsWhole(t *testing.T) {
	for seed := range uint64(3) {
		f := newLog(t, seed, compression.None)
		report, err := Directory(f.write(t), Options{})
		require.NoError(t, err)
		require.Empty(t, report.Damages)
		require.Len(t, f.records(), report.Records)
		require.Equal(t, []int{6, 1}, []int{report.Segments, report.Checkpoints})
	}
}
