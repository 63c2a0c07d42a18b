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
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ackwal/ackwal/tsdb/internal/frame"

	"github.com/prometheus/prometheus/util/compression"
)

// damage is a change to a file that a failing disk or a crash may make.
type damage struct {
	file int // Of the sorted names.
	kind damageKind
	at   int // Offset, modulo the size.
	size int // Bytes, at least one.
}

type damageKind uint8

const (
	flipBit damageKind = iota
	zeroOut
	overwrite
	cutOff
	appendJunk
	removeFile
	damageKinds
)

// apply does the damage and marks the pages in which bytes changed.
func (h damage) apply(f files, touched map[string]map[int64]bool) {
	all := names(f)
	slices.Sort(all)
	name := all[h.file%len(all)]
	b := f[name]
	if h.kind == removeFile {
		delete(f, name)
		touched[name] = map[int64]bool{-1: true}
		return
	}
	if h.kind == appendJunk {
		for i := range h.size%100 + 1 {
			f[name] = append(f[name], byte(h.at+i*7))
		}
		touch(touched, name, int64(len(b)), int64(len(f[name])))
		return
	}
	if len(b) == 0 {
		return
	}
	from := h.at % len(b)
	to := min(from+1+h.size%(2*frame.PageSize), len(b))
	switch h.kind {
	case flipBit:
		b[from] ^= 1 << (h.size % 8)
		to = from + 1
	case zeroOut:
		clear(b[from:to])
	case overwrite:
		for i := from; i < to; i++ {
			b[i] = byte(i*i + h.at)
		}
	case cutOff:
		f[name] = b[:from]
		to = len(b)
	}
	touch(touched, name, int64(from), int64(to))
}

func touch(touched map[string]map[int64]bool, name string, from, to int64) {
	if touched[name] == nil {
		touched[name] = map[int64]bool{}
	}
	for page := frame.PageOf(from); page < to; page += frame.PageSize {
		touched[name][page] = true
	}
}

// mustSurvive returns the records that no damage may cost: their pages were not
// touched, nor was one before, back to the last page that starts with a record.
func mustSurvive(recs []placed, touched map[string]map[int64]bool) []placed {
	starts := map[string]map[int64]bool{}
	for _, r := range recs {
		if starts[r.file] == nil {
			starts[r.file] = map[int64]bool{}
		}
		starts[r.file][r.start] = true
	}
	return slices.DeleteFunc(slices.Clone(recs), func(r placed) bool {
		pages := touched[r.file]
		if pages[-1] {
			return true
		}
		for page := frame.PageOf(r.start); page < r.end; page += frame.PageSize {
			if pages[page] {
				return true
			}
		}
		for page := frame.PageOf(r.start); page >= 0 && !starts[r.file][page]; page -= frame.PageSize {
			if pages[page] || page > 0 && pages[page-frame.PageSize] {
				return true
			}
		}
		return false
	})
}

// requireSurvivors repairs a log that was damaged and checks that upstream reads
// it, that everything that no damage may cost is still where it was, and that
// nothing was made up (I7, I9).
func requireSurvivors(t testing.TB, original files, damages []damage) Report {
	t.Helper()
	damaged := original.clone()
	touched := map[string]map[int64]bool{}
	for _, h := range damages {
		h.apply(damaged, touched)
	}
	report, repaired := requireRepaired(t, damaged.write(t))

	got := map[string][]byte{}
	key := func(r placed) string { return fmt.Sprint(r.file, r.start, r.end) }
	for _, r := range repaired.records() {
		got[key(r)] = r.data
	}
	survivors := mustSurvive(original.records(), touched)
	require.NotEmpty(t, survivors)
	for _, r := range survivors {
		data, ok := got[key(r)]
		require.True(t, ok, "the record of %s at %d is lost, %v", r.file, r.start, damages)
		require.True(t, bytes.Equal(r.data, data))
	}
	for name := range original {
		if pages := touched[name]; pages == nil {
			require.True(t, bytes.Equal(original[name], repaired[name]), "%s was changed", name)
		}
	}
	return report
}

func TestRandomDamage(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 4))
		original := newLog(t, seed, compression.Types()[seed%3])
		var damages []damage
		for range 1 + rng.IntN(5) {
			damages = append(damages, damage{
				file: rng.IntN(100),
				kind: damageKind(rng.IntN(int(damageKinds))),
				at:   rng.IntN(testPages * frame.PageSize),
				size: rng.IntN(2 * frame.PageSize),
			})
		}
		for _, d := range requireSurvivors(t, original, damages).Damages {
			kinds[d.Kind]++
		}
	}
	for _, kind := range []string{TornTail, CorruptSegment, CorruptCheckpoint, MissingSegments} {
		require.NotZero(t, kinds[kind], "the test does not make damage of kind %s any more", kind)
	}
}

// Every bit of a fragment's type may flip, and upstream still reads the log
// afterwards (I7). No checksum covers it.
func TestHeaderBits(t *testing.T) {
	for _, c := range []compression.Type{compression.None, compression.Snappy} {
		original := newLog(t, 7, c)
		b := original[segment(4)]
		for _, at := range []int{0, frame.PageSize} {
			for value := range 32 {
				if b[at] == byte(value) {
					continue
				}
				damaged := original.clone()
				damaged[segment(4)][at] = byte(value)
				requireRepaired(t, damaged.write(t))
			}
		}
	}
}

// A repaired log is the result of repairing it half-way and being interrupted (I8).
func TestInterrupted(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		damaged := newLog(t, seed, compression.Snappy)
		touched := map[string]map[int64]bool{}
		for range 3 {
			damage{file: 3 + rng.IntN(6), kind: damageKind(rng.IntN(3)), at: rng.IntN(testPages * frame.PageSize), size: 100}.apply(damaged, touched)
		}
		_, repaired := requireRepaired(t, damaged.write(t))

		// Of what is written over, some bytes made it to the disk, in any
		// order; the file was not cut yet.
		for name, b := range damaged {
			for page := 0; page < min(len(b), len(repaired[name])); page += 512 {
				end := min(page+512, len(b), len(repaired[name]))
				if rng.IntN(2) == 0 && strings.IndexByte(name, '/') < 0 {
					copy(b[page:end], repaired[name][page:end])
				}
			}
		}
		_, again := requireRepaired(t, damaged.write(t))
		require.ElementsMatch(t, names(repaired), names(again))
		for name := range repaired {
			require.Equal(t, kept(t, repaired[name]), kept(t, again[name]), "%s", name)
		}
	}
}

// kept returns where the records of a segment are that are no filler, and their
// checksums.
func kept(t *testing.T, b []byte) map[int64]uint32 {
	t.Helper()
	out := map[int64]uint32{}
	scan := frame.NewScanner(1)
	scan.Strict = true
	for scan.Reset(bytes.NewReader(b), 0); ; {
		rec, err := scan.Next()
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return out
		}
		if !frame.IsFiller(rec.Data) {
			out[rec.Start] = rec.CRC
		}
	}
}

// FuzzDirectory applies arbitrary damage to a log. Each takes seven bytes.
func FuzzDirectory(f *testing.F) {
	logs := make([]files, 3)
	for i, c := range compression.Types() {
		logs[i] = newLog(f, uint64(i), c)
	}
	for kind := range damageKinds {
		f.Add(byte(kind), []byte{5, byte(kind), 0, 10, 0, 100, 0})
		f.Add(byte(kind), []byte{5, byte(kind), 0x80, 0, 0, 0, 0, 1, byte(kind), 0, 0, 0x10, 0, 0})
	}
	f.Add(byte(0), []byte{0, byte(removeFile), 0, 0, 0, 0, 0, 0, byte(removeFile), 0, 0, 0, 0, 0, 1, byte(cutOff), 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		var damages []damage
		for ; len(b) >= 7 && len(damages) < 8; b = b[7:] {
			damages = append(damages, damage{
				file: int(b[0]),
				kind: damageKind(b[1]) % damageKinds,
				at:   int(binary.BigEndian.Uint16(b[2:]))<<1 | int(b[4])&1,
				size: int(binary.BigEndian.Uint16(b[5:])),
			})
		}
		requireSurvivors(t, logs[which%3], damages)
	})
}
