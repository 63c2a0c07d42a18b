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
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// numbered returns a file that can be told from others by its number.
func numbered(n int) File {
	f := example()
	f.Checkpoint = n
	return f
}

func read(t testing.TB, dir, name string) string {
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

func put(t testing.TB, dir, name, content string) {
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}

func encoded(t testing.TB, f File) string {
	data, err := Encode(f)
	require.NoError(t, err)
	return string(data)
}

func names(t testing.TB, dir string) []string {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// operations records, with a store that does it, the operations of f.
func operations(s *Store, f func()) []string {
	list := []string{}
	s.before = func(operation string) error {
		list = append(list, operation)
		return nil
	}
	f()
	s.before = nil
	return list
}

func TestFirstStart(t *testing.T) {
	for name, dir := range map[string]string{"empty": t.TempDir(), "missing": filepath.Join(t.TempDir(), "none")} {
		t.Run(name, func(t *testing.T) {
			f, src, err := NewStore(dir).Load()
			require.NoError(t, err)
			require.Equal(t, File{}, f)
			require.Equal(t, None, src.Origin)
			require.Len(t, src.Problems, 2)
			for _, p := range src.Problems {
				require.Equal(t, Absent, p.Reason)
				require.ErrorIs(t, p, fs.ErrNotExist)
			}
		})
	}
}

// The fallback is the last durable version, and a copy of its own.
func TestWriteAndLoad(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir)
	require.NoError(t, s.Write(numbered(1), false))
	require.Equal(t, []string{CurrentName}, names(t, dir))

	require.NoError(t, s.Write(numbered(2), true))
	require.NoError(t, s.Write(numbered(3), false))
	require.Equal(t, []string{CurrentName, PreviousName}, names(t, dir))
	require.Equal(t, encoded(t, numbered(3)), read(t, dir, CurrentName))
	require.Equal(t, encoded(t, numbered(2)), read(t, dir, PreviousName))

	f, src, err := NewStore(dir).Load()
	require.NoError(t, err)
	require.Equal(t, Source{Origin: Current}, src)
	require.Equal(t, numbered(3), f)

	require.NoError(t, s.Write(numbered(4), true))
	current, err := os.Stat(filepath.Join(dir, CurrentName))
	require.NoError(t, err)
	previous, err := os.Stat(filepath.Join(dir, PreviousName))
	require.NoError(t, err)
	require.False(t, os.SameFile(current, previous), "damage to the blocks of one must not reach the other")
	if runtime.GOOS != "windows" {
		require.Equal(t, fs.FileMode(0o600), current.Mode())
		require.Equal(t, fs.FileMode(0o600), previous.Mode())
	}
}

// Defends I1: what a caller may rely on after a durable write follows from
// this order. Data are on the disk before they get their name, the name is
// before Write returns, and the fallback is replaced last.
func TestOrderOfOperations(t *testing.T) {
	s := NewStore(t.TempDir())
	require.Equal(t, []string{
		"delivery.json create", "delivery.json write", "delivery.json close", "delivery.json rename",
	}, operations(s, func() { require.NoError(t, s.Write(numbered(1), false)) }))
	require.Equal(t, []string{
		"delivery.json create", "delivery.json write", "delivery.json sync", "delivery.json close", "delivery.json rename",
		"delivery.json sync directory",
		"delivery.prev.json create", "delivery.prev.json write", "delivery.prev.json sync", "delivery.prev.json close",
		"delivery.prev.json rename", "delivery.prev.json sync directory",
	}, operations(s, func() { require.NoError(t, s.Write(numbered(1), true)) }))
}

// Every operation fails once. Write says so, the version before or the new one
// is loaded, nothing is left behind, and the next write succeeds.
func TestEveryOperationFails(t *testing.T) {
	for _, durable := range []bool{false, true} {
		dir := t.TempDir()
		put(t, dir, CurrentName+tempSuffix, "left over")
		probe := NewStore(dir)
		for i, operation := range operations(probe, func() { require.NoError(t, probe.Write(numbered(2), durable)) }) {
			t.Run(fmt.Sprintf("durable=%t/%s", durable, operation), func(t *testing.T) {
				dir := t.TempDir()
				s := NewStore(dir)
				require.NoError(t, s.Write(numbered(1), true))
				put(t, dir, CurrentName+tempSuffix, "left over")

				injected := errors.New("no space left on device")
				n := 0
				s.before = func(string) error {
					n++
					if n == i+1 {
						return injected
					}
					return nil
				}
				err := s.Write(numbered(2), durable)
				require.ErrorIs(t, err, injected)
				require.ErrorContains(t, err, dir)
				s.before = nil

				f, src, err := NewStore(dir).Load()
				require.NoError(t, err)
				require.Equal(t, Source{Origin: Current}, src)
				require.Contains(t, []int{1, 2}, f.Checkpoint)
				require.Equal(t, []string{CurrentName, PreviousName}, names(t, dir), "temporary files are cleaned up")

				require.NoError(t, s.Write(numbered(3), durable))
				f, _, err = s.Load()
				require.NoError(t, err)
				require.Equal(t, numbered(3), f)
			})
		}
	}
}

func TestWriteRefusesWithoutTouchingTheDisk(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir)
	f := numbered(1)
	f.Run = "none"
	require.ErrorContains(t, s.Write(f, true), "run \"none\" is not a ULID")
	require.Empty(t, names(t, dir))
	require.Error(t, NewStore(filepath.Join(dir, "missing")).Write(numbered(1), false))
}

// A temporary file that a crash left behind is neither read nor followed nor
// does its mode stay.
func TestLeftOverTempFile(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o644))
	temp := filepath.Join(dir, CurrentName+tempSuffix)
	if err := os.Symlink(victim, temp); err != nil {
		put(t, dir, CurrentName+tempSuffix, "torn")
	}

	s := NewStore(dir)
	_, src, err := s.Load()
	require.NoError(t, err)
	require.Equal(t, None, src.Origin)

	require.Equal(t, []string{"delivery.json create", "delivery.json remove temp", "delivery.json create"},
		operations(s, func() { require.NoError(t, s.Write(numbered(1), true)) })[:3])
	require.Equal(t, []string{CurrentName, PreviousName}, names(t, dir))
	content, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(content))
}

const newerFile = `{"version":2,"crc32c":"@","body":{"any":"thing"}}`

func newer() string {
	return strings.Replace(newerFile, "@", checksum(2, []byte(`{"any":"thing"}`)), 1)
}

// Defends I2 and I9: every combination of what the two files can be. A file is
// absent if it is "-" and a directory, which cannot be read, if it is "/".
func TestLoadCombinations(t *testing.T) {
	one, two := encoded(t, numbered(1)), encoded(t, numbered(2))
	torn := one[:len(one)/2]
	for _, tc := range []struct {
		name              string
		current, previous string
		origin            Origin
		checkpoint        int
		reasons           []Reason
		lost, newer       bool
		left              []string // Without directories and absent ones.
	}{
		{name: "both", current: two, previous: one, origin: Current, checkpoint: 2, left: []string{CurrentName, PreviousName}},
		{name: "fallback not looked at", current: two, previous: torn, origin: Current, checkpoint: 2, left: []string{CurrentName, PreviousName}},
		{name: "current absent", current: "-", previous: one, origin: Fallback, checkpoint: 1, reasons: []Reason{Absent}, left: []string{PreviousName}},
		{name: "current torn", current: torn, previous: one, origin: Fallback, checkpoint: 1, reasons: []Reason{Corrupt}, left: []string{"delivery.corrupt-1.json", PreviousName}},
		{name: "current empty", current: "", previous: one, origin: Fallback, checkpoint: 1, reasons: []Reason{Corrupt}, left: []string{"delivery.corrupt-1.json", PreviousName}},
		{name: "current foreign", current: `{"name":"package"}`, previous: one, origin: Fallback, checkpoint: 1, reasons: []Reason{Corrupt}, left: []string{"delivery.corrupt-1.json", PreviousName}},
		{name: "current unreadable", current: "/", previous: one, origin: Fallback, checkpoint: 1, reasons: []Reason{Unreadable}, left: []string{CurrentName, PreviousName}},
		{name: "current newer", current: newer(), previous: one, reasons: []Reason{Newer}, newer: true, left: []string{CurrentName, PreviousName}},
		{name: "fallback newer", current: torn, previous: newer(), reasons: []Reason{Corrupt, Newer}, newer: true, left: []string{CurrentName, PreviousName}},
		{name: "only a newer fallback", current: "-", previous: newer(), reasons: []Reason{Absent, Newer}, newer: true, left: []string{PreviousName}},
		{name: "only a torn current", current: torn, previous: "-", reasons: []Reason{Corrupt, Absent}, lost: true, left: []string{"delivery.corrupt-1.json"}},
		{name: "only a torn fallback", current: "-", previous: torn, reasons: []Reason{Absent, Corrupt}, lost: true, left: []string{"delivery.corrupt-1.json"}},
		{name: "both torn", current: torn, previous: "{", reasons: []Reason{Corrupt, Corrupt}, lost: true, left: []string{"delivery.corrupt-1.json", "delivery.corrupt-2.json"}},
		{name: "both unreadable", current: "/", previous: "/", reasons: []Reason{Unreadable, Unreadable}, lost: true, left: []string{CurrentName, PreviousName}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range map[string]string{CurrentName: tc.current, PreviousName: tc.previous} {
				switch content {
				case "-":
				case "/":
					require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
				default:
					put(t, dir, name, content)
				}
			}
			f, src, err := NewStore(dir).Load()
			require.Equal(t, tc.origin, src.Origin)
			var reasons []Reason
			for _, p := range src.Problems {
				reasons = append(reasons, p.Reason)
				require.ErrorContains(t, p, p.Path)
				require.Equal(t, p.Reason == Corrupt && !tc.newer, p.SetAside != "")
			}
			require.Equal(t, tc.reasons, reasons)
			require.Equal(t, tc.left, names(t, dir))

			var lost *LostError
			var version *VersionError
			switch {
			case tc.lost:
				require.ErrorAs(t, err, &lost)
				require.Equal(t, src.Problems, lost.Problems)
				require.ErrorContains(t, err, "oldest segment")
			case tc.newer:
				require.ErrorAs(t, err, &version)
				require.ErrorContains(t, err, dir)
				require.ErrorContains(t, err, "format version 2, this release reads up to 1")
			default:
				require.NoError(t, err)
				require.Equal(t, numbered(tc.checkpoint), f)
				return
			}
			require.Equal(t, File{}, f)
			require.NotErrorIs(t, err, errInjected)
		})
	}
}

// Directories in the place of the files do not keep positions from being saved.
func TestWriteInPlaceOfDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{CurrentName, PreviousName} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name, "x"), 0o700))
	}
	s := NewStore(dir)
	_, _, err := s.Load()
	require.ErrorAs(t, err, new(*LostError))
	require.NoError(t, s.Write(numbered(1), true))
	require.Equal(t, []string{"delivery.corrupt-1.json", "delivery.corrupt-2.json", CurrentName, PreviousName}, names(t, dir))
	f, _, err := NewStore(dir).Load()
	require.NoError(t, err)
	require.Equal(t, numbered(1), f)
}

var errInjected = errors.New("injected")

// Defends I2: a start that set the damaged files aside and died before it wrote
// has not turned the loss into a first start.
func TestLossIsRememberedUntilWritten(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, CurrentName, "damaged")
	for range 3 {
		_, src, err := NewStore(dir).Load()
		var lost *LostError
		require.ErrorAs(t, err, &lost)
		require.Equal(t, None, src.Origin)
		require.Equal(t, []string{"delivery.corrupt-1.json"}, names(t, dir))
	}
	_, src, err := NewStore(dir).Load()
	require.ErrorContains(t, err, "set_aside")
	require.Equal(t, Aside, src.Problems[len(src.Problems)-1].Reason)

	require.NoError(t, NewStore(dir).Write(numbered(1), false))
	f, _, err := NewStore(dir).Load()
	require.NoError(t, err)
	require.Equal(t, numbered(1), f)
}

// At most three damaged files are kept, the latest ones, with growing numbers.
func TestSetAsideKeepsThree(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir)
	for _, decoy := range []string{"delivery.corrupt-.json", "delivery.corrupt-007.json", "delivery.corrupt-x.json", "delivery.corrupt-1.json.bak"} {
		put(t, dir, decoy, "decoy")
	}
	require.NoError(t, s.Write(numbered(1), true))
	for n := 1; n <= 12; n++ {
		put(t, dir, CurrentName, fmt.Sprintf("damage %d", n))
		_, src, err := s.Load()
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, fmt.Sprintf("delivery.corrupt-%d.json", n)), src.Problems[0].SetAside)
	}
	require.Equal(t, []string{
		"delivery.corrupt-.json", "delivery.corrupt-007.json", "delivery.corrupt-1.json.bak",
		"delivery.corrupt-10.json", "delivery.corrupt-11.json", "delivery.corrupt-12.json",
		"delivery.corrupt-x.json", PreviousName,
	}, names(t, dir))
	require.Equal(t, "damage 12", read(t, dir, "delivery.corrupt-12.json"))
}

// Defends I9: that a damaged file cannot be moved does not stop the start, and
// the next write replaces it.
func TestSetAsideFails(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir)
	require.NoError(t, s.Write(numbered(1), true))
	put(t, dir, CurrentName, "damaged")
	s.before = func(string) error { return errInjected }
	f, src, err := s.Load()
	require.NoError(t, err)
	require.Equal(t, numbered(1), f)
	require.Equal(t, Fallback, src.Origin)
	require.Empty(t, src.Problems[0].SetAside)
	require.ErrorIs(t, src.Problems[0], errInjected)

	s.before = nil
	require.NoError(t, s.Write(numbered(2), false))
	f, src, err = s.Load()
	require.NoError(t, err)
	require.Equal(t, Source{Origin: Current}, src)
	require.Equal(t, numbered(2), f)
}

// Defends I8 and I9 for a loss of power, which may leave any part of a file
// whose rename was not synced: the fallback is used, or the whole file.
func TestLossOfPower(t *testing.T) {
	whole := encoded(t, numbered(2))
	dir := t.TempDir()
	s := NewStore(dir)
	require.NoError(t, s.Write(numbered(1), true))
	for n := 0; n < len(whole); n += 13 {
		for name, content := range map[string]string{"cut": whole[:n], "zeroes": whole[:n] + strings.Repeat("\x00", len(whole)-n)} {
			put(t, dir, CurrentName, content)
			f, src, err := s.Load()
			require.NoError(t, err, "%s at %d", name, n)
			require.Equal(t, Fallback, src.Origin, "%s at %d", name, n)
			require.Equal(t, numbered(1), f)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s := NewStore(t.TempDir())
	require.NoError(t, s.Write(numbered(0), true))
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for range 10 {
				if err := s.Write(numbered(n), n == 0); err != nil {
					t.Error(err)
				}
				if _, src, err := s.Load(); err != nil || src.Origin != Current {
					t.Error(src, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestStrings(t *testing.T) {
	got := []string{}
	for _, o := range []Origin{None, Current, Fallback} {
		got = append(got, o.String())
	}
	for _, r := range []Reason{Absent, Unreadable, Corrupt, Newer, Aside, Reason(99)} {
		got = append(got, r.String())
	}
	require.Equal(t, []string{"none", "current", "fallback", "absent", "unreadable", "corrupt", "newer", "set_aside", "unknown"}, got)
}

func BenchmarkWrite(b *testing.B) {
	for _, durable := range []bool{false, true} {
		b.Run(fmt.Sprintf("durable=%t", durable), func(b *testing.B) {
			s := NewStore(b.TempDir())
			f := sizes(10, 8)
			for b.Loop() {
				if err := s.Write(f, durable); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzLoad gives arbitrary content to both files. Nothing panics, and what is
// returned is whole, or an error, or, as neither is ever absent, nothing else.
func FuzzLoad(f *testing.F) {
	one := encoded(f, numbered(1))
	f.Add([]byte(one), []byte(one))
	f.Add([]byte(one[:100]), []byte(one))
	f.Add([]byte(newer()), []byte(one))
	f.Add([]byte{}, []byte(newer()))
	f.Fuzz(func(t *testing.T, current, previous []byte) {
		dir := t.TempDir()
		put(t, dir, CurrentName, string(current))
		put(t, dir, PreviousName, string(previous))
		s := NewStore(dir)
		file, src, err := s.Load()
		if src.Origin == None {
			require.Error(t, err)
			require.Equal(t, File{}, file)
		} else {
			require.NoError(t, err)
			require.NoError(t, file.Validate())
		}
		require.NoError(t, s.Write(numbered(9), true))
		file, src, err = s.Load()
		require.NoError(t, err)
		require.Equal(t, Source{Origin: Current}, src)
		require.Equal(t, numbered(9), file)
	})
}
