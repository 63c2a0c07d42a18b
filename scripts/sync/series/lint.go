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

package series

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/grafana/regexp"

	"github.com/ackwal/ackwal/scripts/sync/tree"
)

// MaxCode is how many lines of code an entry may have that are not tests:
// what one reviewer reads in one sitting. Blank lines and comments are free.
const MaxCode = 600

// MaxLines is how many an entry may have all told, see Lines.
const MaxLines = 1500

// firstForkOnly is where the names of entries that stay here begin.
const firstForkOnly = "9000"

var entryName = regexp.MustCompile(`^[0-9]{4}-[a-z0-9-]+$`)

// Lint returns everything that is wrong with a series, beyond what Load finds:
// names, files of ours in no entry or in two, entries that are too large, and
// dependencies that are not declared.
func Lint(entries []Entry, o Ours, p Project) error {
	var errs []error
	for i, e := range entries {
		switch {
		case !entryName.MatchString(e.Name):
			errs = append(errs, fmt.Errorf("%s: a name is four digits and lower-case words", e.Name))
		case i > 0 && entries[i-1].Name >= e.Name:
			errs = append(errs, fmt.Errorf("%s comes after %s: numbers follow the order of the series", e.Name, entries[i-1].Name))
		case (e.Status == ForkOnly) != (e.Name >= firstForkOnly):
			errs = append(errs, fmt.Errorf("%s: fork-only entries, and no others, have numbers from %s on", e.Name, firstForkOnly))
		}
		if n := Code(&e, o); n > MaxCode {
			errs = append(errs, fmt.Errorf("%s has %d lines of code that are not tests, at most %d can be reviewed: split it", e.Name, n, MaxCode))
		}
		if n := Lines(&e, o); n > MaxLines {
			errs = append(errs, fmt.Errorf("%s has %d lines all told, at most %d can be reviewed: split it", e.Name, n, MaxLines))
		}
	}
	errs = append(errs, Cover(entries, o)...)
	errs = append(errs, undeclared(entries, o, p)...)
	return errors.Join(errs...)
}

// Cover finds files of ours that are not in exactly one entry, and lines of
// entries that match none.
func Cover(entries []Entry, o Ours) (errs []error) {
	used := map[string]bool{}
	for _, name := range o.Files.Paths() {
		in := listing(entries, name)
		if len(in) == 0 {
			errs = append(errs, fmt.Errorf("%s is in no entry of patches: add it to the files of one", name))
		}
		for _, line := range in {
			used[line] = true
		}
	}
	for _, e := range entries {
		for _, f := range e.Files {
			if !used[listed(e, f)] {
				errs = append(errs, fmt.Errorf("%s: there is no file %s", e.Name, f))
			}
		}
	}
	return append(errs, twice(entries, o)...)
}

// twice finds files of ours that entries list more than once.
func twice(entries []Entry, o Ours) (errs []error) {
	for _, name := range o.Files.Paths() {
		if in := listing(entries, name); len(in) > 1 {
			errs = append(errs, fmt.Errorf("%s is listed more than once in patches, in %s: leave one of them", name, strings.Join(in, " and in ")))
		}
	}
	return errs
}

// listing returns the lines of entries that list a file of ours.
func listing(entries []Entry, name string) (in []string) {
	for _, e := range entries {
		for _, f := range e.Files {
			if matches(f, name) {
				in = append(in, listed(e, f))
			}
		}
	}
	return in
}

func listed(e Entry, line string) string { return e.Name + " as " + line }

// Code counts the lines of Go of an entry that are neither blank nor comments
// nor tests, those of its hooks included.
func Code(e *Entry, o Ours) int { return added(e, o, isCode, codeLines) }

// Lines counts all lines that an entry adds: code, tests and pages, comments and
// blank lines too, and what its hooks bring. Reviewers do not read test data.
func Lines(e *Entry, o Ours) int {
	return added(e, o, func(name string) bool { return !isTestData(name) }, textLines)
}

// added counts the lines that an entry adds to the files that count, those of its
// hooks included.
func added(e *Entry, o Ours, counts func(name string) bool, lines func(text []byte) int) int {
	n := 0
	for name, f := range o.Of(e) {
		if counts(name) {
			n += lines(f.Data)
		}
	}
	for _, h := range e.Hooks {
		if counts(h.File) {
			for _, text := range []string{h.Before, h.After, h.Replace} {
				n += h.Matches * lines([]byte(text))
			}
		}
	}
	return n
}

// textLines counts lines, the last of which may lack its end.
func textLines(text []byte) int {
	n := bytes.Count(text, []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		n++
	}
	return n
}

func isTestData(name string) bool { return strings.Contains("/"+name, "/testdata/") }

func isCode(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !isTestData(name)
}

// codeLines counts lines with a token on them.
func codeLines(text []byte) int {
	file := token.NewFileSet().AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	lines := map[int]bool{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return len(lines)
		}
		if tok == token.SEMICOLON && literal == "\n" {
			continue
		}
		first := file.Line(pos)
		for i := range strings.Count(literal, "\n") + 1 {
			lines[first+i] = true
		}
	}
}

// undeclared finds entries that import or extend a package of ours without
// depending, at least indirectly, on an entry that brings it. Which of several
// is needed only a compiler can tell.
func undeclared(entries []Entry, o Ours, p Project) (errs []error) {
	owners := map[string][]int{} // Directory to the entries that bring code there.
	for i := range entries {
		for name := range o.Of(&entries[i]) {
			if dir := path.Dir(name); isCode(name) && !slices.Contains(owners[dir], i) {
				owners[dir] = append(owners[dir], i)
			}
		}
	}
	reach := make([]map[string]bool, len(entries))
	for i, e := range entries {
		reach[i] = map[string]bool{e.Name: true}
		for j := range i {
			if slices.Contains(e.DependsOn, entries[j].Name) {
				for name := range reach[j] {
					reach[i][name] = true
				}
			}
		}
		used := map[string]bool{}
		for name, f := range o.Of(&entries[i]) {
			dirs, err := ourImports(name, f, p)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", e.Name, err))
			}
			for _, dir := range append(dirs, path.Dir(name)) {
				used[dir] = true
			}
		}
		for dir := range used {
			needed := slices.DeleteFunc(slices.Clone(owners[dir]), func(j int) bool { return j == i })
			if len(owners[dir]) > len(needed) && !slices.ContainsFunc(needed, func(j int) bool { return j < i }) {
				continue // It brings the package itself, and first.
			}
			if len(needed) > 0 && !slices.ContainsFunc(needed, func(j int) bool { return reach[i][entries[j].Name] }) {
				errs = append(errs, fmt.Errorf("%s uses %s, which %s brings: add that to depends-on", e.Name, dir, entries[needed[0]].Name))
			}
		}
	}
	return errs
}

// ourImports returns the directories of our packages that a file imports. The
// files' imports are upstream's already.
func ourImports(name string, f tree.File, p Project) (dirs []string, err error) {
	if !strings.HasSuffix(name, ".go") || isTestData(name) {
		return nil, nil
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), name, f.Data, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, spec := range parsed.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if dir, ok := strings.CutPrefix(target, p.Upstream+"/"); ok {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}
