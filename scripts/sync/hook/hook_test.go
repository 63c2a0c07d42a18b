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

package hook

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const stockMain = `package main

import (
	"fmt"
	"os"
)

type options struct {
	path string
}

func (o *options) open() { fmt.Println(o.path) }

func open() { fmt.Println("x") }

func main() {
	switch len(os.Args) {
	case 1:
		open()
	}
	switch len(os.Args) {
	case 1:
		open()
	}
}
`

func reader(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	}
}

func entry(hooks ...Hook) *Entry {
	for i := range hooks {
		if hooks[i].Matches == 0 {
			hooks[i].Matches = 1
		}
	}
	return &Entry{Name: "0100-toy", Hooks: hooks}
}

func TestApply(t *testing.T) {
	files := map[string]string{"cmd/main.go": stockMain, "docs/flags.md": "# Flags\n| a |\n| c |"}
	tests := map[string]struct {
		hooks []Hook
		want  map[string][]string // lines that must be next to each other
	}{
		"import, sorted by gofmt": {
			hooks: []Hook{{File: "cmd/main.go", In: "imports", Anchor: `"os"`, After: `"errors"`}},
			want:  map[string][]string{"cmd/main.go": {"\t\"errors\"\n\t\"fmt\"\n\t\"os\"\n"}},
		},
		"field": {
			hooks: []Hook{{File: "cmd/main.go", In: "type options", Anchor: "path string", Before: "size int"}},
			want:  map[string][]string{"cmd/main.go": {"\tsize int\n\tpath string\n"}},
		},
		"white space does not count in Go": {
			hooks: []Hook{{File: "cmd/main.go", In: "type options", Anchor: "path    string", Delete: true}},
			want:  map[string][]string{"cmd/main.go": {"type options struct {\n}\n"}},
		},
		"every match": {
			hooks: []Hook{{File: "cmd/main.go", In: "func main", Anchor: "case 1:", Matches: 2, Replace: "case 1, 2:"}},
			want:  map[string][]string{"cmd/main.go": {"\tcase 1, 2:\n\t\topen()\n\t}\n\tswitch len(os.Args) {\n\tcase 1, 2:\n"}},
		},
		"a later hook sees an earlier one": {
			hooks: []Hook{
				{File: "docs/flags.md", Anchor: "| a |", After: "| b |"},
				{File: "docs/flags.md", Anchor: "| b |", Replace: "| B |"},
			},
			want: map[string][]string{"docs/flags.md": {"# Flags\n| a |\n| B |\n| c |"}},
		},
		"a part of a line": {
			hooks: []Hook{
				{File: "docs/flags.md", Anchor: "# Fl", Replace: "# All fl", Part: true},
				{File: "docs/flags.md", Anchor: "All", Replace: "The", Part: true},
			},
			want: map[string][]string{"docs/flags.md": {"# The flags\n| a |\n| c |"}},
		},
		"last line without line feed": {
			hooks: []Hook{{File: "docs/flags.md", Anchor: "| c |", After: "| d |"}},
			want:  map[string][]string{"docs/flags.md": {"| c |\n| d |\n"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := entry(tc.hooks...).Apply(reader(files))
			require.NoError(t, err)
			require.Len(t, got, len(tc.want))
			for file, parts := range tc.want {
				for _, part := range parts {
					require.Contains(t, string(got[file]), part)
				}
			}
		})
	}
}

func TestApplyFails(t *testing.T) {
	files := map[string]string{"cmd/main.go": stockMain, "docs/flags.md": "| a |\n"}
	tests := map[string]struct {
		hook Hook
		want string
	}{
		"anchor gone": {
			hook: Hook{File: "cmd/main.go", In: "func main", Anchor: "case 3:", After: "x"},
			want: "0100-toy: cmd/main.go, in func main: expected 1, found 0 of the line\n\tcase 3:",
		},
		"anchor found too often": {
			hook: Hook{File: "cmd/main.go", Anchor: "case 1:", After: "x"},
			want: "expected 1, found 2 (lines 18 22) of the line",
		},
		"anchor outside the declaration": {
			hook: Hook{File: "cmd/main.go", In: "func open", Anchor: "case 1:", After: "x"},
			want: "in func open: expected 1, found 0",
		},
		"part of a line is no match": {
			hook: Hook{File: "docs/flags.md", Anchor: "| a", After: "x"},
			want: "found 0",
		},
		"white space counts outside Go": {
			hook: Hook{File: "docs/flags.md", Anchor: "| a | ", After: "x"},
			want: "found 0",
		},
		"declaration gone": {
			hook: Hook{File: "cmd/main.go", In: "func (options) open", Anchor: "case 1:", After: "x"},
			want: `expected 1, found 0 of the declaration "func (options) open"`,
		},
		"file gone": {
			hook: Hook{File: "cmd/other.go", Anchor: "x", After: "x"},
			want: "cmd/other.go",
		},
		"no longer Go": {
			hook: Hook{File: "cmd/main.go", In: "func main", Anchor: "case 1:", Matches: 2, After: "}"},
			want: "not Go any more",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := entry(tc.hook).Apply(reader(files))
			require.ErrorContains(t, err, tc.want)
			require.Nil(t, got)
		})
	}
	_, err := entry(tests["anchor gone"].hook).Apply(reader(files))
	var anchor *AnchorError
	require.ErrorAs(t, err, &anchor)
	require.Equal(t, 1, anchor.Want)
	require.Empty(t, anchor.Lines)
}

// Every hook that does not fit is reported at once, once; one that needs the
// lines of another that failed is not: it fits when the other does.
func TestApplyReportsAllHooks(t *testing.T) {
	files := map[string]string{"cmd/main.go": stockMain, "docs/flags.md": "| a |\n"}
	e := entry(
		Hook{File: "cmd/main.go", In: "func main", Anchor: "case 3:", After: "added()\nmore()"},
		Hook{File: "cmd/main.go", In: "func main", Anchor: "added()", After: "x"},
		Hook{File: "cmd/main.go", Anchor: "case 1:", After: "x"},
		Hook{File: "docs/flags.md", Anchor: "| a |", After: "| b |"},
		Hook{File: "docs/flags.md", Anchor: "| c |", After: "| d |"},
		Hook{File: "docs/gone.md", Anchor: "a", After: "b"},
		Hook{File: "docs/gone.md", Anchor: "b", After: "c"},
		Hook{File: "cmd/main.go", In: "func gone", Anchor: "a", After: "b"},
		Hook{File: "cmd/main.go", In: "func gone", Anchor: "b", After: "c"},
	)
	got, err := e.Apply(reader(files))
	require.Nil(t, got)
	var anchors []string
	for _, a := range Anchors(err) {
		anchors = append(anchors, a.Anchor)
	}
	require.Equal(t, []string{"case 3:", "case 1:", "| c |"}, anchors)
	for _, gone := range []string{"docs/gone.md", "func gone"} {
		require.Equal(t, 1, strings.Count(err.Error(), gone), err)
	}

	fits, errs := e.Fit(reader(files), &Lost{})
	require.Len(t, errs, 5)
	require.Equal(t, "| a |\n| b |\n", string(fits["docs/flags.md"]))
}

func TestCompleteRefuses(t *testing.T) {
	tests := map[string]struct {
		hook Hook
		want string
	}{
		"file outside":    {Hook{File: "../x.go", Anchor: "a", After: "b"}, "relative path"},
		"absolute file":   {Hook{File: "/x.go", Anchor: "a", After: "b"}, "relative path"},
		"no anchor":       {Hook{File: "x.go", After: "b"}, "anchor"},
		"two-line anchor": {Hook{File: "x.go", Anchor: "a\nb", After: "b"}, "anchor"},
		"no effect":       {Hook{File: "x.go", Anchor: "a"}, "nothing to do"},
		"in, not Go":      {Hook{File: "x.md", In: "func main", Anchor: "a", After: "b"}, "Go files only"},
		"replace, delete": {Hook{File: "x.go", Anchor: "a", Replace: "b", Delete: true}, "exclude"},
		"part, after":     {Hook{File: "x.md", Part: true, Anchor: "a", Replace: "c", After: "b"}, "only be replaced"},
		"negative":        {Hook{File: "x.md", Matches: -1, Anchor: "a", After: "b"}, "positive"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, tc.hook.Complete(), tc.want)
		})
	}
	whole := Hook{File: "x.md", Anchor: "a\n", After: "b"}
	require.NoError(t, whole.Complete())
	require.Equal(t, Hook{File: "x.md", Anchor: "a", Matches: 1, After: "b"}, whole)
}
