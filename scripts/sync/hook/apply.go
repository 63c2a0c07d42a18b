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
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// AnchorError reports an anchor that was not found as often as expected.
type AnchorError struct {
	Entry, File, In, Anchor string
	Want                    int
	// Lines are the line numbers (from 1) at which it was found.
	Lines []int
}

func (e *AnchorError) Error() string {
	return fmt.Sprintf("%s: %s\nUpstream has changed there: adapt the hook in patches/%s.yaml", e.Entry, e.Place(), e.Entry)
}

// Place says where how many of which line were found.
func (e *AnchorError) Place() string {
	where := e.File
	if e.In != "" {
		where += ", in " + e.In
	}
	at := ""
	if len(e.Lines) > 0 {
		at = " (lines " + strings.Trim(fmt.Sprint(e.Lines), "[]") + ")"
	}
	return fmt.Sprintf("%s: expected %d, found %d%s of the line\n\t%s", where, e.Want, len(e.Lines), at, strings.TrimSpace(e.Anchor))
}

// Apply runs the entry over a tree. read returns the content of a file as it
// is now; the result holds the new content of each file touched. Nothing is
// changed in place, and on an error, which names every hook that does not fit,
// there is no result.
func (e *Entry) Apply(read func(path string) ([]byte, error)) (map[string][]byte, error) {
	out, errs := e.Fit(read, &Lost{})
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// Fit applies the hooks that fit and returns an error for each that does not.
// A hook that needs a line of one that failed is not reported: resolving the other
// resolves it. lost carries those lines from entry to entry.
func (e *Entry) Fit(read func(path string) ([]byte, error), lost *Lost) (out map[string][]byte, errs []error) {
	out = map[string][]byte{}
	unreadable := map[string]bool{}
	for i := range e.Hooks {
		h := &e.Hooks[i]
		text, ok := out[h.File]
		if !ok {
			var err error
			if text, err = read(h.File); err != nil {
				if !unreadable[h.File] {
					unreadable[h.File] = true
					errs = append(errs, fmt.Errorf("%s: %w", e.Name, err))
				}
				continue
			}
		}
		edited, err := h.edit(e.Name, text)
		if err != nil {
			// Several hooks may miss the same, such as a declaration.
			same := func(e error) bool { return e.Error() == err.Error() }
			if !lost.Needs(e.Name, h) && !slices.ContainsFunc(errs, same) {
				errs = append(errs, err)
			}
			lost.Add(e.Name, h)
			continue
		}
		out[h.File] = edited
	}
	for _, file := range slices.Sorted(maps.Keys(out)) {
		if !strings.HasSuffix(file, ".go") {
			continue
		}
		formatted, err := format.Source(out[file])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %s is not Go any more after the hooks: %w", e.Name, file, err))
			delete(out, file)
			continue
		}
		out[file] = formatted
	}
	return out, errs
}

// Lost are the lines that hooks which failed would have added.
type Lost struct {
	by map[string]string // The entry that has lost a line.
	// Waiting tells of each entry with hooks that need lost lines which entry has
	// lost them.
	Waiting map[string]string
}

func lostKey(file, line string) string {
	return file + "\x00" + strings.Join(strings.Fields(line), " ")
}

// Add notes what a hook of an entry would have added.
func (l *Lost) Add(entry string, h *Hook) {
	if l.by == nil {
		l.by = map[string]string{}
	}
	// An entry that needs these lines waits for the one that this entry waits for.
	if first, ok := l.Waiting[entry]; ok && l.needed(h) != "" {
		entry = first
	}
	for _, text := range []string{h.Before, h.After, h.Replace} {
		for line := range strings.Lines(text) {
			l.by[lostKey(h.File, line)] = entry
		}
	}
}

// Needs tells whether a hook of an entry needs a lost line, and notes it.
func (l *Lost) Needs(entry string, h *Hook) bool {
	by := l.needed(h)
	if by == "" {
		return false
	}
	if by != entry {
		if l.Waiting == nil {
			l.Waiting = map[string]string{}
		}
		l.Waiting[entry] = by
	}
	return true
}

func (l *Lost) needed(h *Hook) string { return l.by[lostKey(h.File, h.Anchor)] }

// Anchors returns the anchors that an error of Apply is about.
func Anchors(err error) (all []*AnchorError) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, Anchors(e)...)
		}
		return all
	}
	if anchor, ok := errors.AsType[*AnchorError](err); ok {
		all = append(all, anchor)
	}
	return all
}

func (h *Hook) edit(entry string, text []byte) ([]byte, error) {
	lines := strings.SplitAfter(string(text), "\n")
	first, last := 1, len(lines)
	if h.In != "" {
		var err error
		if first, last, err = declaration(h.File, text, h.In); err != nil {
			return nil, fmt.Errorf("%s: %w", entry, err)
		}
	}
	var at []int
	for n := first; n <= last; n++ {
		if h.is(lines[n-1]) {
			at = append(at, n)
		}
	}
	if len(at) != h.Matches {
		return nil, &AnchorError{Entry: entry, File: h.File, In: h.In, Anchor: h.Anchor, Want: h.Matches, Lines: at}
	}
	var b strings.Builder
	for i, line := range lines {
		if len(at) == 0 || at[0] != i+1 {
			b.WriteString(line)
			continue
		}
		at = at[1:]
		switch {
		case h.Part:
			line = strings.Replace(line, h.Anchor, strings.TrimSuffix(h.Replace, "\n"), 1)
		case h.Replace != "" || h.Delete:
			line = h.Replace
		}
		b.WriteString(whole(h.Before))
		b.WriteString(whole(line))
		b.WriteString(whole(h.After))
	}
	return []byte(b.String()), nil
}

func (h *Hook) is(line string) bool {
	line = strings.TrimSuffix(line, "\n")
	if h.Part {
		return strings.Contains(line, h.Anchor)
	}
	if h.isGo() {
		return slices.Equal(strings.Fields(line), strings.Fields(h.Anchor))
	}
	return line == h.Anchor
}

// whole ends a non-empty text with a line feed.
func whole(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}

// declaration returns the first and last line of the declaration that a hook's
// In names. It must be there exactly once.
func declaration(file string, text []byte, in string) (first, last int, err error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
	if err != nil {
		return 0, 0, fmt.Errorf("parse %s: %w", file, err)
	}
	found := 0
	for _, decl := range parsed.Decls {
		if !names(decl, in) {
			continue
		}
		found++
		first, last = fset.Position(decl.Pos()).Line, fset.Position(decl.End()).Line
	}
	if found != 1 {
		return 0, 0, fmt.Errorf("%s: expected 1, found %d of the declaration %q: upstream has changed there", file, found, in)
	}
	return first, last, nil
}

// names tells whether a declaration is the one written as in.
func names(decl ast.Decl, in string) bool {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return in == "func "+d.Name.Name
		}
		return in == fmt.Sprintf("func (%s) %s", receiver(d.Recv.List[0].Type), d.Name.Name)
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return in == "imports"
		}
		for _, spec := range d.Specs {
			if t, ok := spec.(*ast.TypeSpec); ok && in == "type "+t.Name.Name {
				return true
			}
		}
	}
	return false
}

func receiver(t ast.Expr) string {
	switch x := t.(type) {
	case *ast.StarExpr:
		return "*" + receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.IndexListExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
